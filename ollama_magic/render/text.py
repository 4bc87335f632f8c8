"""Untrusted text with its deceptive characters made visible or removed.

Everything that is shown passes ``visible_text``. The result can't control a terminal,
reorder what is read, or hide text.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from html.entities import html5
from urllib.parse import urlsplit

_TABLE: dict[int, str | None] = {
    **{code: chr(0x2400 + code) for code in range(0x20)},  # ␀ to ␟
    0x7F: "␡",
    **dict.fromkeys((0x2028, 0x2029), "\n"),
    **{code: f"\\x{code:02x}" for code in range(0x80, 0xA0)},
    **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}"),
}
"""Control characters become symbols; surrogates can't be encoded at all."""
del _TABLE[ord("\n")], _TABLE[ord("\t")]

# Bidirectional controls reorder what is read; zero-width characters, fillers, format
# characters, tags and variation selectors beyond 16 hide text.
_CLASS = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\U00016fe4\U0001bc9d\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_SELECTORS = "\u180b-\u180d\u180f\ufe00-\ufe0f"
"""Variation selectors: kept once after a character that may have variants."""
_JOINERS = "\u200c\u200d"
"""Kept once after characters of emoji, Arabic and Indic scripts, which need them."""
_FLAG = (
    "\U0001f3f4\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067"
    "|\U000e0073\U000e0063\U000e0074|\U000e0077\U000e006c\U000e0073)\U000e007f"
)
"""The flags of England, Scotland and Wales: a black flag and tags."""
_UNSEEN = re.compile(f"[{_CLASS}{_SELECTORS}{_JOINERS}]")
_DECEPTIVE = re.compile(
    f"[{_CLASS}]|(?:^|(?<=[\x00-\x9f{_SELECTORS}{_JOINERS}]))[{_SELECTORS}](?!\u20e3)"
    f"|(?:^|(?<=[\x00-\u05ff{_JOINERS}]))[{_JOINERS}]"
)
"""Finds out fast whether anything is removed, for emoji and Persian text too."""
_UNSEEN_RUN = re.compile(f"({_FLAG})|{_UNSEEN.pattern}+")
_SELECTOR = re.compile(f"[{_SELECTORS}]")
_CHOSEN = re.compile(f"(.){_SELECTOR.pattern}", re.DOTALL)
_KEYCAP = "\u20e3"
_LAST_PLAIN, _FIRST_JOINED = "\x9f", "\u0600"
"""Characters up to the first have no variants; those before the second no joiners."""
_LONGEST_END = 32
_OPEN_END = re.compile(f"[^{_UNSEEN.pattern[1:]}?{_UNSEEN.pattern}*\\Z", re.DOTALL)
"""A character whose look may still change, and what follows it."""
_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,30}")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|[a-z0-9]+);", re.IGNORECASE)
_MAX_ENTITY = 9
"""Characters: ``#``, seven digits and a semicolon."""
_NEWLINES = re.compile("\r\n|\r")
_BLANK_LINE = re.compile(r"(?<=\n)([ \t]*)\n")


def visible_text(text: str) -> str:
    r"""Return a text without hidden characters, with ``\n`` as the line end.

    >>> visible_text("a\x1b[31mb\u202ec\r\n")
    'a␛[31mbc\n'
    """
    text = _NEWLINES.sub("\n", text) if "\r" in text else text
    text = text.translate(_TABLE) if _ODD.search(text) else text
    return _UNSEEN_RUN.sub(_kept, text) if _is_deceptive(text) else text


def visible_code(source: str) -> str:
    """Return ``visible_text`` of code, in which no name has invisible characters.

    Python takes a variation selector for a part of a name.
    """

    def without(chosen: re.Match[str]) -> str:
        is_symbol = unicodedata.category(chosen[1]).startswith("S")
        return chosen[0] if is_symbol else chosen[1]

    return _CHOSEN.sub(without, visible_text(source))


def _is_deceptive(text: str) -> bool:
    # NB: the first search is the fastest, the second one faster than a substitution.
    return bool(_UNSEEN.search(text) and _DECEPTIVE.search(text))


