"""Replies have the structure that CommonMark gives them, when complete and live."""

import re

import pytest

pytest.importorskip("linkify_it")  # the measure needs no old versions
pytest.importorskip("mdit_py_plugins")

from markdown_oracle import EXAMPLES, expected, has_raw_html, shown
from model_texts import for_oracle, for_reply, text_of

from ollama_magic.render.code import LABEL_STYLE, PRE_STYLE
from ollama_magic.render.incremental import MarkdownConverter
from ollama_magic.render.math import MATH_CLASS
from ollama_magic.render.safe_html import markdown_html
from ollama_magic.render.theme import MARKDOWN_STYLES

OTHERWISE = {
    "math, not an escaped bracket": ['\\!\\"\\#\\$\\%\\&', "\\*not emphasized*"],
    "a definition that no link uses stays": [
        "[foo]\n\n[foo]: first",
        '[foo]: /url "title"\n',
        "[foo]: /url\n",
        "[\nfoo\n]: /url",
        '[foo]: /url\n"title" ok',
        "[foo]`",
        "- a\n- b\n\n  [ref]: /url",
        "[foo`][ref]`",
        "[foo<https://example.com/?search=][ref]>",
        "[foo]: /url1\n\n[foo]: /url2",
        "[foo][bar]\n\n[foo]: /url1",
        "[foo]()\n\n[foo]: /url1",
        "[foo][bar][baz]\n\n[baz]: /url1\n[foo]",
        "!\\[foo]\n\n[foo]: /url",
        "\\[foo]\n\n[foo]: /url",
    ],
    "two columns are enough below a number": ["10) foo\n   - bar"],
    "rare, and no word is lost": [
        "[foo]\n\n> [foo]: /url",
        "[bar][foo\\!]",
    ],
}
"""The beginnings of the specification's examples that come out differently."""
_DIFFERENT = tuple(start for starts in OTHERWISE.values() for start in starts)


def test_examples_of_the_specification_have_its_structure():
    examples = [one["markdown"] for one in EXAMPLES]
    examples = [text for text in examples if not has_raw_html(text)]
    wrong = [text for text in examples if shown(markdown_html(text)) != expected(text)]
    assert [text for text in wrong if not text.startswith(_DIFFERENT)] == []
    assert len(wrong) <= 0.035 * len(examples)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 600, 100))
def test_made_up_replies_have_the_structure_of_commonmark(start):
    wrong = [
        seed
        for seed in range(start, start + 100)
        if shown(markdown_html(for_reply(text_of(seed))))
        != expected(for_oracle(text_of(seed)))
    ]
    assert wrong == []


def without_definitions(text):
    """Return a text without its link definitions: a live view can't know them."""
    return text.partition("\n\n[s")[0] + "\n"


def live_page(text, step):
    converter = MarkdownConverter()
    made = []
    for start in range(0, len(text), step):
        made += [one.html for one in converter.take(text[start : start + step])]
        if step > 1:
            converter.open_html()
    return "".join(made) + converter.open_html()


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 17, 10_000])
def test_live_view_of_a_complete_text_has_its_final_structure(step):
    for seed in range(1000, 1100):
        text = without_definitions(for_reply(text_of(seed)))
        assert shown(live_page(text, step)) == shown(markdown_html(text)), seed


@pytest.mark.parametrize("text", ["> ```\n> a\n> ```", "- > ~~~\n  > a\n  > ~~~"])
def test_the_end_of_code_in_a_quote_is_not_shown_as_text_in_a_live_view(text):
    assert shown(live_page(text, 1)) == shown(markdown_html(text))


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("It is $$\nx = 1\n$$\nwhere *x*.\n\nb", "</span>\nwhere <em>x</em>.</p>"),
        ("- a: $$\n  x\n  $$ b\n- c", "</span> b</li>"),
        ("> a $$\n> x\n> $$\n> b", "</span>\nb</p>"),
        ("`$$` is:\n$$\nx\n$$\nb", "</span></p><p>b</p>"),
    ],
)
def test_math_that_begins_within_a_line_ends_at_its_mark(text, rest):
    page = markdown_html(text)
    assert rest in page
    assert page.count(f'"{MATH_CLASS}"') == 1
    for step in (1, 7):
        assert shown(live_page(text, step)) == shown(page)


