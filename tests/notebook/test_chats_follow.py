"""The chat belongs to the notebook, in real kernels."""

import json
import os
import re
import shutil
import sqlite3

import pytest
from kernel import Kernel

SETTINGS = """
%load_ext ollama_magic
%config OllamaMagics.host = {host!r}
%config OllamaMagics.history_file = {history!r}
"""


class NotebookFolder:
    """A folder of notebooks, with a kernel for each open one."""

    def __init__(self, folder, server):
        self.folder = folder
        self.server = server
        self.history = folder / "chats.sqlite"
        self.kernels = []

    def path(self, name):
        return self.folder / name

    def open(self, name=None):
        """Start a kernel, as a Jupyter server does for a notebook."""
        kernel = Kernel(session_name=self.path(name) if name else None)
        self.kernels.append(kernel)
        self.settle(kernel)
        return kernel

    def settle(self, kernel):
        ran = kernel.run(
            SETTINGS.format(host=self.server.url, history=str(self.history))
        )
        assert ran.status == "ok", ran

    def save(self, name, cells):
        """Save a notebook as a front end does, from cell ids to prompts and outputs."""
        made = [
            {
                "id": cell_id,
                "cell_type": "code",
                "metadata": {},
                "execution_count": 1,
                "source": f"%%ollama\n{prompt}",
                "outputs": [_output(output) for output in ran.outputs] if ran else [],
            }
            for cell_id, (prompt, ran) in cells.items()
        ]
        content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made}
        self.path(name).write_text(json.dumps(content))

    def asked(self):
        """Return the prompts of the last request."""
        messages = self.server.bodies("/api/chat")[-1]["messages"]
        return [m["content"] for m in messages if m["role"] == "user"]


def _output(output):
    kept = {key: output[key] for key in ("data", "metadata") if key in output}
    return {"output_type": "display_data", **kept}


@pytest.fixture
def notebooks(tmp_path, fake_ollama):
    notebooks = NotebookFolder(tmp_path, fake_ollama)
    yield notebooks
    for kernel in notebooks.kernels:
        kernel.close()


def ask(kernel, prompt, cell_id=None, options="", **more):
    ran = kernel.run(f"%%ollama {options}\n{prompt}", cell_id, **more)
    assert ran.status == "ok", ran.error
    return ran


# -- the notebook -------------------------------------------------------------------


def test_a_notebook_that_is_renamed_and_copied_keeps_its_chat(notebooks):
    notebooks.save("a.ipynb", {"5e1f0c3a": ("one?", None)})
    kernel = notebooks.open("a.ipynb")
    ran = ask(kernel, "one?", "5e1f0c3a")
    notebooks.save("a.ipynb", {"5e1f0c3a": ("one?", ran)})
    os.rename(notebooks.path("a.ipynb"), notebooks.path("b.ipynb"))

    renamed = notebooks.open("b.ipynb")
    ran = ask(renamed, "two?", "9b2d7e41")
    assert notebooks.asked() == ["one?", "two?"]
    assert ran.place == "turn 2 of main"
    assert f"was moved from {notebooks.path('a.ipynb')}" in ran.text
    assert "was moved" not in ask(renamed, "two?", "9b2d7e41").text

    shutil.copy(notebooks.path("b.ipynb"), notebooks.path("b-Copy1.ipynb"))
    copied = notebooks.open("b-Copy1.ipynb")
    ran = copied.run("%ollama history")
    assert f"a copy of {notebooks.path('b.ipynb')}" in ran.text
    assert "two?" in ran.text
    ask(copied, "mine?", "c07a3f58")
    assert notebooks.asked() == ["one?", "two?", "mine?"]
    assert "mine?" not in renamed.run("%ollama history").text


def test_a_chat_continues_after_a_restart_and_says_so(notebooks):
    kernel = notebooks.open("a.ipynb")
    for cell in ("one", "two"):
        ask(kernel, f"{cell}?", cell)
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=60)
    notebooks.settle(kernel)
    ran = ask(kernel, "three?", "three")
    assert ran.place == "turn 3 of main"
    assert notebooks.asked() == ["one?", "two?", "three?"]
    for cell in ("one", "two", "three"):
        ask(kernel, f"{cell}?", cell)
    assert notebooks.asked() == ["one?", "two?", "three?"]
    history = kernel.run(
        "turns = %ollama history\nprint(len(turns), turns[0].is_stale)"
    )
    assert history.streams == "3 False\n"


def test_two_kernels_on_one_notebook_share_its_chat(notebooks):
    one, two = notebooks.open("a.ipynb"), notebooks.open("a.ipynb")
    ask(one, "first?", "a")
    ask(two, "second?", "b")
    assert notebooks.asked() == ["first?", "second?"]
    ask(one, "third?", "c")
    assert notebooks.asked() == ["first?", "second?", "third?"]
    for kernel in (one, two):
        text = kernel.run("%ollama history").text
        for prompt in ("first?", "second?", "third?"):
            assert prompt in text


