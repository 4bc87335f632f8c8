"""The notebook, the cell and the typed text, in real shells and kernels."""

import json
import os
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class
from kernel import Kernel

from ollama_magic.history.notebooks import find_notebook
from ollama_magic.notebook import input_transforms
from ollama_magic.notebook.running_cell import CellTracker, magic_body, owns_output


@pytest.fixture
def new_shell(monkeypatch):
    """Return a function that makes a shell without a front end."""
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    shells = []

    def make():
        shells.append(InteractiveShell())
        shells[-1].history_manager.enabled = False
        return shells[-1]

    yield make
    for shell in shells:
        shell.history_manager.end_session()


@pytest.fixture
def shell(new_shell):
    return new_shell()


@pytest.fixture
def kernel_shell(shell):
    """Provide the shell of a kernel; only that can belong to a notebook of a server."""
    shell.kernel = object()
    return shell


# -- the notebook ----------------------------------------------------------------


def test_the_path_comes_from_the_server_with_symlinks_resolved(
    kernel_shell, monkeypatch, tmp_path
):
    real = tmp_path / "real"
    real.mkdir()
    (real / "a.ipynb").touch()
    (tmp_path / "link").symlink_to(real)
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "link" / "a.ipynb"))
    found = find_notebook(kernel_shell)
    assert found.key == found.path == os.path.realpath(real / "a.ipynb")


def test_the_setting_wins_over_vscode_and_the_server(
    kernel_shell, monkeypatch, tmp_path
):
    for name in ("server", "vscode"):
        (tmp_path / f"{name}.ipynb").touch()
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "server.ipynb"))
    assert Path(find_notebook(kernel_shell).path).name == "server.ipynb"
    kernel_shell.user_ns["__vsc_ipynb_file__"] = str(tmp_path / "vscode.ipynb")
    assert Path(find_notebook(kernel_shell).path).name == "vscode.ipynb"
    mine = find_notebook(kernel_shell, str(tmp_path / "mine"))
    assert Path(mine.path).name == "mine"


