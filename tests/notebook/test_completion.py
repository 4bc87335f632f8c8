"""Tab completion and Shift+Tab, through a real shell and a real kernel."""

import contextlib
import math
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from types import SimpleNamespace

import pytest
from fake_ollama import json_answer
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from ollama_magic.client.models import ModelSummary
from ollama_magic.client.options import MODEL_OPTIONS
from ollama_magic.generation import session
from ollama_magic.generation.options import CHAT_OPTIONS
from ollama_magic.notebook import completion
from ollama_magic.notebook.commands import COMMANDS
from ollama_magic.notebook.completion import sources
from ollama_magic.notebook.completion.sources import ModelLists
from ollama_magic.notebook.magics import OllamaMagics

MODELS = ["llama3.2:latest", "qwen3:4b", "hf.co/a/b:Q4"]
CHATS = ["main", "ideas"]
FLAGS = [flag for option in CHAT_OPTIONS for flag in reversed(option.flags)]
LONG = list(dict.fromkeys(option.flags[-1] for option in CHAT_OPTIONS))
WORDS = [command.name for command in COMMANDS]


@pytest.fixture(scope="module")
def one_shell():
    """Share one shell in this file: each one costs a quarter of a second at exit."""
    return InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))


def server_of(listed):
    """Return the client of a server that answers at once."""
    return SimpleNamespace(
        list=lambda: listed, recent_models=lambda: (), models_changed_s=0.0
    )


def install(shell, models=MODELS, chats=CHATS, **others):
    """Install the completion with names in the place of a server and a store."""
    listed = [ModelSummary(name) for name in models]
    sources = {
        "server": str,
        "connect": lambda host: server_of(listed),
        "chats": lambda: [(name, "") for name in chats],
        "templates": lambda: [("review", "Review this:")],
        "compared": lambda: MODELS[1:],
        "thinking": lambda model, host: {"gpt-oss": ("low", "high")}.get(model, ()),
        "values": lambda: (shell.user_ns, shell.user_ns_hidden),
    }
    completion.install(shell, SimpleNamespace(**{**sources, **others}))


@dataclass
class Person:
    name: str
    age: int


def get_weather(city, days=1):
    """Return the weather."""


@pytest.fixture
def shell(one_shell, monkeypatch):
    # A busy machine may need seconds for the imports and the first list.
    monkeypatch.setattr(completion, "_LIMIT_S", 60)
    monkeypatch.setattr(sources, "_WAIT_FOR_FIRST_S", 60)
    install(one_shell)
    one_shell.user_ns.update(Person=Person, get_weather=get_weather, rows=[1])
    return one_shell


@pytest.fixture(params=[True, False], ids=["jedi", "no jedi"])
def any_shell(shell, request, monkeypatch):
    monkeypatch.setattr(shell.Completer, "use_jedi", request.param)
    return shell


def offered(shell, text, after=""):
    """Return the completions at the end of a text, and the text that they replace."""
    found = entries(shell, text, after)
    replaced = {text[each.start : each.end] for each in found}
    return [each.text for each in found], replaced


def entries(shell, text, after=""):
    with provisionalcompleter():
        return list(shell.Completer.completions(text + after, len(text)))


