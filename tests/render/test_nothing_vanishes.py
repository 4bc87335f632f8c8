"""Every word of a reply is shown: soon while it streams, and at the end."""

import re

import html5lib
import pytest
from examples import examples
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from ollama_magic.render.incremental import MarkdownConverter
from ollama_magic.render.reply import ReplyView, reply_bundle
from ollama_magic.render.safe_html import markdown_html

HELD = 300
"""Characters that a live view may hold back."""


def tree_of(page):
    return html5lib.parseFragment(page, namespaceHTMLElements=False)


def text_of(page):
    return "".join(tree_of(page).itertext())


def links_of(page):
    links = tree_of(page).iter("a")
    return {"".join(a.itertext()): a.get("href") for a in links if a.get("href")}


def live_pages(text, step):
    """Yield how much has arrived, and the page that shows it."""
    converter = MarkdownConverter()
    page = ""
    for start in range(0, len(text), step):
        for piece in converter.take(text[start : start + step]):
            page += piece.html
        yield min(start + step, len(text)), page + converter.open_html()


def live_page(text):
    """Return the live view of a text that arrived character by character."""
    converter = MarkdownConverter()
    done = [piece.html for one in text for piece in converter.take(one)]
    return "".join(done) + converter.open_html()


def words_of(text):
    """Return the words that must be shown; the numbers of a list are not text."""
    return re.findall(r"\w+", re.sub(r"(?m)^[ >]*\d+\. ", "", text))


# -- what looks like a definition ------------------------------------------------

SHOWN = {
    "log": "Log:\n[INFO]: started\n[WARN]: slow\n[ERROR]: failed to open it",
    "settings": "Config:\n[section]: value\n[other]:\n  indented",
    "sources": 'References:\n[1]: Smith 2020\n[2]: https://e.x/a "T"\n[3]: Doe',
    "log alone": "[INFO]: started\n[WARN]: slow",
    "no use": "text\n\n[1]: https://a.example/x",
    "relative": "See [docs].\n\n[docs]: docs/page.md",
    "script": "See [x].\n\n[x]: javascript:alert(1)",
    "address below, no use": "See x.\n\n[1]:\nhttps://a.example/x\n'Title'",
    "in a list": "- [a]: one\n- [b]: https://b.example/\n\n  [c]: three",
    "in a quote": "> Log:\n> [a]: one\n>\n> [b]: two",
    "nested": "1. x\n   > [a]: one\n   > - [b]: two\n   >\n   >   [c]: three",
    "in a sentence": "It says\n[1]: https://a.example/x and more\n[2]: that",
    "use in code alone": "`a[1]`\n\n[1]: https://a.example/x",
    "notes": "a[^1] b[^n]\n\n[^1]: https://a.example/x\n[^n]: Some book, page 3",
    "notes below text": "a[^1]\n\nNotes:\n[^1]: https://a.example/x\n[^2]: Book",
    "note over lines": "a[^1]\n\n[^1]: A book\n    and more of it\n\n    and more",
    "note in a list": "- a[^1]\n\n  [^1]: https://a.example/x",
    "label over words": "a [the label][] b\n\n[the label]: some words",
}


@pytest.mark.parametrize("text", SHOWN.values(), ids=SHOWN)
def test_text_like_a_definition_is_shown(text):
    shown = text_of(markdown_html(text))
    assert [word for word in words_of(text) if word not in shown] == []


@pytest.mark.parametrize("text", SHOWN.values(), ids=SHOWN)
def test_text_like_a_definition_is_shown_once_its_line_is_complete(text):
    lines = text.splitlines(keepends=True)
    for count in range(1, len(lines) + 1):
        come = "".join(lines[:count])
        page = live_page(come)
        assert [word for word in words_of(come) if word not in text_of(page)] == []


@pytest.mark.parametrize(
    "text",
    [
        "Log:\n[a]: one\n[b]: two",
        "[1] Ann, *Title*.\n[2] Bob\n[3] Eve",
        "A. Paris\nB. Rome\nC) Oslo",
        "i. one\nii. two\niv) four",
        "✅ one\n👩‍🔬 two\n→ three",
        "> Text\n> — Ann\n> « Texte »",
        "**Name:** Ann\n**Age**: 5\n**Town, `x`:** Rome",
    ],
)
def test_lines_that_only_look_like_items_keep_their_breaks(text):
    assert markdown_html(text).count("<br>") == 2