# -- the cell -----------------------------------------------------------------------

NAMES = {
    "VS Code": lambda n: {"cellId": f"vscode-notebook-cell:/home/a.ipynb#W{n}sZmls%3D"},
    "Colab": lambda n: {"colab": {"cell_id": f"x{n}YzAbCdEfGh"}},
}


@pytest.mark.parametrize("front_end", NAMES)
def test_cells_are_identified_in_each_front_end(kernel, fake_ollama, front_end):
    name = NAMES[front_end]
    for number in range(3):
        ask(kernel, f"{number}?", **name(number))
    ran = ask(kernel, "other?", **name(1))
    assert ran.place == "turn 2 of main"
    ask(kernel, "last?", **name(9))
    messages = fake_ollama.bodies("/api/chat")[-1]["messages"]
    asked = [m["content"] for m in messages if m["role"] == "user"]
    assert asked == ["0?", "other?", "2?", "last?"]


def test_turns_of_cells_deleted_at_any_earlier_time_are_removed(kernel):
    """The front end reports a deleted cell once, with the next cell of any kind."""
    for cell in "abc":
        ask(kernel, f"question {cell}", cell)
    kernel.run("1 + 1", "x", deleted=["a"])
    text = kernel.run("%ollama history", "h").text
    assert "question a" not in text
    assert "question b" in text
    assert "its cell was deleted" in kernel.run("%ollama history --all").text
    assert "question a" in kernel.run("%ollama undo", "u", deleted=["y"]).text
    assert "question a" in kernel.run("%ollama history").text


def test_a_cell_that_was_cut_and_pasted_keeps_its_turn(kernel, fake_ollama):
    for cell in "abc":
        ask(kernel, f"{cell}?", cell)
    ran = ask(kernel, "b again?", "b", deleted=["b"])
    assert ran.place == "turn 2 of main"


# -- faults -------------------------------------------------------------------------


def test_a_command_also_reports_a_store_of_a_newer_version(notebooks):
    with sqlite3.connect(notebooks.history) as database:
        database.execute("CREATE TABLE t (x)")
        database.execute(f"PRAGMA application_id={0x6F6C6D67}")
        database.execute("PRAGMA user_version=99")
    database.close()
    kernel = notebooks.open("a.ipynb")
    ran = kernel.run("%ollama history")
    assert "pip install -U ollama-magic" in ran.text
    assert "pip install" not in ask(kernel, "one?", "a").text


# -- history and changes ------------------------------------------------------------


def test_history_shows_what_is_stale_dropped_and_replaced(kernel):
    for cell in "abc":
        ask(kernel, f"question {cell}", cell)
    ask(kernel, "question a2", "a")
    ran = kernel.run(
        "turns = %ollama history\nfor t in turns: print(t.number, t.is_stale)"
    )
    assert ran.streams == "1 False\n2 True\n3 True\n"
    text = kernel.run("%ollama history").text
    assert " stale " in text
    assert "run the cell again" in text
    assert "Removed the turn 'question b'" in kernel.run("%ollama drop 2").text
    text = kernel.run("%ollama history --all").text
    assert "replaced by a later run" in text
    assert "dropped" in text
    assert "question b" not in kernel.run("%ollama history").text
    ran = kernel.run("%ollama undo")
    assert ran.text == "Restored the turn 'question b' (dropped)."
    ran = kernel.run("%ollama undo")
    assert ran.text == (
        "Removed the turn 'question a2'; "
        "restored the turn 'question a', which it had replaced."
    )
    assert "stale" not in kernel.run("%ollama history").text


def test_history_shows_prompts_as_typed_and_replies_without_markdown(
    kernel, fake_ollama
):
    fake_ollama.reply("It is **good**:\n\n```python\nx = 2 * 3\n```")
    kernel.run("sales = 'a,b\\n1,2\\n' * 50")
    ask(kernel, "**Summarise** {{ sales }}", "a")
    ran = kernel.run("%ollama history")
    assert "Summarise {{ sales }}  It is good: x = 2 * 3  " in ran.text
    assert "a,b" not in ran.html
    told = "(turn,) = %ollama history\nprint(turn.prompt[:20], turn.tokens > 100)"
    assert kernel.run(told).streams == "**Summarise** a,b\n1, True\n"
    kernel.run("%config OllamaMagics.cached = True")
    assert re.search(
        r"  20\d\d-\d\d-\d\d \d\d:\d\d$", kernel.run("%ollama history").text
    )
    kernel.run("%config OllamaMagics.cached = False")


def test_a_new_conversation_hides_the_turns_before_it(kernel):
    ask(kernel, "before?", "a")
    kernel.run("%ollama new", "n")
    ask(kernel, "after?", "b")
    ran = kernel.run("%ollama history")
    assert "before?" not in ran.text
    assert "1 turn before the last %ollama new: %ollama history --all" in ran.text
    assert "before %ollama new" in kernel.run("%ollama history --all").text
    ran = kernel.run(
        "for t in get_ipython().run_line_magic('ollama', 'history'): print(t.number)"
    )
    assert ran.streams == "2\n", "the number that the footer shows too"