CASES = {
    "models and options": ("%%ollama ", [*MODELS, "@review", *LONG], ""),
    "model": ("%%ollama ll", ["llama3.2:latest"], "ll"),
    "model with a colon": ("%%ollama qwen3:", ["qwen3:4b"], "qwen3:"),
    "model with slashes": ("%%ollama hf.co/a", ["hf.co/a/b:Q4"], "hf.co/a"),
    "model after options": ("%%ollama -q -t 0 q", ["qwen3:4b"], "q"),
    "model in quotes": ('%%ollama "ll', ["llama3.2:latest"], "ll"),
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
    "levels of a model": ("%%ollama gpt-oss --think=", ["low", "high"], ""),
    "variables": ("%%ollama --schema=Pers", ["Person"], "Pers"),
    "variable after a blank": ("%%ollama --schema Pers", ["Person"], "Pers"),
    "formats": ("%%ollama -f ", ["markdown", "text", "html", "code", "json"], ""),
    "model options": ("%%ollama -o ", list(MODEL_OPTIONS), ""),
    "short options": ("%%ollama -", FLAGS, "-"),
    "options not given yet": ("%%ollama -q --quie", [], ""),
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
    "words of a subcommand": ("%ollama template s", ["save", "show"], "s"),
    "template of a subcommand": ("%ollama template rm r", ["review"], "r"),
    "word in the place of a number": ("%ollama code a", ["all"], "a"),
    "templates": ("%%ollama @re", ["@review"], "@re"),
    "templates of ask": ("%ollama ask -q @", ["@review"], "@"),
    "help": ("%ollama help un", ["undo"], "un"),
    "help of an option": ("%ollama help --sc", ["--schema"], "--sc"),
    "value of a subcommand's option": (
        "%ollama create x --from q",
        ["qwen3:4b"],
        "q",
    ),
    "function": ("%%ollama -T ", ["get_weather", "web_search", "web_fetch"], ""),
    "type in a type": ('%%ollama --schema "list[Per', ["Person"], "Per"),
    "options of ask": ("%ollama ask --hi", ["--hide-thinking"], "--hi"),
    "value of ask": ("%ollama ask -f j", ["json"], "j"),
}


@pytest.mark.parametrize(("text", "expected", "typed"), CASES.values(), ids=CASES)
def test_tab_offers_only_what_fits(shell, text, expected, typed):
    assert offered(shell, text) == (expected, {typed} if expected else set())


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
def test_tab_offers_no_names_where_none_belong(any_shell, text):
    assert not set(offered(any_shell, text)[0]) & {*MODELS, *CHATS, *FLAGS, *WORDS}


@pytest.mark.parametrize(
    "text",
    [
        "%%ollama -o temperature=",
        "%%ollama -o num_ctx 8 -s ",
        "%%ollama wh",
        '%%ollama -s "a wh',
        "%ollama cp qwen3:4b ",
        "%ollama ask tell me wh",
        "%ollama ask what @re",
        "%ollama nonsense wh",
        "x = %ollama show -wh",
    ],
)
def test_other_completions_are_hidden_on_our_lines(any_shell, text):
    """Python's keywords, names and magics mean nothing there."""
    assert offered(any_shell, text) == ([], set())


@pytest.mark.parametrize("above", ["", "%%time\n", "# %%ollama\n", "x = 1\n%%ollama\n"])
def test_python_is_completed_as_before(any_shell, above):
    any_shell.user_ns["ollama_models"] = []
    assert "ollama_models" in offered(any_shell, f"{above}ollama_m")[0]


@pytest.mark.parametrize("above", ["%%ollama\n", "# a note\n\n%%ollama -q\n\n"])
def test_the_text_of_a_prompt_is_not_completed(any_shell, above):
    """Else each word of it would offer magics and names, and take the next Enter."""
    any_shell.user_ns["ollama_models"] = []
    assert offered(any_shell, f"{above}why scr") == ([], set())
    assert offered(any_shell, f"{above}{{{{ rows }}}} ollama_m") == ([], set())
    assert offered(any_shell, f"{above}see {{{{ ollama_m") == (
        ["ollama_models"],
        {"ollama_m"},
    )


@pytest.mark.parametrize(
    "text",
    [
        "%%ollama qwen3:4b",
        "%%ollama llama3.2",
        "%ollama show QWEN3:4B",
        "%%ollama --compare qwen3:4b,llama3.2",
        "%ollama list",
        "%%ollama --seed",
    ],
)
def test_a_word_that_is_complete_offers_nothing(shell, text):
    """VS Code takes the next Enter for a suggestion that is left."""
    assert offered(shell, text) == ([], set())


def test_options_and_words_of_a_subcommand_are_described(shell):
    """With the words of the manual about this subcommand, not about a cell."""
    for text, word, about in (
        ("%ollama import --", "--chat", "option · names the new chat"),
        (
            "%ollama template ",
            "rm",
            "word · deletes one of yours, after you confirm it",
        ),
    ):
        (found,) = [one for one in entries(shell, text) if one.text == word]
        assert found.type == about.replace(" ", "\xa0")


