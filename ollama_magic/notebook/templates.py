"""Prompt templates: Markdown files that ``%%ollama @NAME`` sends.

They are in the folder ``prompts`` beside the notebook, and in that of the user, which
all notebooks have in common; the first wins. A file begins with the options that the
template sets, between two lines of ``---``; the rest is the prompt.

A file may be from somebody else. So a template sets options from a short list only, a
cloud model in it is not used (``prepare`` checks that), and the footer names all that
it sets. ``{{ }}`` in it is filled as in a cell: it cannot run code.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn
from unicodedata import normalize

from IPython.core.error import UsageError

from ollama_magic.client.options import MODEL_OPTIONS
from ollama_magic.errors import PromptError, nearest, quoted
from ollama_magic.generation.options import (
    CHAT_OPTIONS,
    ChatOptions,
    Option,
    TemplateUse,
)
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import check_together
from ollama_magic.generation.values import is_file
from ollama_magic.history.store import default_path
from ollama_magic.notebook.cli.parser import LineReader

FOLDER = "prompts"
_NAME = re.compile(r"\w[\w.-]{0,63}")
_REST = re.compile(r"\{\{\s*\.\.\.\s*\}\}")
"""Where the text of the cell goes; else below the template."""
_MAX_BYTES = 1_000_000
_MOST_PLACES = 20
_MOST_NAMED = 12
"""Templates that an error lists."""
_MARK = "---"
_MARK_LINE = re.compile(rf"^{_MARK}[ \t]*(?:\n|\Z)", re.M)
_PAIR = "option"
_SINGLE_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_FIELDS = (
    "model",
    "system",
    "once",
    "last",
    "temperature",
    "seed",
    "options",
    "keep_alive",
    "think",
    "hide_thinking",
    "format",
    "schema",
    "raw",
)
_ALL = tuple(one.name for one in fields(ChatOptions))
_OPTIONS = tuple(one for one in CHAT_OPTIONS if one.field in _FIELDS)
_KEYS: Mapping[str, Option] = {
    flag.removeprefix("--"): option
    for option in reversed(_OPTIONS)
    for flag in option.flags
    if flag.startswith("--") and option.const is not False
}
"""The options that a template can set, by their long names without dashes."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One template."""

    name: str
    text: str
    options: ChatOptions
    path: Path
    is_shared: bool
    """Whether it is in the folder of the notebook, perhaps from somebody else."""

    @property
    def sets(self) -> tuple[str, ...]:
        """The names of the options that it sets."""
        return tuple(_names_of(_changed(self.options)))


def applied(
    session: Session, options: ChatOptions, text: str
) -> tuple[ChatOptions, str]:
    """Return the options and the prompt of a cell that names a template.

    The options of the cell override those of the template. Its text takes the place of
    ``{{ ... }}``, or is added below.

    Raises
    ------
    PromptError
        There is no such template, or its file has an error.
    """
    if options.template is None:
        return options, text
    template = find(session, options.template)
    given, theirs = _changed(options), template.options
    used = {key: value for key, value in _changed(theirs).items() if key not in given}
    if options.compare:
        used.pop("model", None)
    used["options"] = {**theirs.options, **options.options}
    use = TemplateUse(
        name=template.name,
        path=f"{FOLDER}/{template.path.name}" if template.is_shared else "",
        sets=tuple(_names_of(used, without=options.options)),
        model=str(used.get("model", "")) if template.is_shared else "",
    )
    used_flags = {name: f"{_flag(name)} of @{template.name}" for name in used}
    fields_given = _changed(options, _ALL)
    flags = {**used_flags, **{name: _flag(name) for name in fields_given}}
    check_together({**used, **fields_given}, flags, "%%ollama")
    options = replace(options, **used, template_use=use)
    return options, with_text(template.text, text)


def _flag(field: str) -> str:
    return next((o.flags[-1] for o in CHAT_OPTIONS if o.field == field), "")


def with_text(template: str, text: str) -> str:
    r"""Return a template with the text of a cell in its place.

    >>> with_text("Translate {{ ... }}, please.", "this")
    'Translate this, please.'
    >>> with_text("Translate:", "this")
    'Translate:\n\nthis'
    """
    text = text.strip("\n")
    if _REST.search(template):
        return _REST.sub(lambda _: text, template)
    return f"{template}\n\n{text}" if text.strip() else template


# -- where they are --------------------------------------------------------------


