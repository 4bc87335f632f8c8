"""Characters of untrusted text that deceive or break: made visible or taken out.

What is left cannot steer a terminal either. Knows Unicode ranges; knows nothing of
Markdown or HTML.
"""

from __future__ import annotations

import html
import re

_TABLE: dict[int, str | None] = {
    **{code: chr(0x2400 + code) for code in range(0x20)},  # ␀ to ␟
    0x7F: "␡",
    **{code: f"\\x{code:02x}" for code in range(0x80, 0xA0)},
    **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}"),
}
"""Controls become pictures of themselves; surrogates cannot be encoded at all."""
del _TABLE[ord("\n")], _TABLE[ord("\t")]

# Bidirectional controls reorder what is read; zero-width characters, fillers, format
# characters, tags and variation selectors beyond 16 hide text. Joiners stay: emoji and
# Indic scripts, and Arabic, need them.
_INVISIBLE = re.compile(
    "[\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_NEWLINES = re.compile("\r\n|\r")


def visible_text(text: str) -> str:
    r"""Return a text with nothing hidden in it, lines ended by ``\n``.

    >>> visible_text("a\x1b[31mb\u202ec\r\n")
    'a␛[31mbc\n'
    """
    text = _NEWLINES.sub("\n", text) if "\r" in text else text
    text = _INVISIBLE.sub("", text)
    return text.translate(_TABLE) if _ODD.search(text) else text


def count_invisible(text: str) -> int:
    """Return how many characters ``visible_text`` takes out."""
    return len(_INVISIBLE.findall(text))


def one_line(text: str) -> str:
    """Return ``visible_text`` on one line, with single spaces."""
    return " ".join(visible_text(text).split())


def escaped(text: str) -> str:
    """Return ``visible_text`` escaped for HTML, attributes included."""
    return html.escape(visible_text(text), quote=True)
