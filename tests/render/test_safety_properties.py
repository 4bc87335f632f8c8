"""Properties of any text: in views, the stream reader, visible text and prompts."""

import itertools
import json
from contextlib import suppress

import corpus
import html5lib
import pytest
from examples import examples
from hostile import hidden, is_hidden, reparsed_violations, violations
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from ollama_magic.client.streams import read_objects
from ollama_magic.errors import PromptError, harmless
from ollama_magic.generation.prompt import fill
from ollama_magic.render import safe_html
from ollama_magic.render.code import code_blocks
from ollama_magic.render.reply import ReplyView, reply_bundle, shows_reply
from ollama_magic.render.text import VisiblePieces, count_invisible, visible_text
from ollama_magic.render.theme import without_style

VIEWS = ["markdown", "text", "html", "code", "json"]
SOME = [text for text in corpus.vectors().values() if len(text) < 80]
_PIECES = [
    "<",
    ">",
    "&",
    '"',
    "'",
    "=",
    "/",
    "`",
    "\n",
    "\n\n",
    " ",
    "[",
    "](",
    ")",
    "$",
]
_PIECES += [
    "<b>",
    "</p>",
    "<!--",
    "-->",
    "```\n",
    "~~~\n",
    "| a |\n|---|\n",
    "- ",
    "> ",
]
_PIECES += [
    "javascript:",
    "http:",
    "https://a.example/",
    "&#x202e;",
    "\u202e",
    "\x1b[",
    "\\",
]
_PIECES += [
    "onerror=x ",
    "<img ",
    "<svg>",
    "<style>",
    "<math>",
    "<a href=",
    "<details ",
    "\\(",
]
HOSTILE = st.lists(
    st.sampled_from(_PIECES) | st.sampled_from(SOME) | st.text(max_size=4), max_size=12
).map("".join)


@examples(150, suppress_health_check=[HealthCheck.too_slow])
@given(HOSTILE, st.sampled_from(VIEWS))
def test_any_text_in_any_view_stays_safe_when_parsed_again(text, view):
    """Mutation: one parser reads what another wrote."""
    page = reply_bundle(ReplyView(text, view=view))["text/html"]
    assert violations(page, may_be_ours=True) == []
    assert reparsed_violations(page) == []
    again = safe_html.sanitised(page)
    assert violations(again, may_be_ours=True) == []


@examples(150, suppress_health_check=[HealthCheck.too_slow])
@given(HOSTILE, st.sampled_from(VIEWS))
@example("```\nx\n```\n$$", "code")
def test_the_page_of_any_text_is_known_to_show_it(text, view):
    page = reply_bundle(
        ReplyView(
            text, thinking=text, view=view, footer=(text,), notice=text, context_share=1
        )
    )["text/html"]
    assert shows_reply(page, text, view)
    if view != "html":  # which need not show any of it
        assert not shows_reply(page, f"{text}\n\n```py\nother\n```\n", view)


@examples(150, suppress_health_check=[HealthCheck.too_slow])
@given(HOSTILE)
@example("$$ is a\n\n```\n$$\n```")
def test_nothing_before_code_takes_it_away(text):
    """Only a fence that is still open does."""
    before, after = code_blocks(text), code_blocks(f"{text}\n\n```py\nother\n```\n")
    assert after != before
    assert before[:-1] == after[: len(before)][:-1]
    assert "other\n" in after[-1].source


WORDS = st.lists(
    st.text(st.characters(categories=["Lu", "Ll", "Lo", "Nd"]), min_size=1, max_size=8),
    min_size=1,
    max_size=12,
)


@examples(100)
@given(WORDS, st.sampled_from(VIEWS))
def test_plain_words_survive_in_every_view(words, view):
    words = [word for word in words if not hidden(word) and not word.isdigit()] or ["a"]
    page = reply_bundle(ReplyView(" ".join(words), view=view))["text/html"]
    page = without_style(page)
    shown = "".join(html5lib.parseFragment(page).itertext()).split()
    assert shown == " ".join(words).split()


@examples(80)
@given(HOSTILE)
def test_text_view_shows_every_visible_character(text):
    page = safe_html.text_html(text)
    shown = "".join(html5lib.parseFragment(page).itertext())
    assert shown == visible_text(text)


# -- what is visible ------------------------------------------------------------


JOINING = {*range(0x180B, 0x180E), 0x180F, *range(0xFE00, 0xFE10), 0x200C, 0x200D}
"""Variation selectors and joiners: one may follow what has variants or joins."""


@pytest.mark.parametrize("kept", ["❤️", "1️⃣", "葛︀", "👨‍👩‍👧", "ᠠ᠋"])
def test_one_variation_selector_stays(kept):
    assert visible_text(f"a {kept} b") == f"a {kept} b"
    hidden_text = "\ufe01\ufe02" * 9
    assert len(visible_text(kept + hidden_text)) <= len(kept) + 1


def test_exactly_the_deceptive_characters_are_removed_or_marked():
    """Every character that Unicode has, one by one."""
    wrong = [
        hex(code)
        for code in range(0x110000)
        if (visible_text(f"a{chr(code)}b") != f"a{chr(code)}b")
        != (is_hidden(chr(code)) or code in JOINING)
    ]
    assert wrong == []