def test_a_name_that_others_begin_with_is_offered_with_them(shell):
    """Accepting the first one means the same model."""
    install(shell, ["qwen3:4b", "qwen3:latest", "llama3.2"], [])
    both = ["qwen3:latest", "qwen3:4b"]
    assert offered(shell, "%%ollama qwen3") == (both, {"qwen3"})


def test_our_line_in_a_cell_of_another_magic_is_completed(any_shell):
    assert offered(any_shell, "%%time\n%ollama hi") == (["history"], {"hi"})


def test_names_that_control_a_terminal_are_not_offered(shell):
    names = ["good:1b", "g\x1b[31mred", "g\u202eabc", "g\n%rm"]
    install(shell, names, names)
    assert offered(shell, "%ollama show g")[0] == ["good:1b"]
    assert offered(shell, "%%ollama -c g")[0] == ["good:1b"]


def test_the_older_interface_offers_the_same(shell):
    """Kernels with ``use_experimental_completions`` off, and ``shell.complete``."""
    assert shell.complete("", "%%ollama --th", 13) == ("--th", ["--think"])


def test_an_error_of_a_callable_offers_nothing(shell):
    def broken(*_):
        raise OSError

    install(shell, connect=broken, chats=broken)
    assert offered(shell, "%%ollama ") == (LONG, {""})
    assert offered(shell, "%ollama chat ide") == ([], set())


def test_each_entry_says_what_it_is(shell):
    model = ModelSummary(
        "vis:7b", size_bytes=4_700_000_000, capabilities=("completion", "vision")
    )
    cloud = ModelSummary("big:cloud", parameter_size="671B")
    install(shell, connect=lambda host: server_of([model, cloud]))
    types = {
        each.text: each.type.replace("\xa0", " ")
        for text in (
            "%%ollama ",
            "%%ollama -T ",
            "%%ollama -o num_c",
            "%ollama ps",
            "%ollama p",
        )
        for each in entries(shell, text)
    }
    assert types["vis:7b"] == "model · 4.7 GB · vision"
    assert types["big:cloud"] == "model · 671B · cloud"
    assert types["--last"] == "option · Send only the last N turns of the chat"
    assert types["get_weather"] == "tool · (city, days)"
    assert types["num_ctx"].startswith("model option · tokens of context")
    assert types["pull"].startswith("command · ")


# -- slow servers --------------------------------------------------------------


class Servers:
    """Servers that answer when a test says so."""

    def __init__(self):
        self.host, self.asked = "near", []
        self.recent, self.changed_s = defaultdict(list), 0.0
        self.began, self.may_answer = defaultdict(Event), defaultdict(Event)

    def lists(self):
        return ModelLists(lambda host: host or self.host, self.connect)

    def connect(self, host):
        host = host or self.host

        def ask():
            self.asked.append(host)
            self.began[host].set()
            self.may_answer[host].wait(60)
            return [ModelSummary(f"of-{host}:1b")]

        def recent():
            return [ModelSummary(name) for name in self.recent[host]]

        changed_s = self.changed_s
        return SimpleNamespace(
            list=ask, recent_models=recent, models_changed_s=changed_s
        )

    def answer(self, models, host):
        """Let a host answer, and wait until its list has arrived."""
        self.may_answer[host].set()
        models._servers[host].thread.join(60)


def names_of(models):
    return [model.name for model in models]


def test_tab_waits_once_for_a_hanging_server_and_never_for_one_that_it_knows(
    monkeypatch,
):
    """One request is sent, and names that arrive later are offered."""
    monkeypatch.setattr(sources, "_FRESH_S", 3600)
    servers = Servers()
    models = servers.lists()
    monkeypatch.setattr(sources, "_WAIT_FOR_FIRST_S", 0.01)
    assert models() == ()
    assert models() == ()
    monkeypatch.setattr(sources, "_WAIT_FOR_FIRST_S", 60)
    servers.answer(models, "near")
    assert servers.asked == ["near"]
    assert names_of(models.known()) == ["of-near:1b"]
    servers.may_answer["near"].clear()
    models()  # at the next key: too soon to ask again
    assert servers.asked == ["near"]
    monkeypatch.setattr(sources, "_FRESH_S", 0)
    assert names_of(models()) == ["of-near:1b"]  # while it asks again
    assert models._servers["near"].thread.is_alive()  # so nothing has waited for it
    servers.answer(models, "near")
    assert servers.asked == ["near", "near"]


