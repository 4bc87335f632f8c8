"""Listings, tables and pages of text."""

from dataclasses import dataclass

import html5lib

from ollama_magic.render.tables import (
    PAGE_STYLE,
    Listing,
    TextPage,
    table_html,
    table_text,
)


@dataclass
class Row:
    name: str
    size: int


ROWS = [Row("a<b>", 1), Row("c", 22)]
SCRIPT = "<script>alert(1)</script>"
HOSTILE = "a\x1b[31mb\u202ec\r\n<b>"
COLUMNS = {"Name": lambda r: r.name, "Size": lambda r: r.size}


def test_listing_is_a_sequence_of_its_rows():
    listing = Listing(ROWS, COLUMNS, "nothing")
    assert list(listing) == ROWS
    assert (len(listing), listing[1], listing[:1]) == (2, ROWS[1], (ROWS[0],))


def test_listing_is_a_table_with_escaped_cells():
    bundle = Listing(ROWS, COLUMNS, "nothing")._repr_mimebundle_()
    assert "a&lt;b&gt;" in bundle["text/html"]
    assert "a<b>" in bundle["text/plain"]
    assert "Name" in bundle["text/plain"]


def test_a_column_without_any_value_is_left_out():
    listing = Listing(ROWS, {**COLUMNS, "Note": lambda _: ""}, "nothing")
    assert "Note" not in repr(listing)
    assert "Note" not in listing._repr_mimebundle_()["text/html"]


def test_empty_listing_says_what_to_do():
    bundle = Listing([], COLUMNS, "nothing yet; try x")._repr_mimebundle_()
    assert bundle == {"text/plain": "nothing yet; try x"}


def test_table_shows_every_cell_as_text():
    made = table_html(("name", "size"), [(SCRIPT, "$1 and $2")])
    assert "script" not in {
        element.tag
        for element in html5lib.parseFragment(made, namespaceHTMLElements=False).iter()
    }
    assert "&lt;script&gt;" in made
    assert "mathjax_ignore" in made


def test_table_aligns_wide_characters_and_has_no_line_breaks():
    text = table_text(("a", "b"), [("日本", "x"), ("c\nd", "\x1b[2Jy")])
    assert text.splitlines() == ["a     b", "日本  x", "c d   ␛[2Jy"]


def test_table_without_rows_shows_its_headings():
    assert table_text(("a", "b"), []) == "a  b"


def test_page_shows_visible_text_and_keeps_the_original():
    page = TextPage(HOSTILE)
    assert str(page) == repr(page) == "a␛[31mbc\n<b>"
    data, _ = page._repr_mimebundle_()
    assert data["text/html"] == f'<pre style="{PAGE_STYLE}">a␛[31mbc\n&lt;b&gt;</pre>'
    assert page.text == HOSTILE
