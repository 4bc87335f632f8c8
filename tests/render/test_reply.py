import html5lib
import pytest

from ollama_magic.render.reply import ReplyView, reply_bundle, steps_html, steps_text
from ollama_magic.render.tables import table_html, table_text
from ollama_magic.render.text import count_invisible, visible_text

SCRIPT = "<script>alert(1)</script>"


def tree_of(html):
    return html5lib.parseFragment(html, namespaceHTMLElements=False)


def test_bundle_is_html_and_the_source_and_nothing_else():
    """Never Markdown: a front end runs the scripts in it."""
    bundle = reply_bundle(ReplyView("# a *b*"))
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"] == "# a *b*"
    assert "<h1>a <em>b</em></h1>" in bundle["text/html"]


def test_thinking_is_folded_and_not_in_the_source():
    bundle = reply_bundle(ReplyView("answer", thinking="let me *see*", thinking_s=12.4))
    assert "<summary>Thought for 12 s</summary>" in bundle["text/html"]
    assert "let me *see*" in bundle["text/html"]
    assert bundle["text/plain"] == "answer"


def test_footer_is_one_line_below_and_not_in_the_source():
    bundle = reply_bundle(ReplyView("answer", footer=("m:1b", "turn 2 of main")))
    assert bundle["text/html"].index("answer") < bundle["text/html"].index(
        "m:1b · turn"
    )
    assert bundle["text/plain"] == "answer"


@pytest.mark.parametrize(
    ("share", "width"), [(None, None), (0.5, None), (0.62, "62%"), (1.7, "100%")]
)
def test_bar_is_drawn_when_more_than_half_the_context_is_used(share, width):
    view = ReplyView("a", footer=("context",), context_share=share)
    html = reply_bundle(view)["text/html"]
    assert f"width:{width}" in html if width else "width:" not in html


def test_notice_is_seen_in_both():
    bundle = reply_bundle(ReplyView("half an ans", notice="[interrupted]"))
    assert "[interrupted]</div>" in bundle["text/html"]
    assert bundle["text/plain"] == "half an ans\n\n[interrupted]"


def test_json_is_highlighted_and_text_is_left_as_it_is():
    made = reply_bundle(ReplyView('{"a": 1}', view="json"))["text/html"]
    assert '<span class="m">1' in made
    made = reply_bundle(ReplyView("*a* $x$", view="text"))["text/html"]
    assert ">*a* $x$</pre>" in made


@pytest.mark.parametrize("view", ["markdown", "text", "json"])
def test_hostile_words_stay_text_wherever_they_come_from(view):
    hostile = f'{SCRIPT}"><img src=x onerror=alert(1)>'
    bundle = reply_bundle(
        ReplyView(hostile, hostile, 1.0, view, (hostile,), 0.9, notice=hostile)
    )
    tree = tree_of(bundle["text/html"])
    assert not {"script", "img"} & {element.tag for element in tree.iter()}
    assert "".join(tree.itertext()).count("alert(1)</script>") == 4


def test_hidden_characters_are_counted_in_the_footer():
    made = reply_bundle(ReplyView("a\u202e\U000e0041b"))
    assert "2 invisible characters removed" in made["text/html"]
    assert made["text/plain"] == "ab"


def test_source_text_cannot_steer_a_terminal():
    plain = reply_bundle(ReplyView("a\x1b]0;x\x07\x9b2J", notice="\x1b[2J"))[
        "text/plain"
    ]
    assert all(c == "\n" or 32 <= ord(c) < 127 or ord(c) >= 160 for c in plain)


def test_every_character_is_harmless_or_gone():
    bad = [*range(0x20), *range(0x7F, 0xA0), 0x061C, *range(0x200E, 0x2010)]
    bad += [*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xE0000, 0xE0080)]
    bad += [0xD800, 0xDFFF, 0x200B, 0xFEFF, 0x2060]
    shown = visible_text("".join(map(chr, bad)))
    assert not set(shown) & {chr(code) for code in bad} - {"\n", "\t"}
    shown.encode()