def test_tab_offers_what_a_cell_has_listed_and_waits_after_a_change_from_here(
    monkeypatch,
):
    monkeypatch.setattr(sources, "_WAIT_FOR_FIRST_S", 60)
    servers = Servers()
    models = servers.lists()
    servers.recent["near"] = ["of-a-cell:1b"]
    assert names_of(models()) == ["of-a-cell:1b"]
    assert models._servers["near"].thread.is_alive()
    servers.answer(models, "near")
    servers.recent["near"].clear()  # as `%ollama pull` does
    models._servers["near"].client.models_changed_s = math.inf
    servers.changed_s = 0.0
    assert names_of(models()) == ["of-near:1b"]
    assert servers.asked == ["near", "near"]


def test_the_names_of_another_server_are_never_offered(monkeypatch):
    monkeypatch.setattr(sources, "_WAIT_FOR_FIRST_S", 0.01)
    servers = Servers()
    models = servers.lists()
    models()
    servers.began["near"].wait(60)
    servers.host = "far"  # while the near one is being asked
    assert models() == ()
    servers.answer(models, "near")
    assert models() == ()
    servers.answer(models, "far")
    assert names_of(models()) == ["of-far:1b"]
    assert names_of(models("near")) == ["of-near:1b"]
    for host in ("near", "far"):
        servers.answer(models, host)


def test_a_host_that_changes_during_the_connection_gets_no_names():
    servers = Servers()
    models = ModelLists(lambda host: servers.host, servers.connect)
    connect = servers.connect

    def changing(host):
        servers.host = "far"
        return connect(host)

    models._connect = changing
    models()
    models._servers["near"].thread.join(60)
    assert not models.known()
    assert servers.asked == []
    servers.host = "near"
    assert not models.known()


def test_a_late_answer_hides_other_completions(one_shell, monkeypatch):
    monkeypatch.setattr(completion, "_LIMIT_S", 0)
    may_go = threading.Event()
    install(one_shell, chats=lambda: may_go.wait(60) and [("main", "")])
    assert offered(one_shell, "%ollama chat ma") == ([], set())
    may_go.set()


def in_two_threads(function):
    """Call a function in two threads at the same time and return both results."""
    barrier = threading.Barrier(2)

    def call(_):
        barrier.wait(60)
        return function()

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(call, range(2)))


def test_completion_from_two_threads_asks_the_server_once():
    """VS Code completes in a background thread, perhaps while a cell does too."""
    servers = Servers()
    models = servers.lists()
    in_two_threads(models)
    servers.answer(models, "near")
    assert servers.asked == ["near"]
    assert [names_of(found) for found in in_two_threads(models)] == [["of-near:1b"]] * 2
    servers.answer(models, "near")


def test_names_are_offered_while_a_cell_adds_some(shell, monkeypatch):
    """Otherwise the dict would change its size while it is read."""

    class Adding(dict):
        def __contains__(self, name):
            shell.user_ns[f"_added_{len(shell.user_ns)}"] = 1
            return dict.__contains__(self, name)

    monkeypatch.setattr(shell, "user_ns_hidden", Adding(shell.user_ns_hidden))
    assert offered(shell, "%%ollama\n{{ row")[0] == ["rows"]


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
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: None)
    monkeypatch.setattr(session, "Session", alone(session.Session))
    session.close_own_session()
    one, other = in_two_threads(session.current_session)
    assert one is other
    session.close_own_session()