UNSEEN = st.text(st.sampled_from("a1é👩❤بک\u20e3\u200c\u200d\ufe0f\ufe01\u200b\u202e"))


@given(st.text() | HOSTILE | UNSEEN)
def test_visible_text_is_visible_and_idempotent(text):
    shown = visible_text(text)
    pieces = VisiblePieces()
    assert "".join(map(pieces.add, text.replace("\r", ""))) == visible_text(
        text.replace("\r", "")
    )
    assert count_invisible(shown) == 0
    assert hidden(shown) == []
    assert visible_text(shown) == shown
    shown.encode()


@given(st.text() | HOSTILE)
@example("\ud7fc://")
def test_error_text_is_harmless_and_idempotent(text):
    shown = harmless(text)
    assert [char for char in hidden(shown) if char != "\t"] == []
    assert harmless(shown) == shown
    shown.encode()


# -- the stream ---------------------------------------------------------------------

ODD = st.text(
    st.sampled_from(
        '\u2028\u2029\x85\x0b\x0c\x1c\x1e\r\n\t a😀é\ud83d\ude00\ufeff\\"{}'
    )
)
LINES = st.lists(st.dictionaries(ODD, ODD | st.integers() | st.none(), max_size=3))


def joined_halves(value):
    """Return a text as the JSON reader does: pairs joined, lone halves replaced."""
    if isinstance(value, dict):
        return {joined_halves(k): joined_halves(v) for k, v in value.items()}
    if not isinstance(value, str):
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@examples(150)
@given(
    LINES,
    st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \t\r\n", b"\r\n\r\n"]),
    st.lists(st.integers(0, 500), max_size=20),
    st.booleans(),
)
def test_odd_characters_and_split_pairs_in_objects_are_read_correctly(
    objects, newline, places, is_ascii
):
    """Whatever the cuts: Unicode's line ends are text, and half a pair is one mark."""
    wanted = [joined_halves(item) for item in objects]
    source = objects if is_ascii else wanted
    lines = [json.dumps(item, ensure_ascii=is_ascii).encode() for item in source]
    data = newline.join(lines)
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    found = list(read_objects(pieces))
    assert found == wanted
    json.dumps(found, ensure_ascii=False).encode()


# -- prompts ------------------------------------------------------------------------


class Recorder:
    """Records every access to it."""

    def __init__(self, log):
        object.__setattr__(self, "log", log)

    def __getattribute__(self, name):
        log = object.__getattribute__(self, "log")
        if not name.startswith("__"):
            log.append(("attribute", name))
        return object.__getattribute__(self, name) if name.startswith("__") else self

    def __getitem__(self, key):
        object.__getattribute__(self, "log").append(("item", key))
        return self

    def __str__(self):
        return "shown"


def _forbidden(name):
    def method(self, *_, **__):
        object.__getattribute__(self, "log").append(("forbidden", name))
        raise AssertionError(name)

    return method


_FORBIDDEN = ["format", "call", "index", "int", "float", "iter", "len", "contains"]
for _name in [*_FORBIDDEN, "add", "mod", "enter"]:
    setattr(Recorder, f"__{_name}__", _forbidden(_name))

_EXPRESSIONS = [
    "{{ x }}",
    "{{x.a}}",
    "{{ x[0] }}",
    "{{x['k'].b}}",
    "{x}",
    "{x.a}",
    "{{",
    "}}",
]
_EXPRESSIONS += [
    "{{ x() }}",
    "{{ x.a() }}",
    "{{ x + x }}",
    "{{ x if x else x }}",
    "{x!r:>{x}}",
]
_EXPRESSIONS += [
    "{{ x[x] }}",
    "{{ x.__class__ }}",
    "{{ x._a }}",
    "{{ f'{x}' }}",
    "%(x)s",
    "$x",
]
_EXPRESSIONS += [
    "{{ [x for x in x] }}",
    "{{ lambda: x }}",
    "{{ x:>9 }}",
    "{{ x | y }}",
    "{%x%}",
]
_EXPRESSIONS += [
    "{{ (x := 1) }}",
    "{{ await x }}",
    "{{ *x }}",
    "{{ x; x }}",
    "{{ __import__ }}",
]
PROMPTS = st.lists(
    st.sampled_from(_EXPRESSIONS) | st.sampled_from(SOME) | st.text(max_size=5),
    max_size=6,
).map("".join)


@examples(150)
@given(PROMPTS)
def test_prompts_only_look_up_the_names_they_use(prompt):
    log = []
    with suppress(PromptError):
        fill(prompt, {"x": Recorder(log), "y": Recorder(log)})
    for what, name in log:
        assert what in {"attribute", "item"}, (prompt, log)
        assert str(name).startswith("_repr") or str(name) in prompt or what == "item"


@given(PROMPTS)
def test_prompt_without_a_placeholder_touches_nothing(prompt):
    log = []
    prompt = prompt.replace("{{", "{ ")
    assert fill(prompt, {"x": Recorder(log)}) == (prompt, (), ())
    assert log == []


def test_check_detects_a_prompt_that_runs_something():
    log = []
    with pytest.raises(AssertionError):
        f"{Recorder(log):>9}"
    with pytest.raises(AssertionError):
        Recorder(log)()
    assert log == [("forbidden", "format"), ("forbidden", "call")]
