"""Load, reload, unload, restart and end: one hook of each kind, and none left."""

import threading
from functools import partial

import pytest
from fake_ollama import Answer, Wait, reply_line
from kernel import Kernel

line = partial(reply_line, {"model": "llama3.2:3b", "messages": []})
HOOKS = """
import threading
shell = get_ipython()
formatter = shell.display_formatter.ipython_display_formatter
def count(things):
    return sum("ollama" in repr(thing).lower() for thing in things)
hooks = [
    count(shell.events.callbacks["pre_run_cell"]),
    count(shell.events.callbacks["post_run_cell"]),
    count(shell.input_transformer_manager.token_transformers),
    count(shell.input_transformer_manager.cleanup_transforms),
    sum(m.matcher_identifier == "ollama_magic" for m in shell.Completer.custom_matchers
        if hasattr(m, "matcher_identifier")),
    count(shell.configurables),
    count(shell.magics_manager.magics["cell"]),
    count(formatter.deferred_printers) + count(formatter.type_printers),
]
for thread in threading.enumerate():
    if thread.name == "ollama-warm-up":  # ends by itself, and soon
        thread.join(60)
print(hooks, sorted(t.name for t in threading.enumerate() if "ollama" in t.name))
"""
UNLOAD = """
%unload_ext ollama_magic
import ollama_magic
ollama_magic.unload_ipython_extension(get_ipython())
"""
NONE = "[0, 0, 0, 0, 0, 0, 0, 0] []\n"


@pytest.fixture
def own_kernel(fake_ollama, tmp_path):
    """Provide a kernel without the extension, which may be restarted."""
    kernel = Kernel()
    settings = {"host": fake_ollama.url, "history_file": str(tmp_path / "chats.sqlite")}
    settings["notebook"] = str(tmp_path / "notebook.ipynb")
    kernel.settings = f"get_ipython().config.OllamaMagics.update({settings!r})"
    kernel.run(kernel.settings)
    yield kernel
    kernel.close()


RELOADS = {
    "load_ext": "%load_ext ollama_magic",
    "reload_ext": "%reload_ext ollama_magic",
    "load": "import ollama_magic\nollama_magic.load_ipython_extension(get_ipython())",
    "reload": (
        "import importlib, sys\n"
        "for name in sorted(n for n in sys.modules if n.startswith('ollama_magic')):\n"
        "    importlib.reload(sys.modules[name])\n"
        "%reload_ext ollama_magic"
    ),
    "reload and load": (
        "import importlib, ollama_magic.notebook.magics\n"
        "importlib.reload(ollama_magic.notebook.magics)\n"
        "%reload_ext ollama_magic"
    ),
    "purge": (
        "import sys\n"
        "for name in [n for n in sys.modules if n.startswith('ollama_magic')]:\n"
        "    del sys.modules[name]\n"
        "%reload_ext ollama_magic"
    ),
}


def test_loading_again_in_any_way_leaves_one_hook_of_each_kind(own_kernel):
    own_kernel.run("%load_ext ollama_magic")
    hooks = own_kernel.run(HOOKS).streams
    for number, (way, cell) in enumerate(RELOADS.items(), 1):
        for _ in range(2):
            ran = own_kernel.run(cell)
            assert ran.status == "ok", (way, ran.error)
        ran = own_kernel.run("%%ollama\nHi", way)
        assert ran.status == "ok", (way, ran.error)
        assert ran.place == f"turn {number} of main"
        assert own_kernel.run(HOOKS).streams == hooks, way
        for _ in range(2):
            assert own_kernel.run(UNLOAD).status == "ok", way
        assert own_kernel.run(HOOKS).streams == NONE, way


def test_modules_reloaded_by_autoreload_can_be_unloaded(own_kernel):
    """The objects get new classes, whose methods differ from those registered."""
    own_kernel.run("%load_ext ollama_magic\n%load_ext autoreload\n%autoreload 2")
    own_kernel.run("%%ollama\nOne?", "a")
    ran = own_kernel.run(
        "import sys\n"
        "from IPython.extensions.autoreload import superreload\n"
        "for name in ('notebook.running_cell', 'notebook.failures',\n"
        "             'notebook.magics', 'generation.session',\n"
        "             'notebook.completion', 'notebook.input_transforms'):\n"
        "    superreload(sys.modules['ollama_magic.' + name])"
    )
    assert ran.status == "ok", ran.error
    ran = own_kernel.run("%%ollama\nTwo?", "b")
    assert ran.status == "ok", ran.error
    assert ran.place == "turn 2 of main"
    ran = own_kernel.run("%autoreload 0\n%reload_ext ollama_magic")
    assert ran.status == "ok", ran.error
    ran = own_kernel.run("%unload_ext ollama_magic")
    assert ran.status == "ok", ran.error
    assert own_kernel.run(HOOKS).streams == NONE


