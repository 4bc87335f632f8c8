"""The manual: two Markdown files beside this module, by their sections.

``options.md`` and ``commands.md`` are also the documentation. The help shows their
sections; Tab completion shows the first sentence of each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files


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
