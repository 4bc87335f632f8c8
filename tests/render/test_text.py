"""Deceptive characters are visible or removed."""

import json

import pytest

from ollama_magic.render.text import (
    VisiblePieces,
    count_invisible,
    escaped_invisible,
    visible_code,
    visible_text,
)


def test_every_deceptive_character_is_visible_or_removed():
    bad = [*range(0x20), *range(0x7F, 0xA0), 0x061C, *range(0x200E, 0x2010)]
    bad += [*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xE0000, 0xE0080)]
    bad += [0xD800, 0xDFFF, 0x200B, 0xFEFF, 0x2060]
    shown = visible_text("".join(map(chr, bad)))
    assert not set(shown) & {chr(code) for code in bad} - {"\n", "\t"}
    shown.encode()


def test_joiners_of_emoji_and_scripts_are_kept():
    family = "👩\u200d👧 क\u094d\u200dष ﬁ é"
    assert visible_text(family) == family
    assert count_invisible(family) == 0


MEANT = ["👩\u200d👧", "❤\ufe0f\u200d🔥", "می\u200cخواهم", "1\ufe0f\u20e3", "ك\u200d ا"]


@pytest.mark.parametrize("meant", MEANT)
def test_characters_that_join_or_choose_are_kept_where_they_mean_something(meant):
    assert visible_text(f"a {meant} b") == f"a {meant} b"
    pieces = VisiblePieces()
    assert "".join(map(pieces.add, f"a {meant} b")) == f"a {meant} b"


@pytest.mark.parametrize(
    ("before", "unseen"),
    [
        ("a", "\u200d"),
        ("é", "\u200c"),
        ("", "\u200d"),
        ("а", "\u200d"),
        ("a", "\ufe0f\u200d"),
        ("0", "\u200c\ufe00"),
    ],
)
@pytest.mark.parametrize("times", [1, 40])
def test_characters_that_join_nothing_are_removed(before, unseen, times):
    text = f"{before}{unseen * times} ok"
    assert visible_text(text) == f"{before} ok"
    assert count_invisible(text) == len(unseen) * times


def test_a_text_can_hide_nothing_after_a_character_that_joins():
    bits = "".join("\u200c\u200d"[int(bit)] for bit in f"{1234567:b}")
    for before in "👩", "ب", "❤\ufe0f":
        assert visible_text(f"{before}{bits}x") == f"{before}{bits[0]}x"
        pieces = VisiblePieces()
        assert "".join(map(pieces.add, f"{before}{bits}x")) == f"{before}{bits[0]}x"


def test_flags_and_line_ends_may_come_in_pieces():
    flag = "🏴" + "".join(chr(0xE0000 + ord(c)) for c in "gbeng\x7f")
    pieces = VisiblePieces()
    assert "".join(map(pieces.add, f"a\r\nb {flag} c")) == f"a\nb {flag} c"


def test_names_in_code_have_no_invisible_characters():
    """``é`` with a selector would be another variable of the same look."""
    code = 'é\ufe00 = 1; 名\ufe01 = "❤\ufe0f"; is_admin\u200d = True'
    assert visible_code(code) == 'é = 1; 名 = "❤\ufe0f"; is_admin = True'


def test_invisible_characters_of_arguments_are_escaped():
    given = '{"a": "b\u202e\u200b\ufe0f c\x1b\u2028 👩\u200d👧\U000e0041"}'
    shown = escaped_invisible(given)
    assert json.loads(shown) == json.loads(given, strict=False)
    assert visible_text(shown) == shown
    assert "👩\u200d👧" in shown


def test_line_ends_become_newlines():
    assert visible_text("a\r\nb\rc\n") == "a\nb\nc\n"


def test_tags_of_flags_are_kept_and_others_removed():
    tags = {
        name: "".join(chr(0xE0000 + ord(c)) for c in name) for name in ("gbsct", "no")
    }
    flag, other = (f"\N{WAVING BLACK FLAG}{tag}\U000e007f" for tag in tags.values())
    assert visible_text(f"a {flag} b") == f"a {flag} b"
    assert count_invisible(flag) == 0
    assert visible_text(other) == "\N{WAVING BLACK FLAG}"
    assert count_invisible(other) == 3
