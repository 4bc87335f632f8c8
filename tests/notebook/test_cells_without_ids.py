"""Front ends that send no permanent cell ids, with their messages in a real kernel.

VS Code sends a position that is valid until the window closes; server-side execution,
consoles and some kernels send nothing. See ``ollama_magic/history/identity.py``.
"""

import json
import sqlite3
import uuid
from contextlib import closing

import pytest

from ollama_magic.history.identity import UNKNOWN_CHAT

NO_IDS = "this front end sends no cell ids: re-running a cell adds a turn"
NOT_SAVED = "the notebook is not saved yet: this chat is lost when the kernel stops"


def digits(number):
    return digits(number // 7) + str(number % 7) if number >= 7 else str(number)


class Page:
    """A notebook in a front end: its cells in order, and its file once it is saved."""

    def __init__(self, kernel, server, path):
        self.kernel = kernel
        self.server = server
        self.path = path
        self.cells = []
        self._made = 0
        kernel.run(f"%config OllamaMagics.notebook = {str(path)!r}")

    def insert(self, place, prompt):
        """Insert a cell; front ends that write nbformat 4.5 give it an id."""
        cell = {"id": uuid.uuid4().hex[:8], "handle": self._made, "outputs": []}
        cell["source"] = f"%%ollama\n{prompt}"
        self._made += 1
        self.cells.insert(place, cell)
        return cell

    def add(self, *prompts):
        return [self.insert(len(self.cells), prompt) for prompt in prompts]

    def metadata(self, cell):
        return {}

    def run(self, cell):
        ran = self.kernel.run(cell["source"], **self.metadata(cell))
        assert (ran.status, ran.streams) == ("ok", ""), ran
        cell["outputs"] = [
            {"output_type": "display_data"}
            | {key: output[key] for key in ("data", "metadata")}
            for output in ran.outputs
        ]
        return ran

    def save(self):
        made = [
            {
                "id": cell["id"],
                "cell_type": "code",
                "metadata": {},
                "execution_count": None,
                "source": cell["source"].splitlines(keepends=True),
                "outputs": cell["outputs"],
            }
            for cell in self.cells
        ]
        content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made}
        self.path.write_text(json.dumps(content))

    def restart(self):
        """Load the extension again, as a restarted kernel does."""
        names = ("host", "history_file", "notebook")
        code = "from ollama_magic.notebook.magics import load, unload\n"
        code += "shell = get_ipython()\nmagics = shell.meta['ollama_magic']\n"
        code += f"kept = [getattr(magics, name) for name in {names}]\n"
        code += "unload(shell)\nload(shell)\nmagics = shell.meta['ollama_magic']\n"
        code += f"for name, value in zip({names}, kept): setattr(magics, name, value)"
        assert self.kernel.run(code).status == "ok"

    def prompts(self):
        ran = self.kernel.run(
            "turns = %ollama history\nprint([turn.prompt for turn in turns])"
        )
        return [] if ran.error else eval(ran.streams)

    def asked(self):
        messages = self.server.bodies("/api/chat")[-1]["messages"]
        return [m["content"] for m in messages if m["role"] == "user"]


class VSCode(Page):
    """A notebook in one VS Code window, until ``reload``."""

    def __init__(self, *args):
        super().__init__(*args)
        self.kernel.opening = f"opening-{uuid.uuid4()}"

    def metadata(self, cell):
        handle = digits(cell["handle"])
        length = "WXYZ"[len(handle) - 1]
        address = f"vscode-notebook-cell:{self.path}#{length}{handle}sZmlsZQ%3D%3D"
        return {"cellId": address}

    def reload(self):
        """Close and reopen the window, which also starts another kernel."""
        for place, cell in enumerate(self.cells):
            cell["handle"] = place
        self._made = len(self.cells)
        self.kernel.opening = f"opening-{uuid.uuid4()}"
        self.restart()


