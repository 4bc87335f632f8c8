"""Chats follow their notebook: real files are moved, and real stores find them."""

import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ollama_magic.client.images import Image
from ollama_magic.history.notebooks import read_notebook_file
from ollama_magic.history.store import ChatStore
from ollama_magic.history.turns import Turn

ASK = "%%ollama\n{}"


class NotebookFolder:
    """A folder of notebooks and their kernels."""

    def __init__(self, folder):
        self.folder = folder
        self.stores = []

    def path(self, name):
        return str(self.folder / name)

    def write(self, name, cells, minor=5, answers=()):
        """Save a notebook with prompts by cell id; cells in ``answers`` show one."""
        made = []
        for cell_id, prompt in cells.items():
            code = ASK.format(prompt) if prompt else "x = 1"
            cell = {"cell_type": "code", "metadata": {}, "source": code, "outputs": []}
            stamps = [turn.answered_at for turn in answers if turn.cell_id == cell_id]
            for stamp in stamps:
                metadata = {"ollama_magic": {"answered_at": stamp}}
                cell["outputs"].append({"metadata": metadata})
            made.append(cell | ({"id": cell_id} if minor >= 5 else {}))
        content = {"nbformat": 4, "nbformat_minor": minor, "cells": made}
        (self.folder / name).write_text(json.dumps(content))

    def save_later(self, name):
        """Save a file again until it is newer than all replies."""
        # Times of files are coarse: a file may seem older than an earlier event.
        now = datetime.now(UTC).timestamp()
        path = self.folder / name
        while path.stat().st_ctime <= now:
            path.write_bytes(path.read_bytes())

    def kernel(self, name, cell_id=None):
        """Start a kernel for a notebook, and run a cell."""
        store = ChatStore(self.folder / "chats.sqlite", warn=pytest.fail)
        self.stores.append(store)
        return Kernel(store, store.identify_notebook(self.path(name), cell_id))

    def use(self, name, cells, saved=True, **more):
        """Run every cell of a notebook, save it, and return the replies."""
        self.write(name, cells if saved else {}, **more)
        kernel = self.kernel(name)
        turns = [kernel.ask(text, cell) for cell, text in cells.items() if text]
        if saved:
            self.write(name, cells, answers=turns, **more)
        return turns


class Kernel:
    def __init__(self, store, followed):
        self.store = store
        self.followed = followed

    def ask(self, prompt, cell_id=None, chat="main"):
        turn = Turn(prompt=prompt, reply="r", model="m", cell_id=cell_id)
        return self.store.record(self.followed.key, chat, turn)

    def prompts(self, chat="main"):
        return [t.prompt for t in self.store.load(self.followed.key, chat).turns]


@pytest.fixture
def notebooks(tmp_path):
    notebooks = NotebookFolder(tmp_path)
    yield notebooks
    for store in notebooks.stores:
        store.close()


IDS = {"5e1f0c3a": "", "9b2d7e41": "one?", "c07a3f58": "two?"}


# -- moved, copied ----------------------------------------------------------------


def test_a_copied_turn_has_all_fields(notebooks):
    image, step = Image(b"png"), {"role": "tool", "content": "7"}
    notebooks.write("a.ipynb", {"1": "hi"})
    first = notebooks.kernel("a.ipynb")
    whole = Turn(prompt="hi", model="m", images=(image,), steps=(step,))
    whole = replace(whole, origin="file")
    whole = replace(whole, cell_id="1", answered_at="2026-01-01T00:00:00+00:00")
    asked = first.store.record(first.followed.key, "main", whole)
    shutil.copy(notebooks.path("a.ipynb"), notebooks.path("b.ipynb"))
    copy = notebooks.kernel("b.ipynb")
    assert copy.followed.how == "copied"
    (turn,) = copy.store.load(copy.followed.key).turns
    assert replace(turn, uid=asked.uid) == asked


def test_a_new_kernel_continues_the_chat_of_its_notebook(notebooks):
    notebooks.use("a.ipynb", IDS)
    kernel = notebooks.kernel("a.ipynb")
    assert kernel.followed.how == "known"
    assert kernel.prompts() == ["one?", "two?"]


