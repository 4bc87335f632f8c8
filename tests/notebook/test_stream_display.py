"""What a notebook receives while a reply streams and when it ends."""

from itertools import pairwise

import html5lib
import pytest

from ollama_magic.render.reply import ReplyView, reply_bundle
from ollama_magic.render.streaming import StreamDisplay
from ollama_magic.render.terminal import TerminalDisplay
from ollama_magic.render.theme import without_style


class Notebook:
    """A cell's outputs as a front end keeps them, and a clock."""

    def __init__(self):
        self.now_s = 0.0
        self.messages = []
        self.drawn_s = []  # when each message was sent
        self.outputs = []  # [display id, data, metadata]
        self.is_to_clear = False
        self.clears = 0

    def publish(self, data, metadata=None, *, transient=None, update=False):
        assert set(data) <= {"text/html", "text/plain"}
        self.messages.append(data)
        self.drawn_s.append(self.now_s)
        display_id = (transient or {}).get("display_id")
        if update:
            [output] = [o for o in self.outputs if o[0] == display_id]
            output[1:] = [data, metadata]
            return
        if self.is_to_clear:
            self.outputs.clear()
            self.is_to_clear = False
        assert display_id is None or display_id not in {o[0] for o in self.outputs}
        self.outputs.append([display_id, data, metadata])

    def clear_output(self, wait=False):
        assert wait, "the output would flicker"
        self.clears += 1
        self.is_to_clear = True

    def display(self, **options):
        options = {"mode": "clear"} | options
        return StreamDisplay(
            self.publish, self.clear_output, clock=lambda: self.now_s, **options
        )

    @property
    def text(self):
        pages = [data.get("text/html", "") for _, data, _ in self.outputs]
        shown = [without_style(page) for page in pages]
        return "\n".join(
            "".join(html5lib.parseFragment(page).itertext()) for page in shown
        )

    def stream(self, display, text, step=20, step_s=0.02):
        """Stream a text and advance the clock; return the largest number of outputs."""
        most = 0
        for start in range(0, len(text), step):
            display.feed(text[start : start + step])
            self.now_s += step_s
            most = max(most, len(self.outputs))
        return most

    def tick(self, display, seconds=2.0):
        self.now_s += seconds
        display.feed("")


@pytest.fixture
def notebook():
    return Notebook()


PARAGRAPH = "Some **words** of a paragraph that is neither long nor short.\n\n"


def test_first_token_is_shown_at_once(notebook):
    notebook.display().feed("Hello")
    assert notebook.text == "Hello"


def test_waiting_is_replaced_by_the_first_token_in_place(notebook):
    display = notebook.display()
    display.waiting("loading m… 1 s")
    display.waiting("loading m… 2 s")
    assert notebook.text == "loading m… 2 s"
    display.feed("Hello")
    assert notebook.text == "Hello"
    display.waiting("late")
    assert notebook.text == "Hello"


def test_an_unchanged_waiting_line_is_sent_once(notebook):
    display = notebook.display()
    for _ in range(10):
        display.waiting("loading m…")
    assert len(notebook.messages) == 1


def test_drawing_has_a_limited_rate(notebook):
    notebook.stream(notebook.display(), "word " * 400, step=5, step_s=0.01)
    assert 30 <= len(notebook.messages) <= 42  # four seconds at 10 Hz


def test_a_long_reply_is_drawn_less_often_and_evenly_and_the_next_one_is_not(notebook):
    display = notebook.display()
    notebook.stream(display, PARAGRAPH * 250, step=10)
    late = sorted({drawn_s for drawn_s in notebook.drawn_s if drawn_s > 10})
    gaps = [after - before for before, after in pairwise(late)]
    assert 0.28 < min(gaps) <= max(gaps) < 0.35
    display.again()
    began_s = notebook.now_s
    notebook.stream(display, "word " * 400, step=10)
    assert sum(drawn_s >= began_s for drawn_s in notebook.drawn_s) > 25


def test_a_style_sheet_is_sent_with_one_output_only(notebook):
    """Each new style sheet makes the browser lay out the whole page again."""
    code = "```python\nx = 1  # a comment\n```\n\n$$\nx = 1\n$$\n\n"
    notebook.stream(notebook.display(), (PARAGRAPH * 5 + code) * 20)
    pages = [data["text/html"] for _, data, _ in notebook.outputs]
    assert len(pages) > 5
    styled = ["<style>" in page for page in pages]
    assert sum(styled) == 1
    assert styled.index(True) == ["highlight" in page for page in pages].index(True)


def test_a_tick_shows_the_text_that_is_not_shown_yet(notebook):
    """Text is not held back when the model stalls."""
    display = notebook.display()
    display.feed("one")
    display.feed(" two")
    assert "two" not in notebook.text
    notebook.tick(display, 0.1)
    assert "two" in notebook.text


def test_ticks_without_changes_send_nothing(notebook):
    display = notebook.display()
    display.feed("one")
    for _ in range(50):
        notebook.now_s += 0.1
        display.feed("")
    assert len(notebook.messages) == 1


