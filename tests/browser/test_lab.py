"""Prompts and replies in real JupyterLab and Notebook 7."""

import json
import threading
from functools import partial

import pytest
from fake_ollama import Answer, Wait, reply_line

line = partial(reply_line, {"model": "llama3.2:3b", "messages": []})

SETUP = """\
%load_ext ollama_magic
%config OllamaMagics.host = {url!r}"""


@pytest.fixture
def notebook(open_notebook, jupyter, fake_ollama, app, request):
    """Open a notebook whose first cell has been run."""

    def open_(*sources):
        name = f"{request.node.name}.ipynb".replace("[", "-").replace("]", "")
        setup = SETUP.format(url=fake_ollama.url)
        page = open_notebook(jupyter.write_notebook(name, [setup, *sources]), app)
        page.run_to_end(0)
        return page, jupyter.root / name

    return open_


def saved_outputs(path, number):
    return json.loads(path.read_text())["cells"][number]["outputs"]


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_reply_grows_and_ends_as_one_output(notebook, fake_ollama):
    """The reply is readable while it streams; the file keeps one output."""
    more, rest = threading.Event(), threading.Event()
    fake_ollama.on(
        "POST /api/chat",
        Answer(
            [
                Wait(more),
                line(content="# The **sky**\n\nIt is blue"),
                Wait(rest),
                line(content=" by $\\lambda^{-4}$.\n\n```python\nprint(1)\n```\n"),
                line(done=True, eval_count=8, eval_duration=10**9),
            ]
        ),
    )
    page, path = notebook("%%ollama\nWhy is the sky blue?")
    page.run(1)
    page.wait_text(1, "loading llama3.2:3b")
    more.set()
    page.wait_text(1, "It is blue")
    assert "print" not in page.cell(1).inner_text().partition("blue?")[2]
    page.screenshot(f"growing-{page.app}")
    rest.set()
    page.wait_text(1, " s · 8 tokens/s")
    page.wait_ended(1)
    assert page.output(1).count() == 1
    assert page.output(1).locator("h3 strong").inner_text() == "sky"
    page.output(1).locator("mjx-container").first.wait_for()
    assert page.output(1).locator("pre").inner_text().strip() == "print(1)"
    page.screenshot(f"complete-{page.app}")
    page.save()
    (output,) = saved_outputs(path, 1)
    assert set(output["data"]) == {"text/html", "text/plain"}
    assert output["metadata"]["ollama_magic"]["model"] == "llama3.2:3b"


LOOKS = """output => {
    const words = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    const found = {};
    while (words.nextNode()) {
        const element = words.currentNode.parentElement;
        const range = document.createRange();
        range.selectNodeContents(words.currentNode);
        const {left, right, top, bottom} = range.getBoundingClientRect();
        const {fontWeight, listStyleType} = getComputedStyle(element);
        const style = {weight: fontWeight, mark: listStyleType};
        const look = {left, right, top, bottom, ...style};
        found[words.currentNode.data.trim()] = look;
    }
    return found;
}"""


