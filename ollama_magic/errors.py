"""The errors that users see: what happened, why, and what to type next.

Every module raises these::

    OllamaMagicError
      ConfigError               a host, setting or file is invalid
      PromptError               a {{ placeholder }} cannot be filled
      ServerUnreachableError    no server responded, or it fell silent
      NotOllamaError            something other than Ollama responded
      ServerError               the server returned an error; has ``status_code``
        ModelNotFoundError      the model is not on the server
        CapabilityError         the model does not support what the request uses
        ModelTransferError      a pull, push or creation failed
      StreamInterruptedError    the response was cut off
      ReplyDataError            the reply is not JSON, or does not match the schema
      EngineError               a server could not be started, or has crashed
    KeyboardInterrupt
      Interrupted               the user pressed stop

Invalid options of a magic are IPython's own ``UsageError``. Bugs are never wrapped:
they keep their full traceback. What messages are made of is here too: untrusted text
in quotes, the nearest word, sizes and durations.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.error import UsageError

_SIMILARITY = 0.65
"""From 0 to 1: a word less similar than this to a known one is not a typo of it."""


# -- untrusted text ------------------------------------------------------------


def quoted(text: str, *, limit: int = 500) -> str:
    r"""Return untrusted text as one line that is safe to show in an error.

    Whitespace becomes single spaces, and control, bidi and tag characters become
    escapes; text longer than ``limit`` characters is truncated.

    Examples
    --------
    >>> quoted("no\n such\x1b[31m model")
    'no such\\x1b[31m model'
    >>> quoted("abcdef", limit=4)
    'abc…'
    """
    shown = harmless(" ".join(text[: 4 * limit].split()))
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


# Fillers and variation selectors count as printable, but are invisible; a selector
# after a character that has variants selects one.
_SELECTORS = "\u180b-\u180d\u180f\ufe00-\ufe0f"
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\U00016fe4\U0001bc9d"
    f"\U000e0100-\U000e01ef]|(?<=[\x00-\x9f{_SELECTORS}])[{_SELECTORS}](?!\u20e3)"
)
# JupyterLab turns these into links in plain text, whatever the scheme.
_LINKED = re.compile(
    r"(?<![a-z0-9+.-])(?!(?:https?|ftp):)([a-z][a-z0-9+.-]*:)(?=//)|(data:)(?=\S)", re.I
)


def harmless(text: str) -> str:
    r"""Return text without invisible characters, and with http links only.

    Examples
    --------
    >>> harmless("see javascript://x and https://a.example\x07")
    'see javascript: //x and https://a.example\\x07'
    """
    text = _UNSEEN.sub(lambda unseen: _escape(unseen[0]), text)
    if not text.isprintable():
        text = "".join(
            char if char == "\n" or char.isprintable() else _escape(char)
            for char in text
        )
    # Last, because an escape consists of letters and may start a link.
    return _LINKED.sub(r"\1\2 ", text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


# -- exceptions ----------------------------------------------------------------


class OllamaMagicError(Exception):
    """Base class of the errors that this package raises on purpose.

    Parameters
    ----------
    what
        One sentence in the user's terms: names, addresses, files.
    why
        The cause, in the words of the server or the system. May be empty.
    next_step
        What to do next, with a command to paste. May be empty.
    """

    def __init__(self, what: str, *, why: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next_step = next_step

    def lines(self) -> list[str]:
        """Return the lines to show: what, why and next.

        Invisible characters are escaped, since they may control a terminal, and only
        http addresses stay links.
        """
        parts = [self.what]
        if self.why:
            parts.append(f"  why:  {self.why}")
        if self.next_step:
            parts.append(f"  next: {self.next_step}")
        return list(map(harmless, parts))

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _render_traceback_(self) -> list[str]:
        # IPython's documented hook: a short error output, and still an error status;
        # the exception chain stays in sys.last_value.
        first, *rest = self.lines()
        return [f"{type(self).__name__}: {first}", *rest]


class ConfigError(OllamaMagicError):
    """A host, setting or file is invalid."""


class PromptError(OllamaMagicError):
    """The prompt or a part of it is invalid: a value, file, image, tool or schema.

    Nothing was sent.
    """


class ServerUnreachableError(OllamaMagicError):
    """No server responded at the host, or it fell silent before its response."""


class NotOllamaError(OllamaMagicError):
    """Something other than an Ollama server responded at the host."""


class ServerError(OllamaMagicError):
    """The server returned an error.

    Parameters
    ----------
    status_code
        The HTTP status; 200 if the error arrived inside a stream.
    """

    retry_after_s: float = 0.0
    """How long the server asks to wait before the next request; 0 if it does not."""
    signin_url: str = ""
    """Where its user signs in to ollama.com, if that is missing."""

    def __init__(
        self, what: str, *, why: str = "", next_step: str = "", status_code: int = 0
    ) -> None:
        super().__init__(what, why=why, next_step=next_step)
        self.status_code = status_code


class ModelNotFoundError(ServerError):
    """The model is not on the server."""


class ContextExceededError(ServerError):
    """The prompt, or the chat, is longer than the context of the model."""

    prompt_tokens: int = 0
    """Its size in tokens; 0 if unknown."""
    context_length: int = 0
    """How many tokens the context holds; 0 if unknown."""


class CapabilityError(ServerError):
    """The model does not support what the request uses: thinking, images, tools."""


class ModelTransferError(ServerError):
    """A pull, push or creation failed."""


class StreamInterruptedError(OllamaMagicError):
    """The response was cut off before its last object.

    The chunks that were yielded before are valid.
    """


class ReplyDataError(OllamaMagicError):
    """The reply is not JSON, or does not match its schema."""


class EngineError(OllamaMagicError):
    """A server could not be started, or has crashed."""


class Interrupted(KeyboardInterrupt):
    """The user pressed stop. The cell says so once, and *Run All* stops.

    It is a ``KeyboardInterrupt``, so that no ``except Exception`` in a loop over
    prompts catches it.
    """

    is_shown = False
    """Whether the output of the cell says so already."""

    def __init__(self, what: str = "stopped") -> None:
        super().__init__(what)

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self}"]


@contextmanager
def short_interrupts() -> Iterator[None]:
    """Show an interrupt in the block as one line; also a decorator of functions."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted from None