def test_a_slow_front_end_is_drawn_less_often(notebook):
    def publish_slowly(*args, **kwargs):
        notebook.now_s += 0.05
        notebook.publish(*args, **kwargs)

    display = StreamDisplay(
        publish_slowly, None, mode="clear", clock=lambda: notebook.now_s
    )
    notebook.stream(display, "word " * 400, step=5, step_s=0.01)
    assert len(notebook.messages) <= 12


def test_all_text_is_shown_while_it_streams(notebook):
    text = PARAGRAPH * 100 + "- a\n- b\n\n```python\nx = 1\n```\nend"
    display = notebook.display()
    notebook.stream(display, text)
    notebook.tick(display)
    assert notebook.text.count("neither long nor short") == 100
    assert notebook.text.rstrip().endswith("end")


def test_full_outputs_are_never_changed(notebook):
    """A selection in a full output survives while the rest streams."""
    display = notebook.display()
    frozen = {}
    for _ in range(200):
        notebook.stream(display, PARAGRAPH)
        for display_id, data, _ in notebook.outputs[:-2]:
            assert frozen.setdefault(display_id, data) is data
    assert len(frozen) > 5


@pytest.mark.parametrize(
    "text",
    [PARAGRAPH * 8000, "```\n" + "code = 1\n" * 50_000, "- item\n" * 70_000],
    ids=["paragraphs", "one fence", "one list"],
)
def test_there_are_fewer_than_fifty_outputs_for_half_a_megabyte(notebook, text):
    """JupyterLab hides all outputs of a cell after the fiftieth."""
    assert len(text) > 450_000
    most = notebook.stream(notebook.display(), text, step=2000, step_s=2.0)
    assert 10 < most < 50
    assert max(len(data["text/html"]) for data in notebook.messages) < 500_000


def test_there_are_fewer_than_fifty_outputs_for_any_length(notebook):
    most = notebook.stream(notebook.display(), PARAGRAPH * 30_000, 10_000, 10.0)
    assert most < 50
    assert max(len(data["text/html"]) for data in notebook.messages) < 1_000_000


def test_the_end_is_exactly_one_output_with_its_metadata(notebook):
    display = notebook.display()
    display.waiting("loading…")
    notebook.stream(display, PARAGRAPH * 50)
    bundle = reply_bundle(ReplyView(PARAGRAPH * 50))
    display.finish(bundle, {"ollama_magic": {"model": "m"}})
    assert notebook.outputs == [[None, bundle, {"ollama_magic": {"model": "m"}}]]


def test_markdown_is_never_published_even_if_requested(notebook):
    notebook.display().finish({"text/markdown": "x", "text/plain": "x"}, {})
    assert notebook.outputs[0][1] == {"text/plain": "x"}


def test_an_output_shared_with_other_code_is_never_cleared(notebook):
    notebook.publish({"text/plain": "the user's own"})
    display = notebook.display(mode="update")
    display.waiting("loading…")
    display.feed("", thinking="hm")
    notebook.now_s += 1
    notebook.stream(display, PARAGRAPH * 100)
    notebook.tick(display, 10)
    assert len(notebook.outputs) == 2
    assert notebook.text.count("neither long nor short") == 100
    display.finish({"text/html": "<p>end</p>", "text/plain": "end"}, {"a": 1})
    assert notebook.clears == 0
    assert [data["text/plain"] for _, data, _ in notebook.outputs] == [
        "the user's own",
        "end",
    ]


def test_where_updates_may_be_lost_the_final_output_is_a_new_display(notebook):
    notebook.publish({"text/plain": "the user's own"})
    display = notebook.display(mode="repeat")
    display.waiting("loading…")
    display.feed("one")
    assert [o[0] is not None for o in notebook.outputs] == [False, True]
    display.finish({"text/html": "<p>end</p>", "text/plain": "end"}, {"a": 1})
    assert notebook.clears == 0
    _, (_, live, metadata), end = notebook.outputs
    assert set(live.values()) == {""}
    assert not metadata  # VS Code replaces all outputs if metadata change
    assert end == [None, {"text/html": "<p>end</p>", "text/plain": "end"}, {"a": 1}]


def test_where_updates_are_ignored_only_the_final_output_is_shown(notebook):
    display = notebook.display(mode="once")
    display.waiting("loading…")
    display.feed("", thinking="hm")
    notebook.stream(display, PARAGRAPH * 100)
    display.again([{"role": "assistant", "content": "step"}])
    assert not notebook.messages
    display.finish({"text/html": "<p>end</p>", "text/plain": "end"}, {"a": 1})
    assert notebook.outputs == [
        [None, {"text/html": "<p>end</p>", "text/plain": "end"}, {"a": 1}]
    ]


def test_front_ends_without_html_show_one_waiting_line_and_no_partial_reply(notebook):
    display = notebook.display()
    display.waiting("loading \x1bm…")
    assert notebook.messages[0]["text/plain"] == "loading ␛m…"
    display.waiting("loading \x1bm… 1 s")
    notebook.stream(display, PARAGRAPH * 100)
    assert not [data for data in notebook.messages[1:] if "text/plain" in data]