_TERM = f'<dt style="{MARKDOWN_STYLES["dt"]}">'
_DEFINITION = f'<dd style="{MARKDOWN_STYLES["dd"]}">'
READS = {
    "heading, two levels below the notebook's": (
        "# a\n\nb\n---",
        "<h3>a</h3><h4>b</h4>",
    ),
    "deep heading": ("##### a", f'<h6 style="{MARKDOWN_STYLES["h6"]}">a</h6>'),
    "callout": ("> [!NOTE]\n> a", "<p><strong>Note</strong></p>\n<p>a</p>"),
    "callout alone": ("> [!WARNING]", "<strong>Warning</strong>"),
    "Hebrew": (
        "- ש `x`\n\n  ל",
        f'<ul dir="auto">\n<li>\n<p style="{MARKDOWN_STYLES["p"]}">ש '
        '<code dir="ltr">x</code></p>',
    ),
    "code in Hebrew": (
        "> ש\n>\n> ```\n> x\n> ```",
        f'">ש</p>\n<pre class="highlight" style="{PRE_STYLE}">x',
    ),
    "code in a note in Hebrew": (
        "[^1]: ש\n\n    ```\n    x\n    ```",
        f'ש</p>\n<pre class="highlight" style="{PRE_STYLE}">x',
    ),
    "Arabic in a table": (
        "|ا|\n|-|\n|1|",
        '<table dir="auto">\n<thead>\n<tr>\n<th style="text-align:start">ا</th>',
    ),
    "definitions": (
        "a\n: b **c**\nd\n: e\n: f\ng",
        f"{_TERM}a</dt>\n{_DEFINITION}b <strong>c</strong></dd>\n{_TERM}d</dt>\n"
        f"{_DEFINITION}e</dd>\n{_DEFINITION}f\ng</dd>\n</dl>",
    ),
    "no definition": (": a\n: b", "<p>: a\n: b</p>"),
    "relative link": (
        "[config](docs/config.md), [sec](#usage), [tel](tel:+1)",
        ">config</a> (docs/config.md), "
        '<a rel="noopener noreferrer nofollow">sec</a> (#usage), ',
    ),
    "tasks in a numbered list": ("1. [ ] a", "<li>☐ a</li>"),
    "tasks beside items": (
        "- b\n- [ ] a",
        '<li>b</li>\n<li style="list-style-type:none">☐ a</li>\n',
    ),
    "struck at a mark": ("~~删除（旧）。~~文字", "<del>删除（旧）。</del>文字"),
    "bold at a mark": ("**删除（旧）。**文字", "<strong>删除（旧）。</strong>文字"),
    "no host": ("www.example.com", '<a href="http://www.example.com"'),
    "mail": ("to a.b@c.example.", '<a href="mailto:a.b@c.example"'),
    "Japanese full stop": ("和https://a.example/b。", '<a href="https://a.example/b"'),
    "environment in an item": (
        "1. Then\n   \\begin{align}\n   a &= b \\\\\n   c\n   \\end{align}",
        "\\begin{align}\na &amp;= b \\\\\nc\n\\end{align}</span>",
    ),
    "unfinished environment in an item": (
        "1. a\n   \\begin{align}\n   b &= c \\\\",
        "<code>\\begin{align}\nb &amp;= c \\\\</code>",
    ),
    "unfinished math in an item": ("- a\n  $$\n  b", "<code>$$\nb</code>"),
    "blank line in brackets": (
        "\\[\nx = 1\n\n+ 2\n\\]\n\nb",
        "\\[\nx = 1\n&#10;+ 2\n\\]</span></p><p>b</p>",
    ),
    "fence in a fence of Markdown": (
        "```markdown\n# a\n```python\nx\n```\nb\n```\nc",
        "b\n</pre><p>c</p>",
    ),
    "entity": (
        "&copy; &lt;b&gt; `&lt;` \\&amp; &amp;lt;",
        "© &lt;b&gt; <code>&amp;lt;",
    ),
    "table and sub-list in an item": (
        "- a\n\n  | x | y |\n  |---|---|\n  | 1 | 2 |\n  - b",
        "</table>\n<ul>\n<li>b</li>",
    ),
    "note of several blocks": (
        "a[^1]\n\n[^1]: b\n\n    ```\n    c\n    ```",
        "<sup>[1]</sup> b</p>\n<pre",
    ),
    "callout on its line": ("> [!TIP] b\n> c", "<strong>Tip</strong></p>\n<p>b\nc</p>"),
    "rule below sources": (
        "a [1]\n\n[1]: https://a.example\n[2]: https://b.example\n---\nb",
        "</p><hr><p>b",
    ),
    "items of letters": ("Which?\nA) b\nB) c", "Which?<br>\nA) b<br>\nB) c"),
    "items of dots": ("• a\n• b\nc", "• a<br>\n• b\nc"),
    "label of code": ('```py title="<a>"\nx\n```', '>py title="&lt;a&gt;"</div><pre'),
    "label of code in an item": ("1. a\n   ```sh\n   x\n   ```", ">sh</div><pre"),
    "added and deleted lines": (
        "```diff\n- a\n+ b\n```",
        '<span class="s">- a\n</span><span class="m">+ b</span>\n',
    ),
}


