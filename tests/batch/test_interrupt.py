"""A call that ends early (stop button, kill -9), and the next one that continues."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from fake_ollama import Answer, Wait, reply_line

from ollama_magic import map_prompts
from ollama_magic.errors import Interrupted
from ollama_magic.history import cache
from ollama_magic.history.store import default_path

PATIENCE_S = 60


@pytest.fixture(autouse=True)
def configured(fake_ollama, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)


def answer_only(fake_ollama, *prompts):
    """Answer only these prompts; other replies stall after the first word."""
    never = threading.Event()

    def answer(body):
        yield reply_line(body, content="re: ")
        if body["prompt"] not in prompts:
            yield Wait(never)
        yield reply_line(body, content=body["prompt"])
        yield reply_line(body, done=True, done_reason="stop")

    fake_ollama.chat(answer)


def asked(fake_ollama):
    return [body["prompt"] for body in fake_ollama.bodies("/api/generate")]


@pytest.fixture
def interrupt_at(fake_ollama):
    """Press stop as soon as this many rows have been sent."""
    threads = []

    def start(count):
        def press():
            fake_ollama.wait_for("/api/generate", count=count)
            os.kill(os.getpid(), signal.SIGINT)

        threads.append(threading.Thread(target=press))
        threads[0].start()

    yield start
    for thread in threads:
        thread.join(PATIENCE_S)


def interrupted(**options):
    rows = [str(n) for n in range(8)]
    with pytest.raises(Interrupted) as caught:
        map_prompts("{}", rows, concurrency=2, **options)
    return str(caught.value)


def test_an_interrupt_closes_requests_in_flight_and_starts_none(
    fake_ollama, interrupt_at
):
    answer_only(fake_ollama, "0", "1", "2")
    interrupt_at(5)
    assert interrupted() == (
        "stopped; 3 of 8 rows are cached: run it again to continue"
    )
    rows = [r for r in fake_ollama.requests if r.path == "/api/generate"]
    under_way = [r for r in rows if r.json["prompt"] in {"3", "4"}]
    assert all(r.wait_closed() and r.was_cut_off for r in under_way)
    assert sorted(asked(fake_ollama)) == ["0", "1", "2", "3", "4"]


def test_the_next_call_continues(fake_ollama, interrupt_at):
    answer_only(fake_ollama, "0", "1", "2")
    interrupt_at(5)
    interrupted()
    del fake_ollama.requests[:]
    rows = [str(n) for n in range(8)]
    answer_only(fake_ollama, *rows)
    assert map_prompts("{}", rows) == [f"re: {n}" for n in range(8)]
    assert sorted(asked(fake_ollama)) == ["3", "4", "5", "6", "7"]


def test_rows_of_earlier_calls_count_as_cached(fake_ollama, interrupt_at):
    answer_only(fake_ollama, "0", "1", "2")
    map_prompts("{}", ["0", "1"])
    interrupt_at(5)
    assert "3 of 8 rows are cached" in interrupted()


def test_without_resume_the_error_says_how_to_continue(fake_ollama, interrupt_at):
    answer_only(fake_ollama, "0")
    interrupt_at(3)
    assert interrupted(resume=False).endswith(
        "run it again without resume=False to continue"
    )


def test_an_interrupt_before_the_first_row_has_a_short_error(fake_ollama):
    never = threading.Event()

    def press(_request):
        os.kill(os.getpid(), signal.SIGINT)
        return Answer([], hold_headers=never)

    fake_ollama.on("GET /api/tags", press)
    assert interrupted() == "stopped"


@pytest.mark.parametrize("where", ["before", "after"])
def test_an_interrupt_while_a_reply_is_stored_loses_nothing(
    fake_ollama, monkeypatch, where
):
    """It never happens in the middle of a transaction."""
    answer_only(fake_ollama, "0")
    keep, interrupted_threads = cache.store_cached_replies, []

    def keep_interrupted(database, replies):
        if where == "after":
            keep(database, replies)
        fake_ollama.wait_for("/api/generate", count=3)
        interrupted_threads.append(threading.current_thread())
        os.kill(os.getpid(), signal.SIGINT)
        if where == "before":
            keep(database, replies)

    with monkeypatch.context() as patched:
        patched.setattr(cache, "store_cached_replies", keep_interrupted)
        assert "1 of 8 rows are cached" in interrupted()
    assert len(interrupted_threads) == 1
    assert interrupted_threads[0] is not threading.main_thread()
    assert map_prompts("{}", ["0"]) == ["re: 0"]
    assert asked(fake_ollama).count("0") == 1


def test_kill_9_loses_only_the_rows_in_flight(fake_ollama):
    answer_only(fake_ollama, "0", "1", "2", "3", "4")
    code = (
        "from ollama_magic import map_prompts\n"
        "map_prompts('{}', map(str, range(8)), concurrency=1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            fake_ollama.wait_for("/api/generate", count=6, timeout=PATIENCE_S)
            with closing(sqlite3.connect(default_path())) as file:
                while number_of_replies(file) < 5:  # the last one is being stored
                    assert process.poll() is None
        finally:
            process.kill()
    del fake_ollama.requests[:]
    rows = [str(n) for n in range(8)]
    answer_only(fake_ollama, *rows)
    assert map_prompts("{}", rows) == [f"re: {n}" for n in range(8)]
    assert set(asked(fake_ollama)) == {"5", "6", "7"}


def number_of_replies(file):
    return file.execute("SELECT COUNT(*) FROM answers").fetchone()[0]
