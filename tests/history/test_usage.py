"""Sums over stored replies, and estimates from them, with a real SQLite file."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from ollama_magic.client.types import Stats
from ollama_magic.history.cache import CachedReply
from ollama_magic.history.store import ChatStore
from ollama_magic.history.turns import Chat, Turn
from ollama_magic.history.usage import (
    ReadingTime,
    expected_reading_s,
    last_load_s,
    read_usage,
    reading_times,
    start_of_days,
)

NB, OTHER = "/home/ann/notebook.ipynb", "/home/ann/other.ipynb"
NOON = "2026-11-20T12:00:00.000000+00:00"


@pytest.fixture
def store(tmp_path):
    warnings = []
    store = ChatStore(tmp_path / "chats.sqlite", warn=warnings.append)
    yield store
    store.close()
    assert warnings == []


def stats(*, read=400, cached=0, written=100, read_s=2.0, write_s=4.0, load_s=0.0):
    return Stats(
        total_duration_ns=int((read_s + write_s + load_s) * 1e9),
        load_duration_ns=int(load_s * 1e9),
        prompt_eval_count=read + cached,
        prompt_eval_cached_count=cached,
        prompt_eval_duration_ns=int(read_s * 1e9),
        eval_count=written,
        eval_duration_ns=int(write_s * 1e9),
    )


def turn(prompt="p", *, at=NOON, request=(), model="m:latest", **more):
    counts = stats(**more)
    return Turn(
        prompt=prompt,
        reply="r",
        model=model,
        stats=counts,
        request=dict(request),
        answered_at=at,
    )


def usage(store, notebook=NB, since=""):
    return store.query(read_usage, notebook, since)


def test_tokens_time_and_speed_are_summed_by_day_and_model(store):
    later = "2026-11-24T12:00:00.000000+00:00"
    store.record(NB, "main", turn())
    store.record(NB, "main", turn(read=200, cached=1000, read_s=1.0, load_s=21))
    store.record(NB, "main", turn(at=later, model="other:1b"))
    store.record(OTHER, "main", turn(at=later))
    first, second = usage(store)
    assert (first.day, first.model, first.turns) == ("2026-11-20", "m:latest", 2)
    assert (first.prompt_tokens, first.reply_tokens) == (1600, 200)
    assert first.cached_share == 1000 / 1600
    assert first.reading_speed == 600 / 3  # not (600 + 1000) / 3
    assert first.writing_speed == 200 / 8
    assert (first.loading_s, first.total_s) == (21, 32)
    assert (second.day, second.model) == ("2026-11-24", "other:1b")
    assert usage(store, since="2026-11-23") == [second]
    assert sum(one.turns for one in usage(store, None)) == 4


def test_every_reply_that_was_generated_counts_once(store):
    cell = {"cell_id": "c1"}
    store.record(NB, "main", replace(turn("replaced"), **cell))
    begun = store.record(NB, "main", replace(turn("begun", written=1), **cell))
    whole = replace(turn(request={"continued": True}, written=2), **cell)
    store.record(NB, "main", whole, replaces=begun.uid)
    removed = store.record(NB, "main", turn("removed", written=4))
    store.drop(removed.uid)
    store.record(NB, "main", turn("cached", request={"cached": True}, written=8))
    from_file = replace(turn("from a file", written=16), origin="file")
    store.insert_turns(NB, [Chat("imported", (from_file,))])
    store.mark_new(NB, "main")
    copied = replace(removed, uid="")
    store.record(OTHER, "main", copied)
    (counted,) = usage(store, None)
    assert (counted.turns, counted.reply_tokens) == (3, 100 + 2 + 4)


def test_a_reply_without_counts_is_a_turn_without_tokens(store):
    stopped = Turn(prompt="p", model="m", status="interrupted", answered_at=NOON)
    store.record(NB, "main", stopped)
    (counted,) = usage(store)
    assert (counted.turns, counted.tokens, counted.reading_speed) == (1, 0, 0)


def test_rows_of_map_prompts_count_with_all_notebooks_only(store):
    row = CachedReply("m", "d", "text", stats=stats(), answered_at=NOON)
    store.cache_replies([("row", row)])
    store.cache_replies([("cell", replace(row, took_s=2.5))])  # a turn as well
    assert usage(store) == []
    (counted,) = usage(store, None)
    assert (counted.turns, counted.reading_speed) == (1, 200)


def test_the_last_days_begin_at_local_midnight():
    east = timezone(timedelta(hours=2))
    now = datetime(2026, 11, 29, 0, 30, tzinfo=east)
    day = datetime.fromisoformat(start_of_days(1, now))
    assert now - day.astimezone(east) < timedelta(days=1)
    assert datetime.fromisoformat(start_of_days(3, now)) == day - timedelta(days=2)


# -- estimates -----------------------------------------------------------------


def test_estimates_come_from_the_same_model_and_server(store):
    store.record(NB, "main", turn(load_s=21.4))
    away = {"server": "http://far:11434"}
    store.record(NB, "b", turn(request=away, read=600, load_s=80))
    assert store.query(last_load_s, "m:latest") == pytest.approx(21.4)
    assert store.query(last_load_s, "m:latest", away["server"]) == 80
    assert store.query(last_load_s, "m:latest", "embedded") == 0
    assert store.query(reading_times, "m:latest") == [ReadingTime(400, 2)]
    assert store.query(reading_times, "m:latest", away["server"]) == [
        ReadingTime(600, 2)
    ]
    assert store.query(reading_times, "other") == []


def test_what_a_server_remembered_does_not_count_as_read(store):
    store.record(NB, "main", turn(read=500, read_s=5.0))
    # Servers before 0.34 do not report that they remembered 500 of these tokens.
    store.record(NB, "main", turn(read=700, read_s=2.0))
    store.record(NB, "main", turn(read=300, cached=700, read_s=3.0))
    again = replace(turn(read=500, read_s=0.1), starts_afresh=True)
    store.record(NB, "main", again)
    times = store.query(reading_times, "m:latest")
    assert sorted(times) == [ReadingTime(300, 3), ReadingTime(500, 5)]


@pytest.mark.parametrize(
    ("known", "tokens", "seconds"),
    [
        ({}, 1000, 0),
        ({1000: 10}, 1000, 10),
        ({1000: 10}, 2000, 20 * 2**0.25),
        ({1000: 10, 4000: 40}, 2000, 20),  # a large model: as long as the prompt
        ({1000: 10, 4000: 160}, 2000, 40),  # the smallest: the square of it
        ({1000: 10}, 5000, 0),  # too far away
        ({1000: 10, 1010: 10, 1020: 500}, 1000, 10),  # one was slow
    ],
)
def test_reading_takes_as_long_as_for_similar_prompts(known, tokens, seconds):
    times = [ReadingTime(*one) for one in known.items()]
    assert expected_reading_s(tokens, times) == pytest.approx(seconds, rel=0.05)
