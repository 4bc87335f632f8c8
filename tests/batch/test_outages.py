"""Servers that are busy, limited, restarted or gone: rows wait, and are sent again."""

import os
import signal
import threading
import time
from itertools import pairwise

import pytest
from fake_ollama import JSON, RESET, Answer, FakeOllama, Wait, error, reply_line

from ollama_magic import map_prompts
from ollama_magic.batch.dispatch import Dispatcher, RowResult
from ollama_magic.batch.servers import BatchServer
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.types import GenerateRequest
from ollama_magic.errors import (
    CapabilityError,
    Interrupted,
    ModelNotFoundError,
    NotOllamaError,
    ServerError,
    ServerUnreachableError,
    StreamInterruptedError,
)

BUSY = "server (503): server busy"
USED_UP = "server (429): you (ada) have reached your weekly usage limit"
HOSTS = ["http://one:1", "http://other:1"]


# -- the dispatcher, with a simulated clock -------------------------------------------


SLOW = object()
"""An answer that has not come yet."""


class Script:
    """Workers that answer within a tick: with an error, or a reply if it is None."""

    def __init__(self, answer, hosts=HOSTS[:1], *, patience_s=600.0, at_once=4):
        self.now = 0.0
        self.sent = []
        self._answer = answer
        servers = [BatchServer(OllamaClient(host), True, "remote") for host in hosts]
        self.dispatcher = Dispatcher(
            servers,
            rows_per_server=at_once,
            patience_s=patience_s,
            clock=lambda: self.now,
        )

    def ticks(self, rows):
        """Send rows, a tick of 0.1 seconds after the other, until all have ended."""
        self.dispatcher.begin(GenerateRequest("m", str(n)) for n in range(rows))
        slow = []
        while not self.dispatcher.has_ended:
            taken = slow
            while row := self.dispatcher.take():
                request, load = row
                self.sent.append((self.now, load.server.base_url, request.prompt))
                taken.append(row)
            slow = [row for row in taken if not self._is_answered(*row)]
            self.now += 0.1
            yield

    def _is_answered(self, request, load):
        error = self._answer(load.server.base_url, request.prompt, self.now)
        if error is SLOW:
            return False
        is_gone = isinstance(error, ServerUnreachableError)
        result = RowResult(error=error, is_server_gone=is_gone)
        self.dispatcher.finish(request, load, result)
        return True

    def run(self, rows=4):
        """Return the result of each row."""
        for _ in self.ticks(rows):
            pass
        results = {f.request.prompt: f.result for f in self.dispatcher.finished}
        assert len(results) == len(self.dispatcher.finished) == rows
        return [results[str(n)].error for n in range(rows)]

    def times(self, host=HOSTS[0]):
        return [at for at, url, _ in self.sent if url == host]


def refusal(status, why="", retry_after_s=0.0):
    error = ServerError("refused", why=why, next_step="next", status_code=status)
    error.retry_after_s = retry_after_s
    return error


def until(end_s, error):
    return lambda _url, _prompt, now: error if now < end_s else None


GONE = ServerUnreachableError("gone")
BROKEN = StreamInterruptedError("broken")


@pytest.mark.parametrize(
    "error",
    [*map(refusal, [408, 429, 502, 503, 504, 524]), GONE, BROKEN],
    ids=str,
)
def test_a_server_that_comes_back_loses_no_row(error):
    script = Script(until(100.0, error))
    assert script.run(rows=400) == [None] * 400
    assert len(script.sent) < 415
    assert script.dispatcher.notes == []


def test_pauses_grow_and_differ():
    script = Script(until(500.0, refusal(503)), at_once=1)
    script.run()
    times = [at for at in script.times() if at < 500]
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses[0] < 0.5 < pauses[2] < 2
    assert max(pauses) < 30 * 1.25 + 0.2
    last = pauses[8:-1]
    assert min(last) > 29
    assert len({round(pause, 1) for pause in last}) > 1


def test_a_server_is_tried_after_the_time_that_it_asks_for():
    script = Script(until(30.0, refusal(429, retry_after_s=20.0)), at_once=1)
    assert script.run() == [None] * 4
    first, second, third, *_ = script.times()
    assert first == 0
    assert 20 <= second < 26
    assert 40 <= third < 52


def test_one_row_at_a_time_tries_a_server_that_is_out_of_service():
    script = Script(until(10.0, refusal(503)))
    script.run(rows=40)
    times = script.times()
    assert times.count(0.0) == 4
    during = [at for at in times if 0 < at < 10]
    assert len(during) == len(set(during)) <= 6


def test_patience_limits_the_wait():
    script = Script(lambda *_: refusal(503, BUSY), patience_s=60.0)
    errors = script.run(rows=10)
    assert [error.why for error in errors] == [BUSY] * 10
    assert 60 <= script.now < 62
    assert script.dispatcher.notes == [f"Server skipped: {HOSTS[0]}: {BUSY}"]


