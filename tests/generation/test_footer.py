"""What the footer shows, and what it leaves out."""

from dataclasses import replace
from unittest.mock import Mock

import pytest

from ollama_magic.client.types import Stats
from ollama_magic.generation.response import Response, Result
from ollama_magic.generation.status_line import context_share, footer_news, footer_parts
from ollama_magic.history.turns import Turn

STATS = Stats(
    load_duration_ns=12_100_000_000,
    prompt_eval_count=3000,
    eval_count=100,
    eval_duration_ns=2_000_000_000,
)


def footer(*, took_s=4.2, stats=STATS, **result):
    turn = Turn(model="m", stats=stats, done_reason="stop")
    return footer_parts(turn, Result((), (Response(took_s=took_s),), **result))


def test_a_plain_reply_shows_model_time_and_speed():
    stats = replace(STATS, load_duration_ns=2_900_000_000)
    shown = footer(stats=stats, host_kind="loopback", context_length=8000)
    assert shown == ("m", "4.2 s", "50 tokens/s")


def test_news_is_shown():
    turn = Turn(model="m", stats=STATS, done_reason="unload")
    responses = (Response(took_s=3.0), Response(took_s=80.4))
    result = Result((), responses, server_note="answered at http://gpu")
    result = replace(result.noted("a note"), context_length=4096)
    shown = footer_parts(turn, result, "turn 2 of b", "version 2", filled=("df",))
    assert shown == (
        "m",
        "83 s",
        "50 tokens/s",
        "turn 2 of b",
        "version 2",
        "loaded in 12 s",
        "context 76% of 4,096",
        "unloaded",
        "filled in: df",
        "a note",
        "answered at http://gpu",
    )


def test_the_embedded_engine_is_named_in_one_word():
    stats = Stats(eval_count=5)
    note = "embedded engine (demo model)"
    shown = footer(stats=stats, host_kind="embedded", server_note=note)
    assert shown == ("m (embedded)", "4.2 s")


@pytest.mark.parametrize(
    ("tokens", "seconds", "speed"),
    [(17, 2, ["8.5 tokens/s"]), (2900, 2, ["1,450 tokens/s"]), (109, 0.001, [])],
)
def test_a_speed_that_is_not_plausible_is_left_out(tokens, seconds, speed):
    stats = Stats(eval_count=tokens, eval_duration_ns=int(seconds * 1e9))
    assert footer(took_s=0.02, stats=stats) == ("m", "<0.1 s", *speed)


def test_an_unknown_context_is_not_guessed():
    assert context_share(Turn(model="m", stats=STATS), Result((), ())) is None


@pytest.mark.parametrize(
    ("cached", "number", "shown"),
    [
        (2950, None, "2,950 of 3,000 prompt tokens reused"),
        (2950, 1, "2,950 of 3,000 prompt tokens reused"),
        (2950, 2, ""),  # the later turns of a chat always are
        (999, None, ""),
        (0, 1, ""),
    ],
)
def test_a_long_prompt_that_was_not_read_again_is_news(cached, number, shown):
    turn = Turn(model="m", stats=replace(STATS, prompt_eval_cached_count=cached))
    place = number and {"chat": "main", "turn": number, "position": 0}
    session, options = Mock(last_chat="main"), Mock(cached=True)
    prepared = Mock(options=options)
    news = footer_news(session, prepared, turn, place, is_unsaved=False)
    assert "".join(news) == shown
