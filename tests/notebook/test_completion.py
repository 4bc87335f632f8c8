"""Tab completion, through a real shell and once through a real kernel."""

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.manager import start_new_kernel
from traitlets.config import Config

from ollama_magic.client.options import MODEL_OPTIONS
from ollama_magic.generation import session
from ollama_magic.generation.options import CHAT_OPTIONS
from ollama_magic.notebook import completion
from ollama_magic.notebook.commands import COMMANDS
from ollama_magic.notebook.magics import OllamaMagics

MODELS = ["llama3.2:latest", "qwen3:4b", "hf.co/a/b:Q4"]
CHATS = ["main", "ideas"]
FLAGS = [flag for option in CHAT_OPTIONS for flag in reversed(option.flags)]
WORDS = [command.name for command in COMMANDS]


@pytest.fixture(scope="module")
def one_shell():
    """Share one shell in this file: each one costs a quarter of a second at exit."""
    return InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))


@pytest.fixture(params=[True, False], ids=["jedi", "no jedi"])
def shell(one_shell, request):
    one_shell.Completer.use_jedi = request.param
    completion.install(one_shell, lambda: MODELS, lambda: CHATS, lambda: MODELS[1:])
    one_shell.user_ns["Person"] = dict
    return one_shell


def offered(shell, text):
    """Return the completions at the end of a text, and the text that they replace."""
    with provisionalcompleter():
        found = list(shell.Completer.completions(text, len(text)))
    replaced = {text[each.start : each.end] for each in found}
    return [each.text for each in found], replaced


CASES = {
    "models and options": ("%%ollama ", [*MODELS, *FLAGS], ""),
    "model": ("%%ollama ll", ["llama3.2:latest"], "ll"),
    "model with a colon": ("%%ollama qwen3:", ["qwen3:4b"], "qwen3:"),
    "model with slashes": ("%%ollama hf.co/a", ["hf.co/a/b:Q4"], "hf.co/a"),
    "model after options": ("%%ollama -q -t 0 q", ["qwen3:4b"], "q"),
    "model after a quoted value": ('%%ollama -s "a b" q', ["qwen3:4b"], "q"),
    "model after a pair": ("%%ollama -o num_ctx 8 q", ["qwen3:4b"], "q"),
    "model after a joined pair": ("%%ollama -o num_ctx=8 q", ["qwen3:4b"], "q"),
    "model after a target": ("%%ollama x << q", ["qwen3:4b"], "q"),
    "model to run": ("%ollama run q", ["qwen3:4b"], "q"),
    "model of an option": ("%%ollama -m q", ["qwen3:4b"], "q"),
    "model of a long option": ("%%ollama --model=q", ["qwen3:4b"], "q"),
    "models to compare": ("%%ollama --compare q", ["qwen3:4b"], "q"),
    "another model to compare": ("%%ollama --compare qwen3:4b,l", [MODELS[0]], "l"),
    "models except those to compare": (
        "%%ollama --compare=qwen3:4b,",
        [MODELS[0], MODELS[2]],
        "",
    ),
    "models that were compared": ("%ollama keep ", MODELS[1:], ""),
    "long option": ("%%ollama --th", ["--think"], "--th"),
    "options after a model": (
        "%%ollama qwen3:4b --no",
        ["--no-think", "--no-stream"],
        "--no",
    ),
    "levels": ("%%ollama --think=m", ["medium", "max"], "m"),
    "all levels": (
        "%%ollama --think=",
        ["low", "medium", "high", "max", "true", "false"],
        "",
    ),
    "variables": ("%%ollama --schema=Pers", ["Person"], "Pers"),
    "variable after a blank": ("%%ollama --schema Pers", ["Person"], "Pers"),
    "formats": ("%%ollama -f ", ["markdown", "text", "html", "code", "json"], ""),
    "model options": ("%%ollama -o ", list(MODEL_OPTIONS), ""),
    "model option": ("%%ollama --option top", ["top_k", "top_p"], "top"),
    "chats": ("%%ollama -c ", CHATS, ""),
    "subcommands": ("%ollama ", WORDS, ""),
    "subcommand": ("%ollama l", ["last", "list", "load"], "l"),
    "subcommand, assigned": ("x = %ollama hi", ["history"], "hi"),
    "subcommand in a block": ("    %ollama hi", ["history"], "hi"),
    "model of a subcommand": ("%ollama show q", ["qwen3:4b"], "q"),
    "model of an alias": ("%ollama delete q", ["qwen3:4b"], "q"),
    "models except those given": (
        "%ollama rm -y qwen3:4b ",
        [MODELS[0], MODELS[2]],
        "",
    ),
    "options of a subcommand": ("%ollama show --t", ["--template"], "--t"),
    "chat of a subcommand": ("%ollama chat i", ["ideas"], "i"),
    "help": ("%ollama help un", ["undo"], "un"),
    "options of ask": ("%ollama ask --hi", ["--hide-thinking"], "--hi"),
    "value of ask": ("%ollama ask -f j", ["json"], "j"),
}


