"""The versions of a turn: what a re-run replaced is listed, and can be used again."""

import nbformat
import pytest


@pytest.fixture
def three(kernel, fake_ollama):
    """Provide a kernel in which cell ``a`` was run three times, and ``b`` once."""
    for number, word in enumerate(["one", "two", "three"], 1):
        fake_ollama.reply(f"Reply {word}.")
        ran = kernel.run(f"%%ollama\nask {word}", "a")
        assert ran.place == "turn 1 of main"
        assert (f" · version {number}<" in ran.html) is (number > 1)
    fake_ollama.reply("Hello!")
    assert "version" not in kernel.run("%%ollama\nand then?", "b").html
    return kernel


def sent(fake_ollama):
    return [one["content"] for one in fake_ollama.bodies("/api/chat")[-1]["messages"]]


def test_versions_are_listed(three):
    ran = three.run("versions = %ollama versions\nversions", "v")
    assert ran.text.count("Reply ") == 1 + 3
    assert "3 (in use)" in ran.text
    assert "%ollama versions T --use N" in ran.text
    assert "and then?" not in ran.text
    ran = three.run("print([(v.turn, v.number, v.reply) for v in versions][0])")
    assert ran.streams == "(1, 1, 'Reply one.')\n"


def test_the_versions_of_one_turn_are_shown_side_by_side(three):
    ran = three.run("%ollama versions 1", "v")
    assert "display:grid" in ran.html
    places = [ran.html.index(text) for text in ("Version 1", "Reply one.", "Version 2")]
    assert places == sorted(places)
    assert "prompt: ask one" in ran.html
    assert "%ollama versions 1 --use N" in ran.html


def test_a_version_is_made_the_turn_again(three, fake_ollama):
    ran = three.run("%ollama versions 1 --use 1", "v")
    assert ran.status == "ok", ran.error
    assert ran.text == "Reply one."
    assert "turn 1 of main, version 1" in ran.html
    assert ran.provenance["of_cell"] == "a"
    assert "1 (in use)" in three.run("%ollama versions").text
    assert "stale" in three.run("%ollama history").text
    three.run("%%ollama\nand then?", "b")
    assert sent(fake_ollama) == ["ask one", "Reply one.", "and then?"]
    assert "stale" not in three.run("%ollama history").text
    fake_ollama.reply("Reply four.")
    assert "version 4" in three.run("%%ollama\nask four", "a").html
    assert "in use" in three.run("%ollama versions 1").text


def test_undo_takes_the_use_of_a_version_back(three, fake_ollama):
    three.run("%ollama versions 1 --use 2", "v")
    assert "which it had replaced" in three.run("%ollama undo").text
    three.run("%%ollama\nlater?", "c")
    assert sent(fake_ollama)[:2] == ["ask three", "Reply three."]
    assert three.run("%ollama versions").text.count("Reply ") == 1 + 3


def test_an_equal_reply_is_no_new_version(three, fake_ollama):
    fake_ollama.reply("Reply two.")
    assert " · version 2<" in three.run("%%ollama\nask two", "a").html
    assert three.run("%ollama versions").text.count("Reply ") == 1 + 3


def test_versions_outlive_the_kernel_and_an_undo(three):
    three.run("%ollama undo")  # the turn of b
    three.run("%ollama undo")
    three.run("%reload_ext ollama_magic")
    ran = three.run("%ollama versions")
    assert ran.text.count("Reply ") == 1 + 3
    assert "2 (in use)" in ran.text


def test_without_a_number_the_last_turn_is_meant(three, fake_ollama):
    fake_ollama.reply("Bye!")
    three.run("%%ollama\nand then?", "b")
    assert three.run("%ollama versions --use 1", "v").text == "Hello!"


def test_a_restored_chat_has_the_version_that_was_used(three, fake_ollama, tmp_path):
    fake_ollama.reply("Reply three.")
    cells = [("a", "%%ollama\nask three"), ("v", "%ollama versions 1 --use 1")]
    notebook = nbformat.v4.new_notebook()
    for cell_id, source in cells:
        (output,) = three.run(source, cell_id).outputs
        cell = nbformat.v4.new_code_cell(source, id=cell_id)
        shown = {"data": output["data"], "metadata": output["metadata"]}
        cell.outputs = [nbformat.v4.new_output("display_data", **shown)]
        notebook.cells.append(cell)
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    three.run("%reload_ext ollama_magic")
    three.run(f"%config OllamaMagics.history_file = {str(tmp_path / 'new.sqlite')!r}")
    assert "Restored 1 turn" in three.run("%ollama restore").text
    history = three.run("%ollama history").text
    assert "Reply one." in history
    assert "Reply three." not in history


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("versions 9", "has no turn 9"),
        ("versions 1 --use 7", "its versions are 1 to 3"),
        ("versions 1 --use x", "whole number"),
        ("versions 2 --use 2", "its versions are 1 to 1"),
    ],
)
def test_what_is_not_there_is_an_error(three, command, said):
    ran = three.run(f"%ollama {command}")
    assert ran.status == "error"
    assert said in (ran.error or ran.streams)


def test_a_turn_with_one_version_says_so(three):
    assert three.run("%ollama versions 2").text == "Turn 2 has one version."
