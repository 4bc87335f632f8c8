"""Replies have the structure that CommonMark gives them, when complete and live."""

import pytest
from markdown_oracle import EXAMPLES, expected, has_raw_html, shown
from model_texts import for_oracle, for_reply, text_of

from ollama_magic.render.incremental import MarkdownConverter
from ollama_magic.render.safe_html import markdown_html

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
        "[foo]: /url\n===\n[foo]",
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


@pytest.mark.parametrize("step", [1, 17, 10_000])
def test_live_view_of_a_complete_text_has_its_final_structure(step):
    for seed in range(1000, 1100):
        text = without_definitions(for_reply(text_of(seed)))
        assert shown(live_page(text, step)) == shown(markdown_html(text)), seed


READS = {
    "heading, two levels below the notebook's": (
        "# a\n\nb\n---",
        "<h3>a</h3><h4>b</h4>",
    ),
    "deep heading": ("##### a", "<h6>a</h6>"),
    "callout": ("> [!NOTE]\n> a", "<p><strong>Note</strong></p>\n<p>a</p>"),
    "callout alone": ("> [!WARNING]", "<strong>Warning</strong>"),
    "relative link": (
        "[config](docs/config.md), [sec](#usage), [tel](tel:+1)",
        ">config</a> (docs/config.md), "
        '<a rel="noopener noreferrer nofollow">sec</a> (#usage), ',
    ),
    "tasks in a numbered list": ("1. [ ] a", "<li>☐ a</li>"),
    "tasks beside items": ("- [ ] a\n- b", "<ul>\n<li>☐ a</li>\n<li>b</li>\n</ul>"),
    "struck at a mark": ("~~删除（旧）。~~文字", "<del>删除（旧）。</del>文字"),
    "bold at a mark": ("**删除（旧）。**文字", "<strong>删除（旧）。</strong>文字"),
    "no host": ("www.example.com", '<a href="http://www.example.com"'),
    "mail": ("to a.b@c.example.", '<a href="mailto:a.b@c.example"'),
    "Japanese full stop": ("和https://a.example/b。", '<a href="https://a.example/b"'),
    "environment in an item": (
        "1. Then\n   \\begin{align}\n   a &= b \\\\\n   c\n   \\end{align}",
        "\\begin{align}\na &amp;= b \\\\\nc\n\\end{align}</span>",
    ),
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
        "[^1]: b</p>\n<pre",
    ),
}


@pytest.mark.parametrize(("text", "part"), READS.values(), ids=READS)
def test_reply_reads_as_meant(text, part):
    assert part in markdown_html(text)
    assert part in live_page(text + "\n", 1)