def test_two_shells_in_one_process_are_independent(own_kernel):
    """A program may create a second shell in a kernel; each has its own magics."""
    own_kernel.run("%load_ext ollama_magic")
    hooks = own_kernel.run(HOOKS).streams
    ran = own_kernel.run(
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "other = InteractiveShell()\n"
        "other.config.OllamaMagics.update(get_ipython().config.OllamaMagics)\n"
        "other.extension_manager.load_extension('ollama_magic')\n"
        "other.extension_manager.load_extension('ollama_magic')\n"
        "print(other.run_line_magic('ollama', 'ask -q hi').text)\n"
        "other.extension_manager.unload_extension('ollama_magic')\n"
        "print(other.find_line_magic('ollama'))"
    )
    assert ran.status == "ok", ran.error
    assert ran.streams.rstrip().endswith("None")
    assert own_kernel.run(HOOKS).streams == hooks
    assert own_kernel.run("%%ollama\nHi").status == "ok"


STREAM = ("/api/chat", "%%ollama\nHi", [line(content="Some")])
PULL = ("/api/pull", "%ollama pull new", [{"status": "pulling"}])


@pytest.mark.parametrize(
    ("end", "work"),
    [
        (lambda manager: manager.restart_kernel(), STREAM),
        (lambda manager: manager.shutdown_kernel(), PULL),
        (lambda manager: manager.shutdown_kernel(now=True), STREAM),
    ],
    ids=["restart", "shutdown", "kill"],
)
def test_a_kernel_that_ends_ends_its_connections(own_kernel, fake_ollama, end, work):
    path, cell, steps = work
    fake_ollama.on(f"POST {path}", Answer([*steps, Wait(threading.Event())]))
    own_kernel.run("%load_ext ollama_magic")
    own_kernel.send(cell, "a")
    request = fake_ollama.wait_for(path)
    end(own_kernel.manager)
    assert request.wait_closed()
    assert request.was_cut_off


def test_a_restarted_kernel_continues_the_chat(own_kernel, fake_ollama):
    fake_ollama.on(
        "POST /api/chat", Answer([line(content="Half"), Wait(threading.Event())])
    )
    own_kernel.run("%load_ext ollama_magic")
    msg_id = own_kernel.send("%%ollama\nOne?", "a")
    own_kernel.collect(msg_id, until=lambda ran: "Half" in ran.html)
    own_kernel.manager.restart_kernel()
    own_kernel.client.wait_for_ready(timeout=60)
    fake_ollama._scripts.clear()
    own_kernel.run(own_kernel.settings)
    own_kernel.run("%load_ext ollama_magic")
    assert own_kernel.run("%%ollama\nTwo?", "b").place == "turn 2 of main"
    assert "interrupted" in own_kernel.run("%ollama history").text


PRELOADS = """
%load_ext ollama_magic
import asyncio, sys, threading
import ollama_magic.notebook.preload as module
module._IDLE_S = module._PAUSE_S = 0
preload, running, steps = get_ipython().meta["ollama_magic"].preload, [], []
step = preload._step
def note_step():
    is_main = threading.current_thread() is threading.main_thread()
    steps.append(is_main and not running)
    step()
    if preload._steps is None:
        print("the end")
preload._step = note_step
"""
AWAITS = """
running.append("this cell")
for _ in range(50):
    await asyncio.sleep(0)  # the event loop would do a step
running.clear()
"""


def test_what_the_first_cell_needs_is_imported_while_no_cell_runs(own_kernel):
    own_kernel.send(PRELOADS)
    own_kernel.send(AWAITS)
    ended = False
    while not ended:
        message = own_kernel.client.get_iopub_msg(timeout=60)
        ended = "the end" in message["content"].get("text", "")
    own_kernel.run("known = set(sys.modules)")
    assert own_kernel.run("%%ollama\nHi").text == "Hello!"
    ran = own_kernel.run("print(set(sys.modules) - known, all(steps), len(steps) > 9)")
    assert ran.streams == "set() True True\n"
