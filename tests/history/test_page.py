"""The chat is the page: random edits, saves, runs and restarts of a notebook.

A plain model of a notebook plays the front end. Real are the session, the store in its
file, and the notebook file. See ``ollama_magic/history/page.py``.
"""

import itertools
import json
import os
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import Settings
from ollama_magic.history.store import ChatStore
from ollama_magic.history.turns import Turn


class Kernel(Session):
    """A session whose store outlives it, as the file of the chats does."""

    def __init__(self, store, path):
        shell = SimpleNamespace(user_ns={}, meta={})
        super().__init__(shell, lambda: Settings(notebook=str(path)), Cells())
        self.shared_store = store

    @property
    def store(self):
        return self.shared_store


class Cells:
    """The running cell, as JupyterLab describes it."""

    def __init__(self, cell_id=None, deleted=(), together=("", ())):
        self.cell_id = self.permanent_id = cell_id
        self.deleted_cells = deleted
        self.is_in_notebook = True
        self.sent_together = together

    def find_with(self, find):
        pass

    def forget_deleted(self):
        self.deleted_cells = ()


class Notebook:
    """A notebook on the screen; its first cell loads the extension."""

    def __init__(self, store, path, count=0):
        self.store, self.path = store, path
        self.made = itertools.count()
        self.prompts, self.deleted = {}, []
        self.cells = ["setup"]
        for place in range(count):
            self.insert(place + 1)
        self.save()
        self.restart()

    # -- what the user does --------------------------------------------------------

    def insert(self, place):
        cell_id = f"{time.time_ns():x}-{next(self.made):03}"
        self.cells.insert(place, cell_id)
        self.edit(cell_id)
        return cell_id

    def edit(self, cell_id):
        self.prompts[cell_id] = f"prompt {next(self.made)}"

    def delete(self, place):
        self.deleted.append(self.cells.pop(place))

    def move(self, place, to):
        self.cells.insert(to, self.cells.pop(place))
        self.has_moved = True  # since the last save

    def save(self):
        cells = [
            {"id": cell_id, "cell_type": "code", "source": "", "outputs": []}
            for cell_id in self.cells
        ]
        content = {"nbformat": 4, "nbformat_minor": 5, "cells": cells}
        self.path.write_text(json.dumps(content))
        moment = time.time_ns()  # the clock of the file system is coarser
        os.utime(self.path, ns=(moment, moment))
        self.saved, self.has_moved = set(self.cells), False

    def restart(self):
        self.kernel = Kernel(self.store, self.path)

    def run(self, cell_id, together=("", ()), *, append=False):
        """Run a cell, and return the prompts that are sent before its own."""
        self.kernel.cells = Cells(cell_id, tuple(self.deleted), together)
        self.deleted.clear()
        prompt = self.prompts.get(cell_id)
        if prompt is None:
            self.kernel.chat()
            return None
        chat = self.kernel.chat(asked="a prompt")
        sent = chat.before(cell_id, append=append)
        reply = f"reply {next(self.made)}"
        turn = Turn(prompt=prompt, reply=reply, model="m", cell_id=cell_id)
        key, page = self.kernel.notebook.key, chat.page
        self.store.record(key, "main", turn, append=append, cells=page)
        return [turn.prompt for turn in sent.turns]

    def run_all(self, *, at_once):
        """Run all cells; return what was sent with each prompt."""
        sent_at = datetime.now(UTC).isoformat(timespec="microseconds")
        requests = []
        for number, cell_id in enumerate(self.cells):
            above = tuple(self.cells[:number]) if at_once else ()
            requests.append(self.run(cell_id, (sent_at, above)))
        return [sent for sent in requests if sent is not None]

    # -- what is to be seen --------------------------------------------------------

    def chat(self):
        return self.kernel.store.load(self.kernel.notebook.key)

    def asked(self):
        """Return the prompts of the chat, in its order, by cell."""
        return {turn.cell_id: turn.prompt for turn in self.chat().turns}

    def above(self, cell_id=None):
        """Return the prompts of the cells above one, or of all, that have turns."""
        count = self.cells.index(cell_id) if cell_id else len(self.cells)
        asked = self.asked()
        return [asked[one] for one in self.cells[:count] if one in asked]

    def is_certain(self):
        """Return whether nothing about the order is unknown."""
        unknown = map(self.kernel.page.may_misplace, self.asked())
        return not self.has_moved and not any(unknown)


# -- random sequences ----------------------------------------------------------------


def edit(notebook, action, place, to):
    if action == "insert":
        notebook.insert(place)
    elif action == "append":
        notebook.insert(len(notebook.cells))
    elif action == "move":
        notebook.move(place, to)
    elif action == "delete":
        notebook.delete(place)
    elif action in {"duplicate", "split"}:
        notebook.insert(place + 1)
    elif action == "merge" and place + 1 < len(notebook.cells):
        notebook.delete(place + 1)
        notebook.edit(notebook.cells[place])


def save(notebook, *_):
    notebook.save()
    notebook.run("setup")
    assert list(notebook.asked().values()) == notebook.above()


def run(notebook, place, _):
    cell_id = notebook.cells[place]
    sent = notebook.run(cell_id)
    if notebook.is_certain():
        assert sent == notebook.above(cell_id)


def run_all(notebook, *_):
    """Run all cells, as JupyterLab does: it sends them at once."""
    sent, prompts = notebook.run_all(at_once=True), notebook.above()
    assert len(prompts) == len(notebook.cells) - 1
    assert sent == [prompts[:n] for n in range(len(prompts))]
    assert list(notebook.asked().values()) == prompts
    assert not notebook.chat().stale()


def run_down(notebook, *_):
    """Restart, and run each cell after the end of the one above it."""
    notebook.restart()
    first = notebook.cells[1]
    is_known = first in notebook.saved or first in notebook.asked()
    notebook.run_all(at_once=False)
    if is_known and not notebook.has_moved:
        assert list(notebook.asked().values()) == notebook.above()


def restart(notebook, *_):
    notebook.restart()


EDITS = ("insert", "append", "move", "delete", "duplicate", "split", "merge")
ACTIONS = (save, run, run, run, run_all, run_down, restart)
STEPS = st.tuples(st.sampled_from(EDITS + ACTIONS), *[st.integers(0, 11)] * 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    warnings = []
    path = tmp_path_factory.mktemp("store") / "chats.sqlite"
    store = ChatStore(path, warn=warnings.append)
    yield store
    store.close()
    assert warnings == []


@examples(
    100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(1, 4), st.lists(STEPS, min_size=10, max_size=30))
def test_the_chat_is_the_page(store, tmp_path, count, steps):
    """After a save and after Run All it has the order of the page.

    Until then, each request has exactly the turns of the cells above, unless a turn is
    marked as unsaved or a cell of the file was moved.
    """
    notebook = Notebook(store, tmp_path / f"{time.time_ns()}.ipynb", count)
    for action, first, second in steps:
        size = len(notebook.cells) - 1
        if size == 0:
            notebook.insert(1)
        elif callable(action):
            action(notebook, 1 + first % size, 1 + second % size)
        else:
            edit(notebook, action, 1 + first % size, 1 + second % size)
    notebook.restart()
    save(notebook)
