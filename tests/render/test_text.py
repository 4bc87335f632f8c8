"""Deceptive characters are visible or removed."""

from ollama_magic.render.text import count_invisible, visible_text


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
