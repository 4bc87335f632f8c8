"""The stop button in every phase of a cell, in a real kernel.

In every phase the connection is closed, no traceback is shown, the partial reply is
kept, the next cell works, and nothing stays open, even if stop is pressed twice. The
loop at the end runs 10 times, or 100 times with ``INTERRUPTS=100``; ``-s`` shows its
figures.
"""

import ast
import itertools
import os
import sqlite3
import statistics
import sys
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from fake_ollama import Answer, Pause, Wait, json_answer, reply_line

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux")

SOON_S = 10
"""A limit for a busy machine; an idle one takes milliseconds."""
INTERRUPTS = int(os.environ.get("INTERRUPTS", "10"))
BODY = {"model": "llama3.2:3b", "messages": []}
PROGRAM = Path(__file__).parents[1] / "server" / "fake_ollama_program.py"
line = partial(reply_line, BODY)
once = partial(reply_line, {"model": "llama3.2:3b"})
DONE = line(done=True, done_reason="stop")
LONG_IN_ONE_LINE = Answer(
    [line(content="Hello!", done=True, done_reason="stop", prompt_eval_count=300)]
)
"""The footer of such a reply waits for the length of the context."""
TOOLS = """\
import threading
def waits():
    "Wait for long."
    print("called")
    threading.Event().wait(60)
def quick():
    "Do it."
"""
LEFT = """\
import contextlib, gc, os, threading
for thread in threading.enumerate():
    if thread.name.startswith("ollama"):
        thread.join(10)
gc.collect()
open_now = []
for fd in os.listdir("/proc/self/fd"):
    with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
        open_now.append(os.readlink("/proc/self/fd/" + fd))
to_server = {{
    fields[9]
    for fields in map(str.split, open("/proc/self/net/tcp"))
    if fields[2].endswith(":{port:04X}")
}}
[
    sorted(t.name for t in threading.enumerate() if t.name.startswith("ollama")),
    sorted(os.path.basename(path) for path in open_now if "chats.sqlite" in path),
    [path for path in open_now if path.rpartition("[")[2][:-1] in to_server],
]
"""


def held():
    """Return a response that sends nothing, not even its status."""
    return Answer([], hold_headers=threading.Event())


def begun(*steps):
    """Return a response that stalls after its first steps."""
    return Answer([*steps, Wait(threading.Event())])


def calls(name):
    said = line(tool_calls=[{"function": {"name": name, "arguments": {}}}])
    return Answer([said, DONE])


def press(kernel, presses=1):
    """Press stop, and return the time."""
    at = time.monotonic()
    for _ in range(presses):
        kernel.manager.interrupt_kernel()
    return at


def check_nothing_is_left(kernel, fake_ollama):
    """Check that no thread or connection is left, and the chat file is open once."""
    ran = kernel.run(LEFT.format(port=fake_ollama.port))
    assert ran.status == "ok", ran
    assert ast.literal_eval(ran.text) == [[], ["chats.sqlite"], []], ran


@pytest.fixture
def warm(kernel, fake_ollama):
    """Provide a kernel that has run a cell, with open connections and files."""
    fake_ollama.models(
        [{"name": BODY["model"], "capabilities": ["completion", "tools", "thinking"]}]
    )
    assert kernel.run(TOOLS).status == "ok"
    assert kernel.run("%%ollama\nwarm up", "warm").status == "ok"
    check_nothing_is_left(kernel, fake_ollama)
    del fake_ollama.requests[:]
    yield kernel
    kernel.answers = None
    fake_ollama._scripts.clear()
    after = kernel.run("%%ollama\nAnd now?", "next")
    assert after.status == "ok", after.error
    assert "Hello!" in after.text
    check_nothing_is_left(kernel, fake_ollama)