def _kept(unseen: re.Match[str]) -> str:
    """Return the beginning of a run of invisible characters that has a meaning."""
    run, text = unseen[0], unseen.string
    if unseen[1]:
        return run
    before, kept = text[max(0, unseen.start() - 1) : unseen.start()], 0
    if _SELECTOR.match(run) and (
        before > _LAST_PLAIN or text.startswith(_KEYCAP, unseen.end())
    ):
        kept = 1
    if run[kept : kept + 1] in tuple(_JOINERS) and (kept or before >= _FIRST_JOINED):
        kept += 1
    return run[:kept]


def count_invisible(text: str) -> int:
    """Return how many characters ``visible_text`` removes."""
    runs = _UNSEEN_RUN.finditer(text) if _is_deceptive(text) else ()
    return sum(len(run[0]) - len(_kept(run)) for run in runs)


def escaped_invisible(json_text: str) -> str:
    r"""Return JSON with an escape for each character that ``visible_text`` changes.

    >>> escaped_invisible('["a\u200bb"]')
    '["a\\u200bb"]'
    """

    def escapes(text: str) -> str:
        return json.dumps(text)[1:-1]

    def replacement(run: re.Match[str]) -> str:
        kept = _kept(run)
        return kept + escapes(run[0].removeprefix(kept))

    shown = _UNSEEN_RUN.sub(replacement, json_text)
    return _ODD.sub(lambda odd: escapes(odd[0]), shown)


class VisiblePieces:
    """Makes a text visible that arrives in pieces, as ``visible_text`` does at once.

    What an invisible character means depends on what comes before it.
    """

    def __init__(self) -> None:
        self._end = ""
        self._held_back = ""  # a carriage return that may be half of a line end

    def add(self, piece: str) -> str:
        """Return what a piece adds."""
        text = self._held_back + piece
        self._held_back = "\r" if text.endswith("\r") else ""
        before, text = self._end, text.removesuffix("\r")
        whole = before + text
        end = _OPEN_END.search(whole[-_LONGEST_END:])
        self._end = end[0] if end else ""
        return visible_text(whole)[len(visible_text(before)) :]


def language_of(info: str) -> str:
    """Return the language in a fence's info string; empty if there is none."""
    match = _LANGUAGE.match(info.strip())
    return match[0].lower() if match else ""


def one_line(text: str) -> str:
    """Return ``visible_text`` on one line, with single spaces."""
    return " ".join(visible_text(text).split())


def address_of(url: str) -> str:
    """Return the address of a link without characters that none may have."""
    return url.replace(" ", "%20").replace("\\", "%5C")


def plain_text(markdown: str) -> str:
    r"""Return text without the backslashes and entities of Markdown.

    >>> plain_text(r"a\_b &amp; &nosuch;")
    'a_b & &nosuch;'
    """
    return decoded(_ESCAPED.sub(r"\1", markdown))


def decoded(text: str) -> str:
    """Return text without entities such as ``&auml;``."""
    return _ENTITY.sub(lambda m: entity_text(m[0]) or m[0], text)


def entity_text(entity: str) -> str:
    """Return the characters of an entity such as ``&auml;``; empty for no entity."""
    name = entity[1:]
    if not name.startswith("#"):
        return html5.get(name, "")
    if len(name) > _MAX_ENTITY:
        return ""
    return visible_text(html.unescape(entity))


_FENCE_LINES = re.compile(r"^ {0,3}(?:`{3,}|~{3,}).*$", re.MULTILINE)
_LINE_MARKS = re.compile(r"^ {0,3}(?:#{1,6} |> ?|[-*+] (?=\S))", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]\n]*)\]\([^()\s]*\)")
_EMPHASIS = re.compile(r"(\*{1,3})(?=\S)([^*\n]+)(?<=\S)\1")