def folders(session: Session) -> tuple[tuple[Path, bool], ...]:
    """Return the folders, the first one wins, and whether each is the notebook's."""
    path = session.notebook.path
    beside = Path(path).parent if path else Path.cwd()
    store = default_path()
    own = ((store.parent / FOLDER, False),) if store else ()
    return ((beside / FOLDER, True), *own)


def find(session: Session, name: str) -> PromptTemplate:
    """Return a template by its name.

    Raises
    ------
    PromptError
        There is none, or its file has an error.
    """
    name, known = _checked(name), by_name(session)
    if name in known:
        path, is_shared = known[name]
        return read(path, is_shared=is_shared)
    near = nearest(name, known)
    others = ", ".join([*known][:_MOST_NAMED]) + ", …" * (len(known) > _MOST_NAMED)
    step = f"did you mean @{near}?" if near else "write a prompt, run it, then: "
    step += "" if near else f"%ollama template save {name}"
    raise PromptError(
        f"There is no template {name!r}.",
        why=f"the templates are {others}" if known else "there are none yet",
        next_step=f"{step}   All of them: %ollama template",
    )


def paths(session: Session) -> Iterator[tuple[str, Path, bool]]:
    """Yield the names and files of all templates, those of the notebook first."""
    for folder, is_shared in folders(session):
        try:
            found = sorted(folder.glob("*.md"))
        except OSError:
            continue
        for path in found:
            name = normalize("NFC", path.stem)  # macOS may write "é" as "e" and "´"
            # A link may lead anywhere.
            if _NAME.fullmatch(name) and path.is_file() and not path.is_symlink():
                yield name, path, is_shared


def by_name(session: Session) -> dict[str, tuple[Path, bool]]:
    """Return the file of each template, and whether it is the notebook's."""
    found: dict[str, tuple[Path, bool]] = {}
    for name, path, is_shared in paths(session):
        found.setdefault(name, (path, is_shared))
    return found


def _checked(name: str) -> str:
    """Return the name of a template, or of its file, as it is looked for."""
    checked = normalize("NFC", name).removesuffix(".md")
    if not _NAME.fullmatch(checked):
        raise PromptError(
            f"A template cannot be named {quoted(name, limit=80)!r}."
            if name
            else "@ needs the name of a template.",
            why="a name has letters, digits, dots, - and _, at most 64",
            next_step="%ollama template save review   All of them: %ollama template",
        )
    return checked


# -- files -----------------------------------------------------------------------


