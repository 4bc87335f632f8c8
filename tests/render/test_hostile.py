"""The corpus of attacks on every surface: nothing passes the allow-list."""

import html
import importlib
import inspect
import pkgutil
import sys
from functools import lru_cache
from itertools import product
from pathlib import Path

import corpus
import pytest
from hostile import hidden, odd_links, quick_violations, reparsed_violations, violations
from surfaces import SURFACES, VIEWS, Published, without_our_control_codes

from ollama_magic import render
from ollama_magic.render import incremental, safe_html
from ollama_magic.render.incremental import ReplyConverter
from ollama_magic.render.safe_html import page_html
from ollama_magic.render.streaming import StreamDisplay
from ollama_magic.render.text import visible_text

pytestmark = pytest.mark.slow

SAFETY = Path(__file__).parents[2] / "docs" / "safety.md"
VECTORS = corpus.vectors()
SHORT = {name: text for name, text in VECTORS.items() if len(text) <= 2000}
"""Characters; longer vectors run as answers only: on all surfaces they take minutes."""
TOKEN = "HARMLESS"
escape = html.escape  # the real one, whatever a test puts in its place


def faults(kind, value, expected=""):
    """Return what is wrong with an output; an unknown kind is wrong too."""
    if kind == "html":
        return quick_violations(value, may_be_ours=True)
    if kind in {"text", "linked"}:
        return hidden(value) + odd_links(value) * (kind == "linked")
    if kind == "repr":
        return [char for char in hidden(value) if not char.isprintable()]
    if kind == "terminal":
        return hidden(without_our_control_codes(value))
    if kind == "panel":
        return hidden(value) or [value] * (value != expected)
    return [f"a MIME type that is not ours: {kind}"]


def tried(surface, vectors):
    """Return what is wrong with a surface, by the names of the vectors."""
    harmless = [value for _, value in surface(TOKEN)]
    wrong = {}
    for name, text in vectors.items():
        shown = escape(visible_text(text))
        for number, (kind, value) in enumerate(surface(text)):
            expected = harmless[number].replace(TOKEN, shown) if kind == "panel" else ""
            if found := faults(kind, value, expected):
                wrong[name] = kind, found[:3]
    return wrong


@pytest.mark.parametrize("surface", SURFACES, ids=lambda name: name.replace(" ", "-"))
def test_no_attack_works_on_any_surface(surface):
    assert tried(SURFACES[surface], SHORT) == {}


@pytest.mark.parametrize("view", VIEWS)
def test_attacks_are_only_text_to_a_parser(view):
    """Also after the page is parsed, serialised and parsed again."""
    wrong = {}
    for name, text in VECTORS.items():
        for kind, value in SURFACES[f"answer as {view}"](text):
            if kind == "html":
                wrong[name] = violations(value, may_be_ours=True)
                wrong[name] += reparsed_violations(value)
    assert {name: found for name, found in wrong.items() if found} == {}


def frames(text, step, *, mode, view="markdown"):
    """Return all messages to a notebook while a text streams."""
    page = Published()
    display = StreamDisplay(
        page.publish,
        page.clear_output,
        view=view,
        mode=mode,
        clock=page.clock,
    )
    for start in range(0, len(text), step):
        display.feed("", text[start : start + step])
    for start in range(0, len(text), step):
        display.feed(text[start : start + step])
    return page.bundles


@pytest.fixture
def remembered(monkeypatch):
    """Convert no text twice: chunks of three characters are also prefixes."""
    monkeypatch.setattr(incremental, "open_block_html", _remembered)


_remembered = lru_cache(maxsize=None)(incremental.open_block_html)


STREAMED = [(1, 60, "clear"), (3, 20, "update"), (2000, 1, "update")]


