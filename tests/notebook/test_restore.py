"""The kernel that many tests share is the same at the start of each one."""

import json
from importlib.util import find_spec

CHANGE = """
import builtins, os, sys, warnings
import ollama_magic.notebook.commands.doctor as doctor
os.chdir("/")
os.environ["OLLAMA_HOST"] = "http://elsewhere"
del os.environ["HOME"]
sys.path.insert(0, "/elsewhere")
warnings.simplefilter("error")
builtins.print = doctor.print = len
doctor._PATIENCE_S = 0
shell = get_ipython()
shell.events.register("pre_run_cell", lambda info: 1 / 0)
shell.input_transformers_post.append(lambda lines: [*lines, "1 / 0"])
shell.set_custom_exc((KeyError,), lambda *_: None)
%config OllamaMagics.model = "elsewhere"
%config InteractiveShell.ast_node_interactivity = "none"
shell.execution_count
"""
STATE = """
import builtins, json, os, sys, warnings
import ollama_magic.notebook.commands.doctor as doctor
names = [name for name in globals() if not name.startswith("_")]
shell = get_ipython()
magics = shell.magics_manager.registry["OllamaMagics"]
found = [names, os.getcwd(), dict(os.environ), sys.path, len(warnings.filters)]
found += [builtins.print.__name__, doctor._PATIENCE_S, magics.model]
found += [{n: len(c) for n, c in shell.events.callbacks.items()}]
found += [shell.custom_exceptions, shell.ast_node_interactivity, shell.config]
sys.stdout.write(json.dumps(found, default=str))
"""
RESTORE = "__import__('restore').before.load({})"


def test_nothing_that_a_test_changes_is_left_for_the_next_one(kernel):
    plots = find_spec("matplotlib") is not None
    backend = "import matplotlib; print(matplotlib.get_backend())"
    kernel.run(RESTORE)
    before = kernel.run(STATE).streams
    assert json.loads(before)[7] == ""
    assert kernel.run(CHANGE).status == "ok"
    if plots:
        kernel.run("import matplotlib; matplotlib.use('agg')")
    assert "ZeroDivisionError" in kernel.run("pass").error
    kernel.run(RESTORE)
    assert kernel.run(STATE).streams == before
    assert not plots or "inline" in kernel.run(backend).streams


def test_the_numbers_of_cells_are_those_of_their_sources(kernel):
    """IPython counts a line with this word and does not store it."""
    kernel.run("%lsmagic_of_paste")
    kernel.run(RESTORE)
    ran = kernel.run("print(In[-1], len(In) - 1)")
    assert ran.streams == f"print(In[-1], len(In) - 1) {ran.number}\n"