def test_a_long_display_is_sent_less_often(notebook):
    """Bytes are bounded by time, however long the reply."""
    display = notebook.display(mode="update")
    notebook.stream(display, PARAGRAPH * 2000, step=40, step_s=0.05)
    sent = sum(len(data["text/html"]) for data in notebook.messages)
    assert sent < 2 * 20_000 * notebook.now_s


@pytest.mark.parametrize("mode", ["clear", "update", "repeat", "once"])
def test_a_discarded_display_leaves_no_output(notebook, mode):
    display = notebook.display(mode=mode)
    display.waiting("loading…")
    display.discard()
    if mode == "clear":
        assert notebook.is_to_clear
    else:
        assert notebook.text == ""


def test_thinking_is_shown_with_its_seconds_and_then_folded(notebook):
    display = notebook.display()
    display.waiting("loading…")
    display.feed("", thinking="first I ")
    assert "thinking… 0 s" in notebook.text
    for _ in range(50):
        notebook.now_s += 0.1
        display.feed("", thinking="<b>think</b> ")
    assert "thinking… 5 s" in notebook.text
    assert len(notebook.messages) <= 13  # about twice a second
    display.feed("Answer")
    folded, answer = (data["text/html"] for _, data, _ in notebook.outputs)
    assert "<summary>Thought for 5 s</summary>" in folded
    assert "first I &lt;b&gt;think" in folded
    assert "Answer" in answer


def test_the_seconds_of_thinking_advance_without_new_text(notebook):
    display = notebook.display()
    display.feed("", thinking="hm")
    notebook.now_s += 3
    display.feed("")
    assert "thinking… 3 s" in notebook.text


def test_text_is_shown_while_the_model_thinks_again(notebook):
    display = notebook.display()
    display.feed("one")
    display.feed(" two", thinking="hm")
    notebook.now_s += 1
    display.feed("", thinking="hm")
    assert "one two" in notebook.text


@pytest.mark.parametrize("view", ["text", "json"])
def test_text_and_json_are_shown_as_they_are(notebook, view):
    display = notebook.display(view=view)
    text = '{"a*b*": "<b>",\n' * 400
    notebook.stream(display, text)
    notebook.tick(display)
    assert notebook.text.count('{"a*b*": "<b>",') == 400


def test_a_split_line_ending_is_one_line_ending(notebook):
    display = notebook.display()
    display.feed("- a\r")
    notebook.now_s += 1
    display.feed("\n- b\r\n")
    notebook.tick(display)
    assert notebook.outputs[0][1]["text/html"].count("<li>") == 2
    assert "<p>" not in notebook.outputs[0][1]["text/html"]


# -- the terminal -------------------------------------------------------------------


@pytest.fixture
def screen():
    return []


def test_a_terminal_writes_text_once_and_as_it_streams(screen):
    display = TerminalDisplay(screen.append, is_tty=True)
    display.feed("Hello ")
    display.feed("")
    display.feed("there")
    display.finish({"text/plain": "Hello there\n\n[interrupted]"}, {}, ("m", "turn 1"))
    assert screen[:2] == ["Hello ", "there"]
    written = "".join(screen)
    assert written.startswith("Hello there\n\n[interrupted]\n")
    assert written.count("Hello") == 1
    assert "m · turn 1" in written


TOGETHER = ["a ❤\ufe0f b", "👩\u200d👧", "می\u200cخ", "1\ufe0f\u20e3"]


@pytest.mark.parametrize("text", TOGETHER)
def test_a_terminal_writes_a_reply_once_however_it_is_split(screen, text):
    display = TerminalDisplay(screen.append, is_tty=True)
    for char in text:
        display.feed(char)
    display.finish({"text/plain": text}, {})
    assert "".join(screen) == f"{text}\n"


def test_text_cannot_control_the_terminal(screen):
    display = TerminalDisplay(screen.append, is_tty=True)
    display.feed("a\x1b]52;c;x\x07\x9b2J\rb\tc\n")
    assert "".join(screen) == "a␛]52;c;x␇\\x9b2J\nb\tc\n"


def test_a_terminal_clears_the_waiting_line(screen):
    display = TerminalDisplay(screen.append, is_tty=True)
    display.waiting("loading…")
    display.waiting("loading…")
    display.feed("Hi")
    assert screen == ["\rloading…", "\r        \r", "Hi"]


def test_a_terminal_separates_thinking_from_the_reply(screen):
    display = TerminalDisplay(screen.append, is_tty=True)
    display.feed("", thinking="hm")
    display.feed("Hi")
    assert "".join(screen) == "\x1b[2mhm\x1b[0m\n\nHi"


def test_a_terminal_shows_a_reply_that_was_not_streamed(screen):
    TerminalDisplay(screen.append, is_tty=True).finish({"text/plain": "Hi"}, {})
    assert "".join(screen) == "Hi\n"


def test_a_terminal_clears_a_discarded_waiting_line(screen):
    display = TerminalDisplay(screen.append, is_tty=True)
    display.waiting("loading…")
    display.discard()
    assert screen[-1] == "\r        \r"