@pytest.mark.usefixtures("remembered")
def test_attacks_are_only_text_in_every_frame_of_a_stream():
    """A half-written tag, link or fence is as harmless as the whole one.

    Each comes by the character in outputs that are the cell's own, by three characters
    in others (long ones in sixty or twenty pieces at most), and at once.
    """
    wrong, seen = {}, 0
    for name, text in SHORT.items():
        for step, pieces, mode in STREAMED:
            step = max(step, len(text) // pieces)  # noqa: PLW2901
            for bundle in frames(text, step, mode=mode):
                assert set(bundle) == {"text/html"}
                seen += 1
                if found := quick_violations(bundle["text/html"], may_be_ours=True):
                    wrong[name] = bundle["text/html"], found
    assert wrong == {}
    assert seen > 50 * len(SHORT)


@pytest.mark.parametrize("view", ["json", "text"])
def test_attacks_are_only_text_in_every_frame_of_other_views(view):
    for text in SHORT.values():
        converter, step = ReplyConverter(view), max(7, len(text) // 30)
        for start in range(0, len(text), step):
            converter.add(text[start : start + step])
            done = "".join(piece.html for piece in converter.finished())
            assert quick_violations(page_html(done + converter.open_html())) == []


# -- the tests can fail ---------------------------------------------------------


class Careless:
    """A sanitiser that allows everything."""

    def clean(self, text):
        return text


def forget_cached():
    safe_html._cleaner.cache_clear()
    safe_html._cached_block_html.cache_clear()


@pytest.fixture
def careless(monkeypatch):
    """Disable one safeguard, and clear the caches afterwards."""
    forget_cached()
    yield monkeypatch
    monkeypatch.undo()
    forget_cached()


def test_without_the_sanitiser_the_tests_would_fail(careless):
    """Links in Markdown, and the HTML view, have no other safeguard."""
    careless.setattr(safe_html, "_cleaner", lambda **_: Careless())
    links = corpus.vectors(classes=("link",))
    assert len(tried(SURFACES["answer as markdown"], links)) > 40
    assert len(tried(SURFACES["answer as html"], VECTORS)) > 600
    assert any(
        quick_violations(bundle["text/html"], may_be_ours=True)
        for text in links.values()
        for bundle in frames(text, 3, mode="clear")
    )


@pytest.mark.parametrize("surface", ["progress", "panel", "footer", "page", "columns"])
def test_without_escaping_the_tests_would_fail(careless, surface):
    careless.setattr(html, "escape", lambda text, quote=True: text)
    markup = corpus.vectors(classes=("markup", "clobber"))
    assert len(tried(SURFACES[surface], markup)) > 150


@pytest.mark.parametrize("surface", ["terminal", "notice", "listings", "pulling"])
def test_without_visible_text_the_tests_would_fail(careless, surface):
    for module in ("text", "tables", "terminal", "safe_html", "reply"):
        careless.setattr(f"ollama_magic.render.{module}.visible_text", str)
    hiding = corpus.vectors(classes=("hide",))
    assert len(tried(SURFACES[surface], hiding)) > 60


def test_check_detects_mime_types_that_front_ends_run():
    for mime in ("text/markdown", "text/latex", "image/svg+xml"):
        assert faults(mime, "x")


def test_quick_check_agrees_with_a_parser():
    pages = [
        "<div><img src=x></div>",
        "<b onclick=x>",
        "<b onclick='x'>",
        '<a href="javascript:x">x</a>',
        '<a href="http:lab">x</a>',
        '<a href="https://a.example\\@b.example/">x</a>',
        '<a href="java&#115;cript:x">x</a>',
        '<div style="position:fixed">x</div>',
        '<p title="x">x</p>',
        "<script>x</script>",
        "<svg></svg>",
        "<b/onclick=x>",
        "a\u202eb",
        "<!-- x -->",
        '<span class="tex2jax_process jp-Dialog">x</span>',
        "<B>x</B>",
        "a &#x202e; b",
        "a & b",
    ]
    for page in pages:
        assert quick_violations(page), page
    assert quick_violations("<p>a &lt; <b>b</b></p>") == []
    assert violations("<b onclick=x>") == ["b onclick=x"]


# -- every place is among the surfaces ------------------------------------------------

REACHED_BY = [
    "# a **b** `c`\n\n| a |\n|---|\n| $x$ |\n\n```python\nx = 1\n```\n\n> [!NOTE]\n> x"
    "\n\n$$\ny\n$$\n\n[l](https://a.b) term\n\n[^1] x\n\n[^1]: note\n\n    indented",
    "x",
]
CONSTANT = {"panel_style_html", "saved_html", "_shortened_html"}
"""They add constant text to safe HTML; the last one for texts that are too long."""


def makers_of_html(package):
    """Return the functions of a package that make HTML, by their code."""
    made = {}
    for found in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        for name, value in vars(module).items():
            code = getattr(inspect.unwrap(value), "__code__", None)
            is_own = getattr(value, "__module__", "") == module.__name__
            if code and is_own and name.endswith(("_html", "_bundle")):
                made[code] = name
    return made


def test_every_function_that_makes_html_is_behind_a_surface():
    """A new one needs a row in ``surfaces.py``, which all these tests go through."""
    called = set()
    forget_cached()
    sys.setprofile(lambda frame, event, _: called.add(frame.f_code))
    try:
        for surface, text in product(SURFACES.values(), REACHED_BY):
            for _ in surface(text):
                pass
    finally:
        sys.setprofile(None)
    made = makers_of_html(render)
    assert len(made) > 50
    assert {name for code, name in made.items() if code not in called} == CONSTANT


def test_docs_state_the_number_of_vectors_and_surfaces():
    assert len(VECTORS) == len(set(VECTORS.values()))
    assert len(VECTORS) >= 1150
    page = SAFETY.read_text("utf-8")
    assert f"A corpus of {len(VECTORS):,} attacks" in page
    assert f"{len(SHORT):,} attacks × {len(SURFACES)}" in page
