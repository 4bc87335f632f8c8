"""A fence is a code block everywhere: in lists, in quotes, open or closed."""

import html5lib
import pytest

from ollama_magic.render.incremental import MarkdownConverter
from ollama_magic.render.safe_html import markdown_html

CODE = "# not a heading\ndef f():\n\n    return 1\n- x\n> y"
CONTAINERS = {
    "item": "- a\n  ",
    "numbered item": "1. a\n   ",
    "loose item": "1. a\n\n   ",
    "four spaces": "1. a\n\n    ",
    "nested item": "- a\n  - b\n    ",
    "first in an item": "- ",
    "quote": "> ",
    "quote below text": "> a\n> ",
    "nested quote": "> > ",
    "item in a quote": "> - a\n>   ",
    "quote in an item": "- a\n  > ",
    "quote first in an item": "1. > ",
    "all of them": "> 1. a\n>    > - b\n>    >   ",
}
INFOS = ["", "python", "bash", 'c++ title="x"', "{.r}", "no-such-language"]


def fenced(container, info="", marks="```", code=CODE):
    """Return a fence in a container; it is not closed."""
    *above, first = container.split("\n")
    rest = "".join(mark if mark == ">" else " " for mark in first)
    if first == "1. > ":
        rest = "   > "
    elif first == "> 1. a":
        rest = "> "
    lines = [f"{first}{marks}{info}", *(f"{rest}{line}" for line in code.split("\n"))]
    return "\n".join([*above, *lines]), f"\n{rest}{marks}"


def tree_of(page):
    return html5lib.parseFragment(page, namespaceHTMLElements=False)


def live_page(text, step=None):
    converter = MarkdownConverter()
    done = [
        piece.html
        for start in range(0, len(text), step or len(text))
        for piece in converter.take(text[start : start + (step or len(text))])
    ]
    return "".join(done) + converter.open_html()


def code_of(page):
    return ["".join(pre.itertext()).rstrip("\n") for pre in tree_of(page).iter("pre")]


def tags_of(page):
    return {element.tag for element in tree_of(page).iter()}


@pytest.mark.parametrize("info", INFOS)
@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_fence_in_a_container_is_a_code_block(container, info):
    opened, end = fenced(container, info)
    for page in (markdown_html(opened + end), live_page(opened + end)):
        assert code_of(page) == [CODE]
        assert "h1" not in tags_of(page)
        assert "```" not in page


@pytest.mark.parametrize("marks", ["```", "````", "~~~"])
@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_unclosed_fence_is_a_code_block(container, marks):
    opened, _ = fenced(container, "python", marks)
    assert code_of(markdown_html(opened)) == [CODE]
    assert code_of(markdown_html(opened + "\n\n")) == [CODE]


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_code_block_grows_while_it_streams(container):
    opened, end = fenced(container)
    whole = opened + end + "\n"
    begins = opened.index("```") + 4
    seen = []
    for size in range(begins, len(whole) + 1):
        page = live_page(whole[:size])
        assert "`" not in "".join(tree_of(page).itertext())
        assert not {"h1", "code"} & tags_of(page)
        seen += code_of(page)
    assert seen[-1] == CODE
    lines = CODE.split("\n")
    for number, shown in enumerate(lines):
        assert any(code.endswith(shown.strip()) for code in seen), number


@pytest.mark.parametrize("step", [1, 7, 100])
def test_result_does_not_depend_on_fragments(step):
    opened, end = fenced("- a\n  > ")
    page = live_page(f"{opened}{end}\n\nthe end", step)
    assert code_of(page) == [CODE]
    assert "the end" in page


def test_list_continues_below_its_code():
    text = "1. Install:\n   ```\n   pip install a\n   pip install b\n   ```\n"
    text += "2. Layout:\n   ```\n   # comment\n   src/\n     main.py\n   - x\n   ```"
    page = markdown_html(text)
    assert page.count("<ol>") == 1
    assert code_of(page) == [
        "pip install a\npip install b",
        "# comment\nsrc/\n  main.py\n- x",
    ]


def test_fence_in_a_fence_of_more_marks_is_code():
    text = "- a\n  ````\n  ```\n  # b\n  ```\n  ````\n- c"
    assert code_of(markdown_html(text)) == ["```\n# b\n```"]


@pytest.mark.parametrize("text", ["> ```\n> a\nb", "- x\n  > ```\n  > a\n\n  b"])
def test_text_below_a_quote_is_not_in_its_fence(text):
    page = markdown_html(text)
    assert code_of(page) == ["a"]
    assert [p.text for p in tree_of(page).iter("p")][-1] == "b"


def test_long_code_in_a_quote_is_code_in_every_piece_of_a_live_view():
    text = "> ```python\n" + "> # x\n" * 2000
    page = live_page(text, 50)
    assert "h1" not in tags_of(page)
    assert sum(code.count("# x") for code in code_of(page)) == 2000


def test_item_marks_in_long_code_do_not_end_it():
    text = "1. a\n   ```\n" + "   - x\n" * 1200 + "   ```\n2. b"
    page = live_page(text, 50)
    assert page.count("<li>") == 2
    assert sum(code.count("- x") for code in code_of(page)) == 1200