@pytest.fixture
def page(kernel, fake_ollama, tmp_path):
    yield VSCode(kernel, fake_ollama, tmp_path / "a.ipynb")
    kernel.opening = None


@pytest.fixture
def plain(kernel, fake_ollama, tmp_path):
    """Provide a notebook whose front end sends no cell ids."""
    return Page(kernel, fake_ollama, tmp_path / "a.ipynb")


# -- VS Code -------------------------------------------------------------------------


def test_after_a_reload_every_cell_still_replaces_its_own_turn(page):
    alpha, beta = page.add("alpha?", "beta?")
    page.run(alpha)
    page.run(beta)
    gamma = page.insert(1, "gamma?")
    page.run(gamma)
    page.save()
    page.reload()
    for cell in (beta, gamma):
        page.run(cell)
        assert page.prompts() == ["alpha?", "gamma?", "beta?"]


def test_an_edited_unsaved_cell_replaces_its_turn_while_the_notebook_is_open(page):
    one, two = page.add("one?", "two?")
    page.run(one)
    page.run(two)
    one["source"] = "%%ollama\nother?"
    ran = page.run(one)
    assert ran.place == "turn 1 of main"
    assert page.prompts() == ["other?", "two?"]


def test_a_kernel_restart_in_one_session_changes_nothing(page):
    """Also for a cell that was edited after it was saved."""
    one, two = page.add("one?", "two?")
    page.run(one)
    page.save()
    page.run(two)
    page.restart()
    one["source"] = "%%ollama\nother?"
    page.run(one)
    page.run(two)
    assert page.prompts() == ["other?", "two?"]


def test_a_handle_of_another_session_is_another_cell(page):
    """Nothing was saved; the two cells only share a number."""
    (one,) = page.add("one?")
    page.run(one)
    page.cells.clear()
    page.reload()
    (two,) = page.add("two?")
    assert two["handle"] == one["handle"]
    page.run(two)
    assert page.asked() == ["one?", "two?"]
    assert page.prompts() == ["one?", "two?"]


def test_a_turn_from_before_the_first_save_is_found_after_it(page):
    """The saved notebook shows the reply, although the cell was edited."""
    one, two = page.add("one?", "two?")
    page.run(one)
    page.run(two)
    two["source"] = "%%ollama\nother?"
    page.save()
    page.reload()
    ran = page.run(two)
    assert ran.place == "turn 2 of main"
    assert page.prompts() == ["one?", "other?"]


def test_cells_with_the_same_text_are_distinguished_by_their_position(page):
    cells = page.add("same?", "same?", "same?")
    for cell in cells:
        page.run(cell)
    page.save()
    page.reload()
    for cell in cells:
        page.run(cell)
    assert page.prompts() == ["same?"] * 3
    assert len(page.asked()) == 3


def test_a_copied_cell_that_runs_before_it_is_saved_has_its_own_turn(page):
    (one,) = page.add("one?")
    page.run(one)
    page.save()
    page.run(one)
    copy = page.insert(1, "one?")
    page.run(copy)
    assert page.prompts() == ["one?", "one?"]


def test_two_cells_with_one_id_are_distinguished(page):
    """VS Code once saved such a notebook."""
    one, two = page.add("one?", "two?")
    two["id"] = one["id"]
    page.save()
    for cell in (one, two, one, two):
        page.run(cell)
    assert page.prompts() == ["one?", "two?"]


def test_a_copied_notebook_replaces_turns_and_leaves_the_first_alone(page, tmp_path):
    cells = page.add("one?", "two?", "three?")
    for cell in cells:
        page.run(cell)
    page.save()
    first, page.path = page.path, tmp_path / "copy.ipynb"
    page.save()
    page.kernel.run(f"%config OllamaMagics.notebook = {str(page.path)!r}")
    page.reload()
    cells[1]["source"] = "%%ollama\nmine?"
    page.save()
    for cell in cells:
        page.run(cell)
    assert page.prompts() == ["one?", "mine?", "three?"]
    page.kernel.run(f"%config OllamaMagics.notebook = {str(first)!r}")
    assert page.prompts() == ["one?", "two?", "three?"]


