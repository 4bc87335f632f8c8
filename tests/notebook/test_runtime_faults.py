"""Unusual ways to run a cell, and unusual servers, with a real kernel."""

import itertools
import threading
from functools import partial

import nbformat
import pytest
from fake_ollama import Answer, Wait, error, reply_line
from nbclient import NotebookClient

line = partial(reply_line, {"model": "llama3.2:3b", "messages": []})


# -- the server loads, or is busy ------------------------------------------------


def test_a_slow_load_shows_the_seconds(kernel, fake_ollama):
    """A model may take minutes to load; the cell shows how long it has waited."""
    loaded = threading.Event()
    fake_ollama.on(
        "POST /api/chat",
        Answer([line(content="Up."), line(done=True)], hold_headers=loaded),
    )
    msg_id = kernel.send("%%ollama\nHi")
    seen = kernel.collect(
        msg_id, until=lambda ran: "loading llama3.2:3b (2.0 GB)… 1 s" in ran.html
    )
    loaded.set()
    ran = kernel.collect(msg_id, since=seen)
    assert ran.text == "Up."
    assert "loading" not in ran.html


def test_a_stalled_reply_ends_and_keeps_its_text(kernel, fake_ollama):
    kernel.run("%config OllamaMagics.timeout = 0.2")
    fake_ollama.on(
        "POST /api/chat", Answer([line(content="Half"), Wait(threading.Event())])
    )
    ran = kernel.run("%%ollama\nHi", "a")
    assert ran.status == "error"
    assert "no data for 0.2 s" in ran.error
    assert ran.text.startswith("Half")
    assert ran.provenance["status"] == "broken"
    assert fake_ollama.wait_for("/api/chat").wait_closed()


def test_a_full_queue_is_one_error_and_no_second_request(kernel, fake_ollama):
    said = "server busy, please try again. maximum pending requests exceeded"
    fake_ollama.on("POST /api/chat", error(503, said))
    ran = kernel.run("%%ollama\nHi")
    assert ran.status == "error"
    assert said in ran.error
    assert len(ran.error.splitlines()) == 3
    assert len(fake_ollama.bodies("/api/chat")) == 1


# -- pulls -----------------------------------------------------------------------


def layer(name, completed=None, total=None):
    data = {"status": f"pulling {name}", "digest": f"sha256:{name}"}
    data |= {} if total is None else {"total": total}
    return data | ({} if completed is None else {"completed": completed})


SUCCESS = {"status": "success"}
PULLS = {
    "backwards": ([layer("a", 900, 1000), layer("a", 100, 1000), SUCCESS], "pulled"),
    "no total": ([layer("a"), layer("a"), SUCCESS], "up to date"),
    "total of zero": ([layer("a", 0, 0), SUCCESS], "up to date"),
    "more than its total": (
        [layer("a", 10, 1000), layer("a", 5000, 1000), SUCCESS],
        "pulled",
    ),
    "a total that changes": (
        [layer("a", 10, 100), layer("a", 10, 1000), SUCCESS],
        "pulled",
    ),
    "the same layer twice": (
        [layer("a", 500, 1000), layer("b", 1, 10), layer("a", 1000, 1000), SUCCESS],
        "pulled",
    ),
    "present": ([{"status": "pulling manifest"}, SUCCESS], "up to date"),
    "null": ([layer("a", 5, 10) | {"completed": None}, SUCCESS], "pulled"),
    "negative": ([layer("a", -5, 10), SUCCESS], "pulled"),
    "only success": ([SUCCESS], "up to date"),
    "error line": (
        [layer("a", 500, 1000), {"error": "no space left on device"}],
        "no space left on device",
    ),
    "no success": ([layer("a", 500, 1000)], "failed at 500 B"),
    "nothing": ([], "failed"),
    "not an object": ([layer("a", 500, 1000), "[1]\n"], "is not JSON"),
    "a page": (["<html>502</html>"], "answered with a web page"),
    "cut": (Answer([layer("a", 500, 1000), SUCCESS], cut_after=90), "failed"),
    "refused": (error(404, "pull model manifest: file does not exist"), "not exist"),
}


