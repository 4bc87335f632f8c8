"""Tables and facts as text: what fits, what is shortened, wrapped or stacked."""

import pytest

from ollama_magic.render.aligned import (
    Cell,
    display_width,
    facts_text,
    shortened,
    table_text,
    wrapped,
)
from ollama_magic.render.terminal import dim_marks

COLUMNS = ("Name", "Size", "Model", "Used")
ROWS = [
    ("llama3.2:3b", "2.0 GB", "3.2B · Q4_K_M", "3 days ago"),
    ("hf.co/me/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", "807 MB", "", "1 hour ago"),
    ("日本語/モデル:1b", "cloud", "", "just now"),
]


NAME = ROWS[1][0]


@pytest.mark.parametrize("width", [100, 79, 60, 39])
def test_a_table_fits_and_leaves_nothing_out(width):
    text = table_text(COLUMNS, ROWS, width)
    shown = "".join(text.split())
    for word in [word for row in ROWS for cell in row for word in cell.split()]:
        assert word in shown or word == NAME
    widest = max(map(display_width, text.split("\n")))
    assert widest <= max(width, len(NAME) if width < 60 else 0)


def test_columns_stay_aligned_beside_wide_characters():
    lines = table_text(COLUMNS, ROWS, 100).split("\n")
    starts = {
        display_width(line[: line.index(size)])
        for line, size in zip(lines, ["Size", "2.0 GB", "807 MB", "cloud"], strict=True)
    }
    assert len(starts) == 1


def test_long_names_wrap_after_slashes_and_hyphens_and_sizes_do_not():
    lines = table_text(COLUMNS, ROWS, 60).split("\n")
    assert "2.0 GB" in lines[1]
    assert [line.split(" ")[0] for line in lines[2:5]] == [
        "hf.co/me/", "Llama-3.2-1B-Instruct-", "GGUF:Q4_K_M",
    ]  # fmt: skip


def test_a_row_that_does_not_fit_is_a_block_without_its_empty_cells():
    text = table_text(
        ("Turn", "Model", "Status"), [("1", "a" * 20, ""), (2, "b", "x")], 20
    )
    assert text == f"Turn 1\n  Model\n    {'a' * 20}\nTurn 2\n  Model   b\n  Status  x"


def test_previews_are_shortened_before_anything_is_wrapped():
    rows = [(1, Cell("a b " * 20, is_preview=True), "replaced by a later run")]
    text = table_text(("Turn", "Prompt", "Status"), rows, 60)
    _, line = text.split("\n")
    assert line.endswith("replaced by a later run")
    assert "a b…" in line
    assert display_width(line) <= 60


def test_facts_align_their_values_and_keep_paths_whole():
    path = "/home/ann/notebooks/a/long/path/of/a/notebook.ipynb"
    facts = [("Model", "llama3.2:3b"), ("Notebook", path), ("Try", "a\nb")]
    assert facts_text(facts, 80) == (
        f"Model     llama3.2:3b\nNotebook  {path}\nTry       a\n          b"
    )
    narrow = facts_text(facts, 30).split("\n")
    assert narrow[:3] == ["Model     llama3.2:3b", "Notebook", f"  {path}"]


def test_text_is_shortened_and_wrapped_by_its_width_on_screen():
    assert shortened("日本語テキスト", 7) == "日本語…"
    assert shortened("abc", 3) == "abc"
    assert wrapped("日本語 text", 6) == ["日本語", "text"]
    assert wrapped("日本語テキスト", 6) == ["日本語", "テキス", "ト"]
    assert wrapped("", 5) == [""]
    assert display_width("👍🏽") == 4  # as terminals without ligatures show it


def test_nothing_is_dimmed_with_no_color(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert dim_marks(is_tty=True)[0]
    assert not dim_marks(is_tty=False)[0]
    monkeypatch.setenv("NO_COLOR", "1")
    assert dim_marks(is_tty=True) == ("", "")
