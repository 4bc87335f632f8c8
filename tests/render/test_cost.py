"""Hostile text costs no more than its length: rendered, or shown as the text it is.

What is bounded is the processor's time, counted in the time that a fixed piece of work
takes in the same process: a busy or slow machine changes both.
"""

import time
from functools import cache

import pytest
from hostile import quick_violations

from ollama_magic.render import safe_html
from ollama_magic.render.pieces import Intake
from ollama_magic.render.safe_html import json_html, markdown_html, raw_html

pytestmark = pytest.mark.slow

_RUNS = r"""
[ ![ [a]( [a][ > ` * **a· _a_· < | -· · $ \( \[¶ $$¶ & ~~a· a¶:·b¶ <!-- ```¶ ***a
http://a· [x]:· -·```¶ >·-· ( { } <div> # _ ~ ^ = + ! \ \\ <a@b.c> <http://a.b> &amp;
&#60; &lt *a_b*c_ [[]]( [a]:·http://b¶ ] ][ ]( ) a··¶ a\¶ <b> <b </b> x¶===¶ #·a¶
|a|b|¶|-|-|¶ 1.·a¶ 1)· \$ $a$ $$a$$ \) \] \(a\) " ' <p>¶¶ www.a.bc· a@b.cd· *¶ -·[·]·
**** **a*· ``a` [^1]:·a¶ \begin{x} \begin{a}¶ a· ¶ ~~~¶ ····a¶ ··-·a¶ "' ** __ &#x
***a***b `a``b``` [a](b)· ![a](http://b)· <div>a¶¶ *a·**b· *[`$<&\_~|>#-!( 😀 a
"""
RUNS = [run.replace("·", " ").replace("¶", "\n") for run in _RUNS.split()]


def _repeated(run):
    return lambda size: run * (size // len(run))


def _repeated_in(language, run):
    return lambda size: f"```{language}\n{run * (size // len(run))}\n```"


SHAPES = {
    **{ascii(run): _repeated(run) for run in RUNS},
    "lists 400 deep": lambda size: "".join(f"{'  ' * n}- i\n" for n in range(400)),
    "quotes 400 deep": lambda size: "".join(f"{'> ' * n}i\n" for n in range(400)),
    "5000 columns": lambda size: (
        "|a" * 5000 + "|\n" + "|-" * 5000 + "|\n" + ("|b" * 5000 + "|\n") * 18
    )[: max(size, 30_000)],
    "references": lambda size: (
        "".join(f"[r{n}]: http://a.b/{n}\n" for n in range(size // 20)) + "\n[r1] [r2]"
    ),
    "emphasis in emphasis": lambda size: "*a " * (size // 6) + "b* " * (size // 6),
    "strong in strong": lambda size: "**a " * (size // 8) + "b** " * (size // 8),
    "links in links": lambda size: "[" * (size // 6) + "](b)" * (size // 6),
    "ticks of all lengths": lambda size: " ".join(
        "`" * (n % 200 + 1) for n in range(size // 100)
    ),
    "fences in a list": lambda size: "- a\n  ```\n  b\n" * (size // 14),
    "fences with a language": lambda size: "- a\n  ```py\n  b\n  ```\n" * (size // 22),
    "fences in quotes": lambda size: "- > ```\n  > b\n\n" * (size // 16),
    "fences that are open": lambda size: "- > - ```a\n" * (size // 11),
    "sources": lambda size: "".join(
        f"a [r{n}]\n\n[r{n}]: http://a.b/{n}\n\n" for n in range(size // 40)
    ),
    "math in a table": lambda size: (
        "|a|b|\n|-|-|\n" + "|$a|$ `\\|` \\( | |\n" * (size // 18)
    ),
    "one row": lambda size: "|a|b|\n|-|-|\n" + "|$a `\\|" * (size // 7),
    "one long item": lambda size: "- " + "a *b* " * (size // 6),
    "one long paragraph": lambda size: (
        "word *a* `b` [c](http://d) $f$\n" * (size // 32)
    ),
    **{
        f"{language} code": _repeated_in(language, run)
        for language, run in {
            "python": "'",
            "js": "/",
            "html": "<",
            "cpp": "(a<",
            "perl": "m{",
            "ruby": "<<a ",
            "scss": "a{",
            "yaml": "- ",
        }.items()
    },
}
SLOWEST = [
    "emphasis in emphasis",
    "strong in strong",
    "one long item",
    "one long paragraph",
    "perl code",
    "'&'",
    "'[a](b) '",
    "'|a|b|\\n|-|-|\\n'",
    "'  - a\\n'",
]


@cache
def unit_s():
    """Return the seconds of a fixed piece of work: about 0.1 on a machine of today."""

    def work():
        began = time.process_time()
        words = [str(n) for n in range(200_000)]
        assert len(",".join(words).split(",")) == sum(1 for _ in words)
        sum(n * n for n in range(500_000))
        return time.process_time() - began

    return min(work() for _ in range(3))


def cost(work):
    """Return what something costs, in units."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / unit_s()


def shown(text):
    safe_html._cached_block_html.cache_clear()
    page = markdown_html(f"{text}\n\nends")
    assert "ends" in page
    assert quick_violations(page) == []


def streamed(text, paints):
    intake = Intake("markdown")
    step = len(text) // paints + 1
    for start in range(0, len(text), step):
        intake.add(text[start : start + step])
        for _ in intake.finished():
            pass
        intake.open_html()


@pytest.fixture(autouse=True, scope="module")
def _warm():
    safe_html.warm_up()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_reply_of_20_000_characters_is_shown_soon(shape):
    text = SHAPES[shape](20_000)
    assert cost(lambda: shown(text)) < 20
    assert cost(lambda: streamed(text, 20)) < 40


@pytest.mark.parametrize("shape", SHAPES)
def test_a_reply_of_200_000_characters_is_shown_soon(shape):
    text = SHAPES[shape](200_000)
    assert cost(lambda: shown(text)) < 60


@pytest.mark.parametrize("shape", SLOWEST)
def test_a_long_reply_can_be_streamed(shape):
    text = SHAPES[shape](200_000)
    assert cost(lambda: streamed(text, 20)) < 120


NESTS = ["<div>", "<ul><li>", "<dl><dt>", "<details>", "<b><div></b>", "<table><td>"]


@pytest.mark.parametrize("nest", [*NESTS, "<", "&", "<b>", "<a href=http://a>"])
def test_html_and_json_are_shown_soon(nest):
    text = _repeated(nest)(200_000)
    assert cost(lambda: raw_html(text)) < 40
    assert cost(lambda: json_html(text)) < 40


def test_a_costly_text_would_be_seen(monkeypatch):
    """Without the guard Python-Markdown takes minutes; a fifth of it is enough."""
    monkeypatch.setattr(safe_html, "_is_too_costly", lambda _: False)
    assert cost(lambda: shown("[" * 4000)) > 20
