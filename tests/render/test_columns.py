"""Several replies as one output: its text, its safety, and its updates."""

import html5lib
import pytest

from ollama_magic.render.columns import (
    Column,
    ColumnsDisplay,
    TerminalColumns,
    columns_bundle,
)
from ollama_magic.render.reply import ReplyView


def text_of(html):
    return "".join(html5lib.parseFragment(html).itertext())


def test_text_has_a_heading_and_a_footer_per_model():
    bundle = columns_bundle(
        [
            Column(
                "a:1b", ReplyView("One\n\n- two", footer=("8 tokens", "2 tokens/s"))
            ),
            Column("b:1b", ReplyView("Half", notice="[interrupted]")),
            Column("c:1b", ReplyView("", notice="ServerError: no\n  why:  full")),
        ],
        "what to do next",
    )
    assert bundle["text/plain"] == (
        "## a:1b\n\nOne\n\n- two\n\n8 tokens · 2 tokens/s\n\n"
        "## b:1b\n\nHalf\n\n[interrupted]\n\n"
        "## c:1b\n\nServerError: no\n  why:  full\n\n"
        "what to do next"
    )
    assert set(bundle) == {"text/html", "text/plain"}


def test_column_looks_like_a_single_reply():
    html = columns_bundle([Column("a", ReplyView("**b** $x$", thinking="hm"))])
    tree = html5lib.parseFragment(html["text/html"], namespaceHTMLElements=False)
    assert [e.text for e in tree.iter("strong")] == ["b"]
    assert [e.tag for e in tree.iter("details")] == ["details"]
    assert [e.text for e in tree.iter("h4")] == ["a"]


def test_name_is_one_visible_line():
    made = columns_bundle([Column("a\n## b\u202e\x1b[31m", ReplyView("x"))])
    assert made["text/plain"].startswith("## a ## b␛[31m\n\nx")


# -- while they come ------------------------------------------------------------------


class Page:
    """The output of a cell as a front end keeps it, and a clock."""

    def __init__(self):
        self.now_s = 0.0
        self.sent = []
        self.is_cleared = False

    def publish(self, data, metadata=None, *, transient=None, update=False):
        assert set(data) <= {"text/html", "text/plain"}
        assert update == bool(self.sent) or self.is_cleared
        self.sent.append(data)

    def clear_output(self, wait=False):
        assert wait, "a flicker"
        self.is_cleared = True

    def display(self, **options):
        return ColumnsDisplay(
            self.publish,
            self.clear_output,
            clock=lambda: self.now_s,
            **{"mode": "clear"} | options,
        )

    def tick(self, display, seconds=2.0):
        self.now_s += seconds
        display.tick()

    @property
    def html(self):
        return self.sent[-1]["text/html"]

    @property
    def text(self):
        return text_of(self.html)


@pytest.fixture
def page():
    return Page()


def begun(page, **options):
    display = page.display(**options)
    display.begin(["a", "b"])
    return display


def test_each_column_shows_its_own_progress(page):
    display = begun(page)
    display.waits(0, "waiting for a… 1 s")
    display.feed(1, "Some **text**")
    display.tick()
    assert "waiting for a… 1 s" in page.text
    assert "Some text" in page.text
    display.waits(0, "waiting for a… 2 s")
    page.tick(display)
    assert "waiting for a… 2 s" in page.text


def test_first_text_of_a_column_is_painted_at_once(page):
    display = begun(page)
    display.feed(0, "one")
    display.tick()
    display.feed(1, "two")
    display.tick()
    assert "two" in page.text
    display.feed(1, " three")
    display.tick()
    assert "three" not in page.text
    page.tick(display, 0.1)
    assert "three" in page.text


def test_ticks_without_new_text_send_nothing(page):
    display = begun(page)
    display.feed(0, "one")
    for _ in range(50):
        page.tick(display, 0.1)
    assert len(page.sent) == 1


def test_the_first_words_are_painted_often_after_a_long_wait(page):
    display = begun(page)
    for second in range(20):
        display.waits(0, f"loading… {second} s")
        page.tick(display, 1)
    before = len(page.sent)
    for _ in range(20):
        display.feed(0, "word ")
        page.tick(display, 0.1)
    assert len(page.sent) - before > 15