@pytest.mark.parametrize(("text", "part"), READS.values(), ids=READS)
def test_reply_reads_as_meant(text, part):
    assert part in markdown_html(text)
    assert part in live_page(text + "\n", 1)


@pytest.mark.parametrize("quote", ["", "> ", "  "])
def test_code_has_one_label_if_its_language_is_named(quote):
    """A live view cuts long code into pieces; only the first one has the label."""
    for info, count in (("python", 1), ("", 0)):
        lines = [f"```{info}", *["x = 1"] * 500, "```"]
        text = ("- a\n" if quote == "  " else "") + quote + f"\n{quote}".join(lines)
        for page in (markdown_html(text), live_page(text, 1), live_page(text, 999)):
            assert page.count(LABEL_STYLE) == count


_SITE = "a http://www.a.example"
OF_GITHUB = {
    "table of one column": ("| w1 |\n|--|\n| w2 |", ["table tr th", "table tr td"]),
    "table without rows": ("| w1 |\n|--|", ["table tr th"]),
    "table ended by a quote": ("|w1|\n|-|\n> w2", ["table tr th", "blockquote p"]),
    "table ended by code": ("|w1|\n|-|\n```\nw2\n```", ["table tr th", "pre"]),
    "row without bars": ("|w1|\n|-|\nw2\n\nw3", ["table tr th", "table tr td", "p"]),
    "head of another width": ("|w1|w2|\n|-|\n|w3|", ["p", "p", "p"]),
    "surplus cell, which is kept": (
        "|w1|\n|-|\n|w2|w3|",
        ["table tr th", "table tr td", "table tr td"],
    ),
    "pipe in code": (
        "|w1|\n|-|\n|`w2 \\| w3`|",
        ["table tr th", *["table tr td code"] * 2],
    ),
    "task in a task": (
        "- [x] w1\n  - [ ] w2\n- w3",
        ["ul li", "ul li ul li", "ul li"],
    ),
    "task without a blank": ("- [x]w1", ["ul li"]),
    "struck": ("~~w1~~ w2~~w3~~", ["p del", "p", "p del"]),
    "struck over two paragraphs": ("~~w1\n\nw2~~", ["p", "p"]),
    "three tildes": ("a ~~~w1~~~", ["p"]),
    "site": ("www.a.example/w1?q=(w2).", [f"p {_SITE}/w1?q=(w2)"] * 2),
    "site in parentheses": ("(www.a.example/w1)", [f"p {_SITE}/w1"]),
    "site and an entity": ("www.a.example/w1&w2;", [f"p {_SITE}/w1", "p"]),
    "site and a bracket": ("www.a.example/w1<w2", [f"p {_SITE}/w1", "p"]),
    "mail": ("a.w1@c.example, w2", ["p a mailto:a.w1@c.example", "p"]),
    "no mail": ("a.b@c.w1- a@b.w2_", ["p", "p"]),
}


@pytest.mark.parametrize(("text", "places"), OF_GITHUB.values(), ids=OF_GITHUB)
def test_extensions_of_github_are_read_by_its_rules(text, places):
    """GitHub's specification; but no cell is lost, and one tilde is text."""
    for page in (markdown_html(text), live_page(text + "\n", 1)):
        found = []
        for word, above in shown(page):
            place = re.sub(r" (?:\d+|text-align:\w+)\b", "", " ".join(above))
            found += [place] * len(re.findall(r"w[1-9]", word))
        assert found == places


def kinds_of(page):
    """Return the blocks that each numbered word of a page stands in."""
    found = {}
    for word, above in shown(page):
        blocks = tuple(name.partition(" ")[0] for name in above)
        blocks = tuple(name for name in blocks if name not in INLINE)
        for number in re.findall(r"w[1-9]\d*", word):
            found.setdefault(number, blocks)
    return found


INLINE = {"a", "code", "del", "em", "p", "strong"}


@pytest.mark.slow
@pytest.mark.parametrize("start", range(2000, 2040, 10))
def test_no_block_of_a_live_view_changes_its_kind_more_than_once(start):
    for seed in range(start, start + 10):
        text = without_definitions(for_reply(text_of(seed)))
        converter, done, kinds = MarkdownConverter(), "", {}
        step = max(4, len(text) // 100)
        for at in range(0, len(text), step):
            done += "".join(one.html for one in converter.take(text[at : at + step]))
            for word, kind in kinds_of(done + converter.open_html()).items():
                seen = kinds.setdefault(word, [kind])
                if seen[-1] != kind:
                    seen.append(kind)
        assert [seen for seen in kinds.values() if len(seen) > 2] == [], seed
