"""One response of a model, while it streams and when it is complete.

Cells, comparisons, ``map_prompts`` and ``stream`` all read with ``Response.read``, and
``ReplyChunk.joined`` adds up chunks for them as for the client. Some models
write their thinking into the text, between ``<think>`` tags; it is kept apart here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self

from ollama_magic.client.background import BackgroundReader, ClosableStream
from ollama_magic.client.images import Image, drawn_image, fits
from ollama_magic.client.logprobs import NO_LOGPROBS, Logprobs, TokenLogprob
from ollama_magic.client.types import ReplyChunk, Request, Stats, ToolCall
from ollama_magic.errors import Interrupted, OllamaMagicError
from ollama_magic.history.cache import CachedReply
from ollama_magic.history.turns import Message, Status, Turn, utc_now

_TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "[THINK]": "[/THINK]",
    "<seed:think>": "</seed:think>",
    "◁think▷": "◁/think▷",
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final"
    "<|message|>",
}
"""The tags between which models write their thinking."""
_ENDS = ("</think>", "</thinking>", "</thought>", "[/THINK]")
"""End tags whose opening tag may be in the template of the model."""
_STARTS = (*_TAGS, *_ENDS)
_LONE_END = re.compile("|".join(map(re.escape, _ENDS)))
_SEARCHED_AGAIN = 20
"""Characters that are kept: a tag, or its line, may end in the next chunk."""


class ThinkTags:
    """Separates ``<think>…</think>`` at the start of a response from its text.

    Later tags are text: a model may write about them.
    """

    def __init__(self, state: str = "start") -> None:
        self._state = state
        self._held = ""
        self._close = ""

    def feed(self, text: str) -> tuple[str, str]:
        """Return the text and thinking known so far; hold back what is undecided."""
        if self._state == "text":
            return text, ""
        if self._state == "after":
            return self._after(text), ""
        self._held += text
        if self._state == "start":
            seen = self._held.lstrip()
            tag = next((tag for tag in _STARTS if seen.startswith(tag)), "")
            if not tag:
                is_open = any(tag.startswith(seen) for tag in _STARTS)
                return ("", "") if is_open else self.flush()
            if tag in _ENDS:  # all thinking was sent as such
                self._state, self._held = "after", ""
                return self._after(seen.removeprefix(tag)), ""
            self._close = _TAGS[tag]
            self._state, self._held = "thinking", seen.removeprefix(tag).lstrip()
        thinking, tag, rest = self._held.partition(self._close)
        if tag:
            self._state, self._held = "after", ""
            return self._after(rest), thinking
        certain = len(thinking) - _overlap(thinking, self._close)
        self._held = thinking[certain:]
        return "", thinking[:certain]

    def _after(self, text: str) -> str:
        """Remove blank lines between the tag and the text."""
        text = text.lstrip()
        self._state = "text" if text else "after"
        return text

    def flush(self) -> tuple[str, str]:
        """Return what was held back."""
        held, self._held = self._held, ""
        if self._state == "thinking":
            return "", held
        self._state = "text"
        return held, ""


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of ``text`` could begin ``tag``."""
    return next((n for n in range(len(tag) - 1, 0, -1) if text.endswith(tag[:n])), 0)