def test_a_long_history_shows_its_end_and_contains_all_turns(kernel, tmp_path):
    kernel.run(
        "from ollama_magic.history.store import ChatStore\n"
        "from ollama_magic.history.turns import Turn\n"
        "from pathlib import Path\n"
        f"store = ChatStore(Path({str(tmp_path / 'chats.sqlite')!r}), warn=print)\n"
        f"key = store.identify_notebook({str(tmp_path / 'notebook.ipynb')!r}).key\n"
        "for n in range(1, 121):\n"
        "    turn = Turn(prompt=f'prompt {n}.', reply='r', model='m')\n"
        "    store.record(key, 'main', turn)\n"
        "store.close()"
    )
    ran = kernel.run("%ollama history")
    assert "prompt 120." in ran.text
    assert "prompt 71." in ran.text
    assert "prompt 70." not in ran.text
    assert "last 50 of 120 turns; for all: turns = %ollama history" in ran.text
    ran = kernel.run("turns = %ollama history\nprint(len(turns), turns[0].prompt)")
    assert ran.streams == "120 prompt 1.\n"


@pytest.mark.parametrize("number", ["0", "3", "x"])
def test_a_missing_turn_cannot_be_dropped(kernel, number):
    for cell in "ab":
        ask(kernel, f"{cell}?", cell)
    ran = kernel.run(f"%ollama drop {number}")
    assert ran.status == "error"
    assert ran.error.splitlines() == [
        f"ConfigError: Chat 'main' has no turn {number}.",
        "  why:  its turns are 1 to 2",
        "  next: %ollama history",
    ]


def test_a_cell_moves_to_another_chat_and_back(kernel):
    ask(kernel, "a?", "a")
    ask(kernel, "b?", "b")
    ask(kernel, "a?", "a", "-c side")
    assert "its cell moved to another chat" in kernel.run("%ollama history --all").text
    ran = kernel.run("%ollama undo")
    assert "restored the turn 'a?' in its earlier chat." in ran.text
    ran = kernel.run("turns = %ollama history\nprint([t.prompt for t in turns])")
    assert ran.streams == "['a?', 'b?']\n"


def test_chats_are_renamed_and_deleted(kernel):
    ask(kernel, "a?", "a")
    ask(kernel, "b?", "b", "-c side")
    assert 'to "ideas"' in kernel.run("%ollama chat side --rename ideas").text
    ran = kernel.run("chats = %ollama chats\nprint([(c.name, c.turns) for c in chats])")
    assert ran.streams == "[('main', 1), ('ideas', 1)]\n"
    taken = kernel.run("%ollama chat ideas --rename main")
    assert "chat 'main' already exists" in taken.error
    unsure = kernel.run("%ollama chat ideas --delete")
    assert "%ollama chat ideas --delete -y" in unsure.error
    kernel.answers = ["n", "y"]
    ran = kernel.run("%ollama chat ideas --delete")
    assert "1 turn" in ran.asked[0]
    assert "can't be undone" in ran.asked[0]
    assert ran.text == "Nothing was deleted."
    ran = kernel.run("%ollama chat ideas --delete")
    assert ran.text == 'Deleted chat "ideas" and all its turns.'
    assert "ideas" not in kernel.run("%ollama chats").text
    assert "no chat 'ideas'" in kernel.run("%ollama chat ideas --delete -y").error


def test_prune_says_what_it_deletes_and_asks(kernel):
    assert "Nothing to delete" in kernel.run("%ollama prune").text
    for prompt in ("one?", "two?"):
        ask(kernel, prompt, "a")
    ran = kernel.run("%ollama prune")
    assert "%ollama prune -y" in ran.error
    kernel.answers = ["y"]
    ran = kernel.run("%ollama prune --older-than 30")
    assert "1 discarded turn" in ran.asked[0]
    assert "Deleted 1 discarded turn" in ran.text
    assert "Chats of all notebooks: " in ran.text
    assert "one?" not in kernel.run("%ollama history --all").text
    bad = kernel.run("%ollama prune --older-than never")
    assert "a number of days" in bad.streams + (bad.error or "")


def test_the_status_shows_the_size_of_the_store(kernel, tmp_path):
    ask(kernel, "a?", "a")
    for command in ("%ollama", "%ollama chats"):
        shown = " ".join(kernel.run(command).text.split())
        assert f"kB in {tmp_path / 'chats.sqlite'}" in shown


def test_thinking_is_kept_and_not_sent_back(kernel, fake_ollama):
    fake_ollama.reply("42", thinking="six times seven")
    ask(kernel, "What?", "a")
    ask(kernel, "And now?", "b")
    assert "six times seven" not in str(fake_ollama.bodies("/api/chat")[-1])
    ran = kernel.run("turns = %ollama history\nprint(turns[0].thinking)")
    assert ran.streams == "six times seven\n"