def test_without_patience_the_first_outage_is_the_error_of_all_rows():
    script = Script(lambda *_: GONE, patience_s=0.0)
    assert script.run(rows=10) == [GONE] * 10
    assert len(script.sent) == 4


def test_a_wait_longer_than_the_patience_is_not_started():
    script = Script(lambda *_: refusal(429, retry_after_s=3600.0))
    assert all(script.run())
    assert script.now < 1


def test_patience_counts_from_the_last_reply():
    """A server that fails again and again, and answers in between, is not given up."""

    def answer(_url, _prompt, now):
        return None if now % 100 > 50 else refusal(503)

    script = Script(answer, patience_s=90.0)
    assert script.run(rows=4000) == [None] * 4000
    assert script.now > 180


def test_a_server_that_still_answers_a_row_is_not_given_up():

    def answer(_url, prompt, now):
        if now > 500:
            return None
        return SLOW if prompt == "0" else refusal(503)

    script = Script(answer, patience_s=60.0)
    assert script.run(rows=8) == [None] * 8
    assert script.dispatcher.notes == []


def test_the_other_hosts_do_the_work_meanwhile():
    script = Script(
        lambda url, *_: refusal(503, BUSY) if url == HOSTS[0] else None, HOSTS
    )
    assert script.run(rows=400) == [None] * 400
    assert len(script.times(HOSTS[0])) < 12
    assert script.dispatcher.notes == [f"Server skipped: {HOSTS[0]}: {BUSY}"]


def test_a_host_that_comes_back_gets_rows_again():
    def answer(url, _prompt, now):
        return refusal(503) if url == HOSTS[0] and now < 2 else None

    script = Script(answer, HOSTS)
    script.run(rows=800)
    assert len([at for at in script.times(HOSTS[0]) if at > 3]) > 100
    assert script.dispatcher.notes == []


FINAL = [
    *map(refusal, [401, 402, 403, 404, 405, 407, 410, 412]),
    refusal(429, USED_UP),
    refusal(429, "server (429): insufficient_quota"),
    refusal(429, "server (429): reached your session usage limit", 7200.0),
    ModelNotFoundError("no such model", status_code=404),
    CapabilityError("cannot think", status_code=400),
    NotOllamaError("a web page"),
]


@pytest.mark.parametrize("error", FINAL, ids=lambda error: f"{error} {error.why}")
def test_a_permanent_refusal_ends_the_call_at_once(error):
    script = Script(lambda *_: error)
    with pytest.raises(type(error)) as caught:
        script.run(rows=400)
    assert caught.value is error
    assert len(script.sent) == 4
    assert script.now < 1


@pytest.mark.parametrize("error", FINAL[:2], ids=str)
def test_a_host_that_refuses_for_good_is_skipped(error):
    script = Script(lambda url, *_: error if url == HOSTS[0] else None, HOSTS)
    assert script.run(rows=40) == [None] * 40
    assert len(script.times(HOSTS[0])) <= 4
    assert script.dispatcher.notes == [f"Server skipped: {HOSTS[0]}: refused"]


def test_a_row_that_breaks_every_connection_is_an_error_and_sent_last():
    """The server is there, so the row is the cause, and it does not stop the others."""
    script = Script(lambda _url, prompt, _now: BROKEN if prompt == "0" else None)
    assert script.run(rows=40) == [BROKEN, *[None] * 39]
    prompts = [prompt for _, _, prompt in script.sent]
    assert prompts.count("0") == 3
    assert prompts[-2:] == ["0", "0"]


CRASHES = [
    "server (500): llama runner process has terminated: exit status 2",
    "server (500): llama runner process no longer running: -1",
    "server (mid-stream): an error was encountered while running the model",
    "server (500): CUDA error: out of memory",
    'server (500): text/html ("Internal Server Error")',
]


@pytest.mark.parametrize("why", CRASHES)
def test_a_model_that_crashes_and_is_loaded_again_loses_no_row(why):
    crash = ServerError("failed", why=why, status_code=500)
    script = Script(lambda _url, _prompt, now: crash if 5 < now < 15 else None)
    assert script.run(rows=400) == [None] * 400
    assert len(script.sent) < 420


@pytest.mark.parametrize("why", CRASHES)
def test_a_row_that_crashes_the_model_is_tried_again_and_then_an_error(why):
    crash = ServerError("failed", why=why, status_code=500)
    script = Script(lambda _url, prompt, _now: crash if prompt == "9" else None)
    assert [one is crash for one in script.run(rows=40)].index(True) == 9
    assert [prompt for _, _, prompt in script.sent].count("9") == 3
    assert script.now < 30


def test_a_model_that_never_worked_is_not_waited_for():
    crash = ServerError("failed", why=CRASHES[0], status_code=500)
    script = Script(lambda *_: crash)
    assert script.run(rows=40) == [crash] * 40
    assert len(script.sent) == 40