@pytest.mark.parametrize("case", PULLS)
def test_every_pull_ends_with_the_right_message(kernel, fake_ollama, case):
    steps, said = PULLS[case]
    answer = steps if isinstance(steps, Answer) else Answer(steps)
    fake_ollama.on("POST /api/pull", answer)
    ran = kernel.run("%ollama pull new:1b")
    is_whole = said in {"pulled", "up to date"}
    assert ran.status == ("ok" if is_whole else "error"), ran.error
    assert said in ran.text + (ran.error or "")
    assert "Traceback" not in (ran.error or "")
    assert not any(f"width:{sign}" in ran.html for sign in ("-", "1000"))


def test_two_kernels_may_pull_one_model(kernel, fake_ollama):
    """The server joins them; each shows its own progress."""
    from kernel import Kernel

    go_on = threading.Event()
    fake_ollama.on("POST /api/pull", Answer([layer("a", 1, 10), Wait(go_on), SUCCESS]))
    other = Kernel()
    try:
        other.run("%load_ext ollama_magic")
        other.run(f"%config OllamaMagics.host = {fake_ollama.url!r}")
        sent = [each.send("%ollama pull new:1b") for each in (kernel, other)]
        fake_ollama.wait_for("/api/pull", count=2)
        go_on.set()
        rans = [
            each.collect(msg_id)
            for each, msg_id in zip((kernel, other), sent, strict=True)
        ]
    finally:
        other.close()
    assert [ran.text for ran in rans] == ["new:1b: pulled, 10 B"] * 2


# -- unusual ways to run a cell -----------------------------------------------------

WAYS = {
    "asyncio.run": (
        "import asyncio\nasync def main():\n"
        "    return get_ipython().run_line_magic('ollama', 'ask hi')\n"
        "try:\n    r = asyncio.run(main())\n"
        "except RuntimeError:\n    r = await main()\n"
        "print(r.text)"
    ),
    "await": "await asyncio.sleep(0)\nr = %ollama ask hi\nprint(r.text)",
    "a task": (
        "async def main():\n"
        "    return get_ipython().run_line_magic('ollama', 'ask hi')\n"
        "r = await asyncio.create_task(main())\nprint(r.text)"
    ),
    "a function": (
        "def f():\n    r = %ollama ask hi\n    return r\nr = f()\nprint(r.text)"
    ),
    "a loop": "for _ in range(2):\n    r = %ollama ask hi\nprint(r.text)",
    "a comprehension": (
        "r = [get_ipython().run_line_magic('ollama', 'ask hi') for _ in 'ab'][0]\n"
        "print(r.text)"
    ),
    "a with": "from contextlib import nullcontext\nwith nullcontext():\n"
    "    r = %ollama ask hi\nprint(r.text)",
    "an if, CRLF": "if True:\r\n    r = %ollama ask hi\r\n    print(r.text)\r\n",
    "time": "%%time\nr = %ollama ask hi\nprint(r.text)",
    "exec": 'exec(\'r = get_ipython().run_line_magic("ollama", "ask hi")\\n'
    "print(r.text)')",
    "a thread": (
        "import threading\n"
        "def f():\n"
        "    global r\n"
        "    r = get_ipython().run_line_magic('ollama', 'ask hi')\n"
        "t = threading.Thread(target=f)\nt.start()\nt.join()\nprint(r.text)"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_line_works_wherever_python_does(kernel, way):
    kernel.run("import asyncio")
    ran = kernel.run(WAYS[way])
    assert ran.status == "ok", ran.error
    assert ran.streams.startswith("Hello!\n") or "\nHello!\n" in ran.streams
    shown = [o for o in ran.outputs if "text/html" in o.get("data", {})]
    assert shown
    assert all("Hello!" in o["data"]["text/html"] for o in shown)


def test_capture_holds_the_reply_and_shows_it_on_request(kernel):
    ran = kernel.run("%%capture kept\n%%ollama\nhi")
    assert ran.status == "ok", ran.error
    assert ran.outputs == []
    ran = kernel.run("print([o.data['text/plain'] for o in kept.outputs if o.data])")
    assert ran.streams == "['Hello!']\n"
    shown = kernel.run("kept.show()")
    assert shown.text.strip() == "Hello!"


def test_a_timed_cell_keeps_what_time_prints(kernel):
    ran = kernel.run("%%time\n%%ollama\nhi")
    assert ran.status == "ok", ran.error
    assert "Wall time" in ran.streams
    assert ran.text.count("Hello!") == 1


def test_a_thread_that_asks_later_clears_no_other_cell(kernel, fake_ollama):
    """Its output goes to the cell that started it, or nowhere."""
    go_on = threading.Event()
    fake_ollama.on(
        "POST /api/chat", Answer([Wait(go_on), line(content="Late"), line(done=True)])
    )
    kernel.run(
        "import threading\n"
        "ask = lambda: get_ipython().run_cell_magic('ollama', '', 'hi')\n"
        "thread = threading.Thread(target=ask)\nthread.start()"
    )
    fake_ollama.wait_for("/api/chat")
    msg_id = kernel.send("print('mine')\nimport sys\nsys.stdout.flush()\nthread.join()")
    seen = kernel.collect(msg_id, until=lambda ran: "mine" in ran.streams)
    go_on.set()
    ran = kernel.collect(msg_id, since=seen)
    assert ran.status == "ok"
    assert ran.streams == "mine\n"
    assert "clear_output" not in ran.messages


def test_one_reply_displayed_twice_gives_two_equal_outputs(kernel):
    kernel.run("%%ollama kept <<\nhi")
    ran = kernel.run("display(kept)\ndisplay(kept)")
    assert [o["data"]["text/plain"] for o in ran.outputs] == ["Hello!"] * 2
    assert len({o["data"]["text/html"] for o in ran.outputs}) == 1


def test_a_widget_callback_can_ask(kernel):
    """No cell runs then: the turn has no cell id, and an error is shown."""
    ran = kernel.run(
        "import ipywidgets\n"
        "button, out = ipywidgets.Button(), ipywidgets.Output()\n"
        "def clicked(_):\n"
        "    with out:\n"
        "        get_ipython().run_cell_magic('ollama', '', 'hi')\n"
        "button.on_click(clicked)\nbutton.click()\n"
        "print([o.get('data', {}).get('text/plain') for o in out.outputs][-1:])"
    )
    assert ran.status == "ok", ran.error
    assert "Traceback" not in ran.streams


@pytest.fixture
def run_headless(fake_ollama, tmp_path):
    """Return a function that runs cells as nbclient and papermill do."""

    def run(*cells, **options):
        setup = (
            "%load_ext ollama_magic\n"
            f"%config OllamaMagics.host = {fake_ollama.url!r}\n"
            f"%config OllamaMagics.history_file = {str(tmp_path / 'c.sqlite')!r}"
        )
        book = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(text) for text in (setup, *cells)]
        )
        NotebookClient(book, timeout=60, **options).execute()
        return [cell.outputs for cell in book.cells[1:]]

    return run


