"""Listings as objects."""

from dataclasses import dataclass

from ollama_magic.render.tables import Listing


@dataclass
class Row:
    name: str
    size: int


ROWS = [Row("a<b>", 1), Row("c", 22)]
COLUMNS = {"NAME": lambda r: r.name, "SIZE": lambda r: r.size}


def test_a_listing_is_a_sequence_of_its_rows():
    listing = Listing(ROWS, COLUMNS, "nothing")
    assert list(listing) == ROWS
    assert (len(listing), listing[1], listing[:1]) == (2, ROWS[1], (ROWS[0],))


def test_it_shows_as_a_table_with_everything_escaped():
    bundle = Listing(ROWS, COLUMNS, "nothing")._repr_mimebundle_()
    assert "a&lt;b&gt;" in bundle["text/html"]
    assert "a<b>" in bundle["text/plain"]
    assert "NAME" in bundle["text/plain"]


def test_an_empty_one_says_what_to_do():
    bundle = Listing([], COLUMNS, "nothing yet; try x")._repr_mimebundle_()
    assert bundle == {"text/plain": "nothing yet; try x"}
