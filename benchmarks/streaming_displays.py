"""Displays of a streaming reply, to be run inside a kernel.

``run`` feeds one of them a synthetic reply at a steady rate, in real time or with a
simulated clock (then nothing waits, and only work is measured).
"""

import json
import time
import uuid
from collections.abc import Callable

from IPython.core.getipython import get_ipython
from IPython.display import Markdown, display

from benchmarks.reply_corpus import tokens
from ollama_magic.render.compat import publisher_of
from ollama_magic.render.reply import ReplyView, reply_bundle
from ollama_magic.render.streaming import StreamDisplay


class Ours:
    """The display of this package."""

    def __init__(self, clock: Callable[[], float]) -> None:
        shell = get_ipython()
        clear_output = shell.display_pub.clear_output
        self._display = StreamDisplay(
            publisher_of(shell), clear_output, mode="clear", clock=clock
        )
        self._display.waiting("loading…")
        self._text = ""

    def feed(self, text: str) -> None:
        self._text += text
        self._display.feed(text)

    def finish(self) -> None:
        footer = ("a-model", "turn 1 of main")
        bundle = reply_bundle(ReplyView(self._text, footer=footer))
        self._display.finish(bundle, {})


class Naive:
    """What people do today: the whole Markdown again, at every token or paced."""

    def __init__(self, clock: Callable[[], float], interval_s: float = 0.0) -> None:
        self._clock, self._interval_s, self._shown_s = clock, interval_s, -1e9
        self._text = ""
        self._handle = display(Markdown(""), display_id=True)

    def feed(self, text: str) -> None:
        self._text += text
        if text and self._clock() - self._shown_s >= self._interval_s - 1e-9:
            self._shown_s = self._clock()
            self._handle.update(Markdown(self._text))

    def finish(self) -> None:
        self._handle.update(Markdown(self._text))


class Floor:
    """The least that Jupyter messages can do: new text only, ten times a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._shown_s, self._new, self._all = clock, -1e9, "", ""
        self._publish = get_ipython().display_pub.publish
        self._id = {"display_id": uuid.uuid4().hex}
        self._publish({"text/plain": ""}, transient=self._id)

    def feed(self, text: str) -> None:
        self._new += text
        if self._new and self._clock() - self._shown_s >= 0.1 - 1e-9:
            self._shown_s = self._clock()
            self._publish({"text/plain": self._new}, transient=self._id, update=True)
            self._all, self._new = self._all + self._new, ""

    def finish(self) -> None:
        text = self._all + self._new
        self._publish({"text/plain": text}, transient=self._id, update=True)


DISPLAYS = {
    "ours": Ours,
    "naive, every token": Naive,
    "naive, 20 Hz": lambda clock: Naive(clock, 0.05),
    "message floor, 10 Hz": Floor,
}


def run(name: str, count: int, rate: float, *, is_real_time: bool) -> dict[str, float]:
    """Show a reply; return its size and when its last token was fed (wall clock)."""
    reply = tokens(count)
    now_s = 0.0
    shown = DISPLAYS[name](time.monotonic if is_real_time else lambda: now_s)
    began_s = time.monotonic()
    for index, token in enumerate(reply):
        now_s = index / rate
        while is_real_time and (wait_s := began_s + now_s - time.monotonic()) > 0:
            time.sleep(min(wait_s, 0.1))
        shown.feed(token)
    last_token_at = time.time()
    shown.finish()
    return {"last_token_at": last_token_at, "bytes": len("".join(reply).encode())}


def show_stream(url: str, model: str, hz: float | None) -> None:
    """Read a reply as most people do, and show it in the naive way, or not at all."""
    import requests

    shown = Naive(time.monotonic, 1 / hz) if hz else None
    asked = {"model": model, "messages": []}
    with requests.post(f"{url}/api/chat", json=asked, stream=True) as response:
        for line in response.iter_lines(chunk_size=None):
            text = json.loads(line)["message"]["content"]
            if shown:
                shown.feed(text)
    if shown:
        shown.finish()
