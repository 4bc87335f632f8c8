"""Chats in the order of the page, with the messages of JupyterLab in a real kernel.

The rules are tested with many more sequences in ``tests/history/test_page.py``.
"""

import json

import pytest

NOTE = "unsaved cells may be out of order: save the notebook"
MARK = "(unsaved cell)"


class Page:
    """A notebook on the screen, and its file once it is saved."""

    def __init__(self, kernel, server, path):
        self.kernel, self.server, self.path = kernel, server, path
        self.cells = {}
        """The source of each cell, by id, in the order of the page."""
        kernel.run(f"%config OllamaMagics.notebook = {str(path)!r}")

    def order(self, *ids):
        """Set which cells there are; a new one asks for its own id."""
        self.cells = {one: self.cells.get(one, f"%%ollama\n{one}?") for one in ids}

    def save(self):
        cells = [
            {"id": one, "cell_type": "code", "source": source, "outputs": []}
            for one, source in self.cells.items()
        ]
        content = {"nbformat": 4, "nbformat_minor": 5, "cells": cells}
        self.path.write_text(json.dumps(content))

    def run(self, *ids):
        for cell_id in ids:
            ran = self.kernel.run(self.cells[cell_id], cell_id)
            assert (ran.status, ran.streams) == ("ok", ""), ran
        return ran.html

    def run_all(self):
        """Send all cells at once, as JupyterLab does."""
        sent = [self.kernel.send(source, one) for one, source in self.cells.items()]
        return [self.kernel.collect(msg_id) for msg_id in sent]

    def restart(self):
        names = ("host", "history_file", "notebook")
        find = "magics = get_ipython().meta['ollama_magic']\n"
        code = f"{find}kept = [getattr(magics, name) for name in {names}]\n"
        code += f"%reload_ext ollama_magic\n{find}"
        code += f"for name, value in zip({names}, kept): setattr(magics, name, value)"
        assert self.kernel.run(code).status == "ok"

    def asked(self, back=1):
        """Return the prompts of the last request, or of an earlier one."""
        messages = self.server.bodies("/api/chat")[-back]["messages"]
        return "".join(m["content"] for m in messages if m["role"] == "user")

    def history(self, expression):
        ran = self.kernel.run(
            f"turns = %ollama history\nprint([{expression} for turn in turns])"
        )
        return eval(ran.streams)

    def prompts(self):
        return "".join(self.history("turn.prompt"))


@pytest.fixture
def page(kernel, fake_ollama, tmp_path):
    return Page(kernel, fake_ollama, tmp_path / "a.ipynb")


def test_a_cell_between_two_is_answered_with_the_turns_above_it_once_it_is_saved(page):
    page.order("A", "B")
    page.save()
    page.run("A", "B")
    page.order("A", "C", "B")
    shown = page.run("C")
    assert page.asked() == "A?B?C?"
    assert f"turn 3 of main {MARK}" in shown
    assert NOTE in shown
    assert page.history("turn.is_unsaved") == [False, False, True]
    assert page.history("turn.cell") == [1, 2, None]
    assert "may be out of order" in page.kernel.run("%ollama history").html
    page.save()
    assert page.prompts() == "A?C?B?"
    assert page.history("turn.cell") == [1, 2, 3]
    assert page.history("turn.is_stale") == [False, True, True]
    shown = page.run("C")
    assert page.asked() == "A?C?"
    assert MARK not in shown
    assert NOTE not in shown
    page.run("B")
    assert page.asked() == "A?C?B?"
    assert not any(page.history("turn.is_stale"))


def test_run_all_puts_the_chat_in_the_order_of_the_page_without_a_save(page):
    page.order("setup", "A", "B", "C")
    page.cells["setup"] = "1 + 1"
    page.save()
    page.run_all()
    page.order("setup", "C", "A", "D", "B")
    ran = page.run_all()
    assert [page.asked(back) for back in (4, 3, 2, 1)] == [
        "C?",
        "C?A?",
        "C?A?D?",
        "C?A?D?B?",
    ]
    assert not any(MARK in one.html or NOTE in one.html for one in ran)
    assert page.prompts() == "C?A?D?B?"
    assert not any(page.history("turn.is_stale"))
    page.run("A")
    assert page.prompts() == "C?A?D?B?"


