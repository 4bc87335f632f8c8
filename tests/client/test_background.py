import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from fake_ollama import Answer

from ollama_magic.client.background import (
    BackgroundReader,
    run_in_background,
)
from ollama_magic.errors import OllamaMagicError


class Stream:
    """A stream of given items and errors; ``close`` ends a wait."""

    def __init__(self, *items):
        self.items = list(items)
        self.goes_on = threading.Event()
        self.closed = threading.Event()
        self.reader = None

    def __iter__(self):
        self.reader = threading.current_thread()
        for item in self.items:
            if item is WAIT:
                while not (self.goes_on.is_set() or self.closed.is_set()):
                    self.closed.wait(0.01)
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item

    def close(self):
        self.closed.set()


WAIT = object()


def has_ended(thread):
    """Return whether a thread ends, which takes it a moment after its last call."""
    thread.join(10)
    return not thread.is_alive()


def test_items_arrive_complete_and_in_order():
    with BackgroundReader(Stream(*range(10_000))) as reader:
        assert [item for batch in reader.batches() for item in batch] == list(
            range(10_000)
        )


def test_items_that_have_accumulated_arrive_together():
    stream = Stream("a", "b", "c")
    with BackgroundReader(stream) as reader:
        reader._calls[0].result()
        assert list(reader.batches()) == [["a", "b", "c"]]


def test_a_tick_without_items_gives_an_empty_list():
    stream = Stream(WAIT, "a")
    with BackgroundReader(stream, tick_s=0.01) as reader:
        batches = reader.batches()
        assert next(batches) == []
        stream.goes_on.set()
        assert [item for batch in batches for item in batch] == ["a"]


def test_an_error_is_raised_after_the_items_before_it():
    stream = Stream("a", ConnectionError("cut"))
    got = []
    with BackgroundReader(stream) as reader:
        reader._calls[0].result()
        with pytest.raises(ConnectionError, match="cut"):
            got.extend(reader.batches())
    assert got == [["a"]]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_in_the_with_block_closes_the_stream_and_ends_its_thread(error):
    """The stop button ends the connection at once, whatever the server is doing."""
    stream = Stream("a", WAIT, "never")

    def stop_at_the_first_batch():
        with BackgroundReader(stream, tick_s=0.01) as reader:
            for _ in reader:
                raise error

    with pytest.raises(error):
        stop_at_the_first_batch()
    assert stream.closed.is_set()
    assert has_ended(stream.reader)


def test_leaving_early_closes_the_stream():
    stream = Stream(*range(1_000_000))
    with BackgroundReader(stream) as reader:
        assert next(reader.batches())[0] == 0
    assert stream.closed.is_set()
    assert has_ended(stream.reader)


def test_leaving_does_not_wait_for_more_items():
    stream = Stream(WAIT, ConnectionError("closed under the reader"))
    with BackgroundReader(stream, tick_s=0.01) as reader:
        assert next(reader.batches()) == []
    assert has_ended(stream.reader)


def test_one_waiting_stream_does_not_delay_others():
    silent, quick = Stream(WAIT, "late"), Stream("a", "b")
    got = []
    with BackgroundReader(silent, quick, tick_s=0.01) as reader:
        for arrived, ended in reader:
            got += [(number, item) for number in arrived for item in arrived[number]]
            if 1 in ended:
                silent.goes_on.set()
    assert got == [(1, "a"), (1, "b"), (0, "late")]


def test_a_failed_stream_does_not_affect_the_others():
    cut, whole = Stream("a", ConnectionError("cut")), Stream("b", "c")
    got, errors = {0: [], 1: []}, {}
    with BackgroundReader(cut, whole, tick_s=0.01) as reader:
        for arrived, ended in reader:
            for number, items in arrived.items():
                got[number] += items
            errors |= ended
    assert got == {0: ["a"], 1: ["b", "c"]}
    assert str(errors[0]) == "cut"
    assert errors[1] is None


def test_several_streams_without_items_give_a_tick():
    streams = [Stream(WAIT), Stream(WAIT)]
    with BackgroundReader(*streams, tick_s=0.01) as reader:
        assert next(iter(reader)) == ({}, {})


def test_leaving_closes_all_streams_before_it_waits_for_a_thread():
    """A stream that is slow to close does not keep the others running."""
    second = Stream(WAIT)

    class ClosesLast(Stream):
        def __iter__(self):
            yield "a"
            second.closed.wait()

    first = ClosesLast()
    with BackgroundReader(first, second, tick_s=0.01) as reader:
        next(iter(reader))
    assert first.closed.is_set()
    assert all(call.done() for call in reader._calls)


class Spaced(Stream):
    """Items sent one by one, 2 ms apart, whether they are read or not."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def __iter__(self):
        began_s = time.monotonic()
        for number in range(self.count):
            wait_s = began_s + number * 0.002 - time.monotonic()
            if wait_s > 0:
                self.closed.wait(wait_s)
            yield number


def test_items_that_arrive_one_by_one_accumulate_and_none_is_lost():
    """Waking up for each item costs more than the items."""
    with BackgroundReader(Spaced(200)) as reader:
        batches = list(reader.batches())
    assert [item for batch in batches for item in batch] == list(range(200))
    assert len(batches) < 150


def test_items_that_take_long_to_read_are_not_held_back(monkeypatch):
    """With 20 alternatives, a token takes longer than a wait for the network."""
    clock = SimpleNamespace(now_s=0.0, monotonic=lambda: clock.now_s, sleep=time.sleep)
    monkeypatch.setattr("ollama_magic.client.background.time", clock)

    class Slow(Stream):
        def __iter__(self):
            for item in self.items:
                clock.now_s += 0.001
                yield item

    reader = BackgroundReader(Slow(*range(20_000)))

    def pause(seconds):
        clock.now_s += seconds

    monkeypatch.setattr(reader._is_closed, "wait", pause)
    with reader:
        assert sum(map(len, reader.batches())) == 20_000
    assert clock.now_s < 5 * 20


def test_the_first_item_is_not_delayed():
    """Pauses grow with the time since the first item."""
    stream = Stream(WAIT, "a", WAIT)
    with BackgroundReader(stream, tick_s=60) as reader:
        stream.goes_on.set()
        assert next(reader.batches()) == ["a"]


def test_closing_ends_a_pause():
    with BackgroundReader(Spaced(1_000_000), hz=0.1) as reader:
        next(iter(reader))
    assert reader._calls[0].done()


def test_an_abandoned_call_leaves_no_connection(client, fake_ollama):
    """Even if it opens its next connection afterwards."""
    fake_ollama.on("GET /api/tags", Answer([], hold_headers=threading.Event()))
    ended = threading.Event()

    def ask():
        try:
            client.list()
        finally:
            with suppress(OllamaMagicError):
                client.version()
            ended.set()

    def give_up():
        if fake_ollama.requests:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        run_in_background(ask, on_tick=give_up, tick_s=0.01)
    assert fake_ollama.wait_for("/api/tags").wait_closed()
    assert ended.wait(20)
    assert [request.path for request in fake_ollama.requests] == ["/api/tags"]