def without_markup(markdown: str) -> str:
    r"""Return the words of Markdown, for a preview; it need not be exact.

    >>> without_markup("**Yes**, see `f`:\n```python\nx = 2 * 3\n```").split("\n")
    ['Yes, see f:', '', 'x = 2 * 3', '']
    """
    text = _LINE_MARKS.sub("", _FENCE_LINES.sub("", markdown))
    text = _LINK.sub(r"\1", text).replace("`", "")
    return plain_text(_EMPHASIS.sub(r"\2", text).replace("**", ""))


def normal_label(label: str) -> str:
    """Return the label of a link or note as labels are compared."""
    return " ".join(label.split()).casefold()


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return ``1 turn`` or ``2 turns``."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def without_blank_lines(page: str) -> str:
    r"""Return HTML that shows the same and has no blank line.

    ``nbconvert --to markdown`` copies outputs into Markdown, where a blank line ends a
    block of HTML.

    >>> without_blank_lines("<pre>a\n\nb</pre>")
    '<pre>a\n&#10;b</pre>'
    """
    return _BLANK_LINE.sub(r"\1&#10;", page)


def escaped(text: str) -> str:
    """Return ``visible_text`` escaped for HTML, attributes included."""
    return html.escape(visible_text(text), quote=True)


# -- the true host of a link ---------------------------------------------------

_NAMED = re.compile(
    r"(?:://|(?<![\w.-]))"
    r"(?P<host>\d+(?:\.\d+){3}|(?:[\w-]+\.)+(?:[^\W\d_]{2,}|xn--[\w-]+)"
    r"|(?<=://)[^\s/?#]+|[\w-]+(?=:\d{2,5}(?:/|\s|$)))(?![\w-])"
)
_DOTS = str.maketrans("。｡．․", "....")
"""Browsers take these for a dot in a host."""
_FILES = re.compile(
    r"\.(?:c|cfg|cpp|csv|css|go|h|html?|ipynb|java|js|json|jsonl|md|pdf|png|py|r|rs|sh"
    r"|sql|svg|toml|ts|tsv|txt|xml|ya?ml)$"
)
"""File names are not hosts, unless the text begins with ``http`` or ``www.``."""
_MOST_SEARCHED = 1000
"""Characters of a text that is searched; for a longer one the host is always told."""
_SAFE_LINK = re.compile(r'<a href="([^"]*)"[^>]*>(.*?)</a>', re.S)
_MARKUP = re.compile("<[^>]*>")


def true_host(text: str, address: str) -> str:
    """Return the host of an address if a text names another one, else an empty text.

    >>> true_host("Sign in at github.com.", "https://evil.example/x")
    'evil.example'
    >>> true_host("README.md", "https://a.example"), true_host("a.b", "http://a.b/c")
    ('', '')
    """
    try:
        host = (urlsplit(address).hostname or "").removeprefix("www.")
    except ValueError:
        return ""
    if text == address and host.isascii():
        return ""
    if len(text) > _MOST_SEARCHED:
        return _as_browsers_show(host)
    text = unicodedata.normalize("NFKC", visible_text(text).translate(_DOTS)).lower()
    for found in _NAMED.finditer(text):
        said = found["host"].removeprefix("www.")
        is_file = (
            _FILES.search(said) and found["host"] == said and "://" not in found[0]
        )
        if said.rpartition("@")[2].partition(":")[0] != host and not is_file:
            return _as_browsers_show(host)
        if not host.isascii():  # its letters may look like those of another name
            return _as_browsers_show(host)
    return ""


def _as_browsers_show(host: str) -> str:
    """Return a host with other letters than ASCII as ``xn--…``."""
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def with_true_hosts(page: str) -> str:
    """Return sanitised HTML with the host behind each link that names another one.

    Titles are dropped: they could name another host too.
    """

    def told(link: re.Match[str]) -> str:
        address, inner = html.unescape(link[1]), link[2]
        host = true_host(html.unescape(_MARKUP.sub("", inner)), address)
        shown = f" ({html.escape(visible_text(host))})" if host else ""
        rel = 'rel="noopener noreferrer nofollow"'
        return f'<a href="{link[1]}" {rel}>{inner}</a>{shown}'

    return _SAFE_LINK.sub(told, page)