def test_a_notebook_stores_the_complete_last_frame(fake_ollama, run_headless):
    """Also if the cell has other code, or the magic asks a question."""
    fake_ollama.models([{"name": "able:1b", "capabilities": ["completion", "tools"]}])
    fake_ollama.reply([f"word{n} " for n in range(300)])
    alone, beside, captured, refused = run_headless(
        "%%ollama\nhi",
        "print('before')\n%ollama ask hi",
        "for n in range(2):\n    %ollama ask hi",
        "%ollama rm able:1b",
        allow_errors=True,
    )
    whole = "".join(f"word{n} " for n in range(300)).strip()
    (output,) = alone
    assert output.output_type == "display_data"
    assert set(output.data) == {"text/html", "text/plain"}
    assert "word299" in output.data["text/html"]
    assert output.metadata["ollama_magic"]["status"] == "complete"
    assert output.data["text/plain"].strip() == whole
    assert beside[0].text == "before\n"
    assert [o.data["text/plain"].strip() for o in beside[1:]] == [whole]
    assert [o.data["text/plain"].strip() for o in captured] == [whole] * 2
    assert refused[-1].output_type == "error"
    assert "-y" in "".join(refused[-1].traceback)
    for o in itertools.chain(alone, beside[1:], captured):
        assert "comm" not in str(o.data)
        assert "loading" not in o.data["text/html"]


def test_an_error_stops_a_notebook_and_keeps_the_partial_reply(
    fake_ollama, run_headless
):
    """Run All stops there: nbclient reports the three lines as the cell's error."""
    fake_ollama.on("POST /api/chat", Answer([line(content="Half")]))
    (outputs,) = run_headless("%%ollama\nhi", allow_errors=True)
    assert outputs[0].data["text/plain"].startswith("Half")
    assert outputs[-1].ename == "StreamInterruptedError"
    assert len(outputs[-1].traceback) == 3
