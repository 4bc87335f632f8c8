import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_magic.render.blocks import CAP_CHARACTERS, BlockSplitter, split_blocks
from ollama_magic.render.incremental import shown_block

_LINES = r"""
``` ```py ~~~ $$ \[ \] -·a ··-·b 1.·a 2)·b >·q |·a·|·b·| |---|---| #·h --- *** ===
····code text. <div> </div> <pre> </pre> <!-- --> \begin{x} a·$$ ···``` ··text
2026.·no - | $ long.·words·and·words·and·words·and·words.·more
"""
_SEEN = [line.replace("·", " ") for line in _LINES.split()]
LINES = st.sampled_from([*_SEEN, "", "\t", "\r"])
MARKDOWN = st.lists(LINES, max_size=30).map("\n".join) | st.text(max_size=80)


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(places)]


@given(MARKDOWN, st.lists(st.integers(0, 300)), st.sampled_from([None, 40]))
@example("long. words and words and words and words. more\n|---|---|\n", [], 40)
def test_joined_blocks_are_the_text_for_any_fragments(text, cuts, cap):
    splitter = BlockSplitter(cap)
    blocks = [b for piece in pieces_of(text, cuts) for b in splitter.feed(piece)]
    assert "".join(b.source for b in blocks + splitter.open_blocks()) == text


@given(MARKDOWN, st.lists(st.integers(0, 300)))
@example("# h\n\t", [])
def test_finished_blocks_do_not_depend_on_the_fragments(text, cuts):
    """The blocks of a stream are those of the whole text."""
    splitter = BlockSplitter()
    blocks = [b for piece in pieces_of(text, cuts) for b in splitter.feed(piece)]
    # A blank last line belongs to the last block of a whole text.
    is_blank = not text.rpartition("\n")[2].strip()
    assert split_blocks(text)[: len(blocks)] == blocks or is_blank
    assert BlockSplitter().feed(text) == blocks


@given(MARKDOWN)
def test_splitting_a_whole_text_is_lossless(text):
    assert "".join(block.source for block in split_blocks(text)) == text


CASES = {
    "list after a paragraph": ("text\n- a\n- b", ["paragraph", "list"]),
    "no list from a year": ("in\n2026. It was", ["paragraph"]),
    "numbers after bullets": ("- a\n1. b", ["list", "list"]),
    "nested with two spaces": ("- a\n  - b\n\n    text\n- c", ["list"]),
    "fence in a list": ("1. a\n   ```\n\n   - x\n   ```\n2. b", ["list"]),
    "fence at the margin": ("1. a\n```\nx\n```\n2. b", ["list", "fence", "list"]),
    "marks in a fence": ("```\n# a\n\n- b\n~~~\n```\nc", ["fence", "paragraph"]),
    "shorter end in a fence": ("````\n```\n````", ["fence"]),
    "table after text": ("text\n|a|b|\n|-|-|\n|1|2|", ["paragraph", "table"]),
    "math over lines": ("$$\na\n$$\ntext", ["math", "paragraph"]),
    "math in square brackets": ("text\n\\[\na\n\\]", ["paragraph", "math"]),
    "an environment": ("\\begin{align}\na\n\\end{align}", ["math"]),
    "math that goes on as text": ("$$a$$ is nice", ["paragraph"]),
    "a stray opening": ("$$\na\n\ntext", ["paragraph", "paragraph"]),
    "a fence below it": ("$$ is a\n\n```\n$$\n```", ["paragraph", "fence"]),
    "a fence at once": ("$$\n```\n$$\n```", ["paragraph", "fence"]),
    "a fence in brackets": ("\\[\na\n\n```\nx\n```", ["math", "fence"]),
    "a blank line in math": ("$$\n\na\n$$", ["math"]),
    "an open comment": ("<!-- a\n\n```\nx\n```\nb", ["html", "fence", "paragraph"]),
    "ticks in HTML": ("<pre>\n```\nx\n```\n</pre>", ["html"]),
    "underlined": ("Title\n---\ntext", ["heading", "paragraph"]),
    "quote with lazy lines": ("> a\nb\n\nc", ["quote", "paragraph"]),
    "HTML until a blank": ("<div>\nx\n\ny", ["html", "paragraph"]),
    "script to its end": ("<script>\n\nx\n</script>\ny", ["html", "paragraph"]),
    "indented": (
        "a\n\n    code\n\n    code\n\nb",
        ["paragraph", "indented", "paragraph"],
    ),
    "no heading without space": ("#tag", ["paragraph"]),
}