# Before the first token: endpoint, its answer, the cell.
BEFORE = {
    "models": ("GET /api/tags", held(), "%%ollama\nHi"),
    "loaded": ("GET /api/ps", held(), "%%ollama\nHi"),
    "headers": ("POST /api/chat", held(), "%%ollama\nHi"),
    "first token": ("POST /api/chat", begun(), "%%ollama\nHi"),
    "not streamed": ("POST /api/chat", begun(), "%%ollama --no-stream\nHi"),
    "one-off": ("POST /api/generate", held(), "%%ollama --once\nHi"),
    "not shown alone": ("POST /api/chat", held(), "1\n%ollama ask Hi"),
    "await": ("POST /api/chat", held(), "await waited()\n%ollama ask Hi"),
    "compare": ("POST /api/chat", held(), "%%ollama --compare a,b\nHi"),
    "check": ("POST /api/show", held(), "%%ollama --compare a,new\nHi"),
    "ask": ("POST /api/generate", held(), "ollama_magic.ask('Hi')"),
    "ask for models": ("GET /api/tags", held(), "ollama_magic.ask('Hi')"),
    "stream": ("POST /api/generate", held(), "[*ollama_magic.stream('Hi')]"),
    "stream begun": ("POST /api/generate", begun(), "[*ollama_magic.stream('Hi')]"),
    "models()": ("GET /api/tags", held(), "ollama_magic.models()"),
    "embed": ("POST /api/embed", held(), "ollama_magic.embed('Hi', model='a')"),
    "embed for models": ("GET /api/tags", held(), "ollama_magic.embed('Hi')"),
    "list": ("GET /api/tags", held(), "%ollama list"),
    "show": ("POST /api/show", held(), "%ollama show a"),
    "state": ("GET /api/version", held(), "%ollama"),
    "pull": ("POST /api/pull", begun({"status": "pulling"}), "%ollama pull a"),
    "load": ("POST /api/generate", held(), "%ollama load a"),
    "copy": ("POST /api/copy", held(), "%ollama cp a c"),
    "rows": (
        "POST /api/generate",
        held(),
        "ollama_magic.map_prompts('{}', ['a', 'b', 'c'])",
    ),
}


@pytest.mark.parametrize("phase", BEFORE)
def test_an_interrupt_before_the_first_token_is_one_line(warm, fake_ollama, phase):
    endpoint, answer, cell = BEFORE[phase]
    fake_ollama.models(["llama3.2:3b", "a", "b"])
    warm.run("import asyncio, ollama_magic\nasync def waited(): await asyncio.sleep(0)")
    fake_ollama.on(endpoint, answer)
    msg_id = warm.send(cell, "a")
    request = fake_ollama.wait_for(endpoint.split()[1])
    # Only magics handle a second interrupt.
    at = press(warm, 1 if "ollama_magic" in cell else 2)
    assert request.wait_closed()
    assert request.was_cut_off
    assert request.closed_at - at < SOON_S
    ran = warm.collect(msg_id)
    assert ran.status == "error"
    assert ran.error.startswith("Interrupted: stopped")
    assert "partial reply kept" not in ran.error
    assert "\n" not in ran.error
    assert "Hi" not in warm.run("%ollama history").text


# In the middle: the server's answer, the cell, the text shown so far.
MIDDLE = {
    "text": ([line(content="Some text")], "%%ollama\nHi", "Some text"),
    "thinking": ([line(thinking="Hm, so")], "%%ollama --think\nHi", "Hm, so"),
    "hidden": ([line(thinking="Hm")], "%%ollama --hide-thinking\nHi", "is thinking…"),
    "after thinking": (
        [line(thinking="Hm, so"), line(content="Some")],
        "%%ollama\nHi",
        "Some",
    ),
    "in a fence": ([line(content="```python\nprint(")], "%%ollama\nHi", "print"),
    "in a loop": (
        [line(content="Some text")],
        "for _ in range(9):\n    %ollama ask Hi",
        "Some text",
    ),
}


@pytest.mark.parametrize("phase", MIDDLE)
def test_an_interrupt_keeps_the_partial_reply(warm, fake_ollama, phase):
    steps, cell, shown = MIDDLE[phase]
    fake_ollama.on("POST /api/chat", begun(*steps))
    msg_id = warm.send(cell, "a")
    seen = warm.collect(msg_id, until=lambda ran: shown in ran.html)
    at = press(warm, 2)
    request = fake_ollama.wait_for("/api/chat")
    assert request.wait_closed()
    assert request.was_cut_off
    assert request.closed_at - at < SOON_S
    ran = warm.collect(msg_id, since=seen)
    assert ran.status == "error"
    if phase == "in a loop":  # the rest of the cell did not run
        assert ran.error.startswith("Interrupted: stopped; partial reply kept")
    else:
        assert ran.error is None
    assert ran.provenance["status"] == "interrupted"
    assert "[interrupted]" in ran.text
    assert len([o for o in ran.outputs if "data" in o]) == 1
    assert "interrupted" in warm.run("%ollama history --all").text
    assert len(fake_ollama.bodies("/api/chat")) == 1