def test_cells_that_are_run_one_after_the_other_are_not_put_in_that_order(page):
    page.order("A", "B", "C")
    page.save()
    page.run("A", "B", "C", "A", "C", "B")
    assert page.prompts() == "A?B?C?"


def test_a_kernel_that_runs_a_page_that_was_never_saved_learns_its_order(page):
    page.order("A", "B", "D")
    page.run("A", "B", "D")
    page.order("A", "C", "B", "D")
    page.run("C")
    page.restart()
    page.run("A", "C", "B", "D")
    assert [page.asked(back) for back in (3, 2, 1)] == ["A?C?", "A?C?B?", "A?C?B?D?"]
    assert page.prompts() == "A?C?B?D?"


def test_a_new_cell_stays_the_last_one_when_other_cells_run_again(page):
    page.order("A", "B")
    page.save()
    page.run("A", "B")
    page.order("A", "B", "X")
    page.restart()
    page.run("X", "A", "X")
    assert page.asked() == "A?B?X?"
    page.order("A", "B", "X", "Y")
    page.restart()
    page.run("B", "Y", "A")
    assert page.prompts() == "A?B?X?Y?"


def test_a_new_conversation_begins_where_its_cell_is(page):
    page.order("A", "new", "B")
    page.cells["new"] = "%ollama new"
    page.save()
    page.run("A", "B")
    ran = page.kernel.run(page.cells["new"], "new")
    assert "1 turn of later cells" in ran.text
    page.run("B")
    assert page.asked() == "B?"


def test_append_adds_turns_at_the_end(page):
    page.order("A", "B")
    page.cells["A"] = "%%ollama --append\nA?"
    page.save()
    page.run("B", "A", "A")
    assert page.asked() == "A?B?A?"
    assert page.prompts() == "A?B?A?"
    assert not page.history("turn.is_stale")[2]


def test_turns_without_a_cell_stay_behind_the_turn_before_them(page):
    page.order("A", "B")
    page.save()
    page.run("A")
    page.kernel.run("%ollama ask free?")
    page.run("B")
    page.order("B", "A")
    page.save()
    assert page.prompts() == "B?A?free?"


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"nbformat": 4}', '{"nbformat": 4, "cells": [1, {}]}', "\x00", "{" * 9],
)
def test_a_strange_file_changes_nothing(page, content):
    page.order("A", "B")
    page.save()
    page.run("A", "B")
    page.path.write_text(content)
    page.run("A", "B")
    assert page.asked() == "A?B?"
    page.path.unlink()
    page.run("B")
    assert page.asked() == "A?B?"


def test_a_notebook_that_is_renamed_while_its_kernel_runs_keeps_its_order(page):
    page.order("A", "B")
    page.save()
    page.run("A", "B")
    page.path = page.path.rename(page.path.with_name("renamed.ipynb"))
    page.order("B", "C", "A")
    page.save()
    assert MARK not in page.run("C")
    assert page.asked() == "B?C?"
    assert page.prompts() == "B?C?A?"


def test_two_cells_with_one_id_are_no_error(page):
    page.order("A", "B")
    page.save()
    page.path.write_text(page.path.read_text().replace('"A"', '"B"'))
    page.run("A", "B")
    page.restart()
    page.run("A", "B")
    assert page.asked() == "A?B?"


def test_undo_restores_a_turn_in_its_place(page):
    page.order("A", "B", "C")
    page.save()
    page.run("A", "B", "C")
    page.order("C", "A", "B")
    page.save()
    page.cells["A"] = "%%ollama\nA, again?"
    page.run("A")
    assert page.prompts() == "C?A, again?B?"
    page.kernel.run("%ollama undo")
    assert page.prompts() == "C?A?B?"
    page.kernel.run("%ollama drop 2")
    page.kernel.run("%ollama undo")
    assert page.prompts() == "C?A?B?"