def test_install_replaces_and_uninstall_removes(shell):
    install(shell, ["other"])
    assert offered(shell, "%%ollama -m ")[0] == ["other"]
    completion.uninstall(shell)
    assert shell.Completer.custom_matchers == []


# -- a kernel ----------------------------------------------------------------------


def completed(kernel, code, cursor=None):
    """Return texts and types of the completions at the end of a code."""
    client, cursor = kernel.client, len(code) if cursor is None else cursor
    for _ in range(50):  # the first ones may be late: a server and imports are slow
        reply = client.complete(code, cursor, reply=True, timeout=60)["content"]
        found = reply["metadata"]["_jupyter_types_experimental"]
        if found:
            return {each["text"]: each["type"].replace("\xa0", " ") for each in found}
    raise AssertionError(f"nothing is offered at the end of {code!r}")


def inspected(kernel, code, cursor=None):
    cursor = len(code) if cursor is None else cursor
    reply = kernel.client.inspect(code, cursor, reply=True, timeout=60)["content"]
    return reply["data"].get("text/plain", "") if reply["found"] else ""


def test_a_kernel_completes_and_explains(kernel, fake_ollama):
    kernel.run("sales = {'Oslo': [1, 2], 'Bergen': [3]}\nimport os")
    fake_ollama.models([{"name": "smollm2:135m", "size": 98_000_000}, "qwen3:4b"])
    models = completed(kernel, "%%ollama smol -q\nWhy is the sky blue?", 13)
    assert list(models) == ["smollm2:135m"]
    assert "98 MB" in models["smollm2:135m"]
    kernel.run("%config OllamaMagics.host = 'http://127.0.0.1:9'")
    reply = kernel.client.complete("%%ollama smol", 13, reply=True, timeout=60)
    assert reply["content"]["matches"] == []
    kernel.run(f"%config OllamaMagics.host = {fake_ollama.url!r}")
    keys = completed(kernel, '%%ollama\nSum up {{ sales["O')
    assert keys == {'"Oslo"]': "key · list of 2"}

    assert inspected(kernel, "%%ollama --schema\nHi", 14).startswith(
        "%%ollama --schema SPEC\n\nAsk for structured output"
    )
    assert inspected(kernel, "%ollama pull").startswith("%ollama pull ")
    assert inspected(kernel, "%ollama show --license").startswith("%ollama show MODEL")
    assert inspected(kernel, "%ollama code 3").startswith("%ollama code ")
    assert "tokens of context" in inspected(kernel, "%%ollama -o num_ctx=8192")
    assert inspected(kernel, "%%ollama smollm2").startswith("smollm2:135m\n")
    assert "[MODEL] [options]" in inspected(kernel, "%%ollama -q\nHi", 4)
    sent = inspected(kernel, "%%ollama\nSum up {{ sales['Oslo'] }}", 20)
    assert sent == "{{ sales['Oslo'] }} is sent as 6 characters:\n\n[1, 2]"
    assert "can't be used in a prompt" in inspected(kernel, "%%ollama\n{{ os }}", 12)
    assert "There is no variable" in inspected(kernel, "%%ollama\n{{ nope }}", 12)
    assert "Dict" in inspected(kernel, "sales") or "dict" in inspected(kernel, "sales")

    kernel.run("%unload_ext ollama_magic")
    assert not inspected(kernel, "%ollama pull")


def test_the_levels_of_a_model_are_offered_and_no_cloud_model_is_asked(
    kernel, fake_ollama
):
    thinking = {"values": [False, "low", "xhigh"]}
    shown = {"details": {}, "thinking": thinking}
    fake_ollama.on("POST /api/show", json_answer(shown))
    for _ in range(50):  # a late answer is offered by the next Tab
        found = completed(kernel, "%%ollama qwen3:4b --think=")
        if "xhigh" in found:
            break
    assert list(found) == ["false", "low", "xhigh"]
    levels = ["low", "medium", "high", "max", "true", "false"]
    assert list(completed(kernel, "%%ollama gpt-oss:120b-cloud --think=")) == levels
    asked = {body["model"] for body in fake_ollama.bodies("/api/show")}
    assert asked == {"qwen3:4b"}
