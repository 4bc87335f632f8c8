"""CommonMark and GitHub's extensions as the measure of what a reply looks like.

``expected`` parses a text with markdown-it-py, and ``shown`` reads a page of ours. Both
are lists of words, each with the elements that it stands under, so that the structure
is compared and not the markup. What we do otherwise on purpose is applied to both:

- Raw HTML is text; images are links; an address that is not absolute stands as text
  behind the words of its link.
- Headings are two levels deeper, below those of the notebook.
- A task has a box and no bullet.
- A footnote stands where it was written, behind its mark; code has a label.
"""

import json
import re
from pathlib import Path
from urllib.parse import unquote
from xml.etree.ElementTree import Element

import html5lib
from markdown_it import MarkdownIt
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.tasklists import tasklists_plugin

from ollama_magic.render.code import LABEL_STYLE
from ollama_magic.render.math import MATH_CLASS

EXAMPLES = json.loads(
    (Path(__file__).parent / "render" / "commonmark_0_31_2.json").read_text("utf-8")
)["examples"]
"""The examples of the specification; the file names their author and their licence."""

_SPACE = re.compile(r"[ \t\r\n]+")
_ABSOLUTE = re.compile(r"https?://[^/\\\s][^\\\s]*|mailto:[^\\\s]*", re.IGNORECASE)
_FORMULA = re.compile(rf'<span class="{MATH_CLASS}">[^<]*</span>')
_BLOCKS = {"blockquote", "dd", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ol"}
_BLOCKS |= {"p", "pre", "table", "td", "th", "tr", "ul"}
_SAME = {"s": "del", "tbody": "", "thead": "", "span": "", "div": "", "small": ""}
_DEEPER = {f"h{level}": f"h{min(level + 2, 6)}" for level in range(1, 7)}


def _parser():
    options = {"linkify": True, "html": False}
    parser = MarkdownIt("commonmark", options)
    parser.enable(["table", "strikethrough", "linkify"]).use(tasklists_plugin)
    parser.use(footnote_plugin, inline=False)
    parser.linkify.set({"fuzzy_link": False})
    return parser


_MARKDOWN_IT = _parser()
_RAW = MarkdownIt("commonmark", {"html": True})


def has_raw_html(text):
    """Return whether a text has raw HTML, which is only text in a reply."""
    return "html_" in str([[t, t.children] for t in _RAW.parse(text)])


def expected(text):
    """Return the words of a text and what each stands under, by markdown-it-py."""
    return words(_MARKDOWN_IT.render(text), is_ours=False)


def shown(page):
    """Return the words of a page of ours and what each stands under."""
    return words(_FORMULA.sub("formula", page), is_ours=True)


def words(page, *, is_ours):
    tree = html5lib.parseFragment(page, namespaceHTMLElements=False)
    return _Reader(is_ours=is_ours).read(tree)


class _Reader:
    def __init__(self, *, is_ours):
        self._is_ours = is_ours
        self._counts = {}
        self._found = []
        self._parts = []
        self._above = ()

    def read(self, tree):
        for child in tree:
            self._element(child, ())
            self._text(child.tail, ())
        self._end()
        return self._found

    def _end(self):
        """Take the words of the text that was read under the same elements."""
        text = "".join(self._parts)
        self._parts.clear()
        if any(name.startswith("pre") for name in self._above):
            text = "\n".join(f"{_margin(line)}{line}" for line in text.split("\n"))
        self._found += [
            (unquote(word), self._above) for word in re.split(_SPACE, text) if word
        ]

    def _text(self, text, above):
        if above != self._above:
            self._end()
            self._above = above
        self._parts.append(text or "")

    def _element(self, element, above):
        if not self._is_ours and element.tag in {"img", "input"}:
            self._replaced(element, above)
            return
        if not self._is_ours and element.get("class", "").startswith("footnote"):
            self._note(element, above)
            return
        if element.get("style") == LABEL_STYLE:
            return
        tag = self._tag(element, above)
        if tag == "hr":
            self._end()
            self._found.append(("———", above))
        if tag == "br":
            self._text("\n", above)
        address = element.get("href", "") if tag == "a" else ""
        is_link = _ABSOLUTE.fullmatch(address)
        if tag == "a":
            tag = f"a {unquote(address)}" if is_link else ""
        inside = above + ((self._named(tag, element),) if tag else ())
        self._text(element.text, inside)
        for child in element:
            self._element(child, inside)
            self._text(child.tail, inside)
        if not self._is_ours and address and not is_link:
            title = element.get("title")
            self._text(f' ({address} "{title}")' if title else f" ({address})", above)

    def _tag(self, element, above):
        tag = element.tag
        parent = above[-1] if above else ""
        if not self._is_ours:
            tag = _DEEPER.get(tag, tag)
        if tag == "code" and parent.startswith("pre"):
            return ""
        return _SAME.get(tag, tag)

    def _named(self, tag, element):
        if tag == "ol" and element.get("start", "1") != "1":
            tag = f"ol from {element.get('start')}"
        style = element.get("style", "")
        if tag in {"td", "th"} and style in {"text-align:center", "text-align:right"}:
            tag = f"{tag} {style}"
        if tag.partition(" ")[0] not in _BLOCKS:
            return tag
        self._counts[tag] = self._counts.get(tag, 0) + 1
        return f"{tag} {self._counts[tag]}"

    def _note(self, element, above):
        kind = element.get("class")
        if kind == "footnote-ref":
            self._text(element[0].text, (*above, "sup"))
        elif kind in {"footnotes", "footnotes-list", "footnote-item"}:
            if kind == "footnote-item":
                mark = Element("sup")
                mark.text = f"[{element.get('id').removeprefix('fn')}]"
                mark.tail = f" {element[0].text or ''}"
                element[0].text = ""
                element[0].insert(0, mark)
            for child in element:
                self._element(child, above)

    def _replaced(self, element, above):
        if element.tag == "input":
            self._text("☑" if element.get("checked") else "☐", above)
            return
        url, name = element.get("src", ""), element.get("alt", "")
        link = (f"a {unquote(url)}",) if _ABSOLUTE.fullmatch(url) else ()
        title = element.get("title")
        url = f'{url} "{title}"' if title else url
        text = f"[image: {name} – {url}]" if name else f"[image: {url}]"
        self._text(text, above + link)


def _margin(line):
    margin = len(line) - len(line.lstrip())
    return f"{margin}: " if margin and line.strip() else ""