def test_an_interrupt_closes_every_column(warm, fake_ollama):
    fake_ollama.models(["a", "b"])
    fake_ollama.on("POST /api/chat", begun(line(content="Some text")))
    msg_id = warm.send("%%ollama --compare a,b\nHi", "a")
    warm.collect(msg_id, until=lambda ran: ran.html.count("Some text") == 2)
    at = press(warm, 2)
    for count in (1, 2):
        request = fake_ollama.wait_for("/api/chat", count=count)
        assert request.wait_closed()
        assert request.closed_at - at < SOON_S
    ran = warm.collect(msg_id)
    assert ran.status == "error"
    assert ran.text.count("Some text") == 2
    fake_ollama.models(["llama3.2:3b"])


def test_an_interrupt_in_a_later_round_keeps_the_earlier_ones(warm, fake_ollama):
    fake_ollama.on("POST /api/chat", calls("quick"), held())
    msg_id = warm.send("%%ollama -T quick --yes\nHi", "a")
    request = fake_ollama.wait_for("/api/chat", count=2)
    at = press(warm, 2)
    assert request.wait_closed()
    assert request.closed_at - at < SOON_S
    ran = warm.collect(msg_id)
    assert ran.status == "error"
    assert ran.error is None
    assert "quick" in ran.html
    assert ran.provenance["status"] == "interrupted"


def test_an_interrupt_in_a_function_ends_it(warm, fake_ollama):
    fake_ollama.on("POST /api/chat", calls("waits"))
    msg_id = warm.send("%%ollama -T waits --yes\nHi", "a")
    warm.collect(msg_id, until=lambda ran: "called" in ran.streams)
    press(warm, 2)
    ran = warm.collect(msg_id)
    assert ran.status == "error"
    assert ran.error is None
    assert ran.provenance["status"] == "interrupted"


def test_an_interrupt_at_the_question_before_a_call_ends_the_cell(warm, fake_ollama):
    fake_ollama.on("POST /api/chat", calls("waits"))
    warm.answers = []
    msg_id = warm.send("%%ollama -T waits\nHi", "a")
    assert "waits" in warm.client.get_stdin_msg(timeout=60)["content"]["prompt"]
    warm.answers = None
    press(warm, 2)
    ran = warm.collect(msg_id)
    assert ran.status == "error"
    assert ran.error is None
    assert "called" not in ran.streams
    assert ran.provenance["status"] == "interrupted"


@pytest.mark.parametrize("presses", [1, 2])
def test_an_interrupt_while_the_footer_is_made_keeps_the_whole_reply(
    warm, fake_ollama, presses
):
    """The reply is complete, but Run All still stops."""
    fake_ollama.on("GET /api/ps", json_answer({"models": []}), held())
    fake_ollama.on("POST /api/chat", LONG_IN_ONE_LINE)
    msg_id = warm.send("%%ollama\nHi", "a")
    request = fake_ollama.wait_for("/api/ps", count=2)
    at = press(warm, presses)
    assert request.wait_closed()
    assert request.closed_at - at < SOON_S
    ran = warm.collect(msg_id)
    assert ran.error == ("Interrupted: stopped; the reply was complete and is kept")
    assert ran.text == "Hello!"
    assert len([o for o in ran.outputs if "data" in o]) == 1
    assert ran.provenance["status"] == "complete"
    assert ran.provenance["turn"] == 2
    assert "Hi" in warm.run("%ollama history").text


def test_a_reply_does_not_wait_for_a_context_length_that_never_arrives(
    warm, fake_ollama
):
    """It was requested when the reply began, and only the footer would say more."""
    fake_ollama.on("GET /api/ps", json_answer({"models": []}), held())
    asked = threading.Event()
    steps = [line(content="Hello"), Wait(asked), DONE]
    fake_ollama.on("POST /api/chat", Answer(steps))
    msg_id = warm.send("%%ollama\nHi", "a")
    request = fake_ollama.wait_for("/api/ps", count=2)
    asked.set()
    ran = warm.collect(msg_id)
    assert (ran.status, ran.text) == ("ok", "Hello")
    assert not request.is_closed


