"""A model's text stays inside the allow-list, and reads as intended."""

import subprocess
import sys

import html5lib
import pytest
from hostile import HOSTILE, violations

from ollama_magic.render import safe_html
from ollama_magic.render.math import MATH_CLASS
from ollama_magic.render.safe_html import (
    json_html,
    markdown_html,
    raw_html,
    text_html,
)


def text_of(html: str) -> str:
    return "".join(html5lib.parseFragment(html).itertext())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_inside_the_allow_list(text):
    for made in (markdown_html(text), text_html(text), json_html(text)):
        assert violations(made) == []
    nested = f"- a\n  - {text}\n\n> {text}\n\n|a|\n|-|\n|{text}|"
    assert violations(markdown_html(nested)) == []


def test_check_detects_violations():
    assert violations("<div><img src=x></div>") == ["tag img", "img src=x"]
    assert violations("<a href='javascript:x'>x</a>")


# -- reads as it was meant ------------------------------------------------------


def body(text: str) -> str:
    return markdown_html(text).removeprefix(safe_html.page_html("")[:-6])[:-6]


TASK = '<li style="list-style-type:none">'
READS = {
    "raw HTML": ("a <b>x</b>", "<p>a &lt;b&gt;x&lt;/b&gt;</p>"),
    "struck": ("~~a~~ H~2~O", "<p><del>a</del> H~2~O</p>"),
    "tasks": ("- [ ] a\n- [x] b", f"<ul>\n{TASK}☐ a</li>\n{TASK}☑ b</li>\n</ul>"),
    "start of a list": ("3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>'),
    "two spaces": (
        "- a\n  - b\n- c",
        "<ul>\n<li>a<ul>\n<li>b</li>\n</ul>\n</li>\n<li>c</li>\n</ul>",
    ),
    "three spaces": (
        "1) a\n   - b\n2) c",
        "<ol>\n<li>a<ul>\n<li>b</li>\n</ul>\n</li>\n<li>c</li>\n</ol>",
    ),
    "list after text": ("text:\n- a", "<p>text:</p><ul>\n<li>a</li>\n</ul>"),
    "no heading": ("#include <x>", "<p>#include &lt;x&gt;</p>"),
    "nested quote": (
        "> a\n> > b",
        "<blockquote>\n<p>a</p>\n<blockquote>\n<p>b</p>\n</blockquote>\n</blockquote>",
    ),
    "escaped dollar": ("\\$5", "<p>$5</p>"),
    "hard break": ("a\\\nb", "<p>a<br>\nb</p>"),
    "link without a scheme": ("[x](javascript:y)", None),
    "code span": ("`$x$ <b>`", "<p><code>$x$ &lt;b&gt;</code></p>"),
    "escape": ("\x1b[31mred", "<p>␛[31mred</p>"),
    "bidi": ("a\u202eb\U000e0041c", "<p>abc</p>"),
}


@pytest.mark.parametrize(("text", "html"), READS.values(), ids=READS.keys())
def test_markdown_reads_as_models_mean_it(text, html):
    if html is None:
        assert "href" not in body(text)
    else:
        assert body(text) == html


MATH = ["$x$", "$a_1 * b$", "$$\na < b\n$$", "\\(a*b*c\\)", "\\[\nx\n\\]", "the $n$th"]
MATH += [r"$ \alpha + 1 $", "$ x^2 $ is", "so $ a_{i} $"]
NOT_MATH = ["costs $5 and $10", "$5-$10", "US$3 or A$4", "`$x$`", "$HOME/$USER"]
NOT_MATH += ["$ 5 and $ 6", "$ cd my_dir and $ ls", "type $ make\nthen $ run"]
NOT_MATH += [
    "5$ and 6$",
    "```\n$x$\n```",
    "    \\(x\\)",
    "$5 per month and 3$",
    "\\$x\\$",
]


@pytest.mark.parametrize("text", MATH)
def test_math_is_marked_for_mathjax_and_left_alone(text):
    made = body(text)
    assert made.count(f'class="{MATH_CLASS}"') == 1
    assert "<em>" not in made


@pytest.mark.parametrize("text", NOT_MATH)
def test_dollars_and_code_are_not_math(text):
    assert MATH_CLASS not in body(text)


HUGE = [r"\rule{99999999px}{99999999px}", r"\hspace{9999em}", r"\kern-9999em x"]
HUGE += [r"\raise 9999em {x}", r"\rule{1px}{0009999 px}", r"\hspace*{123in}"]
HUGE += [r"\mspace9999mu x", r"a \\[4000pt] b", r"\begin{array}{p{2000px}}x\end{array}"]
PAGE_WIDE = [
    r"\definecolor{red}{rgb}{0,1,0}",
    r"\label{a}",
    r"\eqref{a}",
    r"\bbox[1px]x",
]
MODEST = [r"\rule{1em}{0.4pt}", r"\text{a board of 1000 mm}", r"x \\[2ex] y"]
MODEST += [r"\hspace{12em} 1500", r"w = 1500\,\mathrm{px}", r"a \newline b \tag{1}"]


@pytest.mark.parametrize("math", HUGE + PAGE_WIDE)
def test_math_that_reaches_beyond_the_formula_is_shown_as_source(math):
    display = (f"$${math}$$", f"\\[{math}\\]", f"a $${math}$$ b", f"\\[\n{math}\n\\]")
    for text in (f"${math}$", f"\\({math}\\)", f"$$\n{math}\n$$", *display):
        assert MATH_CLASS not in body(text), text


@pytest.mark.parametrize("math", MODEST)
def test_math_with_modest_lengths_is_typeset(math):
    assert MATH_CLASS in body(f"$${math}$$")


@pytest.mark.parametrize("name", ["itemize", "theorem", "tabular", "x"])
def test_an_environment_that_is_not_math_is_code(name):
    source = f"\\begin{{{name}}}\nOne\nTwo\n\\end{{{name}}}"
    for text in (source, "- a\n  " + source.replace("\n", "\n  ")):
        made = body(text)
        assert MATH_CLASS not in made
        assert made.count("<pre") == 1
        assert "One\nTwo\n" in made


@pytest.mark.parametrize("name", ["align*", "aligned", "bmatrix", "cases", "multline"])
def test_environment_of_math_is_typeset(name):
    source = f"\\begin{{{name}}}\na\n\\end{{{name}}}"
    assert MATH_CLASS in body(source)
    assert MATH_CLASS in body(f"$${source}$$")


def test_mathjax_ignores_everything_that_is_not_marked():
    assert markdown_html("$5").startswith('<div class="tex2jax_ignore mathjax_ignore">')


def test_image_becomes_a_link_that_shows_its_address():
    made = body("![cat](http://a.example/c.png)")
    assert "<img" not in made
    assert "[image: cat – http://a.example/c.png]</a>" in made


def test_image_in_a_link_opens_the_address_of_the_link():
    made = body("[![PyPI](https://img.example/a.svg)](https://pypi.example/x)")
    assert made.count("<a ") == 1
    assert 'href="https://pypi.example/x"' in made
    assert "[image: PyPI – https://img.example/a.svg]</span></a> (pypi.example)" in made


def test_image_in_a_link_that_is_not_absolute_is_a_link():
    made = body("[![a](https://img.example/a.svg)](docs/a.md)")
    assert 'href="https://img.example/a.svg"' in made
    assert "</a> (docs/a.md)" in made


def test_link_that_names_another_host_shows_the_true_one():
    assert body("[bank.example](http://evil.example/x)").endswith(
        "</a> (evil.example)</p>"
    )
    assert "(" not in body("[www.bank.example/login](https://bank.example/login)")


NAMED = [
    "https://bank.example.",
    "https://bank.example,",
    "https://bank.example!",
    "(https://bank.example)",
    "https://127.0.0.1:8888/lab",
    "https://192.168.1.1/",
    "https://почта.рф/login",
    "bank.example∕login",
    "https://bank.ex&#x61;mple/",
    "http://ann@bank.example",
    "bank.example|login",
    "https://intranet",
    "ｂａｎｋ.example",
    "www.bank.py",
    "bank\xad.example",
    "bank。example",
    "xn--80a1acny.xn--p1ai",
    "localhost:8888/lab",
    "ann@bank.example",
]


def test_link_is_not_fooled_by_what_is_around_a_name():
    texts = [
        *NAMED,
        "Sign in at bank.example",
        "Go to https://bank.example, then",
        "x" * 2000,
    ]
    for text in texts:
        assert "</a> (evil.example)" in body(f"[{text}](https://evil.example/x)"), text
        link = f'<a href="https://evil.example/x" title="bank.example">{text}</a>'
        made = raw_html(link)
        assert "</a> (evil.example)" in made, text
        assert "title" not in made
    for text in ("README.md", "Node.js 20.1", "version 1.2.3", "e.g. this", "here"):
        assert "(evil" not in body(f"[{text}](https://evil.example/x)"), text


@pytest.mark.parametrize(
    "text", ["bank.example", "https://bаnk.example/", "bаnk.example"]
)
def test_a_host_that_only_looks_like_another_is_told_as_browsers_show_it(text):
    """Its second letter is Cyrillic."""
    made = body(f"[{text}](https://bаnk.example/)")
    assert made.endswith("</a> (xn--bnk-6cd.example)</p>"), made


@pytest.mark.parametrize("length", [7000, 60_000])
def test_one_very_long_address_does_not_turn_a_page_into_text(length):
    """An open link begins again in each paragraph."""
    made = raw_html(f"<a href='https://x.example/{'y' * length}'>l<p><b>x</b><p>y")
    assert "<b>x</b>" in made
    assert ("href" in made) == (length < 8000)
    assert len(made) < 30_000


@pytest.mark.parametrize("note", ["[^1]", "[1]", "[1][2]", "[^a]."])
@pytest.mark.parametrize("address", ["https://a.org/b", "https://a.org/?q[0]=1"])
def test_a_note_after_a_bare_address_is_not_part_of_it(address, note):
    page = markdown_html(f"See {address}{note} for more.")
    assert f'href="{address}"' in page
    assert f">{address}</a>{note} for" in page.replace("<sup>[1]</sup>", "[^1]")


def test_bare_addresses_become_links_without_the_full_stop():
    assert '<a href="https://a.example/x_y?z=1"' in body(
        "See https://a.example/x_y?z=1."
    )


def test_table_has_alignment_and_breaks_in_cells():
    made = body("| a | b |\n|:-:|--:|\n| x<br>y | **z** |")
    assert '<td style="text-align:center">x<br>' in made
    assert '<td style="text-align:right"><strong>z</strong></td>' in made


def test_a_fence_in_a_list_is_highlighted_and_the_list_continues():
    made = body("1. a\n   ```python\n   def f():\n\n       pass\n   ```\n2. b")
    assert made.count("<ol") == 1
    assert '<span class="k">def </span>f():\n&#10;    <span class="k">pass' in made


@pytest.mark.parametrize("start", ["```c\nx = 1; //", "```bash\nls #", "```tex\nx %"])
def test_comment_on_the_last_line_of_code_has_its_colour(start):
    mark = start.split()[-1]
    assert f'<span class="c">{mark} a' in body(f"{start} a\n```")


def test_keys_and_tags_in_code_have_a_colour():
    assert '<span class="k">key</span>: 1' in body("```yaml\nkey: 1\n```")
    assert '&lt;<span class="k">b</span>&gt;x' in body("```html\n<b>x</b>\n```")


def test_code_of_an_unknown_language_is_shown_plain():
    assert "a &lt; b\n</pre>" in body("```no-such-language\na < b\n```")


def test_references_reach_all_blocks():
    assert 'href="http://a.example/"' in body(
        "[x][1]\n\ntext\n\n[1]: http://a.example/"
    )


def cells_of(made: str) -> list[str]:
    tree = html5lib.parseFragment(made, namespaceHTMLElements=False)
    return ["".join(cell.itertext()) for cell in tree.iter("td")]


ROWS = {
    r"| sh | `cat f \| grep x` |": ["sh", "cat f | grep x"],
    r"| `a \| b` | a \| b |": ["a | b", "a | b"],
    r"| ``a ` \| b`` | \`a \| b\` |": ["a ` | b", "`a | b`"],
    "| `a | b` | c |": ["a | b", "c"],
    "| prob | $P(A|B)$ |": ["prob", "$P(A|B)$"],
    "| $|x|$ | $|y|$ |": ["$|x|$", "$|y|$"],
    r"| \(P(A|B)\) and $P(C|D)$ | c |": [r"\(P(A|B)\) and $P(C|D)$", "c"],
    r"| $\|v\|$ | \(x^2\) |": [r"$\|v\|$", r"\(x^2\)"],
    "$P(A|B)$ | c": ["$P(A|B)$", "c"],
    "| $a | b$ |": ["$a", "b$"],
    "| $5|$6 |": ["$5", "$6"],
    "| a | b | more | words |": ["a", "b | more | words"],
}


@pytest.mark.parametrize("within", ["", "> ", "- x\n\n  "])
@pytest.mark.parametrize("row", ROWS)
def test_pipes_in_code_and_math_do_not_end_a_cell(row, within):
    lines = ["| a | b |", "|---|---|", row]
    rest = within.rpartition("\n")[2]
    made = body(within + f"\n{rest}".join(lines))
    assert cells_of(made) == ROWS[row]


def test_table_head_may_hold_math_with_a_pipe():
    made = body("| $P(A|B)$ | n |\n|---|---|\n| 1 | 2 |")
    assert made.count("<th ") == 2
    assert f'<span class="{MATH_CLASS}">$P(A|B)$</span></th>' in made


@pytest.mark.parametrize(
    ("text", "heading"),
    [
        (" ### Step one", ">Step one</h5>"),
        ("  ## Two\ntext", "<h4>Two</h4><p>text</p>"),
        ("   # One", "<h3>One</h3>"),
        (">  ## Two", "<h4>Two</h4>"),
        ("1. a\n   ### Details\n   text", ">Details</h5>text</li>"),
        ("- a\n  - b\n    # One\n- c", "<h3>One</h3>\n</li>"),
        ("> - a\n>   # One", "<h3>One</h3>\n</li>"),
        ("- > # One\n  > text", "<h3>One</h3>\n<p>text</p>"),
    ],
)
def test_heading_may_be_indented(text, heading):
    assert heading in body(text)


QUOTES = {
    "- Note:\n  > - a\n  >   - b\n  > - c": "<li>a<ul>\n<li>b</li>\n</ul>\n</li>",
    "1. Note:\n   > 1. first\n   >\n   >    more\n   > 2. second": "<p>second</p>",
    "- a\n  > q1\nlazy\n- b": "<p>q1\nlazy</p>\n</blockquote>",
    "- a\n  > q1\n\n  b": "</blockquote>\n<p>b</p>\n</li>",
    "> ```\n> a\n> ```\nb": "</blockquote><p>b</p>",
    "> a\n>\nb": "</blockquote><p>b</p>",
}


@pytest.mark.parametrize("text", QUOTES)
def test_quote_in_an_item_keeps_its_structure(text):
    assert QUOTES[text] in body(text)


# -- never fails, never takes for ever ----------------------------------------------

RUNS = ["[", "![", "[a](", "[a][", "> ", ">", "`", "*", "**a ", "_a _", "<", "|", "- "]
RUNS += [" ", "$", "\\(", "\\[\n", "$$\n", "&", "~~a ", "a\n: b\n", "<!--", "```\n"]
RUNS += ["http://a ", "***a", "[x]: ", "- ```\n", "> - ", "(", "{", "\t", "<div>", "#"]


@pytest.mark.parametrize("run", RUNS)
def test_long_runs_are_shown_completely(run):
    """Each takes well under two seconds; Python-Markdown alone takes 46 for some."""
    text = run * (20_000 // len(run))
    made = markdown_html(text + "\n\nthe end")
    assert "the end" in made
    assert violations(made) == []


def test_deep_lists_are_shown_completely():
    text = "".join("  " * depth + f"- item{depth}\n" for depth in range(100))
    shown = text_of(markdown_html(text))
    assert all(f"item{depth}\n" in shown for depth in range(100))


def test_costly_block_is_shown_as_text():
    assert f'<pre style="{safe_html.TEXT_STYLE}">[[[' in markdown_html("[" * 8000)


def test_parser_error_shows_the_text(monkeypatch):
    def fail(*_):
        raise RecursionError

    monkeypatch.setattr(safe_html, "_converted", fail)
    assert "**never seen** &lt;b&gt;</pre>" in markdown_html("**never seen** <b>")


def test_very_long_reply_is_shown_as_text():
    made = markdown_html("- **a**\n" * 200_000)
    assert made.count("<pre") == 1
    assert "- **a**" in made


IMPORTS_ONE_AT_A_TIME = """
import sys, threading
from ollama_magic.render import safe_html
from ollama_magic.render.incremental import MarkdownConverter

converter = MarkdownConverter()
list(converter.take("some *text"))
with safe_html._lock:  # as the thread that loads the renderer holds it
    painting = threading.Thread(target=converter.open_html)
    painting.start()
    painting.join(1)
    assert painting.is_alive() and "markdown" not in sys.modules
painting.join()
"""


def test_markdown_is_imported_by_one_thread_at_a_time():
    """Two threads that import parts of it at once fail with half of the package."""
    command = [sys.executable, "-c", IMPORTS_ONE_AT_A_TIME]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