@dataclass(eq=False)
class Response:
    """The response to one request, as far as it has arrived."""

    clock: Callable[[], float] = time.monotonic
    """Seconds, monotonic; measures the time of thinking."""
    thinking_s: float = 0.0
    done_reason: str = ""
    remote_host: str = ""
    """The host that ran a cloud model, if the server says so."""
    stats: Stats = field(default_factory=Stats)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    """The tokens with their log probabilities, if they were requested."""
    images: list[Image] = field(default_factory=list)
    """The images that the model drew."""
    rejected_images: int = 0
    """How many images are not shown: no PNG, too large, or too many."""
    completed: int = 0
    """Steps of an image that are done, of ``total``."""
    total: int = 0
    cached: CachedReply | None = None
    """The cached reply that this is, if any."""
    fault: BaseException | None = None
    """The error that ended it early."""
    ended_at: str = ""
    """UTC, ISO 8601; empty while the response streams."""
    took_s: float = 0.0
    """Seconds from the request to its end; 0 if they were not measured."""
    _text: list[str] = field(default_factory=list)
    _thinking: list[str] = field(default_factory=list)
    _tool_calls: list[ToolCall] = field(default_factory=list)
    _tags: ThinkTags = field(default_factory=ThinkTags)
    _thinking_began: float | None = None
    has_restarted: bool = False
    """Whether earlier text has become thinking; whoever shows it resets this."""
    _may_be_thinking: bool = True
    """Whether the text may turn out to be thinking, since its beginning had no tag."""
    _recent: str = ""
    """The end of the text, which is searched for a tag."""
    _parts_before: int = 0
    """How many texts and thinking it had before anything arrived."""
    _texts_before: int = 0
    """How many of them were texts."""

    @classmethod
    def continuing(cls, turn: Turn) -> Self:
        """Return a response that begins with the reply of a turn."""
        text, thinking = [turn.reply], [turn.thinking] if turn.thinking else []
        parts = len(text) + len(thinking)
        return cls(
            _text=text, _thinking=thinking, _parts_before=parts, _texts_before=len(text)
        )

    @classmethod
    def of(cls, cached: CachedReply) -> Self:
        """Return the response for a cached reply; it keeps its time."""
        return cls(
            thinking_s=cached.thinking_s,
            done_reason=cached.done_reason,
            stats=cached.stats,
            logprobs=[*cached.logprobs],
            cached=cached,
            ended_at=cached.answered_at,
            took_s=cached.took_s,
            _text=[cached.text],
            _thinking=[cached.thinking],
            _tool_calls=[*cached.tool_calls],
        )

    @property
    def text(self) -> str:
        """The text, without thinking."""
        return "".join(self._text)

    @property
    def thinking(self) -> str:
        """The thinking before the text."""
        return "".join(self._thinking)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls, in order."""
        return tuple(self._tool_calls)

    @property
    def text_logprobs(self) -> Logprobs:
        """The tokens of the text, without those of the thinking."""
        if not self.logprobs:
            return NO_LOGPROBS
        return Logprobs(self.logprobs).of_text(
            "".join(self._text[self._texts_before :])
        )

    @property
    def size(self) -> int:
        """Number of characters of text and thinking."""
        return len(self.text) + len(self.thinking)

    @property
    def has_text(self) -> bool:
        """Whether some text has arrived."""
        return bool(self._text)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has arrived that is worth keeping."""
        parts = len(self._text) + len(self._thinking) + len(self._tool_calls)
        parts += len(self.images) + self.rejected_images
        return parts == self._parts_before

    @property
    def has_ended(self) -> bool:
        """Whether the response is complete or was ended early."""
        return self.cached is not None or bool(self.ended_at)

    def read(self, chunks: Iterable[ReplyChunk]) -> tuple[str, str]:
        """Read chunks of a stream; return the text and the thinking that they add."""
        chunk = ReplyChunk.joined(chunks)
        text, thinking = self._tags.feed(chunk.content) if chunk.content else ("", "")
        if chunk.done:
            more_text, more_thinking = self._tags.flush()
            text, thinking = text + more_text, thinking + more_thinking
            self.done_reason, self.stats = chunk.done_reason, chunk.stats
        self._tool_calls += chunk.tool_calls
        self.logprobs += chunk.logprobs
        for image in map(drawn_image, chunk.images):
            if image is not None and fits(image, self.images):
                self.images.append(image)
            else:
                self.rejected_images += 1
        if chunk.total:
            self.completed, self.total = chunk.completed, chunk.total
        self.remote_host = chunk.remote_host or self.remote_host
        return self._keep(text, chunk.thinking + thinking, is_whole=chunk.done)

    def end(self, fault: BaseException | None = None) -> tuple[str, str]:
        """End the response; return the text and the thinking that were held back."""
        self.fault, self.ended_at = fault, utc_now()
        return self._keep(*self._tags.flush(), is_whole=True)

    def _keep(self, text: str, thinking: str, *, is_whole: bool) -> tuple[str, str]:
        if thinking:
            self._may_be_thinking = False
            now = self.clock()
            began = self._thinking_began = self._thinking_began or now
            self._thinking.append(thinking)
            self.thinking_s = now - began
        if text:
            self._text.append(text)
        if self._may_be_thinking and (text or is_whole):
            self._thinking_began = self._thinking_began or self.clock()
            self._recent = self._recent[-_SEARCHED_AGAIN:] + text
            if _LONE_END.search(self._recent):
                text = self._without_thinking(text, is_whole=is_whole)
        return text, thinking

    def _without_thinking(self, text: str, *, is_whole: bool) -> str:
        """Turn the text before an end tag into thinking; return the text after it.

        A tag in code, in a sentence, or after the beginning of thinking is text.
        """
        whole = self.text
        end = _LONE_END.search(whole, max(0, len(whole) - len(self._recent)))
        assert end is not None
        before, after = whole[: end.start()], whole[end.end() :].lstrip(" ")
        if not (after or is_whole):
            return text  # the rest of the line decides
        self._may_be_thinking = False
        ends_line = after[:1].strip() in {"", "{", "["}
        begins_line = before.rstrip(" ")[-1:].strip() == ""
        is_quoted = before.count("`") % 2 == 1 or any(tag in before for tag in _TAGS)
        if is_quoted or not (ends_line or begins_line):
            return text
        self.has_restarted = len(self._text) > 1
        self._thinking = [before] if before.strip() else []
        self._text = [after.lstrip()] if after.strip() else []
        self._tags = ThinkTags("text" if self._text else "after")
        self.thinking_s = self.clock() - (self._thinking_began or 0.0)
        return self.text