def test_wrapped_text_is_one_paragraph_without_breaks():
    text = (
        "by the\nauthor [1]\n[2](https://a.example)\n**bold** and\nI am\n$x$ (a\n[b])"
    )
    assert "<br>" not in markdown_html(text)


def test_footnote_labels_link_to_their_addresses():
    text = "See the docs[^1] and the paper[^2].\n\n"
    text += "[^1]: https://example.com/docs\n[^2]: https://example.org/paper.pdf"
    page = markdown_html(text)
    assert links_of(page)["[1]"] == "https://example.com/docs"
    assert links_of(page)["[2]"] == "https://example.org/paper.pdf"
    assert "[1] https://example.com/docs" in text_of(page)


def test_a_citation_whose_source_has_no_address_keeps_its_number():
    page = markdown_html("See [1] and [^2].\n\n[1]: <>\n[^2]: <>")
    assert "See [1] and [2]." in text_of(page)


def raised(page):
    """Return the texts in superscript."""
    return ["".join(mark.itertext()) for mark in tree_of(page).iter("sup")]


def test_marks_of_footnotes_are_superscript():
    text = "a[^1] b[^book] c[^2] d[^none]\n\n[^1]: https://e.example/\n"
    text += "[^book]: A *book*\n    and more\n\n- x\n\n  [^2]:\n      1. in a list"
    page = markdown_html(text)
    assert raised(page) == ["[1]", "[book]", "[2]", "[1]", "[book]", "[2]"]
    assert "d[^none]" in text_of(page)
    assert "<em>book</em>\nand more</p>" in page
    # The notes come last; until then, only a number is certain to be a mark.
    assert raised(live_page(text.partition("\n")[0])) == ["[1]", "[2]"]


@pytest.mark.parametrize(
    "text",
    ["`a[^1]`", "```\na[^1]\n```", "a\\[^1]", "[^1](https://a.example)", "[^a-z]"],
)
def test_text_that_only_looks_like_a_footnote_is_not_superscript(text):
    assert raised(markdown_html(text)) == []


@pytest.mark.parametrize(
    "source",
    [
        "Sources:\n[1]: https://a.example/x",
        "- [1]: https://a.example/x",
        "> [1]: <https://a.example/x>",
        '   [1]: https://a.example/x "Title"',
        "[1]: https://a.example/x\n[1]: https://b.example/second",
    ],
)
def test_numbered_source_is_linked_from_anywhere(source):
    page = markdown_html(f"As shown [1].\n\n{source}")
    assert links_of(page)["[1]"] == "https://a.example/x"


def test_only_used_definitions_are_hidden():
    text = "See [the docs][Docs] and [docs].\n\n"
    text += '[docs]: <https://a.example/d> "Title"\n[other]: https://a.example/o\nmore'
    page = markdown_html(text)
    assert text_of(page) == ("See the docs and docs.[other]: https://a.example/omore")
    assert links_of(page)["the docs"] == "https://a.example/d"
    assert 'title="Title"' in page


SOURCES = "".join(f"[{n}]: https://s{n}.example/\n" for n in range(1, 4))
NOTES = "".join(f"[^{n}]: https://s{n}.example/\n" for n in range(1, 4))
CITED = {
    "a space between": ("Fact [1] [2].", [1, 2]),
    "nothing between": ("[1][2][3]", [1, 2, 3]),
    "a line end between": ("Fact [1]\n[2] [3]", [1, 2, 3]),
    "in an item": ("- one [1][2]\n- two [3] [1]", [1, 2, 3, 1]),
    "in a quote": ("> one [1] [2]\n> [3]", [1, 2, 3]),
    "in a nested item": ("1. a\n   > - b [3][2] [1]", [3, 2, 1]),
    "in a table": ("| a | b |\n|---|---|\n| x [1][2] | [3] [1] |", [1, 2, 3, 1]),
    "in a heading": ("# Fact [1] [2][3]", [1, 2, 3]),
    "in bold": ("**Fact [1] [2]**[3]", [1, 2, 3]),
    "with a comma": ("Fact [1], [2],[3]", [1, 2, 3]),
}


def citations_of(page):
    links = [("".join(a.itertext()), a.get("href")) for a in tree_of(page).iter("a")]
    return [(text, url) for text, url in links if not text.startswith("https:")]


