"""Errors that people see: what happened, why, and what to type next.

The tree, widest first::

    OllamaMagicError
      x ConfigError               a host, setting or file of the user's is wrong
      x PromptError               a {{ placeholder }} cannot be filled
      x ServerUnreachableError    nothing answered, or it fell silent
      x NotOllamaError            something answered, and it is not Ollama
      x ServerError               the server refused; has ``status_code``
        + ModelNotFoundError
        + CapabilityError         the model cannot do what was asked
        + ModelTransferError      a pull, push or create did not succeed
      x StreamInterruptedError    the answer broke off before its end
      x ReplyDataError            a reply was read as JSON, and it is not JSON
      x EngineError               the embedded engine could not be started

``Interrupted`` is a ``KeyboardInterrupt``: the user pressed stop. Bad options of a
magic are IPython's own ``UsageError``, and bugs are never wrapped: they keep their
full traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.error import UsageError


import re


def quoted(text: str, *, limit: int = 500) -> str:
    r"""Return foreign text safe to show in an error: one line, nothing invisible.

    White space becomes single blanks; control, bidi and tag characters become
    escapes; what is longer than ``limit`` characters is cut.

    Examples
    --------
    >>> quoted("no\n such\x1b[31m model")
    'no such\\x1b[31m model'
    >>> quoted("abcdef", limit=4)
    'abc…'
    """
    shown = harmless(" ".join(text[: 4 * limit].split()))
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


# Fillers and variation selectors count as printable, and nobody sees them.
_UNSEEN = re.compile("[\u3164\uffa0\U000e0100-\U000e01ef]")
# JupyterLab makes links of these in plain text, whatever the scheme.
_LINKED = re.compile(
    r"(?<![a-z0-9+.-])(?!(?:https?|ftp):)([a-z][a-z0-9+.-]*:)(?=//)|(data:)(?=\S)", re.I
)


def harmless(text: str) -> str:
    r"""Return text that front ends show as it is: nothing invisible, no odd links.

    Examples
    --------
    >>> harmless("see javascript://x and https://a.example\x07")
    'see javascript: //x and https://a.example\\x07'
    """
    if not text.isprintable() or _UNSEEN.search(text):
        text = "".join(
            char
            if char == "\n" or (char.isprintable() and not _UNSEEN.match(char))
            else char.encode("unicode_escape").decode()
            for char in text
        )
    # Last: what was escaped has letters, and may begin a link.
    return _LINKED.sub(r"\1\2 ", text)


class OllamaMagicError(Exception):
    """Base of all errors that this package raises on purpose.

    Parameters
    ----------
    what
        One sentence in the user's own terms: names, addresses, files.
    why
        The cause, in the server's or the system's own words. May be empty.
    next_step
        What to do now, with a command that can be pasted. May be empty.
    """

    def __init__(self, what: str, *, why: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next_step = next_step

    def lines(self) -> list[str]:
        """Return the error as it is shown: one line each for what, why and next.

        What cannot be seen is escaped, whoever wrote it: it may steer a terminal.
        Nor is anything a link that front ends would not make of an address.
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
        # IPython's documented hook: a short error output with a real error
        # status; the chain stays in sys.last_value for those who want it.
        first, *rest = self.lines()
        return [f"{type(self).__name__}: {first}", *rest]


class ConfigError(OllamaMagicError):
    """A host, a setting or a file that the user gave cannot be used."""


class PromptError(OllamaMagicError):
    """A placeholder of the prompt cannot be filled; nothing was sent."""


class ServerUnreachableError(OllamaMagicError):
    """No server answered at the host, or it fell silent before an answer began."""


class NotOllamaError(OllamaMagicError):
    """Something answered at the host that is not an Ollama server."""


class ServerError(OllamaMagicError):
    """The server answered with an error.

    Parameters
    ----------
    status_code
        The HTTP status; 200 when the error came inside a stream that had begun.
    """

    def __init__(
        self, what: str, *, why: str = "", next_step: str = "", status_code: int = 0
    ) -> None:
        super().__init__(what, why=why, next_step=next_step)
        self.status_code = status_code


class ModelNotFoundError(ServerError):
    """The model is not on the server."""


class CapabilityError(ServerError):
    """The model does not support what the request uses: thinking, images, tools."""


class ModelTransferError(ServerError):
    """A pull, push or create ended without success."""


class StreamInterruptedError(OllamaMagicError):
    """The stream broke off before the object with ``done`` true arrived.

    What was yielded before stands.
    """


class ReplyDataError(OllamaMagicError):
    """The reply was read as JSON, and it is not JSON."""


class EngineError(OllamaMagicError):
    """The embedded engine could not be started, or it ended by itself."""


class Interrupted(KeyboardInterrupt):
    """The user pressed stop: shown as one line, and Run All stops.

    A ``KeyboardInterrupt`` all the same, so that no ``except Exception`` of a cell
    that asks in a loop goes on after it.
    """

    def __init__(self, what: str = "stopped") -> None:
        super().__init__(what)

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self}"]


_LIKENESS = 0.65
"""From 0 to 1: what is less like a known word is no slip of the pen."""


def usage_error(what: str, *, why: str = "", next_step: str = "") -> UsageError:
    """Return an error of a magic line: what, why and what to type next.

    Notes
    -----
    NB: IPython shows a plain ``UsageError`` without a traceback, and a subclass of
    it with one; so there is no class of our own.
    """
    from IPython.core.error import UsageError

    lines = [what]
    if why:
        lines.append(f"  why:  {why}")
    if next_step:
        lines.append(f"  next: {next_step}")
    return UsageError(harmless("\n".join(lines)))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was most likely meant, if any is like it."""
    candidates = list(known)
    for candidate in candidates:
        if len(word.strip("-")) > 1 and candidate.startswith(word):
            return candidate
    # Without their dashes: all long options are alike in these.
    by_letters = {candidate.strip("-"): candidate for candidate in candidates}
    wanted = word.lower().strip("-")
    matches = difflib.get_close_matches(wanted, by_letters, n=1, cutoff=_LIKENESS)
    return by_letters[matches[0]] if matches else None
