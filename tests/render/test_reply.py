"""A complete reply: its bundle, and its tool calls."""

import json
import re
from html import unescape
from pathlib import Path

import pytest

from ollama_magic.render.code import LABEL_STYLE, code_blocks
from ollama_magic.render.reply import (
    ReplyView,
    reply_bundle,
    reply_plain,
    shows_reply,
    steps_html,
    steps_text,
)


def test_bundle_has_html_and_source_text_only():
    """Never Markdown: a front end runs the scripts in it."""
    bundle = reply_bundle(ReplyView("# a *b*"))
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"] == "# a *b*"
    assert "<h3>a <em>b</em></h3>" in bundle["text/html"]


def test_thinking_is_folded_and_not_in_the_source():
    bundle = reply_bundle(ReplyView("answer", thinking="let me *see*", thinking_s=12.4))
    assert "<summary>Thought for 12 s</summary>" in bundle["text/html"]
    assert "let me *see*" in bundle["text/html"]
    assert bundle["text/plain"] == "answer"


def test_footer_is_below_the_answer_and_not_in_the_source():
    bundle = reply_bundle(ReplyView("answer", footer=("m:1b", "turn 2 of main")))
    assert bundle["text/html"].index("answer") < bundle["text/html"].index(
        "m:1b · turn"
    )
    assert bundle["text/plain"] == "answer"


@pytest.mark.parametrize(
    ("share", "width"), [(None, None), (0.5, None), (0.62, "62%"), (1.7, "100%")]
)
def test_bar_is_shown_if_more_than_half_of_the_context_is_used(share, width):
    view = ReplyView("a", footer=("context",), context_share=share)
    html = reply_bundle(view)["text/html"]
    assert f"width:{width}" in html if width else "width:" not in html


def test_notice_is_in_html_and_source():
    bundle = reply_bundle(ReplyView("half an ans", notice="[interrupted]"))
    assert "[interrupted]</div>" in bundle["text/html"]
    assert bundle["text/plain"] == "half an ans\n\n[interrupted]"


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (ReplyView("a", facts=("cut off", "")), "a\n\n[cut off]"),
        (ReplyView("a", facts=("x\n\ny", "z")), "a\n\n[x y · z]"),
        (
            ReplyView("a", notice="[interrupted]", facts=("called f",)),
            "a\n\n[interrupted]\n[called f]",
        ),
        (ReplyView("a", footer=("m", "turn 1 of main")), "a"),
    ],
)
def test_front_ends_without_html_see_what_is_unusual(view, text):
    assert reply_bundle(view)["text/plain"] == text
    assert "[" not in reply_plain(ReplyView(view.text, facts=view.facts))


def test_json_is_highlighted_and_text_is_unchanged():
    made = reply_bundle(ReplyView('{"a": 1}', view="json"))["text/html"]
    assert '<span class="m">1' in made
    made = reply_bundle(ReplyView("*a* $x$", view="text"))["text/html"]
    assert ">*a* $x$</pre>" in made


def test_hidden_characters_are_counted_in_the_footer():
    made = reply_bundle(ReplyView("a\u202e\U000e0041b"))
    assert "2 invisible characters removed" in made["text/html"]
    assert made["text/plain"] == "ab"


def test_source_text_has_no_control_characters():
    plain = reply_bundle(ReplyView("a\x1b]0;x\x07\x9b2J", notice="\x1b[2J"))[
        "text/plain"
    ]
    assert all(c == "\n" or 32 <= ord(c) < 127 or ord(c) >= 160 for c in plain)


def test_html_view_renders_the_page_with_or_without_a_fence():
    for text in ("<b>bold</b>", "Here:\n```html\n<b>bold</b>\n```\nDone."):
        bundle = reply_bundle(ReplyView(text, view="html"))
        assert "<b>bold</b>" in bundle["text/html"]
        assert "Here" not in bundle["text/html"]
        assert bundle["text/plain"] == text


def test_code_view_shows_the_code_alone():
    made = reply_bundle(ReplyView("Try:\n```python\nx = 1\n```\nOk.", view="code"))
    assert "Try" not in made["text/html"]
    assert '<span class="m">1' in made["text/html"]
    bare = reply_bundle(ReplyView("x = 1", view="code"))
    assert '<span class="m">1' in bare["text/html"]
    assert made["text/plain"].startswith("Try:")


def test_waiting_call_is_unfolded_and_finished_call_is_folded():
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    asked = {"role": "assistant", "content": "", "tool_calls": [call]}
    assert "<details open" in steps_html([asked])
    made = steps_html([asked, {"role": "tool", "content": "2"}])
    assert "<details open" not in made
    assert steps_text([asked, {"role": "tool", "content": "2"}]) == 'add {"a": 1}\n-> 2'


def test_thinking_and_calls_in_a_row_are_in_one_fold():
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    asked = {"role": "assistant", "content": "", "thinking": "Hm."}
    told = {"role": "tool", "content": "2", "outcome": "called"}
    steps = (asked | {"tool_calls": [call]}, told)
    page = reply_bundle(ReplyView("It is 2.", thinking="So.", steps=steps))["text/html"]
    titles = list(map(unescape, re.findall("<summary>(.*?)</summary>", page)))
    one = 'called add {"a": 1}'
    assert titles == [f"Thought · {one}", "Thought", one, "Thought"]
    assert page.count("</details>") == 4
    assert shows_reply(page, "It is 2.", "markdown")
    between = ({**asked, "content": "Let me see.", "tool_calls": [call]}, *steps[1:])
    page = reply_bundle(ReplyView("It is 2.", steps=between))["text/html"]
    assert (
        page.count("<details") == 2 == page.count("</details>")
    )  # the text between them is not folded


PAGES = Path(__file__).with_name("pages_of_0_1_0.json")


@pytest.mark.parametrize("page", json.loads(PAGES.read_text("utf-8")))
def test_outputs_of_the_first_version_are_read_back(page):
    """Notebooks that version 0.1.0 saved must restore their turns."""
    assert shows_reply(page["html"], page["text"], page["view"])
    assert not shows_reply(page["html"], page["text"] + " more", page["view"])


FOLDED = {
    "plain": "Try:\n\n```python\na = '<&>'\nb = 2\n```\n\nthen",
    "in a list": "1. x\n   ```py\n   print(a)\n   ```\n",
    "in a quote": "> ```python\n> a = 1\n> ```\n",
    "blank lines": "```python\n\na = 1\n\n\n```",
    "attributes": "~~~{.python #id}\nx()\n~~~",
    "no language": "```\na = 1\n```",
    "hidden characters": "```python\nx = '\u202e'\n```",
    "equal": "```python\na\n```\n\n```python\na\n```",
}


@pytest.mark.parametrize("case", FOLDED)
def test_code_that_a_cell_has_is_folded(case):
    text = FOLDED[case]
    blocks = code_blocks(text)
    page = reply_bundle(ReplyView(text, folded=blocks))["text/html"]
    assert len(re.findall(r"lines? of \w+, in the cell below</summary>", page)) == len(
        blocks
    )
    assert page.count("<pre") == len(blocks)
    assert LABEL_STYLE not in page
    assert shows_reply(page, text, "markdown", blocks)
    assert not shows_reply(page, text, "markdown")
    assert not shows_reply(page, f"{text}\n\nmore", "markdown", blocks)
