"""What other cells of the notebook showed, for a model; and the cells of its file.

``past_cells`` calls it with MIME bundles and streams, of this kernel and of notebook
files. What a cell showed is used, never the value as it is now. A file may be damaged,
or not be a notebook: what cannot be read is left out.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from ollama_magic.client.images import MEDIA_TYPES, Image, format_of
from ollama_magic.generation.notebook_cells import CellOutput
from ollama_magic.history.notebooks import joined
from ollama_magic.history.records import METADATA_KEY

_MAX_TEXT = 50_000
_MAX_IMAGE = 5_000_000  # bytes
_IMAGES = ("image/png", "image/jpeg")
_TEXTS = ("text/markdown", "text/latex")
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_NO_TEXT = re.compile(r"<[\w.]+(?: object)?(?: at 0x[0-9A-Fa-f]+)?>|<Figure size .*>")
"""The text of an object that shows itself in another way."""
_WIDGET = "application/vnd.jupyter.widget-view+json"
_ROWS = frozenset({"tr", "p", "div", "br", "li", "pre", "h1", "h2", "h3", "h4"})
_SKIPPED = frozenset({"script", "style"})


def output_of_bundle(
    data: Mapping[str, Any], metadata: object = None
) -> CellOutput | None:
    """Return the output in a MIME bundle; None if a model can read nothing of it.

    None for our own outputs too: replies are in the chat already.
    """
    if isinstance(metadata, Mapping) and METADATA_KEY in metadata:
        return None
    for mime in _IMAGES:
        if (image := _image(data.get(mime))) is not None:
            return CellOutput(image=image)
    if _WIDGET in data:
        return None
    plain = joined(data.get("text/plain"))
    rich = next((text for mime in _TEXTS if (text := joined(data.get(mime)))), "")
    text = plain
    if not plain.strip() or _NO_TEXT.fullmatch(plain.strip()):
        text = rich or html_text(joined(data.get("text/html")))
    return text_output(text)


def text_output(text: str) -> CellOutput | None:
    """Return an output of text, as a terminal would show it; None if it is empty."""
    text = _ESCAPES.sub("", text[: 2 * _MAX_TEXT]).replace("\r\n", "\n")
    if "\r" in text:  # a progress bar writes its line again
        lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
        text = "\n".join(lines)
    text = text[:_MAX_TEXT].strip("\n")
    return CellOutput(text) if text.strip() else None


def saved_outputs(outputs: object, failure: str) -> Iterator[CellOutput]:
    """Yield the outputs of a cell in a notebook file.

    Parameters
    ----------
    failure
        The text of its error, if this kernel knows it; else the file has its message.
    """
    streams: list[str] = []
    for output in outputs if isinstance(outputs, list) else ():
        if not isinstance(output, dict):
            continue
        kind = output.get("output_type")
        if kind == "stream":
            streams.append(joined(output.get("text")))
            continue
        yield from _streamed(streams)
        streams = []
        data = output.get("data")
        found = None
        if kind == "error":
            text = failure or f"{output.get('ename')}: {output.get('evalue')}"
            found = text_output(text)
        elif isinstance(data, dict):
            found = output_of_bundle(data, output.get("metadata"))
        if found:
            yield found
    yield from _streamed(streams)


def _streamed(texts: Iterable[str]) -> Iterator[CellOutput]:
    if found := text_output("".join(texts)):
        yield found


def html_text(page: str) -> str:
    r"""Return the text of HTML, with one line for each row of a table.

    >>> html_text("<table><tr><td>a</td><td>1</td></tr><tr><td>b</td></tr></table>")
    'a | 1\nb'
    """
    reader = _TextOfHtml()
    reader.feed(page[: 10 * _MAX_TEXT])
    reader.close()
    lines = "".join(reader.parts).split("\n")
    texts = (" ".join(line.split()).strip("| ") for line in lines)
    return "\n".join(filter(None, texts))


class _TextOfHtml(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._skipped += tag in _SKIPPED
        if tag in _ROWS:
            self.parts.append("\n")
        elif tag in {"td", "th"}:
            self.parts.append(" | ")

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag in _SKIPPED and self._skipped > 0
        if tag in _ROWS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.parts.append(" ".join(f" {data} ".split(" ")) if data.strip() else " ")


def _image(data: object) -> Image | None:
    """Return an image of a bundle: base64, in lines or not, or bytes."""
    if isinstance(data, str | list):
        try:
            data = b64decode(joined(data))
        except ValueError:
            return None
    if not isinstance(data, bytes) or len(data) > _MAX_IMAGE:
        return None
    return Image(data) if format_of(data) in MEDIA_TYPES else None


# -- the notebook file -----------------------------------------------------------------

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SavedCell:
    """A cell of the notebook file."""

    cell_id: str
    kind: str
    source: str
    number: int | None
    outputs: object


@dataclass(frozen=True, slots=True)
class SavedFile:
    """The cells of a notebook file, and when it was saved."""

    cells: tuple[SavedCell, ...] = ()
    saved_at: datetime = _NEVER

    @classmethod
    def read(cls, path: str | None) -> SavedFile:
        """Read a notebook file; it has no cells if it cannot be read."""
        try:
            content = json.loads(Path(path or "").read_bytes())
            saved_at = datetime.fromtimestamp(Path(path or "").stat().st_mtime, UTC)
            cells = tuple(
                _saved(one) for one in content["cells"] if isinstance(one, dict)
            )
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return cls()
        return cls(cells, saved_at)

    def find_running(self, cell_id: str, source: str) -> int | None:
        """Return the index of a cell; by its source if the format has no ids."""
        has_ids = any(cell.cell_id for cell in self.cells)
        found = [
            index
            for index, cell in enumerate(self.cells)
            if (cell.cell_id == cell_id if has_ids else cell.source == source)
        ]
        return found[0] if len(found) == 1 else None


def _saved(cell: Any) -> SavedCell:  # noqa: ANN401  (any JSON)
    number = cell.get("execution_count")
    return SavedCell(
        cell_id=str(cell.get("id") or ""),
        kind=str(cell.get("cell_type")),
        source=joined(cell.get("source")),
        number=number if isinstance(number, int) else None,
        outputs=cell.get("outputs"),
    )
