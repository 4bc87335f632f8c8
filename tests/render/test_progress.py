"""Progress lines and replies in a terminal or a file, and in a notebook."""

import pytest

from ollama_magic.render.output import NotebookProgress, TerminalProgress
from ollama_magic.render.safe_html import page_html
from ollama_magic.render.terminal import TerminalDisplay

HOSTILE = "a\x1b[31mb\u202ec\r\n<b>"


@pytest.fixture
def screen():
    return []


def test_progress_in_a_notebook_is_one_line_of_visible_text():
    shown = []
    progress = NotebookProgress(
        lambda **message: shown.append(message["data"]), None, mode="update"
    )
    progress.show(HOSTILE)
    progress.finish(HOSTILE)
    for data in shown:
        assert data["text/plain"] == "a␛[31mbc <b>"
        assert data["text/html"] == page_html("<div>a␛[31mbc &lt;b&gt;</div>")


def test_progress_in_a_terminal_is_rewritten_when_it_changes(screen):
    progress = TerminalProgress(screen.append, is_tty=True)
    progress.show(HOSTILE)
    progress.show(HOSTILE)
    progress.show("ab", 0.5)
    progress.finish("end")
    line = "a␛[31mbc <b>"
    assert screen == [f"\r{line}", "\r 50%  ab    ", "\rend     ", "\n"]


def test_only_the_last_line_in_a_terminal_may_be_longer_than_it(screen, monkeypatch):
    monkeypatch.setenv("COLUMNS", "11")
    progress = TerminalProgress(screen.append, is_tty=True)
    progress.show("waiting for a server")
    progress.finish("12 rows are left")
    assert screen == ["\rwaiting fo", "\r12 rows are left", "\n"]


def test_finishing_an_unchanged_line_only_ends_it(screen):
    progress = TerminalProgress(screen.append, is_tty=True)
    progress.show("m: up to date")
    progress.finish("m: up to date")
    assert screen == ["\rm: up to date", "\n"]


def test_progress_in_a_file_is_the_final_state(screen):
    progress = TerminalProgress(screen.append, is_tty=False)
    progress.show("half", 0.5)
    progress.finish(HOSTILE)
    assert screen == ["a␛[31mbc <b>\n"]


def test_reply_in_a_file_is_plain_text(screen):
    display = TerminalDisplay(screen.append, is_tty=False)
    display.waiting("loading…")
    display.feed("", thinking="hm")
    display.feed("Hi")
    display.finish({"text/plain": "Hi"}, {}, ("m", "turn 1"))
    assert "".join(screen) == "hm\n\nHi\nm · turn 1\n"


def test_is_tty_defaults_to_the_stream(screen, capsys):
    """The replacement of ``sys.stdout`` by pytest is not a terminal."""
    TerminalDisplay(screen.append).waiting("loading…")
    TerminalProgress(screen.append).show("half")
    assert screen == []