def test_the_error_of_a_row_is_not_an_outage():
    script = Script(lambda _url, prompt, _now: refusal(500) if prompt == "0" else None)
    assert [error is None for error in script.run()] == [False, True, True, True]
    assert len(script.sent) == 4


def test_requests_are_made_when_they_are_sent():
    """So that 50,000 of them are never in memory."""
    made = []
    dispatcher = Script(lambda *_: SLOW).dispatcher
    dispatcher.begin(
        made.append(n) or GenerateRequest("m", str(n)) for n in range(50_000)
    )
    while dispatcher.take():
        pass
    assert made == [0, 1, 2, 3]


def test_the_server_that_the_call_waits_for_is_named():
    script = Script(until(100.0, refusal(429, "server (429): slow down", 30.0)))
    said = set()
    for _ in script.ticks(1):
        said.add(script.dispatcher.waits_for)
    about = f"waiting for {HOSTS[0]}: server (429): slow down"
    assert f"{about}, next try in 20 s" in said
    assert script.dispatcher.waits_for == ""


# -- the whole call, with real servers -----------------------------------------------


@pytest.fixture(autouse=True)
def configured(fake_ollama, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)


def says(body, text):
    return [
        reply_line(body, content=text),
        reply_line(body, done=True, done_reason="stop"),
    ]


def fails_first(fake, answer, times):
    """Send the answer to the first requests, and then a reply."""
    lock, sent = threading.Lock(), []

    def reply(request):
        with lock:
            sent.append(request)
            is_out = len(sent) <= times
        return answer if is_out else Answer(says(request.json, "ok"))

    fake.on("POST /api/generate", reply)


PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
OUTAGES = {
    "busy": error(503, "server busy, please try again"),
    "limited": Answer(
        ['{"error": "too many requests"}'],
        status=429,
        content_type=JSON,
        headers={"Retry-After": "1"},
        framing="length",
    ),
    "a slot": error(429, "timed out waiting for a concurrent request slot"),
    "behind a proxy": error(502, "bad gateway"),
    "a page of a proxy": Answer([PAGE], 502, "text/html", framing="length"),
    "reset": Answer([RESET], raw=True),
    "too early": error(425, "too early"),
    "cut": Answer([reply_line({"model": "m"}, content="half")]),
}


@pytest.mark.parametrize("kind", OUTAGES)
def test_rows_survive_an_outage(fake_ollama, kind):
    fails_first(fake_ollama, OUTAGES[kind], times=5)
    assert map_prompts("{}", range(12)) == ["ok"] * 12
    assert len(fake_ollama.bodies("/api/generate")) == 17


def test_rows_survive_a_restart(elsewhere):
    never = threading.Event()
    with FakeOllama() as before:
        before.chat(lambda body: [reply_line(body, content="half"), Wait(never)])
        call = elsewhere(map_prompts, "{}", range(12), hosts=before.url)
        before.wait_for("/api/generate", count=4)
    with FakeOllama(before.port) as after:
        after.chat(lambda body: says(body, "ok"))
        assert call.result() == ["ok"] * 12


def test_an_interrupt_ends_a_wait_at_once(fake_ollama):
    later = Answer(status=503, headers={"Retry-After": "500"}, framing="length")
    fake_ollama.on("POST /api/generate", later)
    pressed = []

    def press():
        fake_ollama.wait_for("/api/generate")
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(Interrupted, match="0 of 8 rows are cached"):
        map_prompts("{}", range(8))
    assert time.monotonic() - pressed[0] < 10


def test_one_error_says_how_many_rows_are_left(fake_ollama):
    def answer(body):
        is_used_up = body["prompt"] >= "3"
        return error(429, "weekly usage limit") if is_used_up else says(body, "ok")

    fake_ollama.chat(answer)
    with pytest.raises(ServerError, match="weekly usage limit") as caught:
        map_prompts("{}", range(8), concurrency=1)
    assert caught.value.next_step.endswith(
        "; then run the same call again: 5 rows are left"
    )
    assert len(fake_ollama.bodies("/api/generate")) == 4
    fake_ollama.chat(lambda body: says(body, "more"))
    assert map_prompts("{}", range(8)) == ["ok"] * 3 + ["more"] * 5


def test_rows_that_are_left_are_counted_at_the_end(fake_ollama):
    fake_ollama.on("POST /api/generate", error(503, "server busy"))
    with pytest.warns(UserWarning, match="rows") as notes:
        found = map_prompts("{}", ["a", "b", ""], patience=0)
    assert [type(one) for one in found[:2]] == [ServerError] * 2
    skipped, *texts = [str(note.message) for note in notes]
    assert skipped.startswith("Server skipped: ")
    assert texts[0].startswith("2 of 3 rows failed (positions 0, 1): The server at ")
    assert texts[0].endswith(" is busy (server (503): server busy)")
    assert texts[1] == (
        "1 of 3 rows failed (position 2): The prompt of this row is empty (neither the "
        "template nor the row has any text)"
    )
    assert texts[2] == "run the same call again: 2 rows are left"