@pytest.mark.parametrize(("text", "expected", "typed"), CASES.values(), ids=CASES)
def test_tab_offers_only_what_fits(shell, text, expected, typed):
    assert offered(shell, text) == (expected, {typed})


@pytest.mark.parametrize(
    "text",
    [
        "%%ollama\nwhy ll",
        "%%ollama -s ll",
        '%%ollama -s "a ll',
        "%%ollama -o num_ctx ll",
        "%%ollama qwen3:4b ll",
        "%ollama ask why ll",
        "%ollama ask what's ll",
        "%ollama run qwen3:4b ll",
        "%ollama use qwen3:4b ll",
        "%ollama nonsense ll",
        "%%ollamas ll",
        "ll",
        "%%ollama\n%ollama ll",
        "%%ollama\n%%ollama ll",
        "x = 1\n%%ollama ll",
    ],
)
def test_tab_offers_no_names_where_none_belong(shell, text):
    assert not set(offered(shell, text)[0]) & {*MODELS, *CHATS, *FLAGS, *WORDS}


@pytest.mark.parametrize(
    "text",
    [
        "%%ollama -o temperature=",
        "%%ollama -o num_ctx 8 -s ",
        "%%ollama wh",
        '%%ollama -s "a wh',
        "%ollama cp qwen3:4b ",
        "%ollama ask tell me wh",
        "%ollama nonsense wh",
        "x = %ollama show -wh",
    ],
)
def test_other_completions_are_hidden_on_our_lines(shell, text):
    """Python's keywords, names and magics mean nothing there."""
    assert offered(shell, text) == ([], set())


@pytest.mark.parametrize("above", ["", "%%ollama\n", "%%time\n"])
def test_python_is_completed_as_before(shell, above):
    """Also in a prompt, where a placeholder may name a variable."""
    shell.user_ns["ollama_models"] = []
    assert "ollama_models" in offered(shell, f"{above}ollama_m")[0]


def test_our_line_in_a_cell_of_another_magic_is_completed(shell):
    assert offered(shell, "%%time\n%ollama hi") == (["history"], {"hi"})


def test_names_that_control_a_terminal_are_not_offered(shell):
    names = ["good:1b", "g\x1b[31mred", "g\u202eabc", "g\n%rm"]
    completion.install(shell, lambda: names, lambda: names)
    assert offered(shell, "%ollama show g")[0] == ["good:1b"]
    assert offered(shell, "%%ollama -c g")[0] == ["good:1b"]


def test_the_older_interface_offers_the_same(shell):
    """Kernels with ``use_experimental_completions`` off, and ``shell.complete``."""
    assert shell.complete("", "%%ollama --th", 13) == ("--th", ["--think"])


def test_an_error_of_a_callable_offers_nothing(shell):
    def broken():
        raise OSError

    completion.install(shell, broken, broken)
    assert offered(shell, "%%ollama ") == (FLAGS, {""})
    assert offered(shell, "%ollama chat ide") == ([], set())


