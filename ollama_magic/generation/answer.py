"""An answer while it arrives: fragments in, text and thinking kept apart.

Knows how chunks add up to one answer, and that some models write their thinking
into the text between ``<think>`` tags. Knows nothing of HTTP or of display.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from ollama_magic.client.types import ReplyChunk, Stats, ToolCall
from ollama_magic.history.cache import CachedReply

_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one chunk added to the text and to the thinking; either may be empty."""

    text: str = ""
    thinking: str = ""


class ThinkTags:
    """Splits ``<think>…</think>`` at the start of an answer from its text.

    Tags later in the answer are text: a model may well write about them.
    """

    def __init__(self) -> None:
        self._state = "start"
        self._held = ""

    def feed(self, text: str) -> Fragment:
        """Return what is certain by now; an undecided rest is held back."""
        if self._state == "text":
            return Fragment(text=text)
        if self._state == "after":
            return self._after(text)
        self._held += text
        if self._state == "start":
            seen = self._held.lstrip()
            if not seen.startswith(_OPEN):
                return Fragment() if _OPEN.startswith(seen) else self.flush()
            self._state, self._held = "thinking", seen.removeprefix(_OPEN).lstrip()
        thinking, tag, rest = self._held.partition(_CLOSE)
        if tag:
            self._state, self._held = "after", ""
            return Fragment(text=self._after(rest).text, thinking=thinking)
        certain = len(thinking) - _overlap(thinking, _CLOSE)
        self._held = thinking[certain:]
        return Fragment(thinking=thinking[:certain])

    def _after(self, text: str) -> Fragment:
        """Drop the blank lines between the tag and the answer."""
        text = text.lstrip()
        self._state = "text" if text else "after"
        return Fragment(text=text)

    def flush(self) -> Fragment:
        """Return what was held back: nothing more will decide it."""
        held, self._held = self._held, ""
        if self._state == "thinking":
            return Fragment(thinking=held)
        self._state = "text"
        return Fragment(text=held)


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of ``text`` may begin ``tag``."""
    return next((n for n in range(len(tag) - 1, 0, -1) if text.endswith(tag[:n])), 0)


class Answer:
    """All that came so far of one answer.

    Parameters
    ----------
    clock
        Seconds that never go backwards; for the time spent on thinking.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tags = ThinkTags()
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._thinking_began: float | None = None
        self.thinking_s = 0.0
        self._tool_calls: list[ToolCall] = []
        self.done_reason = ""
        self.remote_host = ""
        """Where a cloud model answered, if the server said so."""
        self.stats = Stats()

    @classmethod
    def of(cls, kept: CachedReply) -> Self:
        """Return an answer that came earlier and was kept."""
        answer = cls()
        answer._text, answer._thinking = [kept.text], [kept.thinking]
        answer.thinking_s, answer._tool_calls = kept.thinking_s, [*kept.tool_calls]
        answer.done_reason, answer.stats = kept.done_reason, kept.stats
        return answer

    @property
    def text(self) -> str:
        """The answer itself, without thinking."""
        return "".join(self._text)

    @property
    def thinking(self) -> str:
        """What the model thought before it answered."""
        return "".join(self._thinking)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The functions that the model wants called, in order."""
        return tuple(self._tool_calls)

    @property
    def has_text(self) -> bool:
        """Whether some of the answer itself has come."""
        return bool(self._text)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has come that would be worth keeping."""
        return not (self._text or self._thinking or self._tool_calls)

    def add(self, chunk: ReplyChunk) -> Fragment:
        """Take one chunk and return what it adds to what is shown."""
        split = self._tags.feed(chunk.content) if chunk.content else Fragment()
        if chunk.done:
            split = _joined(split, self._tags.flush())
            self.done_reason, self.stats = chunk.done_reason, chunk.stats
        self._tool_calls += chunk.tool_calls
        self.remote_host = chunk.remote_host or self.remote_host
        return self._keep(Fragment(split.text, chunk.thinking + split.thinking))

    def end(self) -> Fragment:
        """Take what is still held back, when the answer broke off."""
        return self._keep(self._tags.flush())

    def _keep(self, fragment: Fragment) -> Fragment:
        if fragment.thinking:
            now = self._clock()
            began = self._thinking_began = self._thinking_began or now
            self._thinking.append(fragment.thinking)
            self.thinking_s = now - began
        if fragment.text:
            self._text.append(fragment.text)
        return fragment


def _joined(first: Fragment, second: Fragment) -> Fragment:
    return Fragment(first.text + second.text, first.thinking + second.thinking)