@pytest.mark.parametrize(("text", "kinds"), CASES.values(), ids=CASES.keys())
def test_blocks_end_as_in_markdown(text, kinds):
    assert [block.kind for block in split_blocks(text)] == kinds


def test_list_is_finished_as_soon_as_text_follows():
    splitter = BlockSplitter()
    assert splitter.feed("- a\n\n*") == []
    assert [block.source for block in splitter.feed("*bold")] == ["- a\n\n"]


GIANTS = {
    "fence": "```python\n" + "x = 1\n" * 5000,
    "list": "- a word\n" * 5000,
    "table": "|a|b|\n|-|-|\n" + "| 1 | 2 |\n" * 5000,
    "paragraph": "One sentence of some words. " * 2000,
    "quote": "> some words\n" * 5000,
    "lines": "words\n" * 5000,
}


@pytest.mark.parametrize("text", GIANTS.values(), ids=GIANTS.keys())
def test_long_open_block_is_cut_into_pieces(text):
    """Each paint converts little text."""
    splitter = BlockSplitter(CAP_CHARACTERS)
    blocks = splitter.feed(text)
    opened = splitter.open_blocks()
    assert sum(len(block.source) for block in opened) <= CAP_CHARACTERS + 50
    assert "".join(block.source for block in blocks + opened) == text
    assert len({block.kind for block in blocks}) == 1


def test_pieces_of_a_fence_are_fences():
    splitter = BlockSplitter(20)
    first, second = splitter.feed("```py\n" + "x = 1\n" * 8)
    assert first.shown.endswith("x = 1\n```\n")
    assert second.shown.startswith("```py\nx = 1\n")


HALF_WRITTEN = {
    "bold": ("a **bo", "a **bo**"),
    "nested": ("**a *b", "**a *b***"),
    "code": ("see `co", "see `co`"),
    "struck": ("~~a", "~~a~~"),
    "marks alone": ("text **", "text "),
    "a bullet to be": ("- x\n-", "- x"),
    "an underline to be": ("Title\n-", "Title"),
    "link": ("see [text](http://ho", "see text"),
    "image": ("see ![text](http://ho", "see"),
    "math": ("so $\\frac{a", "so"),
    "money": ("costs $5 and", "costs $5 and"),
    "round math": ("so \\(a + b", "so"),
    "tag": ("a <di", "a"),
    "head of a table": ("| a | b |\n", "| a | b |\n|---|---|\n"),
    "row of a table": ("|a|b|\n|-|-|\n| **x", "|a|b|\n|-|-|\n| **x**"),
    "display math": ("$$\na + b", "$$\na + b"),
    "end of a fence": ("```\nx\n``", "```\nx\n"),
    "stars in code": ("`a ** b` c", "`a ** b` c"),
    "names": ("snake_case and 2 * 3", "snake_case and 2 * 3"),
}


@pytest.mark.parametrize(
    ("text", "shown"), HALF_WRITTEN.values(), ids=HALF_WRITTEN.keys()
)
def test_half_written_syntax_is_closed_or_held_back(text, shown):
    splitter = BlockSplitter()
    splitter.feed(text)
    assert shown_block(splitter.open_blocks()[-1]).shown == shown


@given(MARKDOWN)
def test_open_blocks_can_always_be_shown(text):
    splitter = BlockSplitter(40)
    splitter.feed(text)
    for block in splitter.open_blocks():
        words = re.findall(r"[a-z]{4}", block.source)
        is_html = block.kind == "html"
        assert len(shown_block(block).shown) >= (len("".join(words)) if is_html else 0)


def test_delimiter_row_after_a_cut_paragraph_starts_no_table():
    """The line above it was shown already."""
    splitter = BlockSplitter(10)
    splitter.feed("One sentence. Two | ends.\n")
    blocks = splitter.feed("|---|\n|x|\n\n")
    assert all(block.kind == "paragraph" for block in blocks[:1])
    for cap in (1, 10, 40):
        text = "a | b. " * 10 + "\n|-|-|\n" * 3
        for step in (1, 3, 7):
            splitter = BlockSplitter(cap)
            found = [
                block
                for start in range(0, len(text), step)
                for block in splitter.feed(text[start : start + step])
            ]
            found += splitter.open_blocks()
            assert "".join(block.source for block in found) == text