def test_headings_tasks_and_definitions_look_different_from_text(notebook, fake_ollama):
    """Lab shows small headings as text, and definitions side by side."""
    fake_ollama.reply(
        "### heading\n\ntext\n\n- item\n- [ ] task\n  - [x] part\n\n"
        "word\n: one\n: two\n\nbelow\n\nשלום\n\n```\ncode\n```"
    )
    page, _ = notebook("%%ollama\nHi")
    page.run_to_end(1)
    page.wait_text(1, "tokens/s")
    looks = page.output(1).evaluate(LOOKS)
    assert int(looks["heading"]["weight"]) > int(looks["text"]["weight"])
    marks = [looks[text]["mark"] for text in ("item", "☐ task", "☑ part")]
    assert marks == ["disc", "none", "none"]
    assert looks["☐ task"]["left"] == looks["item"]["left"] < looks["☑ part"]["left"]
    assert looks["word"]["left"] < looks["one"]["left"] == looks["two"]["left"]
    for above, below in [("word", "one"), ("one", "two")]:
        assert looks[above]["bottom"] <= looks[below]["top"] + 1
    assert looks["two"]["bottom"] + 5 < looks["below"]["top"]
    assert looks["שלום"]["left"] > looks["below"]["right"]
    assert looks["code"]["left"] < looks["below"]["right"]


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_the_stop_button_ends_the_reply_and_keeps_its_text(notebook, fake_ollama):
    """It is said once, without a red box; Run All stops; the reply can be continued."""
    never = threading.Event()
    whole = [line(content=" a time."), line(done=True, done_reason="stop")]
    begun = Answer([line(content="Once upon"), Wait(never)])
    fake_ollama.on("POST /api/chat", begun, Answer(whole))
    sources = ["%%ollama\nTell me a story.", "print('ran on')", "%ollama continue"]
    page, path = notebook(*sources)
    page.command("notebook:run-all-cells")
    page.wait_text(1, "Once upon")
    page.interrupt()
    assert fake_ollama.wait_for("/api/chat").wait_closed()
    page.wait_text(1, "interrupted")
    page.wait_ended(1)
    page.wait_text(1, "Once upon")
    page.wait_idle()
    assert "Traceback" not in page.cell(1).inner_text()
    assert page.cell(1).inner_text().count("interrupted") == 1
    assert "Interrupted" not in page.cell(1).inner_text()
    assert page.output(2).count() == 0
    page.run_to_end(3)
    page.wait_text(3, "Once upon a time.")
    page.screenshot(f"interrupted-{page.app}")
    page.save()
    (shown,) = saved_outputs(path, 1)
    assert shown["metadata"]["ollama_magic"]["status"] == "interrupted"
    assert saved_outputs(path, 2) == []


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_re_run_cell_replaces_its_turn_and_the_chat_continues_after_a_restart(
    notebook, fake_ollama
):
    """Cell ids come from the front end; the chat outlives the kernel."""
    page, _ = notebook("%%ollama\nfirst?", "%%ollama\nsecond?", "%ollama history")
    page.run_to_end(1)
    page.run_to_end(2)
    page.source(1, "%%ollama\nfirst, again?")
    page.run_to_end(1)
    page.wait_text(1, "tokens/s")
    page.restart()
    page.run_to_end(0)
    page.source(2, "%%ollama\nsecond, after a restart?")
    page.run_to_end(2)
    page.wait_text(2, "turn 2 of main")
    asked = [
        message["content"]
        for message in fake_ollama.bodies("/api/chat")[-1]["messages"]
        if message["role"] == "user"
    ]
    assert asked == ["first, again?", "second, after a restart?"]
    page.run_to_end(3)
    page.wait_text(3, "first, again?")
    page.screenshot(f"restarted-{page.app}")


def test_a_deleted_cell_leaves_the_chat(notebook, fake_ollama):
    page, _ = notebook("%%ollama\nfirst?", "%%ollama\nsecond?", "%%ollama\nthird?")
    page.run_to_end(1)
    page.run_to_end(2)
    page.select(1)
    page.command("notebook:delete-cell")
    page.run_to_end(2)
    asked = [
        message["content"]
        for message in fake_ollama.bodies("/api/chat")[-1]["messages"]
        if message["role"] == "user"
    ]
    assert asked == ["second?", "third?"]


def test_hostile_text_runs_nothing(notebook, fake_ollama):
    """JupyterLab trusts the output of a cell that was run, so it must be harmless."""
    fake_ollama.reply(
        "<script>window.owned = 1</script><img src=x onerror='window.owned = 2'>\n\n"
        "[x](javascript:window.owned=3) <details open ontoggle='window.owned = 4'>\n\n"
        "![x](http://127.0.0.1:9/beacon) <iframe srcdoc='<script>top.owned=5</script>'>"
    )
    page, _ = notebook("%%ollama\nHi")
    requests = []
    page.page.on("request", lambda r: requests.append(r.url))
    page.run_to_end(1)
    page.wait_text(1, "tokens/s")
    for link in page.output(1).locator("a").all():
        href = link.get_attribute("href")
        assert href is None or href.startswith(("http://", "https://"))
    assert page.page.evaluate("() => window.owned") is None
    assert not [url for url in requests if "beacon" in url]


def test_errors_are_three_lines_and_stop_run_all(notebook):
    page, _ = notebook("%%ollama nosuch:1b\nHi", "print('ran on')")
    page.run_to_end(1)
    page.wait_text(1, "ModelNotFoundError")
    page.wait_text(1, "%ollama pull nosuch:1b")
    assert "Traceback" not in page.cell(1).inner_text()
    page.screenshot(f"error-{page.app}")


def test_restart_and_run_all_twice_gives_the_same_chat_once(notebook, fake_ollama):
    """Re-running a cell in the middle marks the later ones as stale."""
    page, _ = notebook("%%ollama\nfirst?", "%%ollama\nsecond?", "%ollama history")
    for _ in range(2):
        page.restart()
        page.command("notebook:run-all-cells")
        page.wait_text(3, "second?")
        page.wait_idle()
    asked = [
        [m["content"] for m in body["messages"] if m["role"] == "user"]
        for body in fake_ollama.bodies("/api/chat")
    ]
    assert asked == [["first?"], ["first?", "second?"]] * 2
    page.source(1, "%%ollama\nfirst, changed?")
    page.run_to_end(1)
    page.run_to_end(3)
    page.wait_text(3, "stale")
    assert page.output(3).locator("tbody tr").count() == 2
    page.screenshot(f"stale-{page.app}")