def read(path: Path, *, is_shared: bool) -> PromptTemplate:
    """Read the file of a template.

    Raises
    ------
    PromptError
        It cannot be read, or sets something that no template can.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            _raise_unusable(path, "it is larger than 1 MB")
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        _raise_unusable(path, getattr(error, "strerror", None) or "it is not UTF-8")
    text, header = text.replace("\r\n", "\n").replace("\r", "\n"), ""
    if begin := _MARK_LINE.match(text):
        end = _MARK_LINE.search(text, begin.end())
        if end is None:
            _raise_unusable(path, f"a line {_MARK} must end its options")
        header, text = text[begin.end() : end.start()], text[end.end() :]
    if len(_REST.findall(text)) > _MOST_PLACES:  # a small file, and a huge prompt
        _raise_unusable(path, f"it has {{{{ ... }}}} more than {_MOST_PLACES} times")
    options = _read_header(path, header)
    name = normalize("NFC", path.stem)
    return PromptTemplate(name, text.strip("\n"), options, path, is_shared)


def _read_header(path: Path, header: str) -> ChatOptions:
    words = []
    for line in header.split("\n"):
        if line.strip() and not line.startswith("#"):
            key, _, value = line.partition(":")
            words += _as_words(path, key.strip(), value.strip())
    reader = LineReader("%%ollama", _OPTIONS)
    try:
        reader.add(" ".join(map(shlex.quote, words)))
        options = reader.chat_options()
    except UsageError as error:
        _raise_unusable(path, str(error).partition("\n")[0], error)
    if options.compare:
        _raise_unusable(path, "it can name one model only")
    if isinstance(options.schema, str) and is_file(options.schema):
        _raise_unusable(path, "schema cannot be a file; write the schema itself")
    return options


def _as_words(path: Path, key: str, value: str) -> list[str]:
    """Return a line of the header as a word of the line: ``--last=2``."""
    name = key.lower().replace("_", "-")
    option = _KEYS.get(name)
    if option is None:
        step = f"write it as {_PAIR}: {key} {value}" if key in MODEL_OPTIONS else ""
        known = f"it can set {', '.join(sorted(_KEYS))}"
        _raise_unusable(path, f"it sets {quoted(key, limit=40)!r}; {step or known}")
    if value.startswith('"'):
        try:
            value = str(json.loads(value))
        except ValueError as error:
            _raise_unusable(path, f"the text of {key} has no end", error)
    elif match := _SINGLE_QUOTED.fullmatch(value):
        value = match[1].replace("''", "'")
    if option.kind == "switch":
        if value not in {"true", "false"}:
            _raise_unusable(path, f"{key} can only be true or false")
        return [f"--{name}"] if value == "true" else []
    if option.kind == "pair":
        pair, _, value = value.replace("=", " ", 1).partition(" ")
        value = f"{pair}={value.strip()}"
    return [f"--{name}={value}"]


def _raise_unusable(path: Path, why: str, error: Exception | None = None) -> NoReturn:
    raise PromptError(
        f"The template {path.stem!r} cannot be used.",
        why=why,
        next_step=f"correct its file: {path}",
    ) from error


def written(text: str, options: ChatOptions) -> str:
    """Return the file of a template."""
    lines = []
    for field, value in _changed(options).items():
        key = _key_of(field)
        if _KEYS[key].kind == "switch":
            lines.append(f"{key}: true")
        elif key == _PAIR:
            for name, one in value.items():
                start = f"{name}:" if name in _KEYS else f"{key}: {name}"
                lines.append(f"{start} {json.dumps(one)}")
        else:
            lines.append(f"{key}: {_as_text(value)}")
    if not lines and not _MARK_LINE.match(text):
        return f"{text}\n"
    return "\n".join([_MARK, *lines, _MARK, text, ""])


def kept(options: ChatOptions) -> tuple[ChatOptions, list[str]]:
    """Return the options that a template can keep, and the names of the others."""
    is_schema_file = isinstance(options.schema, str) and is_file(options.schema)
    kept_fields = set(_FIELDS) - ({"schema"} if is_schema_file else set())
    dropped = [name for name in _changed(options, _ALL) if name not in kept_fields]
    flags = [flag for name in dropped if (flag := _flag(name))]
    unset = {name: getattr(ChatOptions(), name) for name in dropped}
    return replace(options, **unset), flags


def save(path: Path, text: str, *, is_private: bool) -> None:
    """Write the file of a template; a private one only the user can read.

    Raises
    ------
    PromptError
        It cannot be written.
    """
    try:
        mode = 0o700 if is_private else 0o777
        path.parent.mkdir(mode=mode, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_text(text, "utf-8")
        if is_private:
            new.chmod(0o600)
        os.replace(new, path)
    except OSError as error:
        raise PromptError(
            f"The template {path.stem!r} cannot be saved.",
            why=error.strerror or str(error),
            next_step=f"check the folder: {path.parent}",
        ) from error


def own_path(session: Session, name: str, *, is_shared: bool = False) -> Path:
    """Return where a new template of the user, or of the notebook, is saved.

    Raises
    ------
    PromptError
        The name is invalid, or there is no home directory.
    """
    name = _checked(name)
    for folder, is_beside in folders(session):
        if is_beside is is_shared:
            return folder / f"{name}.md"
    raise PromptError(
        f"The template {name!r} cannot be saved.",
        why="there is no home directory",
        next_step=f"write it yourself: {FOLDER}/{name}.md",
    )


def _changed(options: ChatOptions, among: Collection[str] = _FIELDS) -> dict[str, Any]:
    """Return the options that were given, of those that a template can set."""
    unset = ChatOptions()
    found = {name: getattr(options, name) for name in _ALL if name in among}
    return {key: value for key, value in found.items() if value != getattr(unset, key)}


def _names_of(
    changed: Mapping[str, Any], without: Mapping[str, object] = MappingProxyType({})
) -> Iterator[str]:
    """Yield the names of options that were given, also of each model option."""
    for field, value in changed.items():
        if field == "options":
            yield from (name for name in value if name not in without)
        else:
            yield _key_of(field)


def _key_of(field: str) -> str:
    return next(key for key, option in _KEYS.items() if option.field == field)


def _as_text(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    is_plain = text == text.strip() != "" and text.isprintable()
    is_plain = is_plain and not text.startswith(("'", '"'))
    return text if is_plain else json.dumps(text, ensure_ascii=False)