def test_tab_does_not_wait_for_a_hanging_server(shell):
    """It waits half a second, sends one request, and offers names that arrive later."""
    answered, asked, done = threading.Event(), [], threading.Event()

    def slow():
        asked.append(1)
        answered.wait(60)
        done.set()
        return MODELS

    completion.install(shell, slow, list)
    began = time.monotonic()
    assert offered(shell, "%%ollama -m qw")[0] == []
    assert offered(shell, "%%ollama -m qw")[0] == []
    assert time.monotonic() - began < 30
    assert len(asked) == 1
    answered.set()
    assert done.wait(60)
    assert offered(shell, "%%ollama -m qw")[0] == ["qwen3:4b"]


def in_two_threads(function):
    """Call a function in two threads at the same time and return both results."""
    barrier = threading.Barrier(2)

    def call(_):
        barrier.wait(60)
        return function()

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(call, range(2)))


def test_completion_from_two_threads_asks_the_server_once(shell):
    """VS Code completes in a background thread, perhaps while a cell does too."""
    asked, answered = [], threading.Event()

    def slow():
        asked.append(1)
        answered.wait(60)
        return MODELS

    names = completion._CachedNames(slow)
    in_two_threads(names)
    assert len(asked) == 1
    answered.set()
    assert [list(found) for found in in_two_threads(names)] == [MODELS, MODELS]


def test_completion_from_two_threads_offers_the_same_names(shell):
    completer = completion._Completer(lambda: MODELS, lambda: CHATS, list, list)
    for text, expected, typed in (CASES["model"], CASES["subcommand"], CASES["chats"]):
        found = in_two_threads(lambda text=text: completer.complete(text))
        assert found == [(typed, expected)] * 2


def test_names_are_offered_while_a_cell_adds_some(shell, monkeypatch):
    """Otherwise the dict would change its size while it is read."""

    class Adding(dict):
        def __contains__(self, name):
            shell.user_ns[f"_added_{len(shell.user_ns)}"] = 1
            return dict.__contains__(self, name)

    monkeypatch.setattr(shell, "user_ns_hidden", Adding(shell.user_ns_hidden))
    assert "Person" in offered(shell, "%%ollama --schema Per")[0]


def alone(make):
    """Return a constructor that fails when two threads are in it at the same time."""
    barrier = threading.Barrier(2)

    def constructor(*args, **kwargs):
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(0.3)
            raise AssertionError("two threads were in it")
        return make(*args, **kwargs)

    return constructor


def test_two_threads_get_the_same_session_and_store(shell, monkeypatch, tmp_path):
    magics = OllamaMagics(shell)
    magics.history_file = str(tmp_path / "chats.sqlite")
    monkeypatch.setattr(session, "Session", alone(session.Session))
    monkeypatch.setattr(session, "ChatStore", alone(session.ChatStore))
    try:
        one, other = in_two_threads(lambda: magics.session)
        assert one is other
        store, same_store = in_two_threads(lambda: magics.session.store)
        assert store is same_store
    finally:
        magics.close()


def test_two_threads_of_a_script_get_the_same_session(monkeypatch):
    monkeypatch.setattr(session, "get_ipython", lambda: None)
    monkeypatch.setattr(session, "Session", alone(session.Session))
    session.close_own_session()
    one, other = in_two_threads(session.current_session)
    assert one is other
    session.close_own_session()


def test_install_replaces_and_uninstall_removes(shell):
    completion.install(shell, lambda: ["other"], list)
    assert offered(shell, "%%ollama -m ")[0] == ["other"]
    completion.uninstall(shell)
    assert shell.Completer.custom_matchers == []


def test_kernel_answers_a_complete_request():
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        client.execute_interactive(
            "from ollama_magic.notebook import completion\n"
            f"completion.install(get_ipython(), lambda: {MODELS!r}, list)",
            timeout=60,
        )
        code = "%%ollama qw -q\nWhy is the sky blue?"
        reply = client.complete(code, 11, reply=True, timeout=60)["content"]
        assert reply["matches"] == ["qwen3:4b"]
        assert (reply["cursor_start"], reply["cursor_end"]) == (9, 11)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