@pytest.mark.parametrize(("text", "numbers"), CITED.values(), ids=CITED)
def test_each_citation_links_to_its_own_source(text, numbers):
    page = markdown_html(f"{text}\n\n{SOURCES}")
    assert citations_of(page) == [(f"[{n}]", f"https://s{n}.example/") for n in numbers]
    text = text.replace("[", "[^")
    page = markdown_html(f"{text}\n\n{NOTES}")
    assert citations_of(page) == [(f"[{n}]", f"https://s{n}.example/") for n in numbers]


@pytest.mark.parametrize("text", [text for text, _ in CITED.values()], ids=CITED)
def test_citation_links_to_no_other_source_in_a_live_view(text):
    whole = f"{text}\n\n{SOURCES}"
    for size in range(1, len(whole) + 1):
        for label, url in citations_of(live_page(whole[:size])):
            assert url == f"https://s{label.strip('[]')}.example/"


def test_source_above_its_citations_is_hidden_only_if_it_is_linked():
    page = markdown_html(f"{SOURCES}\nFact [1] [2].")
    assert text_of(page) == "[3]: https://s3.example/Fact [1] [2]."


REFERENCES = {
    "[text][a]": [("text", "a")],
    "[a][b]": [("a", "b")],
    "[a] [b]": [("a", "a"), ("b", "b")],
    "[a]\n[b]": [("a", "a"), ("b", "b")],
    "[text] [a]": [("a", "a")],
    "[a][]": [("a", "a")],
    "[text][other][a]": [("other", "a")],
    "[text][1]": [("text", "1")],
    "[2024][a]": [("2024", "a")],
    "[1][a]": [("[1]", "1"), ("a", "a")],
    "[7][1]": [("[1]", "1")],
    "![text][a]": [("[image: text – https://a.example/]", "a")],
    "![text] [a]": [("a", "a")],
}


@pytest.mark.parametrize(("text", "links"), REFERENCES.items())
def test_label_belongs_to_the_text_directly_before_it(text, links):
    defined = "".join(f"[{name}]: https://{name}.example/\n" for name in "ab1")
    found = citations_of(markdown_html(f"{text}\n\n{defined}"))
    assert found == [(shown, f"https://{name}.example/") for shown, name in links]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//a.b"])
def test_definition_without_an_address_links_nothing(url):
    assert links_of(markdown_html(f"[x] and [^1]\n\n[x]: {url}\n[^1]: {url}")) == {}


def test_label_that_names_another_host_shows_the_true_one():
    text = "[bank.example]\n\n[bank.example]: https://evil.example/x"
    assert "(evil.example)" in markdown_html(text)


# -- what has begun and not ended -------------------------------------------------

HALF = {
    "display math in an item": (
        "1. The mean is\n\n   $$\n   m = 1\n   $$\n\n   and this has arrived\n"
        "2. so has the second item\n3. and the third"
    ),
    "display math in a sentence": "The area is $$A=\\pi r^2$$ where r is the radius",
    "display math in a tight item": "- mean: $$m=1$$\n- spread is next",
    "display math in a quote": "> $$\n> m = 1\n> $$\n> and then this",
    "display math in a nested item": "- a\n  - $$m=1$$ is here\n    and this",
    "two of them": "First $$a=1$$ then $$b=2$$ and the rest of it",
    "round": "First \\(a=1\\) then \\(b=2\\) and the rest of it",
    "square in an item": "- see\n\n  \\[\n  a = 1\n  \\]\n\n  and this",
    "opening in the item above": "- price in $$ now\n- mean $$m=1$$ and this",
    "opening in code": "the shell's `$$` and `\\[` are these",
    "math with stars": "Since $x^*$ is optimal and $y_i$ small, we go on",
    "math with one star": "$5*12=60$ and then",
    "blank line below": "The variable $$ holds\n\nwhat comes here",
}


@pytest.mark.parametrize("text", HALF.values(), ids=HALF)
def test_text_below_complete_math_is_not_held_back(text):
    page = live_page(text)
    last = text.rpartition("\n")[2]
    shown = text_of(page)
    assert [word for word in words_of(last) if word not in shown] == []
    assert shown.rstrip().endswith(text[-3:])