@pytest.mark.parametrize(
    "told",
    [
        "",
        "/home/ann/Console 1",
        "/home/ann/notes.py",
        "a1b2c3d4-0000-4000-8000-000000000000",
        "/home/ann/a.ipynb-jvsc-a1b2c3d4-0000-4000-8000-000000000000",
        "elsewhere/a.ipynb",
        "a.ipynb",
    ],
)
def test_a_value_that_is_not_a_notebook_path_is_ignored(
    kernel_shell, monkeypatch, tmp_path, told
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", told)
    found = find_notebook(kernel_shell)
    assert found.path is None
    assert found.key.startswith("session:")


def test_a_relative_path_is_used_if_it_matches_the_folder(
    kernel_shell, monkeypatch, tmp_path
):
    """Older servers set a path relative to a root that is unknown here."""
    folder = tmp_path / "work" / "sub"
    folder.mkdir(parents=True)
    (folder / "a.ipynb").touch()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("JPY_SESSION_NAME", "sub/a.ipynb")
    found = find_notebook(kernel_shell)
    assert found.path == os.path.realpath(folder / "a.ipynb")
    monkeypatch.chdir(tmp_path)
    assert find_notebook(kernel_shell) == found, "os.chdir changed the notebook"


def test_a_text_file_is_a_notebook_if_the_front_end_is_in_notebook_of_cells(
    kernel_shell, monkeypatch, tmp_path
):
    """JupyterLab also names a console after the text file it was opened for."""
    file = tmp_path / "notes.py"
    file.write_text("# %%\n1")
    (tmp_path / "notes.ipynb").write_text("{}")  # not paired with it
    monkeypatch.setenv("JPY_SESSION_NAME", str(file))
    assert find_notebook(kernel_shell).path is None
    found = find_notebook(kernel_shell, is_in_notebook=True)
    assert (found.path, found.is_text) == (os.path.realpath(file), True)
    assert find_notebook(kernel_shell) == found, "a callback of a widget has no cell"


def test_a_paired_text_file_is_the_notebook_that_it_is_paired_with(
    kernel_shell, monkeypatch, tmp_path
):
    file, paired = tmp_path / "notes.py", tmp_path / "notes.ipynb"
    file.write_text("# ---\n# jupyter:\n#   jupytext:\n#     formats: ipynb,py:percent")
    paired.write_text("{}")
    monkeypatch.setenv("JPY_SESSION_NAME", str(file))
    found = find_notebook(kernel_shell, is_in_notebook=True)
    assert (found.path, found.is_text) == (os.path.realpath(paired), False)


def test_an_unsaved_notebook_of_vscode_has_no_identity(new_shell, tmp_path):
    """Unsaved notebooks share a few names, and would otherwise share a chat."""
    file = tmp_path / "Untitled-1.ipynb"
    before, after = new_shell(), new_shell()
    for shell in (before, after):
        shell.user_ns["__vsc_ipynb_file__"] = str(file)
    assert find_notebook(before).path is None
    file.touch()
    assert find_notebook(after).path == os.path.realpath(file)


def test_a_terminal_keeps_its_own_chat(new_shell):
    shell, other = new_shell(), new_shell()
    assert find_notebook(shell) == find_notebook(shell)
    assert find_notebook(shell).key != find_notebook(other).key


REPORT = """
import json
print(json.dumps({"key": find_notebook(get_ipython()).key, "cell": tracker.cell_id,
    "deleted": tracker.deleted_cells, "raw": tracker.raw_cell}))
tracker.forget_deleted()
"""
SETUP = """
from ollama_magic.history.notebooks import find_notebook
from ollama_magic.notebook.running_cell import CellTracker
tracker = CellTracker(get_ipython())
"""


def report(kernel, *cell, **metadata):
    ran = kernel.run(REPORT, *cell, **metadata)
    assert ran.error is None, ran.error
    return json.loads(ran.streams)


@pytest.fixture(scope="module")
def tracked():
    kernel = Kernel()
    kernel.run(SETUP)
    yield kernel
    kernel.close()


def test_a_kernel_started_with_a_path_knows_its_notebook(tmp_path):
    (tmp_path / "a.ipynb").touch()
    kernel = Kernel(session_name=tmp_path / "a.ipynb")
    try:
        kernel.run(SETUP)
        assert report(kernel)["key"] == os.path.realpath(tmp_path / "a.ipynb")
    finally:
        kernel.close()


def test_a_kernel_without_a_path_uses_its_session(tracked):
    first = report(tracked)["key"]
    assert first.startswith("session:")
    assert report(tracked)["key"] == first


# -- the cell --------------------------------------------------------------------


def test_the_cell_id_comes_with_the_request(tracked):
    assert report(tracked, "ab532bd7")["cell"] == "ab532bd7"
    assert report(tracked)["cell"] is None
    assert report(tracked, colab={"cell_id": "xYz"})["cell"] == "xYz"


def test_deleted_cells_come_with_the_request(tracked):
    assert report(tracked, "a", ["b", "c"])["deleted"] == ["b", "c"]
    assert report(tracked, "a")["deleted"] == []


def test_cells_reported_deleted_with_any_request_are_not_forgotten(tracked):
    """A front end reports each deleted cell once, with any cell."""
    tracked.run("1 + 1", "a", ["b"])
    tracked.run("2 + 2", "a", ["c"])
    assert report(tracked, "a")["deleted"] == ["b", "c"]


@pytest.mark.parametrize(
    "metadata",
    [{"cellId": 7}, {"colab": "x"}, {"deletedCells": "abc"}, {"deletedCells": [1, ""]}],
)
def test_metadata_of_other_shapes_does_not_identify_a_notebook(tracked, metadata):
    told = report(tracked, **metadata)
    assert (told["cell"], told["deleted"]) == (None, [])


def test_the_raw_cell_is_what_was_typed(tracked):
    assert report(tracked)["raw"] == REPORT


def test_each_turn_of_one_run_has_its_own_id(tracked):
    """A cell that asks twice must not have its second turn replace the first."""
    code = "print(tracker.cell_id); tracker.count_turn(); print(tracker.cell_id)"
    for _rerun in range(2):
        assert tracked.run(code, "c").streams.splitlines() == ["c", "c 2"]
    nested = f"get_ipython().run_cell({code!r})\n" * 2
    lines = tracked.run(nested, "c").streams.splitlines()
    assert lines == ["c", "c 2", "c 2", "c 3"]


def test_no_cell_is_running_between_cells(shell):
    tracker = CellTracker(shell)
    shell.user_ns["tracker"] = tracker
    shell.run_cell("seen = tracker.raw_cell", cell_id="1")
    assert shell.user_ns["seen"] == "seen = tracker.raw_cell"
    assert tracker.raw_cell == ""
    assert tracker.cell_id is None


def test_a_shell_without_requests_restarts_the_count_at_each_cell(shell):
    tracker = shell.user_ns["tracker"] = CellTracker(shell)
    for _rerun in range(2):
        shell.run_cell("tracker.count_turn(); told = tracker.cell_id", cell_id="1")
        assert shell.user_ns["told"] == "1 2"
    tracker.unregister()


def test_an_unregistered_tracker_receives_no_events(shell):
    tracker = CellTracker(shell)
    tracker.unregister()
    tracker.unregister()
    shell.user_ns["tracker"] = tracker
    shell.run_cell("seen = tracker.raw_cell")
    assert shell.user_ns["seen"] == ""


# -- the body --------------------------------------------------------------------


@magics_class
class Recorder(Magics):
    """Replaces %%ollama, and stores the text that it would send."""

    def __init__(self, shell):
        super().__init__(shell)
        self.cells = CellTracker(shell)
        self.bodies = []
        self.owned = []

    @line_cell_magic
    def ollama(self, line, cell=None):
        self.bodies.append(magic_body(self.cells.raw_cell, line, cell))
        self.owned.append(owns_output(self.cells.raw_cell))


@pytest.fixture
def recorder(shell):
    recorder = Recorder(shell)
    shell.register_magics(recorder)
    input_transforms.install(shell)
    return recorder


BODIES = {
    "prompts": ">>> f(1)\n2\n>>> for i in x:\n...     print(i)\n...\n",
    "dots first": "... and so on\n... and on\n",
    "ipython": "In [1]: x = 1\n\nIn [2]: x\nOut[2]: 1\n",
    "ipython dots": "In [1]: for i in x:\n   ...:     pass\n",
    "indented": "    a quote\n      and more\n\n    the end\n",
    "mixed": "Explain:\n    >>> 1 + 1\n    2\nand `...`\n",
    "help": "what is this?\n",
    "magic": "%time x\n!ls\n%%html\n<b>\n",
    "spaces": "ends in spaces   \n\n   \n",
    "no newline": "one line",
    "carriage": "a\r\nb\r\n",
    "strange breaks": "a\x0cb\u2028c\x85d\n>>> e\n",
    "tabs": "\tif x:\n\t\t>>> y\n",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("line", ["", " llama3.2 -t 0", " x << m"])
def test_the_model_receives_what_was_typed(shell, recorder, line, body):
    result = shell.run_cell(f"%%ollama{line}\n{body}")
    assert result.success
    (sent,) = recorder.bodies
    assert sent.rstrip("\n") == body.rstrip("\n")
    assert recorder.owned == [True]


def test_blank_lines_above_and_an_indent_of_the_whole_cell_are_removed(shell, recorder):
    shell.run_cell("\n  \n  %%ollama m\n  >>> a\n    b\n")
    assert recorder.bodies == [">>> a\n  b\n"]
    assert recorder.owned == [True]


def test_a_pasted_ipython_prompt_before_the_magic_is_removed(shell, recorder):
    shell.run_cell("In [3]: %%ollama m\n   ...: hello\n")
    assert recorder.bodies == ["hello\n"]


CALL = "get_ipython().run_cell_magic('ollama', 'm', 'given text')"


@pytest.mark.parametrize(
    "code",
    [
        CALL,
        f"def f():\n    {CALL}\nf()",
        f"x = '%%ollama m'\n{CALL}",
        f"%%time\n{CALL}",
    ],
    ids=["call", "function", "text", "time"],
)
def test_a_magic_called_from_code_receives_its_arguments(shell, recorder, code):
    shell.run_cell(code)
    assert recorder.bodies == ["given text"]
    assert recorder.owned == [False]


def test_the_text_of_another_cell_is_never_sent(shell, recorder):
    """The line is the same, but IPython cannot have made the body from this cell."""
    assert magic_body("%%ollama m\nsecret", "m", "given text") == "given text"
    assert magic_body("%%ollama m\n>>> a\nb", "m", "a\nb\nc") == "a\nb\nc"
    assert magic_body("%%ollama m\n>>> a", "other", "a") == "a"


@pytest.mark.parametrize(
    ("raw_cell", "owned"),
    [
        ("%%ollama", True),
        ("%%ollama m\nhello", True),
        ("\n  %%ollama\n  hello", True),
        (" %%ollama\nno cell magic to IPython", False),
        ("%%ollamas\nhello", False),
        ("%ollama ask hi", True),
        ("# why\n\n  %ollama ask hi \\\n  # there\n# end\n", True),
        ("x = %ollama ask hi", True),
        ("x, y.z = %ollama ask hi", True),
        ("%ollama", True),
        ("%ollamas ask hi", False),
        ("x = 1\n%ollama ask hi", False),
        ("%ollama ask hi\nx", False),
        ("%ollama ask hi\n%ollama ask hi", False),
        ("for x in y:\n    %ollama ask hi", False),
        ("f('a'); x = %ollama ask hi", False),
        ("%time %ollama ask hi", False),
        ("%%time\n%%ollama\nhello", False),
        ("", False),
    ],
)
def test_a_cell_with_only_the_magic_owns_its_output(raw_cell, owned):
    assert owns_output(raw_cell) is owned
