"""The tokens of a reply, shaded by their probability."""

import re
from html.parser import HTMLParser
from math import log

import pytest

from ollama_magic.client.logprobs import Logprobs, TokenLogprob
from ollama_magic.render.logprobs import logprobs_html, without_logprobs
from ollama_magic.render.reply import ReplyView, reply_bundle, shows_reply


def token(text, probability=1.0, *others):
    data = text if isinstance(text, bytes) else text.encode()
    top = tuple(token(*other) for other in others)
    shown = data.decode("utf-8", "replace")
    return TokenLogprob(shown, log(probability), tuple(data), top)


class Copied(HTMLParser):
    """What a user copies from the block of text."""

    def __init__(self, page):
        super().__init__()
        self.text, self._is_inside = "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._is_inside |= tag == "pre"

    def handle_endtag(self, tag):
        self._is_inside &= tag != "pre"

    def handle_data(self, data):
        self.text += data * self._is_inside


def test_the_less_likely_a_token_the_stronger_its_shade():
    likely = (0.999, 0.91, 0.8, 0.6, 0.3, 0.1)
    page = logprobs_html(Logprobs(token(f" w{p}", p) for p in likely))
    spans = re.findall(r'<span(?: style="([^"]*)")? title="([^"]*)"> w', page)
    shades = [style.rpartition(",")[2] for style, _ in spans]
    assert shades == ["", ".11)", ".22)", ".33)", ".45)"]
    assert [title for _, title in spans] == ["91 %", "80 %", "60 %", "30 %", "10 %"]
    assert "2 of 6 tokens below 50 %" in page
    assert page.count("background:") == 4 + 4  # and the legend
    assert "--jp-" not in page


def test_alternatives_are_in_the_title_and_a_copy_is_the_text():
    text = "\n\nRoma <b>\t&\n\n  ok"
    others = [(" Rom", 0.3), ("\n", 0.1), ('"<i>"', 0.05), (" never", 0.001)]
    tokens = [token("\n\nRoma", 0.4, ("\n\nRoma", 0.4), *others), token(text[6:], 0.8)]
    page = logprobs_html(Logprobs(tokens))
    title = "40 %&#10;30 % “ Rom”&#10;10 % “⏎”&#10;5 % “&quot;&lt;i&gt;&quot;”"
    assert f'title="{title}"' in page
    assert Copied(page).text == text
    assert "\n\n" not in page  # a blank line ends HTML in Markdown


def test_parts_of_a_character_are_one_piece():
    smile = "😀".encode()
    tokens = Logprobs([token("a"), token(smile[:2], 0.5), token(smile[2:], 0.5)])
    assert [piece.text for piece in tokens.pieces()] == ["a", "😀"]
    page = logprobs_html(tokens)
    assert Copied(page).text == "a😀"
    assert 'title="25 %, in 2 tokens"' in page
    cut = Logprobs([token(smile[:2], 0.5)])
    assert [piece.text for piece in cut.pieces()] == ["\N{REPLACEMENT CHARACTER}"]
    lines = Logprobs([token("a\r"), token("\nb")])
    assert Copied(logprobs_html(lines)).text == "a\nb"


def test_tokens_of_thinking_and_tags_are_left_out():
    words = ["<think>", "yes", "</think>", "\n", "yes", "!", "<|im_end|>"]
    tokens = Logprobs(token(word, 0.5) for word in words)
    assert [one.text for one in tokens.of_text("yes!")] == ["yes", "!"]
    assert tokens.of_text("no") == Logprobs()  # a secret in it was hidden
    assert Logprobs([token("a", 0.9), token("b", 0.4)]).confidence == pytest.approx(0.6)
    assert Logprobs().confidence is None


def test_a_long_reply_is_shaded_up_to_a_limit():
    page = logprobs_html(Logprobs([token(" word", 0.3, (" other", 0.3))] * 5000))
    assert len(page) < 160_000
    left = int(re.search(r"The other ([\d,]+) tokens", page)[1].replace(",", ""))
    assert Copied(page).text == " word" * (5000 - left)


def test_the_page_of_a_reply_can_still_be_recognised():
    tokens = Logprobs([token("**Hi**\n", 0.4, ("**Hi", 0.3)), token(" <you>", 0.2)])
    view = ReplyView("**Hi**\n <you>", footer=("m",), logprobs=tokens)
    bundle = reply_bundle(view)
    assert bundle["text/html"].index("How sure") < bundle["text/html"].rindex(">m<")
    assert (
        "[token probability 28 % on average, 2 of 2 tokens below 50 %]"
        in (bundle["text/plain"])
    )
    assert shows_reply(bundle["text/html"], view.text, "markdown")
    assert "How sure" not in without_logprobs(bundle["text/html"])
    forged = bundle["text/html"].replace(" 90 % ", "<b>90</b>")
    assert without_logprobs(forged) == forged
