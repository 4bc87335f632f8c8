"""The manual, two Markdown files beside this module, and the help that shows it.

``options.md`` and ``commands.md`` are also the documentation. Tab completion shows the
first sentence of each section, the list of everything its heading and first paragraph,
by task. A notebook shows HTML, folded by task; a terminal plain text, at most 80 wide.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

from ollama_magic.generation.options import CHAT_OPTIONS, find_option
from ollama_magic.notebook.commands import GROUPS, find_command
from ollama_magic.render.aligned import facts_text, text_width, wrapped
from ollama_magic.render.safe_html import details_html, fence_html, markdown_html
from ollama_magic.render.tables import TextPage, facts_html, lines_html, table_html
from ollama_magic.render.theme import with_style

_WIDTH = 80
_LEFT = 31
_NARROW = 60
"""Columns; below, the second column stands under the first."""

_USAGE = (
    ("%%ollama [MODEL] [options]", "ask; the prompt is on the lines below"),
    ("%%ollama NAME << [MODEL] [options]", "ask, and assign the reply to NAME"),
    ("%ollama [SUBCOMMAND]", "run a subcommand; alone it shows the status"),
)

_EXAMPLE = """\
%%ollama llama3.2 -s "Answer in one sentence." -t 0.2
Why is the sky blue?"""

_FENCE = re.compile(r"```\w*\n(.*?)\n```", re.DOTALL)


def help_page(word: str = "") -> TextPage:
    """Return the list of everything, or the page of a subcommand or an option."""
    text = help_text(word, min(text_width(), _WIDTH))
    return TextPage(text, page=with_style(_html(word)))


def help_text(word: str = "", width: int = _WIDTH) -> str:
    """Return a page of the help as plain text."""
    if not (section := _section_of(word)):
        return _overview(width)
    heading, body = section
    command = find_command(word)
    options = f"\n\n{_options(width)}" if command and command.asks else ""
    return f"{heading}\n\n{_plain(body, width)}{options}"


def page_asked_for(line: str) -> TextPage | None:
    """Return the help that a ``%%ollama`` line without a prompt asks for, if it does.

    ``--schema?`` and ``pull?`` ask for a page, ``help`` for the list of everything.
    """
    *before, last = line.split() or [""]
    word = last.rstrip("?") or "".join(before[-1:])
    is_asked = last.endswith("?") or before == ["help"]
    is_known = find_option(CHAT_OPTIONS, word) or find_command(word)
    if is_asked and is_known:
        return help_page(word)
    return help_page() if line.strip(" ?") in {"help", ""} and last else None


def magic_docstring() -> str:
    """Return what ``%%ollama?`` and ``%ollama?`` show."""
    first = "Ask a language model through Ollama, or manage chats and models."
    return f"{first}\n\n{_overview(_WIDTH)}\n\nMore: %ollama help WORD\n"


def _section_of(word: str) -> tuple[str, str] | None:
    """Return the heading and the Markdown of a page of the manual."""
    if command := find_command(word):
        heading = f"%ollama {command.usage}"
        return heading, sections("commands.md")[command.usage]
    if option := find_option(CHAT_OPTIONS, word):
        return f"%%ollama {option.label}", sections("options.md")[option.label]
    return None


Rows = list[tuple[str, str]]


def _option_rows() -> Rows:
    return [_row("options.md", option.label) for option in CHAT_OPTIONS]


def _group_rows(title: str) -> Rows:
    return [_row("commands.md", command.usage) for command in GROUPS[title]]


def _row(file: str, heading: str) -> tuple[str, str]:
    """Return a heading of the manual and its summary, the first paragraph below."""
    summary = sections(file)[heading].partition("\n\n")[0]
    return heading, " ".join(summary.replace("`", "").split())


# -- plain text ------------------------------------------------------------------


def _overview(width: int) -> str:
    lines = [facts_text(_USAGE, width), "", _options(width)]
    for title in GROUPS:
        rows = _rows(_group_rows(title), width)
        lines += ["", f"{title}: subcommands of %ollama", *rows]
    return "\n".join([*lines, "", "Example", textwrap.indent(_EXAMPLE, "  ")])


def _options(width: int) -> str:
    rows = _rows(_option_rows(), width)
    title = wrapped("Options of %%ollama, before or after MODEL", width)
    return "\n".join([*title, *rows])


def _rows(rows: Rows, width: int) -> Iterator[str]:
    """Yield two columns; a long left cell gets a line of its own."""
    indent = " " * (_LEFT + 2 if width >= _NARROW else 6)
    for left, right in rows:
        lines = wrapped(right, width - len(indent))
        if len(left) >= _LEFT or width < _NARROW:
            usage = left if width >= _NARROW else left.replace("|", " | ")
            yield from (f"  {part}" for part in wrapped(usage, width - 2))
        else:
            yield f"  {left:{_LEFT}}{lines.pop(0)}"
        yield from (indent + more for more in lines)


def _plain(section: str, width: int) -> str:
    """Return the Markdown of a section as plain text."""
    blocks = []
    for index, part in enumerate(_FENCE.split(section)):
        if index % 2:
            blocks.append("Example\n" + textwrap.indent(part, "  "))
            continue
        for paragraph in part.strip().split("\n\n"):
            items = re.split(r"\n(?=- )", paragraph)
            blocks.append("\n".join(_wrapped(item, width) for item in items))
    return "\n\n".join(filter(None, blocks))


def _wrapped(text: str, width: int) -> str:
    plain = " ".join(text.replace("`", "").split())
    indent = "  " if text.startswith("- ") else ""
    return f"\n{indent}".join(wrapped(plain, width - 2))


# -- HTML ------------------------------------------------------------------------


def _html(word: str) -> str:
    options = details_html("Options of %%ollama", table_html((), _option_rows()))
    if section := _section_of(word):
        heading, body = section
        command = find_command(word)
        more = options if command and command.asks else ""
        return f"{markdown_html(f'**`{heading}`**{_GAP}{body}')}{more}"
    folds = [
        details_html(_fold_title(title), table_html((), _group_rows(title)))
        for title in GROUPS
    ]
    example = fence_html(_EXAMPLE, "ipython")
    return "".join([facts_html(_USAGE), example, options, *folds, lines_html(_MORE)])


_GAP = "\n\n"
_MORE = "One of them at length: %ollama help pull, %ollama help --schema"


def _fold_title(title: str) -> str:
    return f"{title}: {', '.join(command.name for command in GROUPS[title])}"


# -- the manual ------------------------------------------------------------------------


@cache
def sections(file: str) -> Mapping[str, str]:
    """Return the sections of a page of the manual by their headings."""
    text = files(__package__).joinpath(file).read_text("utf-8")
    parts = re.split(r"^## `(.+)`\n", text, flags=re.MULTILINE)[1:]
    bodies = [body.strip() for body in parts[1::2]]
    return dict(zip(parts[::2], bodies, strict=True))


def summary(file: str, heading: str) -> str:
    """Return the first sentence of a section, as plain text without its full stop."""
    paragraph = sections(file).get(heading, "").partition("\n\n")[0]
    plain = " ".join(paragraph.replace("`", "").split())
    return re.split(r"\.(?:\s|$)", plain, maxsplit=1)[0]


def note(heading: str, word: str) -> str:
    """Return what the section of a subcommand says about an option or a word.

    >>> note("code [N|all] [--turn T]", "--turn")
    'takes the reply of turn T'
    """
    section = " ".join(sections("commands.md").get(heading, "").split())
    others = r"(?:,? (?:and )?`[^`]+`)*"
    about = rf"`{re.escape(word)}(?: [^`]*)?`{others} ([^.;]+?)(?=[.;:](?:\s|$)|, `)"
    found = re.search(about, section)
    return found[1].replace("`", "") if found else ""