def test_emphasis_below_code_is_closed():
    page = live_page("- a\n  ```\n  x\n\n  y\n  ```\n  and **bo")
    assert "<strong>bo</strong>" in page
    assert "`" not in page


# -- where code in an item ends ------------------------------------------------------

OPEN_FENCES = {
    "next item": ("1. a\n   ```\n   # x\n2. b\n3. c", ["# x"], ["b", "c"]),
    "text": ("- a\n  ```python\n  # x\n\nb\n\n# c", ["# x"], ["b", "c"]),
    "text on the next line": ("- a\n  ```\n  # x\nb", ["# x"], ["b"]),
    "heading": ("- a\n  ```\n  # x\n# b\nc", ["# x"], ["b", "c"]),
    "other list": ("- a\n  ```\n  # x\n1. b", ["# x"], ["b"]),
    "outer item": ("- a\n  - b\n    ```\n    # x\n  c\n- d", ["# x"], ["c", "d"]),
    "fences in items": ("- ```\n  # x\n- ```\n  - y\nb", ["# x", "- y"], ["b"]),
    "fence outside": ("- a\n  ```\n  # x\n```py\n- y\n```\nb", ["# x", "- y"], ["b"]),
    "item in a quote": ("> - a\n>   ```\n>   # x\n> - b\n>\n> c", ["# x"], ["b", "c"]),
    "text in a quote": ("> 1. a\n>    ```\n>    # x\n> b\nc", ["# x"], ["b", "c"]),
    "quote in an item": ("1. > - ```\n   >   # x\n   > b\n2. c", ["# x"], ["b", "c"]),
    "blank lines": ("- a\n  ```\n  # x\n\n  - y\n\nb", ["# x\n\n- y"], ["b"]),
    "tabs": ("- a\n\t```\n\t# x\n- b", ["# x"], ["b"]),
    "fence of the outer item": ("- a\n  - c\n  ```\n  # x\n  ```\n- b", ["# x"], ["b"]),
    "end at the margin": ("- a\n  ```\n  # x\n```\n- b", ["# x"], ["b"]),
}
INDENTED = {
    "lines": ("1. a\n\n       pip x\n       # y\n       z", ["pip x\n# y\nz"], []),
    "any syntax": (
        "- a\n\n      x\n      - y\n      > y\n      ```\n      $$\n        1. y\n- b",
        ["x\n- y\n> y\n```\n$$\n  1. y"],
        ["b"],
    ),
    "prompts": ("- a\n\n      >>> x\n      >>> y\n\n  b", [">>> x\n>>> y"], ["b"]),
    "blank lines": ("1. a\n\n       # x\n\n       - y\n2. b", ["# x\n\n- y"], ["b"]),
    "text outside": ("- a\n\n      # x\nb", ["# x"], ["b"]),
    "nested": ("1. a\n   - b\n\n         # x\n         y\n   - c", ["# x\ny"], ["c"]),
    "in a quote": ("> 1. a\n>\n>        # x\n>        y\n> 2. b", ["# x\ny"], ["b"]),
    "wide marker": ("-   a\n\n      b\n\n        # x\n        y", ["# x\ny"], ["b"]),
}
ENDS = {**OPEN_FENCES, **{f"indented, {name}": case for name, case in INDENTED.items()}}


def text_outside_code(page):
    tree = tree_of(page)
    for pre in tree.iter("pre"):
        for child in list(pre):
            pre.remove(child)
        pre.text = ""
    return " ".join(tree.itertext()).split()


@pytest.mark.parametrize(("text", "code", "words"), ENDS.values(), ids=ENDS)
def test_code_in_an_item_ends_with_the_item(text, code, words):
    for end in ("", "\n", "\n\nend"):
        pages = [markdown_html(text + end), live_page(text + end)]
        pages += [live_page(text + end, step) for step in (1, 3)]
        for page in pages:
            assert code_of(page) == code
            assert [w for w in text_outside_code(page) if w in words] == words
            assert ("end" in text_outside_code(page)) == end.endswith("end")


@pytest.mark.parametrize(("text", "code", "words"), ENDS.values(), ids=ENDS)
def test_code_in_an_item_is_code_in_every_live_view(text, code, words):
    """No text is shown as code, and no code as text."""
    code_words = {word for lines in code for word in lines.split()} - {"-", ">", "#"}
    for size in range(1, len(text) + 1):
        page = live_page(text[:size], 1)
        in_code = {word for lines in code_of(page) for word in lines.split()}
        assert not code_words & {*text_outside_code(page)} - {"```", "``", "`", "1."}
        assert not {*words} & in_code


def test_long_code_of_an_item_in_a_quote_ends_with_the_item():
    text = "> - a\n>   ```\n" + ">   # x\n" * 600 + "> - b\n>\n> c\n" + "> d\n" * 600
    page = live_page(text, 50)
    assert sum(code.count("# x") for code in code_of(page)) == 600
    assert text_outside_code(page).count("d") == 600
