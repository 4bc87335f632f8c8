"""The cost of hostile text grows with its length only: formatted, or as plain text.

What is bounded is the processor's time, counted in the time that a fixed piece of work
takes in the same process (a busy or slow machine changes both), the length of the HTML,
and the memory that Python takes to make it.
"""

import json
import threading
import time
import tracemalloc
from functools import cache
from itertools import product
from xml.etree.ElementTree import SubElement

import pytest
from hostile import quick_violations
from surfaces import SURFACES, Published

from ollama_magic.render import limits, links, markdown, safe_html
from ollama_magic.render.columns import Column, ColumnsDisplay
from ollama_magic.render.incremental import ReplyConverter
from ollama_magic.render.reply import ReplyView, reply_bundle
from ollama_magic.render.safe_html import json_html, markdown_html, raw_html
from ollama_magic.render.streaming import StreamDisplay
from ollama_magic.render.tables import Listing, table_text

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
    "fences in items": lambda size: "- a\n  ```\n  b\nc\n" * (size // 16),
    "indented code in items": lambda size: "- a\n\n      b\n      c\n" * (size // 21),
    "one long code in an item": lambda size: "- a\n\n" + "      - `\n" * (size // 10),
    "spaces in a line": lambda size: "a" + " " * size + "b",
    "spaces in a heading": lambda size: "# a" + " " * size + "#b",
    "parentheses after an address": lambda size: "https://a.b/" + ")" * size,
    "citations": lambda size: "[1][2] [^a]" * (size // 11) + "\n\n[1]: http://a.b",
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
    """Return the seconds of a fixed piece of work: about 0.1 on a current machine."""

    def work():
        began = time.process_time()
        words = [str(n) for n in range(200_000)]
        assert len(",".join(words).split(",")) == sum(1 for _ in words)
        sum(n * n for n in range(500_000))
        return time.process_time() - began

    return min(work() for _ in range(3))


def cost(work):
    """Return the cost of a call, in units."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / unit_s()


def shown(text):
    safe_html._cached_block_html.cache_clear()
    page = markdown_html(f"{text}\n\nends")
    assert "ends" in page
    assert quick_violations(page) == []


def streamed(text, paints):
    converter = ReplyConverter("markdown")
    step = len(text) // paints + 1
    for start in range(0, len(text), step):
        converter.add(text[start : start + step])
        for _ in converter.finished():
            pass
        converter.open_html()


@pytest.fixture(autouse=True, scope="module")
def _warm():
    safe_html.warm_up()


@pytest.mark.parametrize("shape", SHAPES)
def test_reply_of_20_000_characters_is_converted_fast(shape):
    text = SHAPES[shape](20_000)
    assert cost(lambda: shown(text)) < 20
    assert cost(lambda: streamed(text, 4)) < 20


@pytest.mark.parametrize("shape", SHAPES)
def test_reply_of_200_000_characters_is_converted_fast(shape):
    text = SHAPES[shape](200_000)
    assert cost(lambda: shown(text)) < 60


@pytest.mark.parametrize("shape", SLOWEST)
def test_long_reply_can_be_streamed(shape):
    text = SHAPES[shape](100_000)
    # About 25; on a busy machine a unit of work takes up to three times as long.
    assert cost(lambda: streamed(text, 20)) < 150


NESTS = ["<div>", "<ul><li>", "<dl><dt>", "<details>", "<b><div></b>", "<table><td>"]


@pytest.mark.parametrize("nest", [*NESTS, "<", "&", "<b>", "<a href=http://a>"])
def test_html_and_json_are_converted_fast(nest):
    text = _repeated(nest)(200_000)
    assert cost(lambda: raw_html(text)) < 40
    assert cost(lambda: json_html(text)) < 40


def test_check_detects_a_costly_text(monkeypatch):
    """Without the limit Python-Markdown takes time that grows with the square."""
    monkeypatch.setattr(safe_html, "is_costly_markdown", lambda _: False)
    assert cost(lambda: shown("$a$ " * 45_000)) > 20


# -- a small text with a large effect ------------------------------------------------


def table(columns, rows, row="|x|"):
    head = "|" + "a|" * columns + "\n|" + "-|" * columns + "\n"
    return head + f"{row}\n" * rows


def _square(size):
    """Return a table of this size with as many columns as rows."""
    return table(size // 8, size // 8)


def _under(first, other):
    """Return a wide table in a list or a quote."""
    return lambda size: first + _square(size).replace("\n", f"\n{other}")


def _defined(definition, use, *, at="", length=900):
    """Return one long definition, used as often as the size allows."""

    def shape(size):
        address = definition.replace("…", "y" * length)
        return f"{at}{address}\n{at}\n{at}" + use * (size // len(use))

    return shape


def _many_defined(use):
    def shape(size):
        numbers = range(size // 25)
        defined = "".join(f"[{n}]:http://x.y\n" for n in numbers)
        return defined + "\n" + "".join(use.replace("n", str(n)) for n in numbers)

    return shape


SMALL_MARKDOWN = {
    "table": _square,
    "table with three rows of cells": lambda n: table(n // 8, n // 12, "|x|y|z|"),
    "table without outer bars": lambda n: _square(n).replace("\n|", "\n")[1:],
    "table of one row's cells": lambda n: table(n // 6, 1) + "|\n" * (n // 6),
    "table in a quote": _under("> ", "> "),
    "table in quotes": _under("> > > ", "> > > "),
    "table in an item": _under("- a\n\n  ", "  "),
    "table in a quote in an item": _under("1. > ", "   > "),
    "table aligned to the right": lambda n: _square(n).replace("-|", "-:|"),
    "tables, wide ones": lambda n: (table(50, 50) + "\n") * (n // 400),
    "empty cells": lambda n: table(300, n // 400, "|" * 300),
    "reference of 1,980": lambda n: (
        f"[a]: http://x/{'y' * 1980}\n\n" + "[a]\n\n" * (n // 5)
    ),
    "reference of 900": lambda n: (
        f"[a]: http://x/{'y' * 900}\n\n" + "[a]\n\n" * (n // 5)
    ),
    "reference in one paragraph": lambda n: (
        f"[a]: http://x/{'y' * 900}\n\n" + "[a] " * (n // 4)
    ),
    "reference in its own block": _defined("[a]: http://x/…\nt", "[a] "),
    "reference of an image": _defined("[a]: http://x/…\nt", "![][a] "),
    "reference in a quote": _defined("[a]: http://x/…", "[a]\n> \n> ", at="> "),
    "reference in an item": _defined("[a]: http://x/…", "[a]\n\n  ", at="  "),
    "title of a reference": _defined("[a]: http://x 't…'", "[a] ", at="> ", length=290),
    "address longer than any": _defined("[a]: http://x/…", "[a] ", length=9000),
    "references that are used": _many_defined("[n]\n\n"),
    "references that are not": _many_defined("n\n\n"),
    "references, all in one paragraph": _many_defined("[n] "),
    "long fence, many blocks": lambda n: "~" * (n // 2) + "\nx" * (n // 4),
    "long fence in a quote": lambda n: "> " + "~" * (n // 2) + "\n> x" * (n // 8),
    "long language in a quote": lambda n: (
        "> ```" + "y" * (n // 2) + "\n" + "> x\n" * (n // 8)
    ),
    "fences of unknown languages": lambda n: "".join(
        f"```l{i}\n```\n" for i in range(n // 12)
    ),
    "tokens of code": lambda n: "```python\n" + "1+" * 10 + "\n```\n" * (n // 10),
    "operators": lambda n: "```c\n" + "1<\n" * (n // 3) + "```",
    "cells of math": lambda n: "|a|\n|-|\n" + "|$a$|\n" * (n // 6),
    "links of one letter": lambda n: "[a](http:b)" * (n // 11),
    "addresses": lambda n: "<a@b.c> " * (n // 8),
    "quotes of lists": lambda n: ("> - a\n>\n> 1. b\n" + "\n") * (n // 17),
    "deep items, lazy lines": lambda n: (
        "".join(f"{'  ' * i}- a\n" for i in range(13)) + "b\n" * (n // 2)
    ),
    "entities": lambda n: "&<>" * (n // 3),
}


def _formatting(tags, use):
    return lambda size: (
        "<p>" + "".join(map(tags, range(400))) + "x" + use * (size // len(use))
    )


NAMES = ["b", "i", "u", "s", "em", "code", "font", "nobr", "small", "strong", "tt"]
NAMES += ["big"]
_LONG = "http://x/" + "y" * 5000
SMALL_HTML = {
    "b": _formatting("<b a{}>".format, "<p>x"),
    "b, quoted": _formatting("<b a='{}'>".format, "<p>x"),
    "b, a bracket in quotes": _formatting("<b a='>' b{}>".format, "<p>x"),
    "b, slashes": _formatting("<b/a{}/>".format, "<p>x"),
    "b, lines": _formatting("<B\n\fa{}\n>".format, "<p>x"),
    "b, twice": _formatting("<b <b a{}>".format, "<p>x"),
    "b, closed in a comment": _formatting("<b a{}><!--</b>-->".format, "<p>x"),
    "font": _formatting("<font color={}>".format, "<li>x"),
    "many names": _formatting(lambda n: f"<{NAMES[n % 12]}>", "<p>x"),
    "closed paragraphs": _formatting("<i a{}>".format, "</p>x"),
    "cells": lambda n: (
        "<table><td>" + "".join(f"<u a{i}>" for i in range(400)) + "<p>" * (n // 3)
    ),
    "rows": lambda n: "<table>" + "".join(f"<s a{i}>x<tr>" for i in range(n // 14)),
    "one long link": lambda n: f"<a href={_LONG}>" + "<p>x" * (n // 4),
    "one long link, quoted": lambda n: f"<a href='{_LONG}'>" + "<p>x" * (n // 4),
    "one long link, a bracket": lambda n: (
        f"<a title='>x</a>' href='{_LONG}'>" + "<p>x" * (n // 4)
    ),
    "links": lambda n: "<a>" * (n // 3),
    "paragraphs": lambda n: "</p>" * (n // 4),
}
VIEWS_OF_SMALL = {
    "markdown": "answer as markdown",
    "code": "answer as code",
    "text": "answer as text",
    "json": "answer as json",
    "html": "answer as html",
    "thinking": "thinking",
    "steps": "functions called",
    "columns": "columns",
}


IN_ALL_VIEWS = ("table", "reference in a quote", "operators", "b", "cells", "entities")


def most(characters):
    """Return the longest HTML that a text of this length may become."""
    return 60_000 + 45 * characters


def peak(work):
    """Return the result of a call, and the bytes that Python allocated for it."""
    tracemalloc.start()
    try:
        made = work()
        return made, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("shape", "view"),
    [
        *((shape, "markdown") for shape in SMALL_MARKDOWN),
        *((shape, "html") for shape in SMALL_HTML),
        # All shapes on all surfaces are below, smaller.
        *product(IN_ALL_VIEWS, VIEWS_OF_SMALL),
    ],
)
def test_html_is_within_the_limit_of_its_text(shape, view):
    size = 5_000 if view in {"steps", "columns"} else 20_000  # shown several times
    text = {**SMALL_MARKDOWN, **SMALL_HTML}[shape](size)
    for kind, value in SURFACES[VIEWS_OF_SMALL[view]](text):
        # Columns show it four times each, functions five times.
        assert len(value) <= most(8 * len(text)), kind


@pytest.mark.parametrize("size", [5000, 40_000])
@pytest.mark.parametrize("shape", SMALL_MARKDOWN)
def test_html_of_markdown_grows_with_its_length(shape, size):
    text = SMALL_MARKDOWN[shape](size)
    safe_html._cached_block_html.cache_clear()
    assert len(markdown_html(text)) <= most(len(text))


@pytest.mark.parametrize("shape", SMALL_MARKDOWN)
def test_memory_grows_with_the_text(shape):
    """Limits apply before memory is used."""
    size = 4_000 if shape.startswith("table") else 10_000
    text = SMALL_MARKDOWN[shape](size)
    safe_html._cached_block_html.cache_clear()
    made, used = peak(lambda: markdown_html(text))
    assert used <= 5_000_000 + 1000 * len(text), len(made)


@pytest.mark.parametrize("size", [5000, 100_000])
@pytest.mark.parametrize("shape", SMALL_HTML)
def test_parser_gets_no_html_that_multiplies(shape, size):
    """The sanitiser's memory is not Python's, so its input is checked."""
    text = limits.without_styles(SMALL_HTML[shape](size))
    if not limits.is_costly_html(text):
        assert len(safe_html.sanitised(text, has_math=False)) <= most(len(text))
    assert cost(lambda: raw_html(text)) < 40


@pytest.mark.parametrize(
    ("shape", "mode"),
    [*((shape, "clear") for shape in SMALL_MARKDOWN), ("table", "update")],
)
def test_live_html_is_within_the_limit(shape, mode):
    text = SMALL_MARKDOWN[shape](20_000)
    page = Published()
    display = StreamDisplay(
        page.publish, page.clear_output, mode=mode, clock=page.clock
    )

    def stream():
        display.feed("", text)
        for start in range(0, len(text), 1000):
            display.feed(text[start : start + 1000])

    assert cost(stream) < 60
    sizes = [len(bundle["text/html"]) for bundle in page.bundles]
    assert sizes
    assert max(sizes) <= most(2 * len(text))


@pytest.mark.parametrize("shape", ["table", "table in a quote", "empty cells"])
def test_pieces_of_a_wide_table_do_not_repeat_its_head(shape):
    """Each piece of a live table repeats the head if it is short."""
    text = SMALL_MARKDOWN[shape](150_000)
    made = _live_html(text)
    assert len(made) <= most(len(text))


def _live_html(text):
    """Return the HTML of all segments of a text that streams."""
    converter, made = ReplyConverter("markdown"), []
    for start in range(0, len(text), 1500):
        converter.add(text[start : start + 1500])
        made += [piece.html for piece in converter.finished()]
    return "".join([*made, converter.open_html()])


def test_live_columns_are_within_the_limit():
    text = _square(20_000)
    page = Published()
    display = ColumnsDisplay(
        page.publish, page.clear_output, mode="clear", clock=page.clock
    )
    display.begin(["a", "b"])
    for start in range(0, len(text), 1000):
        display.feed(0, text[start : start + 1000])
        display.feed(1, text[start : start + 1000])
        display.tick()
    display.complete(0, Column("a", ReplyView(text)))
    display.tick()
    assert len(page.bundles) > 10
    assert max(len(b["text/html"]) for b in page.bundles) <= most(2 * len(text))


def test_long_tables_and_many_links_are_formatted():
    """Text written for a reader is far from every limit."""
    rows = "| a | **b** | `c` | [d](http://e.example/f) |\n" * 500
    made = markdown_html("| a | b | c | d |\n|---|---|---|---|\n" + rows)
    assert made.count("<tr>") == 501
    assert made.count("<strong>") == 500
    links = "".join(f"[{n}]: http://a.example/{n}\n" for n in range(300))
    made = markdown_html("".join(f"See [{n}].\n\n" for n in range(300)) + links)
    assert made.count("<a href=") >= 300
    item = '<li><a href="http://a.example/{}"><b class="x">{}</b></a> <i>y</i>'
    made = raw_html("".join(item.format(n, n) for n in range(2000)))
    assert made.count("<a href=") == 2000
    assert "Shown as plain text" not in made


def test_short_row_has_only_its_own_cells():
    made = markdown_html("|a|b|c|\n|-|-|-|\n|1|\n|1|2|3|\n||2|")
    rows = made.split("<tr>")[2:]
    assert [row.count("<td") for row in rows] == [1, 3, 2]


@pytest.mark.parametrize("view", ["markdown", "html", "code"])
def test_plain_text_is_shown_beyond_the_limit(view, monkeypatch):
    monkeypatch.setattr(limits, "max_html", lambda _: 10)
    text = "```html\n<b>never seen</b>\n```\n\nthe end"
    made = reply_bundle(ReplyView(text, view=view))["text/html"]
    assert "<em>Shown as plain text: too long to format.</em>" in made
    assert "&lt;b&gt;never seen&lt;/b&gt;" in made


def test_deep_arguments_of_a_call_stay_on_one_line():
    deep = [0] * 2000
    for _ in range(40):
        deep = [deep]
    call = {"function": {"name": "f", "arguments": {"a": deep}}}
    steps = ({"role": "assistant", "content": "", "tool_calls": [call]},)
    made = reply_bundle(ReplyView("", steps=steps))["text/html"]
    assert len(made) <= most(len(json.dumps(deep)))
    assert made.count("0") >= 2000


def test_one_long_cell_does_not_widen_all_rows_of_a_listing():
    rows = [["x" * 10_000, "b"], *[["a", "b"]] * 1000]
    made = table_text(["name", "size"], rows)
    assert len(made) < 300_000
    assert "x" * 10_000 + "  b" in made


# -- a small text has a small effect, on every surface --------------------------------

_SMALL = {**SMALL_MARKDOWN, **SMALL_HTML, "words": lambda n: "ab " * (n // 3)}
_SMALL_SIZE = 2000
_TIMES = 150
"""Characters for each one of the text: surfaces show it up to 20 times at once."""
_TIMES_IN_ALL = 600
_MOST_BYTES = 10_000_000
"""Allocated by Python at the same time; the most that any surface takes is 2.6 MB."""


_TRACED = ("table", "reference of 900", "b", "words")
"""Shapes for which memory is traced, which takes ten times as long."""


def effects(surface, shapes=tuple(_SMALL)):
    """Return the effects of small texts on a surface that are too large, by shape."""
    threads, wrong = threading.active_count(), {}
    for shape in shapes:
        text, used = _SMALL[shape](_SMALL_SIZE), 0
        sizes = [len(value) for _, value in surface(text)]
        if shape in _TRACED:
            _, used = peak(lambda text=text: [len(value) for _, value in surface(text)])
        found = {
            "longest": max(sizes) > 5000 + _TIMES * len(text),
            "all": sum(sizes) > 10_000 + _TIMES_IN_ALL * len(text),
            "memory": used > _MOST_BYTES,
            "threads": threading.active_count() > threads,
        }
        if any(found.values()):
            wrong[shape] = [what for what, is_wrong in found.items() if is_wrong]
    return wrong


@pytest.mark.parametrize("surface", SURFACES, ids=lambda name: name.replace(" ", "-"))
def test_every_surface_shows_a_small_text_as_a_small_one(surface):
    """A surface is a function of a text: it sends no request and writes no file."""
    found = []
    assert cost(lambda: found.append(effects(SURFACES[surface]))) < 100
    assert found == [{}]


def test_check_detects_a_large_effect():
    """Of one long output, of many, in memory, and in threads."""
    waits = threading.Event()

    def threaded(text):
        threading.Thread(target=waits.wait, daemon=True).start()
        yield "text", text

    def hungry(text):
        yield "text", text[: len(list(range(400_000)))]

    surfaces = {
        "longest": lambda text: [("text", text * 200)],
        "all": lambda text: [("text", text * 10)] * 80,
        "memory": hungry,
        "threads": threaded,
    }
    for effect, surface in surfaces.items():
        assert effects(surface, ["words"]) == {"words": [effect]}
    waits.set()


def test_a_listing_has_a_limit():
    """Three bytes of a server are a row: ``{},``."""
    listing = Listing(range(200_000), {"Name": str, "Size": str}, "none")
    bundle = listing._repr_mimebundle_()
    assert bundle["text/html"].count("<tr>") == 2001
    assert len(str(bundle)) < 1_000_000
    for shown in bundle.values():
        assert "The first 2,000 of 200,000 rows" in shown
    assert len(listing) == 200_000


def test_a_long_cell_of_a_narrow_table_costs_little():
    rows = [["a " * 5000, "b"]] * 20
    assert cost(lambda: table_text(["name", "size"], rows, 80)) < 20


# -- these tests can fail --------------------------------------------------------------


def test_check_detects_padded_rows(monkeypatch):
    def add_padded_row(parent, tag, line, styles):
        row = SubElement(parent, "tr")
        for style in styles:
            SubElement(row, tag, {"style": style}).text = ""

    monkeypatch.setattr(markdown, "_add_row", add_padded_row)
    text = _square(2_080)  # no other test has cached its page
    made, used = peak(lambda: markdown_html(text))
    assert used > 15_000_000
    assert "Shown as plain text" in made


def test_check_detects_reopened_elements():
    text = SMALL_HTML["b"](5_000)
    assert len(safe_html.sanitised(text, has_math=False)) > 2 * most(len(text))


def test_check_detects_unlimited_references(monkeypatch):
    monkeypatch.setattr(links, "_REFERENCE_CHARACTERS_FREE", 10**12)
    text = f"> [a]: http://x/{'y' * 900}\n> \n> " + "[a]\n> \n> " * 3000
    made, used = peak(lambda: markdown_html(text))
    assert used > 10_000_000
    assert "Shown as plain text" in made


@pytest.mark.parametrize("title", ["", " 'title'"])
def test_reference_defined_in_a_quote_is_a_link(title):
    made = markdown_html(f"> [a]: http://x.example/{title}\n> \n> [a] and *[a]*")
    # The line that defines it is shown, with a link of its own.
    assert made.count('<a href="http://x.example/"') == 3
    assert "<em><a " in made


def test_references_after_the_thousandth_stay_text():
    numbers = range(1200)
    defined = "".join(f"[r{n}]: http://x.y/{n}\n" for n in numbers)
    made = markdown_html("".join(f"[r{n}]\n\n" for n in numbers) + defined)
    assert 'href="http://x.y/999"' in made
    assert "<p>[r1000]</p>" in made
    assert "[r1000]: <a " in made
    assert "[r999]: " not in made


def test_conversion_stops_at_the_limit(monkeypatch):
    made = []
    block_html = safe_html.block_html

    def counted(*block):
        made.append(block)
        return block_html(*block)

    monkeypatch.setattr(safe_html, "block_html", counted)
    uses = "".join(f"[a] {n}\n\n" for n in range(3000))
    page = markdown_html(f"[a]: http://x/{'y' * 900}\n\n{uses}")
    assert "Shown as plain text" in page
    assert len(made) < 2000