def test_a_cell_that_asks_twice_keeps_both_turns_after_a_reload(page):
    (cell,) = page.add("")
    cell["source"] = "%ollama ask one?\n%ollama ask two?"
    page.run(cell)
    page.save()
    page.reload()
    page.run(cell)
    assert page.prompts() == ["one?", "two?"]


def test_a_cell_that_is_missing_from_a_newer_save_leaves_the_chat(page):
    one, two, three = page.add("one?", "two?", "three?")
    for cell in (one, two, three):
        page.run(cell)
    page.save()
    page.run(one)
    page.cells.remove(two)
    page.save()
    page.run(three)
    assert page.prompts() == ["one?", "three?"]
    assert "its cell was deleted" in page.kernel.run("%ollama history --all").text


def test_a_deleted_cell_leaves_the_chat_even_after_an_unsaved_cell(page):
    one, two, three = page.add("one?", "two?", "three?")
    for cell in (one, two, three):
        page.run(cell)
    page.save()
    page.run(one)
    page.cells.remove(two)
    page.save()
    (four,) = page.add("four?")
    page.run(four)
    page.run(three)
    assert page.prompts() == ["one?", "three?", "four?"]


def test_restart_and_run_all_puts_an_unsaved_cell_of_vscode_in_its_place(page):
    alpha, beta = page.add("alpha?", "beta?")
    page.save()
    page.run(alpha)
    page.run(beta)
    gamma = page.insert(1, "gamma?")
    assert "turn 3 of main (unsaved cell)" in page.run(gamma).html
    page.restart()
    for cell in page.cells:
        page.run(cell)
        if cell is gamma:
            assert page.asked() == ["alpha?", "gamma?"]
    assert page.asked() == ["alpha?", "gamma?", "beta?"]
    assert page.prompts() == ["alpha?", "gamma?", "beta?"]


def test_a_saved_notebook_with_numbered_cells_deletes_no_turn(page):
    one, two = page.add("one?", "two?")
    for cell in (one, two):
        page.run(cell)
    page.save()
    page.run(one)
    for number, cell in enumerate(page.cells):
        cell["id"] = f"{number}"
    page.save()
    page.run(one)
    assert "two?" in page.prompts()


def test_an_unsaved_notebook_says_once_that_its_chat_ends(kernel, fake_ollama):
    kernel.run('%config OllamaMagics.notebook = ""')
    kernel.opening = "opening"
    try:
        ids = [{"cellId": f"vscode-notebook-cell:U#W{n}sdW50aXRsZWQ%3D"} for n in "01"]
        first, second, again = (
            kernel.run(f"%%ollama\n{prompt}", **ids[place])
            for prompt, place in (("one?", 0), ("two?", 1), ("one, please?", 0))
        )
        assert NOT_SAVED in first.html
        assert NOT_SAVED not in second.html + again.html
        assert again.place == "turn 1 of main"
    finally:
        kernel.opening = None


def test_a_notebook_that_was_saved_after_its_first_turn_says_how_to_go_on(page):
    """VS Code starts another kernel for the saved file."""
    (one,) = page.add("one?")
    page.kernel.run('%config OllamaMagics.notebook = ""')
    page.run(one)
    page.save()
    page.kernel.run(f"%config OllamaMagics.notebook = {str(page.path)!r}")
    page.reload()
    assert UNKNOWN_CHAT in page.kernel.run("%ollama history").text
    assert UNKNOWN_CHAT not in page.kernel.run("%ollama history").text
    page.reload()
    restored = page.kernel.run("%ollama restore").text
    assert "1 turn" in restored
    assert UNKNOWN_CHAT not in restored + page.run(one).text
    assert page.prompts() == ["one?"]