@pytest.mark.parametrize("new", ["b.ipynb", "sub/a.ipynb"])
def test_a_renamed_or_moved_notebook_keeps_its_chats_and_settings(notebooks, new):
    notebooks.use("a.ipynb", IDS)
    before = notebooks.kernel("a.ipynb")
    before.ask("side?", "f00dfeed", chat="side")
    before.store.set_current_chat(before.followed.key, "side")
    before.store.choose_model(before.followed.key, "chosen")
    (notebooks.folder / "sub").mkdir()
    os.rename(notebooks.path("a.ipynb"), notebooks.path(new))
    after = notebooks.kernel(new)
    assert after.followed.how == "moved"
    assert after.followed.source == notebooks.path("a.ipynb")
    assert (after.prompts(), after.prompts("side")) == (["one?", "two?"], ["side?"])
    assert after.store.current_chat(after.followed.key) == "side"
    assert after.store.chosen_model(after.followed.key) == "chosen"
    assert notebooks.kernel(new).followed.how == "known"


def test_a_running_kernel_keeps_writing_to_a_renamed_notebook(notebooks):
    notebooks.use("a.ipynb", IDS)
    running = notebooks.kernel("a.ipynb")
    os.rename(notebooks.path("a.ipynb"), notebooks.path("b.ipynb"))
    other = notebooks.kernel("b.ipynb")
    running.ask("three?", "d3d3d3d3")
    assert other.prompts() == running.prompts() == ["one?", "two?", "three?"]


def test_a_copied_notebook_gets_an_independent_copy_of_the_chat(notebooks):
    """JupyterLab's Duplicate keeps the ids of cells."""
    notebooks.use("a.ipynb", IDS)
    shutil.copy(notebooks.path("a.ipynb"), notebooks.path("a-Copy1.ipynb"))
    copy = notebooks.kernel("a-Copy1.ipynb")
    assert (copy.followed.how, copy.followed.source) == (
        "copied",
        notebooks.path("a.ipynb"),
    )
    copy.ask("other", "9b2d7e41")
    original = notebooks.kernel("a.ipynb")
    original.ask("three?", "d3d3d3d3")
    assert copy.prompts() == ["other", "two?"]
    assert original.prompts() == ["one?", "two?", "three?"]
    assert notebooks.kernel("a-Copy1.ipynb").prompts() == ["other", "two?"]
    assert copy.store.load(copy.followed.key).stale() == {
        copy.store.load(copy.followed.key).turns[1].uid
    }


def test_a_copy_is_recognised_without_saved_replies(notebooks):
    for name in ("a.ipynb", "b.ipynb"):
        notebooks.write(name, IDS)
    first = notebooks.kernel("a.ipynb")
    first.ask("one?", "9b2d7e41")
    assert notebooks.kernel("b.ipynb").prompts() == ["one?"]


def test_a_moved_copy_of_a_copy_keeps_its_own_chat(notebooks):
    notebooks.use("a.ipynb", IDS)
    more = {**IDS, "d3d3d3d3": "three?"}
    shutil.copy(notebooks.path("a.ipynb"), notebooks.path("b.ipynb"))
    answers = [notebooks.kernel("b.ipynb").ask("three?", "d3d3d3d3")]
    notebooks.write("b.ipynb", more, answers=answers)
    os.rename(notebooks.path("b.ipynb"), notebooks.path("c.ipynb"))
    moved = notebooks.kernel("c.ipynb")
    assert moved.followed.source == notebooks.path("b.ipynb")
    assert moved.prompts() == ["one?", "two?", "three?"]
    assert notebooks.kernel("a.ipynb").prompts() == ["one?", "two?"]


def test_a_file_that_overwrites_another_notebook_keeps_its_own_chat(notebooks):
    notebooks.use("a.ipynb", IDS)
    notebooks.use("b.ipynb", {"11aa22bb": "mine?"})
    os.replace(notebooks.path("a.ipynb"), notebooks.path("b.ipynb"))
    notebooks.save_later("b.ipynb")
    kernel = notebooks.kernel("b.ipynb")
    assert kernel.followed.how == "moved"
    assert kernel.followed.displaced
    assert kernel.prompts() == ["one?", "two?"]


# -- separate notebooks ---------------------------------------------------------------


