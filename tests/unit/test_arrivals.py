import threading

import pytest

from ollama_magic.arrivals import Arrivals


class Stream:
    """Items and errors as the test hands them out; ``close`` ends a wait."""

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


def test_items_come_in_order_and_complete():
    with Arrivals(Stream(*range(10_000))) as arrivals:
        assert [item for batch in arrivals for item in batch] == list(range(10_000))


def test_what_has_gathered_comes_as_one_batch():
    stream = Stream("a", "b", "c")
    with Arrivals(stream) as arrivals:
        arrivals._reader.join()
        assert list(arrivals) == [["a", "b", "c"]]


def test_a_tick_without_items_is_an_empty_batch():
    stream = Stream(WAIT, "a")
    with Arrivals(stream, tick_s=0.01) as arrivals:
        batches = iter(arrivals)
        assert next(batches) == []
        stream.goes_on.set()
        assert [item for batch in batches for item in batch] == ["a"]


def test_an_error_is_raised_after_the_items_before_it():
    stream = Stream("a", ConnectionError("cut"))
    got = []
    with Arrivals(stream) as arrivals:
        arrivals._reader.join()
        with pytest.raises(ConnectionError, match="cut"):
            got.extend(arrivals)
    assert got == [["a"]]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_leaving_by_an_error_closes_the_stream_and_ends_its_thread(error):
    """The stop button: the server sees the end at once, whatever it is doing."""
    stream = Stream("a", WAIT, "never")

    def stop_at_the_first_batch():
        with Arrivals(stream, tick_s=0.01) as arrivals:
            for _ in arrivals:
                raise error

    with pytest.raises(error):
        stop_at_the_first_batch()
    assert stream.closed.is_set()
    assert not stream.reader.is_alive()


def test_leaving_early_closes_the_stream():
    stream = Stream(*range(1_000_000))
    with Arrivals(stream) as arrivals:
        assert next(iter(arrivals))[0] == 0
    assert stream.closed.is_set()
    assert not stream.reader.is_alive()


def test_items_that_come_after_leaving_are_not_waited_for():
    stream = Stream(WAIT, ConnectionError("closed under the reader"))
    with Arrivals(stream, tick_s=0.01) as arrivals:
        assert next(iter(arrivals)) == []
    assert not stream.reader.is_alive()