def test_turns_of_an_older_version_are_found_by_their_replies(page, tmp_path):
    one, two = page.add("one?", "two?")
    for cell in (one, two):
        page.run(cell)
    with closing(sqlite3.connect(tmp_path / "chats.sqlite")) as store:
        store.execute(
            "UPDATE turns SET cell_id = 'vscode-notebook-cell:/a.ipynb#W' || position"
        )
        store.commit()
    page.save()
    page.reload()
    for cell in (two, one):
        page.run(cell)
    assert page.prompts() == ["one?", "two?"]


# -- front ends without positions ----------------------------------------------------


def test_a_cell_of_the_saved_notebook_is_found_by_its_text(plain):
    """jupyter-server-nbmodel saves cells at once, and runs them without an id."""
    cells = plain.add("one?", "two?")
    plain.save()
    for cell in (*cells, *cells):
        ran = plain.run(cell)
        assert NO_IDS not in ran.html
        plain.save()
    assert plain.prompts() == ["one?", "two?"]
    assert plain.asked() == ["one?", "two?"]


def test_an_edited_cell_is_found_once_it_is_saved(plain):
    one, two = plain.add("one?", "two?")
    for cell in (one, two):
        plain.run(cell)
    plain.save()
    one["source"] = "%%ollama\nother?"
    plain.save()
    plain.run(one)
    assert plain.prompts() == ["other?", "two?"]


def test_the_note_about_a_cell_that_is_not_found_is_shown_once(plain):
    one, two = plain.add("one?", "two?")
    assert NO_IDS in plain.run(one).html
    assert NO_IDS not in plain.run(two).html
    assert plain.prompts() == ["one?", "two?"]


@pytest.mark.parametrize("code", ["%%ollama --once\nHi", "%ollama history"])
def test_a_cell_that_is_found_shows_no_note_about_one_that_was_not(plain, code):
    (one,) = plain.add("one?")
    plain.save()
    plain.run(one)
    assert NO_IDS not in plain.kernel.run(code).html
    assert NO_IDS not in plain.run(one).html
    other = plain.insert(1, "other?")
    assert NO_IDS in plain.run(other).html


def test_two_cells_with_the_same_text_are_not_identified_by_it(plain):
    cells = plain.add("same?", "same?")
    plain.save()
    assert NO_IDS in plain.run(cells[1]).html
    plain.run(cells[0])
    assert plain.prompts() == ["same?", "same?"]


def test_text_inside_another_cell_does_not_identify_a_cell(plain):
    """A Markdown cell with the same text, and a longer code cell."""
    one, _longer = plain.add("one?", "one?\nand more")
    plain.save()
    content = json.loads(plain.path.read_text())
    content["cells"][0]["cell_type"] = "markdown"
    plain.path.write_text(json.dumps(content))
    assert NO_IDS in plain.run(one).html


def test_a_request_without_a_cell_has_no_cell_id(plain, fake_ollama):
    plain.add("one?")
    plain.save()
    code = "get_ipython().run_cell_magic('ollama', '', 'one?')"
    for _ in range(2):
        plain.kernel.run(code)
    assert plain.prompts() == ["one?", "one?"]


def test_a_renamed_notebook_without_ids_keeps_its_chat(plain, tmp_path):
    one, two = plain.add("one?", "two?")
    for cell in (one, two):
        plain.run(cell)
    plain.save()
    with closing(sqlite3.connect(tmp_path / "chats.sqlite")) as store:
        ids = store.execute("SELECT cell_id FROM turns").fetchall()
    assert ids == [(None,), (None,)]
    renamed = tmp_path / "renamed.ipynb"
    plain.path.rename(renamed)
    plain.path = renamed
    plain.kernel.run(f"%config OllamaMagics.notebook = {str(renamed)!r}")
    plain.restart()
    assert f"was moved from {tmp_path / 'a.ipynb'}" in plain.run(one).text
    assert plain.prompts() == ["one?", "two?"]