@pytest.mark.parametrize("cells", [{}, {"e1e1e1e1": ""}, {"e1e1e1e1": "one?"}])
def test_a_new_notebook_at_an_old_path_has_no_chat(notebooks, cells):
    """Even with the same prompts; the old notebook is recognised when it returns."""
    notebooks.use("Untitled.ipynb", IDS)
    os.rename(notebooks.path("Untitled.ipynb"), notebooks.path("kept.ipynb"))
    notebooks.write("Untitled.ipynb", cells)
    notebooks.save_later("Untitled.ipynb")
    new = notebooks.kernel("Untitled.ipynb", "e1e1e1e1")
    assert new.followed.displaced
    assert new.prompts() == []
    new.ask("new?", "e1e1e1e1")
    old = notebooks.kernel("kept.ipynb")
    assert old.followed.how == "moved"
    assert old.prompts() == ["one?", "two?"]
    assert notebooks.kernel("Untitled.ipynb").prompts() == ["new?"]


def test_unsaved_cells_prove_nothing(notebooks):
    """The file may be old: it was saved with one cell, and prompts ran in others."""
    notebooks.write("a.ipynb", {"5e1f0c3a": ""})
    first = notebooks.kernel("a.ipynb")
    first.ask("one?", "9b2d7e41")
    again = notebooks.kernel("a.ipynb", "5e1f0c3a")
    assert again.followed.how == "known"
    assert again.prompts() == ["one?"]


def test_a_known_running_cell_outweighs_the_file(notebooks):
    """The clock of another machine may make the file look newer than it is."""
    notebooks.use("a.ipynb", IDS)
    notebooks.write("a.ipynb", {"5e1f0c3a": ""})
    notebooks.save_later("a.ipynb")
    assert notebooks.kernel("a.ipynb", "9b2d7e41").followed.how == "known"


def test_a_file_from_the_future_proves_nothing(notebooks):
    """Its clock differs, so it may be older than the replies that it lacks."""
    notebooks.use("a.ipynb", IDS)
    notebooks.write("a.ipynb", {"5e1f0c3a": ""})
    later = datetime.now(UTC).timestamp() + 60
    os.utime(notebooks.path("a.ipynb"), (later, later))
    assert notebooks.kernel("a.ipynb", "5e1f0c3a").followed.how == "known"


def test_a_notebook_keeps_its_chat_when_a_tool_numbers_its_cells(notebooks):
    notebooks.use("a.ipynb", IDS)
    notebooks.write("a.ipynb", {"0": "", "1": "one?", "2": "two?"})
    notebooks.save_later("a.ipynb")
    assert notebooks.kernel("a.ipynb").prompts() == ["one?", "two?"]


def test_new_copies_of_a_template_have_no_chats(notebooks):
    for name in ("a.ipynb", "b.ipynb"):
        notebooks.write(name, IDS)
    assert notebooks.kernel("a.ipynb").followed.how == "new"
    assert notebooks.kernel("b.ipynb").followed.how == "new"
    assert notebooks.kernel("b.ipynb").prompts() == []


def test_a_new_copy_of_a_template_is_not_a_copy_of_a_used_one(notebooks):
    """It shows none of the replies of the used one."""
    notebooks.write("template.ipynb", IDS)
    notebooks.use("ann.ipynb", IDS)
    shutil.copy(notebooks.path("template.ipynb"), notebooks.path("bob.ipynb"))
    bob = notebooks.kernel("bob.ipynb")
    assert bob.followed.how == "new"
    assert bob.prompts() == []


def test_one_copied_cell_does_not_copy_the_chat(notebooks):
    cells = {f"{n}a{n}b{n}c{n}d": f"question {n}" for n in range(1, 6)}
    notebooks.use("a.ipynb", cells)
    notebooks.write("b.ipynb", {"1a1b1c1d": "question 1", "ffeeffee": ""})
    assert notebooks.kernel("b.ipynb").followed.how == "new"


def test_cell_ids_that_many_notebooks_have_prove_nothing(notebooks):
    notebooks.use("a.ipynb", {"cell-1": "one?", "cell-2": "two?"})
    os.remove(notebooks.path("a.ipynb"))
    notebooks.write("b.ipynb", {"cell-1": "quite", "cell-2": "different"})
    assert notebooks.kernel("b.ipynb").followed.how == "new"
    notebooks.write("c.ipynb", {"cell-1": "one?", "cell-2": "two?"})
    assert notebooks.kernel("c.ipynb").followed.how == "moved"