@dataclass(frozen=True)
class Result:
    """The responses to a request, and the error that ended them early, if any."""

    requests: tuple[Request, ...]
    responses: tuple[Response, ...]
    """One for each request; usually the last one is the reply."""
    fault: BaseException | None = None
    notes: tuple[str, ...] = ()
    """Notes for the footer."""
    steps: tuple[Message, ...] = ()
    """Messages between the prompt and the reply that belong to the turn."""
    digest: str = ""
    """The digest of the model; empty when it is unknown."""
    host_kind: str = ""
    """``loopback``, ``remote``, ``embedded`` or ``cloud``."""
    server_note: str = ""
    """The server, for the footer; empty for an Ollama on this machine."""
    context_length: int = 0
    """Tokens that the model is loaded with; 0 when unknown."""
    context_notice: str = ""
    """What was left out of the prompt or cut off, with advice; empty if nothing."""
    code_below: str = ""
    """The hash of the code that was last inserted below the cell; empty if none."""

    @property
    def response(self) -> Response:
        """The last response that is not empty, or else the last one."""
        filled = [one for one in reversed(self.responses) if not one.is_empty]
        return filled[0] if filled else self.responses[-1]

    @property
    def answered_at(self) -> str:
        """When the last response ended; a cached reply keeps its time."""
        return self.responses[-1].ended_at

    @property
    def took_s(self) -> float:
        """Seconds that the responses took, without tool calls between them."""
        return sum(one.took_s for one in self.responses)

    @property
    def is_cached(self) -> bool:
        """Whether every response comes from the cache."""
        return all(one.cached is not None for one in self.responses)

    @property
    def ends_in_a_call(self) -> bool:
        """Whether the last response called tools, and so is one of the steps."""
        called = [step for step in self.steps if step["role"] == "assistant"]
        return self.responses.index(self.response) < len(called)

    @property
    def status(self) -> Status:
        """How it ended."""
        if self.fault is None:
            return "cut" if self.response.done_reason == "length" else "complete"
        is_interrupt = isinstance(self.fault, KeyboardInterrupt)
        return "interrupted" if is_interrupt else "broken"

    def noted(self, *notes: str) -> Result:
        """Return the result with more notes for the footer; empty ones are left out."""
        return replace(self, notes=(*self.notes, *filter(None, notes)))

    def notice(self, *, in_full: bool = False) -> str:
        """Return the notice under an incomplete reply; empty if it is complete.

        Parameters
        ----------
        in_full
            Include the whole error: no error output follows.
        """
        if isinstance(self.fault, OllamaMagicError):
            if in_full:
                return "\n".join(self.fault._render_traceback_())
            return f"[incomplete: {self.fault.what}]"
        if self.fault is not None:
            return "[interrupted]"
        if self.status == "cut":
            limit = self.requests[-1].options.get("num_predict", "")
            return f"[cut off at num_predict {limit}".rstrip() + "]"
        return self._missing()

    def _missing(self) -> str:
        """Return what a complete reply lacks; empty if nothing."""
        response = self.response
        if response.rejected_images:
            return "[an image is not shown: it is no PNG, too large, or one too many]"
        if response.text.strip() or response.tool_calls or response.images:
            return ""
        return f"[no reply{', only thinking' if response.thinking else ''}]"


def added_stats(before: Stats, after: Stats) -> Stats:
    """Return the stats of a reply that was written in two parts.

    The counts of a part that was stopped are unknown, so those of the whole are too.
    """
    if not (before.eval_count and after.eval_count):
        return Stats()
    sums = {
        one.name: getattr(before, one.name) + getattr(after, one.name)
        for one in fields(Stats)
    }
    # The prompt of the second part includes the first part.
    prompt = max(after.prompt_eval_count - before.eval_count, 0)
    cached = min(before.prompt_eval_cached_count, prompt)
    counts = {"prompt_eval_count": prompt, "prompt_eval_cached_count": cached}
    return Stats(**sums | counts)


def receive(
    streams: Sequence[ClosableStream[ReplyChunk]],
    responses: Sequence[Response],
    show: Callable[[Response, str, str], object],
    tick: Callable[[], object],
    *,
    hz: float,
) -> None:
    """Read each stream into its response, all at the same time, until all have ended.

    A server error, or an interrupt by the user, becomes the ``fault`` of a response.

    Parameters
    ----------
    show
        Called with a response and its new text and thinking.
    tick
        Called after that, and every tenth of a second while nothing arrives.
    hz
        Screen updates per second.
    """
    began_s = time.monotonic()

    def end(response: Response, error: BaseException | None) -> tuple[str, str]:
        response.took_s = time.monotonic() - began_s
        return response.end(error)

    try:
        with BackgroundReader(*streams, hz=hz) as reader:
            for arrived, ended in reader:
                for number in sorted({*arrived, *ended}):
                    response = responses[number]
                    text, thinking = response.read(arrived.get(number, ()))
                    if number in ended:
                        error = ended[number]
                        if not isinstance(error, OllamaMagicError | None):
                            raise error  # a bug keeps its traceback
                        more_text, more_thinking = end(response, error)
                        text, thinking = text + more_text, thinking + more_thinking
                    show(response, text, thinking)
                tick()
    except KeyboardInterrupt:
        for response in responses:
            if not response.has_ended:
                end(response, Interrupted())