# -- magic lines ---------------------------------------------------------------


def usage_error(what: str, *, why: str = "", next_step: str = "") -> UsageError:
    """Return the error for an invalid magic line: what, why and next.

    Notes
    -----
    NB: this is not a class of our own, since IPython shows a plain ``UsageError``
    without a traceback, and a subclass with one.
    """
    from IPython.core.error import UsageError

    lines = [what]
    if why:
        lines.append(f"  why:  {why}")
    if next_step:
        lines.append(f"  next: {next_step}")
    return UsageError(harmless("\n".join(lines)))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that ``word`` is most likely a typo of, if any."""
    candidates = list(known)
    for candidate in candidates:
        if len(word.strip("-")) > 1 and candidate.startswith(word):
            return candidate
    # Without their dashes, which make all long options similar.
    by_letters = {candidate.strip("-"): candidate for candidate in candidates}
    wanted = word.lower().strip("-")
    matches = difflib.get_close_matches(wanted, by_letters, n=1, cutoff=_SIMILARITY)
    return by_letters[matches[0]] if matches else None


# -- sizes and durations -------------------------------------------------------


def size_text(size_bytes: float) -> str:
    """Return a size as Ollama's listings show it, in powers of 1000.

    Examples
    --------
    >>> size_text(98_362_432), size_text(512), size_text(4_700_000_000)
    ('98 MB', '512 B', '4.7 GB')
    """
    units = ["B", "kB", "MB", "GB", "TB"]
    while size_bytes >= 999.5 and len(units) > 1:
        size_bytes /= 1000
        del units[0]
    is_exact = size_bytes >= 9.95 or units[0] == "B"
    return f"{size_bytes:.{0 if is_exact else 1}f} {units[0]}"


def last_time_text(seconds: float) -> str:
    """Return how long the same took before, to follow a line; empty for 0 seconds."""
    return f" · last time {duration_text(seconds)}" if seconds else ""


def duration_text(seconds: float) -> str:
    """Return a duration such as ``45 s``, ``3 min 05 s`` or ``26 h 10 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60:,} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