def test_a_cell_with_a_known_id_but_no_prompt_proves_nothing(notebooks):
    notebooks.use("a.ipynb", IDS)
    os.remove(notebooks.path("a.ipynb"))
    notebooks.write("b.ipynb", dict.fromkeys(IDS, ""))
    assert notebooks.kernel("b.ipynb").followed.how == "new"


# -- without ids ----------------------------------------------------------------------


def test_before_nbformat_4_5_path_and_replies_identify_a_notebook(notebooks):
    notebooks.use("a.ipynb", IDS, minor=4)
    notebooks.write("a.ipynb", {"e1e1e1e1": "new?"}, minor=4)
    notebooks.save_later("a.ipynb")
    assert notebooks.kernel("a.ipynb").followed.how == "known"
    notebooks.write("b.ipynb", IDS, minor=4)
    assert notebooks.kernel("b.ipynb").followed.how == "new"


VSCODE = "vscode-notebook-cell:/home/ann/a.ipynb#W0sZmlsZQ%3D%3D"


def test_vscode_ids_do_not_identify_a_notebook_but_replies_do(notebooks):
    notebooks.write("a.ipynb", IDS)
    turn = notebooks.kernel("a.ipynb").ask("one?", VSCODE)
    notebooks.write("a.ipynb", {"e1e1e1e1": ""})
    notebooks.save_later("a.ipynb")
    assert notebooks.kernel("a.ipynb").followed.how == "known", "ids prove nothing here"
    shown = replace(turn, cell_id="9b2d7e41")
    notebooks.write("b.ipynb", IDS, answers=[shown])
    kernel = notebooks.kernel("b.ipynb")
    assert kernel.followed.how == "copied"
    assert kernel.prompts() == ["one?"]


def test_a_notebook_does_not_take_over_the_main_chat_of_a_session(notebooks):
    kernel = notebooks.kernel("a.ipynb")
    turn = Turn(prompt="one?", reply="r", model="m", cell_id="9b2d7e41")
    kernel.store.record("session:1", "main", turn)
    notebooks.write("b.ipynb", IDS)
    assert notebooks.kernel("b.ipynb").followed.how == "new"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        '{"nbformat": 3}',
        '{"nbformat": 4, "cells": "x"}',
        "[" * 99999,
    ],
)
def test_files_that_are_not_notebooks_are_ignored(notebooks, text):
    notebooks.use("a.ipynb", IDS)
    (notebooks.folder / "a.ipynb").write_text(text)
    notebooks.save_later("a.ipynb")
    assert notebooks.kernel("a.ipynb", "e1e1e1e1").prompts() == ["one?", "two?"]


def test_malformed_cells_are_ignored(tmp_path):
    cells = [
        7,
        {"id": 5, "cell_type": "code", "source": ["%%oll", "ama\nx"], "outputs": None},
        {"id": "a/b", "source": "%%ollama\nx", "cell_type": "code"},
        {"id": "good", "cell_type": "code", "source": ["%%ollama\n", "x"]},
        {"id": "text", "cell_type": "markdown", "source": "ollama"},
        {"outputs": [1, {"metadata": 2}, {"metadata": {"ollama_magic": []}}]},
    ]
    file = tmp_path / "a.ipynb"
    content = {"nbformat": 4, "nbformat_minor": 5, "cells": cells}
    file.write_text(json.dumps(content))
    found = read_notebook_file(str(file))
    assert found.cell_ids == {"good", "text"}
    assert found.sources == {"good": "%%ollama\nx"}
    assert found.answers == frozenset()


def test_identifying_a_known_notebook_writes_nothing(notebooks):
    notebooks.use("a.ipynb", IDS)
    before = (notebooks.folder / "a.ipynb").read_bytes()
    status = (notebooks.folder / "a.ipynb").stat()
    kernel = notebooks.kernel("a.ipynb")
    changes = kernel.store._connection.total_changes
    assert changes == 0
    assert (notebooks.folder / "a.ipynb").read_bytes() == before
    assert (notebooks.folder / "a.ipynb").stat().st_mtime_ns == status.st_mtime_ns