def test_the_footer_of_a_long_prompt_waits_for_its_context_length_a_little(
    warm, fake_ollama
):
    fake_ollama.on("GET /api/ps", json_answer({"models": []}), held())
    fake_ollama.on("POST /api/chat", LONG_IN_ONE_LINE)
    ran = warm.run("%%ollama\nHi", "a")
    assert (ran.status, ran.text) == ("ok", "Hello!")
    assert fake_ollama.wait_for("/api/ps", count=2).wait_closed()


def test_an_interrupt_while_a_turn_is_stored_stores_it_whole(
    warm, fake_ollama, tmp_path
):
    """Another program holds the file; the cell waits for it and stores a whole turn."""
    file = tmp_path / "chats.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        fake_ollama.on("GET /api/ps", json_answer({"models": []}), held())
        fake_ollama.on("POST /api/chat", LONG_IN_ONE_LINE)
        other.execute("BEGIN IMMEDIATE")
        msg_id = warm.send("%%ollama\nHi", "a")
        fake_ollama.wait_for("/api/ps", count=2)
        press(warm)  # ends the request for the footer; from here on the turn is stored
        fake_ollama.wait_for("/api/ps", count=2).wait_closed()
        press(warm)
        other.execute("ROLLBACK")
    ran = warm.collect(msg_id)
    assert "is kept" in ran.error
    assert ran.text == "Hello!"
    assert ran.provenance["turn"] == 2
    with closing(sqlite3.connect(file)) as other:
        prompts = [row[0] for row in other.execute("SELECT prompt FROM turns")]
    assert "Hi" in prompts


def test_an_interrupt_while_a_server_starts_leaves_no_process(
    warm, fake_ollama, tmp_path, monkeypatch
):
    program = tmp_path / "ollama"
    program.write_text(f"#!{sys.executable}\n{PROGRAM.read_text()}")
    program.chmod(0o755)
    here = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    warm.run(
        f"import os\nold = dict(os.environ)\nos.environ.update(PATH={here!r}, "
        f"FAKE_OLLAMA='silent', XDG_STATE_HOME={str(tmp_path)!r})"
    )
    port = _free_port()
    warm.run(f"%config OllamaMagics.host = '127.0.0.1:{port}'")
    msg_id = warm.send("%ollama serve")
    _wait_until_open(port)
    press(warm, 2)
    ran = warm.collect(msg_id)
    assert ran.status == "error"
    assert "Interrupted" in ran.error
    assert "Traceback" not in ran.error
    warm.run("os.environ.clear()\nos.environ.update(old)")
    warm.run(f"%config OllamaMagics.host = {fake_ollama.url!r}")
    _wait_until_open(port, is_open=False)


def _free_port():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _wait_until_open(port, *, is_open=True):
    import socket

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            if not is_open:
                return
        else:
            if is_open:
                return
        threading.Event().wait(0.01)
    raise AssertionError("waited too long")


def test_interrupts_at_any_moment_of_a_stream(warm, fake_ollama):
    """Each connection is closed at once, and the chat has each partial reply."""
    words = [f"word{number} " for number in range(100)]

    def answer(_request):
        pairs = ((line(content=word), Pause(0.002)) for word in itertools.cycle(words))
        return Answer(itertools.chain.from_iterable(pairs))

    fake_ollama.on("POST /api/chat", answer)
    took_s = []
    for number in range(INTERRUPTS):
        # an older kernel aborts requests that arrive too soon after an error
        warm.run("pass")
        msg_id = warm.send("%%ollama --last 0\nHi", f"cell{number}")
        shown = words[3 * (number % 9)]
        warm.collect(msg_id, until=lambda ran, word=shown: word in ran.html)
        at = press(warm, 1 + number % 3)
        request = fake_ollama.wait_for("/api/chat", count=number + 1)
        assert request.wait_closed()
        took_s.append(request.closed_at - at)
        ran = warm.collect(msg_id)
        assert ran.status == "error"
        assert ran.error is None
        assert ran.provenance["status"] == "interrupted"
        text = ran.text.partition("\n\n[interrupted]")[0]
        assert ("".join(words) * 9).startswith(text)
    print(
        f"\n{INTERRUPTS} interrupts while streaming: the server saw the close after "
        f"{statistics.median(took_s):.3f} s (median), {max(took_s):.3f} s (maximum)"
    )
    assert max(took_s) < SOON_S