def test_joiners_of_emoji_and_scripts_stay():
    family = "👩\u200d👧 क\u094d\u200dष ﬁ é"
    assert visible_text(family) == family
    assert count_invisible(family) == 0


def test_line_ends_become_newlines():
    assert visible_text("a\r\nb\rc\n") == "a\nb\nc\n"


def test_table_shows_every_cell_as_text():
    made = table_html(("name", "size"), [(SCRIPT, "$1 and $2")])
    assert "script" not in {element.tag for element in tree_of(made).iter()}
    assert "&lt;script&gt;" in made
    assert "mathjax_ignore" in made


def test_table_aligns_numbers_at_the_right():
    rows = [("a", "10 MB"), ("longer", "9 MB")]
    text = "name     size\na       10 MB\nlonger   9 MB"
    assert table_text(("name", "size"), rows, right={1}) == text
    assert 'text-align:right">9 MB</td>' in table_html(("n", "s"), rows, right={1})


def test_table_lines_up_wide_characters_and_takes_no_line_breaks():
    text = table_text(("a", "b"), [("日本", "x"), ("c\nd", "\x1b[2Jy")])
    assert text.splitlines() == ["a     b", "日本  x", "c d   ␛[2Jy"]


def test_table_without_rows_has_its_heads():
    assert table_text(("a", "b"), []) == "a  b"


HOSTILE = f'{SCRIPT}"><img src=x onerror=alert(1)>'


@pytest.mark.parametrize("view", ["html", "code"])
def test_hostile_html_and_code_run_nothing(view):
    for text in (HOSTILE, f"```html\n{HOSTILE}\n```", f"```js onload=x\n{HOSTILE}"):
        tree = tree_of(reply_bundle(ReplyView(text, view=view))["text/html"])
        assert not {"script", "img"} & {element.tag for element in tree.iter()}
        assert not any("onerror" in element.attrib for element in tree.iter())


def test_hostile_calls_stay_text():
    call = {"function": {"name": HOSTILE, "arguments": {HOSTILE: HOSTILE}}}
    said = {"role": "assistant", "content": HOSTILE, "thinking": HOSTILE}
    told = {"role": "tool", "content": HOSTILE, "tool_name": HOSTILE}
    for steps in (
        [said | {"tool_calls": [call]}, told],
        [said | {"tool_calls": [call]}],
    ):
        tree = tree_of(steps_html(steps))
        assert not {"script", "img"} & {element.tag for element in tree.iter()}
        assert "".join(tree.itertext()).count("alert(1)</script>") >= 4


def test_html_is_shown_as_the_page_it_is_with_or_without_a_fence():
    for text in ("<b>bold</b>", "Here:\n```html\n<b>bold</b>\n```\nDone."):
        bundle = reply_bundle(ReplyView(text, view="html"))
        assert "<b>bold</b>" in bundle["text/html"]
        assert "Here" not in bundle["text/html"]
        assert bundle["text/plain"] == text


def test_code_is_shown_without_the_words_around_it():
    made = reply_bundle(ReplyView("Try:\n```python\nx = 1\n```\nOk.", view="code"))
    assert "Try" not in made["text/html"]
    assert '<span class="m">1' in made["text/html"]
    bare = reply_bundle(ReplyView("x = 1", view="code"))
    assert '<span class="m">1' in bare["text/html"]
    assert made["text/plain"].startswith("Try:")


def test_a_call_that_waits_is_open_and_one_that_was_made_is_folded():
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    asked = {"role": "assistant", "content": "", "tool_calls": [call]}
    assert "<details open" in steps_html([asked])
    made = steps_html([asked, {"role": "tool", "content": "2"}])
    assert "<details open" not in made
    assert steps_text([asked, {"role": "tool", "content": "2"}]) == 'add {"a": 1}\n-> 2'