STRAY = ["$$", "\\[a-z", "\\(a", "![alt](http://", "[text](http://", "$a_", "<b", "**"]


@pytest.mark.parametrize("start", ["The sign ", "- a\n- b ", "> a ", "- > a "])
@pytest.mark.parametrize("mark", STRAY)
def test_unclosed_syntax_is_held_back_for_about_300_characters(start, mark):
    sentence = " ".join(f"word{n}" for n in range(100))
    text = f"{start}{mark} {sentence}"
    for size, page in live_pages(text, 10):
        come = text[: max(size - HELD, 0)]
        shown = text_of(page)
        whole = come[: come.rfind(" ") + 1]
        assert [w for w in re.findall(r"word\d+", whole) if w not in shown] == []


def test_unclosed_address_is_shown():
    page = live_page(f"see [text](http://{'a' * 500}")
    assert "a" * 500 in text_of(page)


@pytest.mark.parametrize("text", ["so $$x = 1", "so \\[x", "so \\(x", "so $x_1"])
def test_unclosed_math_is_held_back(text):
    page = live_page(text)
    assert text_of(page) == "so"


# -- any text ---------------------------------------------------------------------

_PARTS = ["\n", "\n\n", "- ", "1. ", "> ", "  ", "    ", "# ", "**", "*", "_", "~~"]
_PARTS += ["` ", "$", "$$", "\n$$\n", "\\[", "\\]", "\\(", "\\)", "\\", "| ", " | "]
_PARTS += ["\n| a | b |\n|---|---|\n", "\n```\n", "\n  ```\n", "\n> ```\n", "[", "]: "]
_PARTS += ["\n[x]: ", "\n[^1]: ", "[^1]", "<b>", "<", "\n---\n", "\n\\begin{x}\n", "!["]
_PARTS += ["[text](http://a.example/) ", "\n[x]: http://a.example/\n", "[x]", "$5 "]
_WORD = object()


def _numbered(parts):
    count = 0
    text = ""
    for part in parts:
        if part is _WORD:
            count += 1
            text += f"w{count}w "
        else:
            text += part
    return text


def numbered_words(text):
    """Return the words that must be shown; those after a fence name its language."""
    return re.findall(r"w\d+w", re.sub(r"(?:~{3,}|`{3,})[^`\n]*", "", text))


TEXTS = st.lists(st.sampled_from(_PARTS) | st.just(_WORD), max_size=40).map(_numbered)


@examples(150, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS)
def test_no_word_is_lost(text):
    shown = text_of(markdown_html(text))
    assert [word for word in numbered_words(text) if word not in shown] == []


@examples(60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS, st.integers(30, 90))
@example("- a\n  > ```\n" + "  > w1w \n" * 60, 31)
@example("$$w1w w2w w3w w4w w5w \nw6w \n$$\nw7w ![w8w $$", 31)
def test_no_word_older_than_300_characters_is_missing(text, step):
    text += "\nand" + " so on" * 60
    for size, page in live_pages(text, step):
        come = text[: max(size - HELD, 0)]
        shown = text_of(page)
        assert [w for w in numbered_words(come) if w not in shown] == []


# -- blank lines -----------------------------------------------------------------

BLANK = ["```python\na = 1\n\n\n# b\n  \nc\n```", "- a\n  ```\n  a\n\n  - b\n  ```"]
BLANK += ["> ```\n> a\n>\n> b\n> ```", "text\n\n\n    code\n\n\n    code\n\n- a\n\n  b"]
BLANK += ["```\n\n\na\n\n```", "<div>\n\na\n</div>\n\n<!-- \n\n -->", "a\n\n\n\nb"]


@pytest.mark.parametrize("view", ["markdown", "text", "html", "code", "json"])
@pytest.mark.parametrize("text", BLANK)
def test_page_has_no_blank_line(text, view):
    """A blank line ends an HTML block in the Markdown that nbconvert writes."""
    page = reply_bundle(ReplyView(text, text, 1.0, view, notice=text))["text/html"]
    assert not re.search(r"\n[ \t]*\n", page)


def test_blank_lines_in_code_are_kept_for_the_browser():
    page = markdown_html("```\n\n\na\n\n  \n\nb\n```")
    (code,) = ("".join(pre.itertext()) for pre in tree_of(page).iter("pre"))
    assert code == "\n\na\n\n  \n\nb\n"