def test_unchanged_column_is_not_converted_again(page, monkeypatch):
    """It is converted after new text, and not because of another column."""
    display = begun(page)
    display.feed(0, "still")
    page.tick(display)
    asked = []
    monkeypatch.setattr(
        display._columns[0].reply.converter, "open_html", lambda: asked.append(1)
    )
    for _ in range(10):
        display.feed(1, "grows ")
        page.tick(display)
    assert asked == []
    assert "still" in page.text


def test_bytes_sent_are_limited_by_time_for_long_replies(page):
    display = begun(page)
    paragraph = "Some **words** of a paragraph that is neither long nor short.\n\n"
    for _ in range(2000):
        display.feed(0, paragraph)
        display.feed(1, paragraph)
        page.tick(display, 0.05)
    page.tick(display, 60)
    assert page.text.count("neither long nor short") == 4000
    sent = sum(len(data["text/html"]) for data in page.sent)
    assert sent < 2 * 40_000 * page.now_s


def test_thinking_is_a_line_with_seconds_and_then_folded(page):
    display = begun(page)
    for _ in range(50):
        display.feed(0, "", thinking="<b>hm</b> ")
        page.tick(display, 0.1)
    assert "thinking… 5 s" in page.text
    assert len(page.sent) <= 12  # about twice a second
    display.feed(0, "Answer")
    display.tick()
    assert "<summary>Thought for 5 s</summary>" in page.html
    assert "Answer" in page.text


def test_complete_column_has_its_footer_while_the_other_streams(page):
    display = begun(page)
    display.feed(0, "Done")
    display.complete(0, Column("a", ReplyView("Done", footer=("8 tokens",))))
    display.feed(1, "grows")
    display.tick()
    assert "8 tokens" in page.text
    assert "grows" in page.text


def test_finish_leaves_exactly_one_output(page):
    display = begun(page)
    display.feed(0, "x")
    display.tick()
    display.finish(
        {"text/html": "<p>e</p>", "text/plain": "e", "text/markdown": "e"}, {}
    )
    assert page.is_cleared
    assert page.sent[-1] == {"text/html": "<p>e</p>", "text/plain": "e"}


def test_shared_output_is_never_cleared(page):
    display = begun(page, mode="update")
    display.feed(0, "x")
    display.tick()
    display.finish({"text/html": "<p>e</p>", "text/plain": "e"}, {})
    assert not page.is_cleared
    assert page.text == "e"


# -- in a terminal --------------------------------------------------------------------


def test_names_texts_and_errors_cannot_control_the_terminal():
    evil = "\x1b]52;c;x\x07\x9b2J\r\u202e"
    screen = []
    display = TerminalColumns(screen.append, is_tty=False)
    display.waiting(evil)
    display.begin([evil])
    display.tick()
    view = ReplyView(evil, notice=evil, footer=(evil,))
    display.complete(0, Column(evil, view))
    display.finish({}, {})
    written = "".join(screen)
    assert not set("\x1b\x07\x9b\r\u202e") & set(written)
    assert written.startswith("## ␛]52;c;x␇\\x9b2J\n\n")


def test_terminal_has_one_status_line_for_all_models():
    screen, now_s = [], [0.0]
    display = TerminalColumns(screen.append, is_tty=True, clock=lambda: now_s[0])
    display.begin(["a", "b"])
    display.tick()
    now_s[0] = 3.0
    display.feed(0, "not shown yet")
    display.tick()
    assert screen == ["\rwaiting for a, b… 0 s", "\rwaiting for a, b… 3 s"]
    display.complete(1, Column("b", ReplyView("B.", footer=("8 tokens",))))
    assert "".join(screen[2:]) == (
        f"\r{' ' * 21}\r## b\n\nB.\n\x1b[2m8 tokens\x1b[0m\n\n"
    )
    display.tick()
    assert screen[-1] == "\rwaiting for a… 3 s"
