"""The cells that ``--cells`` and ``--above`` send: as they ran, with what they showed.

:class:`RunCells` notes the cells that run in this kernel. Their sources are those of
IPython's history. Outputs come from the notebook file, which has them all, if it shows
this very run of the cell: same source, same number, saved later. Else they are what
this kernel knows: streams and results from IPython's own record (since IPython 9;
before, the text of results only), and displays from a hook of ipykernel's publisher.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ollama_magic.errors import PromptError
from ollama_magic.notebook.compat import (
    harmless_handler,
    is_terminal,
    past_cells,
    unregister_all,
)

if TYPE_CHECKING:
    from ollama_magic.generation.notebook_cells import CellOutput, Excerpt, NotebookCell
    from ollama_magic.generation.options import ChatOptions
    from ollama_magic.generation.session import Session
    from ollama_magic.notebook.cell_outputs import SavedCell, SavedFile
    from ollama_magic.notebook.failures import FailingCells
    from ollama_magic.notebook.running_cell import CellTracker

_PROMPT = re.compile(r"(?:[^\S\n]*(?:#[^\n]*)?\n)*[^\S\n]*%%ollama(?:\s|$)")
_OUR_LINE = re.compile(r"^[ \t]*(?:[\w., ]+=[ \t]*)?%ollama\b", re.MULTILINE)
_SET_UP = re.compile(r"\s*%(?:(?:re)?load_ext\s+ollama_magic|config\s+OllamaMagics)\b")
_OTHER_LANGUAGE = re.compile(r"\s*%%(?!(?:time|timeit|capture|prun)\b)")
_MAX_BYTES = 20_000_000
"""Of all displays; the oldest are forgotten then."""
_MAX_SHOWN = 100
"""Displays of one cell; they are forgotten then."""
_FORGOTTEN = "… displays left out: they are known again when the notebook is saved"
_SAVE = "save the notebook"


@dataclass(slots=True)
class _CellRun:
    """One run of a cell in this kernel."""

    number: int
    cell_id: str
    ended_at: datetime | None = None
    shown: dict[object, CellOutput] = field(default_factory=dict)
    """Its displays, by their display ids."""
    has_forgotten: bool = False
    """Whether displays were too many, or too large, to be kept."""
    cleared: int = 0
    """How many pieces of its streams were cleared."""

    @property
    def size_bytes(self) -> int:
        return sum(
            len(one.image.data) if one.image else len(one.text)
            for one in self.shown.values()
        )

    def forget(self) -> None:
        """Forget what it displayed."""
        self.has_forgotten = self.has_forgotten or bool(self.shown)
        self.shown.clear()


class RunCells:
    """The cells that ran in this kernel, and those of the notebook file.

    Parameters
    ----------
    shell
        The IPython shell, on whose events it registers.
    cells
        Identifies the running cell.
    failing
        Has the errors of cells as text.
    """

    def __init__(self, shell: Any, cells: CellTracker, failing: FailingCells) -> None:  # noqa: ANN401
        self._shell, self._cells, self._failing = shell, cells, failing
        self._runs: dict[int, _CellRun] = {}
        self._running: _CellRun | None = None
        self._hook = self._on_message  # NB: %autoreload makes methods that differ
        self._kept: deque[tuple[_CellRun, int]] = deque()
        """The runs whose displays are kept, with their bytes."""
        self._kept_bytes = 0
        shell.events.register("pre_run_cell", self._before_cell)
        shell.events.register("post_run_cell", self._after_cell)

    def unregister(self) -> None:
        """Unregister the event handlers and the hook; a second call does nothing."""
        unregister_all(self._shell, self)
        self._watch(None)

    # -- events ----------------------------------------------------------------

    @harmless_handler
    def _before_cell(self, info: Any) -> None:  # noqa: ANN401
        if not info.store_history:
            return  # a cell that runs within another
        number = len(past_cells(self._shell))
        run = self._runs[number] = _CellRun(number, self._cells.permanent_id or "")
        self._watch(None if _is_ours(info.raw_cell or "") else run)

    @harmless_handler
    def _after_cell(self, result: Any) -> None:  # noqa: ANN401
        if not result.info.store_history:
            return
        self._watch(None)
        if run := self._runs.get(result.execution_count):
            run.ended_at = datetime.now(UTC)
            if run.shown:
                self._kept.append((run, run.size_bytes))
                self._kept_bytes += run.size_bytes
        while self._kept_bytes > _MAX_BYTES:
            oldest, size = self._kept.popleft()
            oldest.forget()
            self._kept_bytes -= size

    def _watch(self, run: _CellRun | None) -> None:
        """Note what a run displays from now on; None: nothing."""
        self._running = run
        publisher = self._shell.display_pub
        if hasattr(publisher, "register_hook"):
            # NB: no hook in our own cells: with one, each update flushes what was
            # printed (``render/compat.py``), and costs the kernel three times as much.
            publisher.unregister_hook(self._hook)
            if run is not None:
                publisher.register_hook(self._hook)

    def _on_message(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Note what the running cell displays; the message is sent in any case."""
        with suppress(Exception):  # the cell must not be affected
            if self._running is not None:
                self._note(self._running, message["msg_type"], message["content"])
        return message

    def _note(self, run: _CellRun, kind: str, content: Mapping[str, Any]) -> None:
        from ollama_magic.notebook.cell_outputs import output_of_bundle

        if kind == "clear_output":
            run.shown.clear()
            run.cleared = len(self._pieces(run.number))
            return
        key = content["transient"].get("display_id") or len(run.shown)
        found = output_of_bundle(content["data"], content["metadata"])
        if found is None:
            run.shown.pop(key, None)
        elif kind == "display_data" or key in run.shown:
            run.shown[key] = found
            if len(run.shown) > _MAX_SHOWN:
                run.forget()

    # -- the cells -------------------------------------------------------------

    def excerpt(self, session: Session, options: ChatOptions) -> Excerpt:
        """Return the cells that ``--cells`` or ``--above`` names.

        Raises
        ------
        PromptError
            There are none.
        """
        from ollama_magic.generation.notebook_cells import Excerpt
        from ollama_magic.notebook.cell_outputs import SavedFile

        file = SavedFile.read(session.notebook.path)
        source = _Cells(self, file, options.outputs)
        if options.above:
            cells, note = source.above(self._cells)
            if not (session.notebook.path or "").endswith(".ipynb"):
                note = note.partition(";")[0]  # there is no notebook to save
        else:
            cells, note = source.in_ranges(options.cells), ""
        lacks_streams = options.outputs and source.lacks_streams
        notes = [note, f"printed text only of saved cells: {_SAVE}" * lacks_streams]
        return Excerpt(tuple(cells), "; ".join(filter(None, notes)))

    def sources(self) -> dict[int, str]:
        """Return the sources of the cells that ran before this one, by number."""
        found = past_cells(self._shell)
        running = self._cells.raw_cell.strip()
        if running and found[-1].strip() == running:
            del found[-1]
        return dict(enumerate(found))

    def run_of(self, number: int) -> _CellRun | None:
        """Return the run of a cell, if it was noted."""
        return self._runs.get(number)

    def latest_of(self, cell_id: str) -> int | None:
        """Return the number of the latest run of a cell."""
        numbers = [n for n, run in self._runs.items() if run.cell_id == cell_id != ""]
        return max(numbers, default=None)

    @property
    def records_streams(self) -> bool:
        """Whether IPython records what cells print."""
        return hasattr(self._shell.history_manager, "outputs")

    def outputs_of(self, number: int) -> Iterator[CellOutput]:
        """Yield what this kernel knows of the outputs of a cell."""
        from ollama_magic.notebook.cell_outputs import output_of_bundle, text_output

        run, history = self._runs.get(number), self._shell.history_manager
        pieces = self._pieces(number)[run.cleared if run else 0 :]
        found = [text_output("".join(pieces))]
        found += run.shown.values() if run else ()
        found += [text_output(_FORGOTTEN)] if run and run.has_forgotten else []
        kinds = {"execute_result", *(["display_data"] * is_terminal(self._shell))}
        if self.records_streams:
            found += [
                output_of_bundle(one.bundle)
                for one in history.outputs.get(number, ())
                if one.output_type in kinds
            ]
        elif shown := history.output_hist_reprs.get(number):
            found.append(output_of_bundle({"text/plain": shown}))
        found.append(text_output(self.failure_of(number)))
        yield from filter(None, found)

    def failure_of(self, number: int) -> str:
        """Return the error of a cell as text; empty if it did not fail."""
        failed = self._failing.find(number)
        return failed.traceback if failed else ""

    def _pieces(self, number: int) -> list[str]:
        """Return what a cell printed, in the pieces that IPython records."""
        outputs = getattr(self._shell.history_manager, "outputs", {})
        return [
            piece
            for output in outputs.get(number, ())
            if output.output_type in {"out_stream", "err_stream"}
            for piece in output.bundle["stream"]
        ]


class _Cells:
    """Makes the cells of one prompt."""

    def __init__(self, runs: RunCells, file: SavedFile, with_outputs: bool) -> None:
        self._runs, self._file, self._with_outputs = runs, file, with_outputs
        self._sources = runs.sources()
        self.lacks_streams = False
        """Whether what a cell printed is not known."""

    def in_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[NotebookCell]:
        """Return the cells with these numbers: of this kernel, else of the file."""
        ran = {n for n, source in self._sources.items() if source.strip()}
        saved = [one for one in self._file.cells if one.number not in {None, *ran}]
        known = ran.union(one.number for one in saved if one.number)
        for first, last in ranges:
            if not any(first <= number <= last for number in known):
                raise _no_cell(first, last, sorted(known))
        found = [
            cell
            for number in sorted(known)
            if any(first <= number <= last for first, last in ranges)
            for cell in (
                [self._run(number)]
                if number in ran
                else [self._saved(one) for one in saved if one.number == number]
            )
        ]
        return self._checked(found)

    def above(self, running: CellTracker) -> tuple[list[NotebookCell], str]:
        """Return the cells above the running one, and a note on their choice."""
        cell_id = (running.cell_id or "").partition(" ")[0]
        place = self._file.find_running(cell_id, running.raw_cell)
        if place is None:
            note = f"those that ran before; for the order of the page: {_SAVE}"
            latest = {self._key(n): n for n in sorted(self._sources)}
            return self._checked([self._run(n) for n in sorted(latest.values())]), note
        found = []
        for saved in self._file.cells[:place]:
            number = self._number_of(saved)
            run = None if number is None else self._run(number)
            found.append(run if number is not None else self._saved(saved))
        unsaved = self._count_unsaved()
        cells = f"{unsaved} unsaved cell{'s' * (unsaved > 1)} left out: {_SAVE}"
        return self._checked(found), cells if unsaved else ""

    def _key(self, number: int) -> object:
        """Return what the runs of one cell have in common."""
        run = self._runs.run_of(number)
        return (run.cell_id if run else "") or self._sources[number]

    def _number_of(self, saved: SavedCell) -> int | None:
        """Return the number of the latest run of a saved cell in this kernel."""
        if (latest := self._runs.latest_of(saved.cell_id)) in self._sources:
            return latest
        if saved.kind != "code":
            return None
        same = [n for n, source in self._sources.items() if _is_same(source, saved)]
        alike = [one for one in self._file.cells if _is_same(one.source, saved)]
        if len(alike) > 1:  # the number on the page tells them apart
            return saved.number if saved.number in same else None
        return max(same, default=None)

    def _count_unsaved(self) -> int:
        """Return how many cells ran that the file does not have yet."""
        ids = {saved.cell_id for saved in self._file.cells}
        runs = [(n, self._runs.run_of(n)) for n in self._sources]
        new = {
            run.cell_id
            for number, run in runs
            if run is not None and run.cell_id and run.cell_id not in ids
            if run.ended_at and run.ended_at > self._file.saved_at
            if not _is_ours(self._sources[number])
        }
        return len(new)

    def _checked(self, found: Sequence[NotebookCell | None]) -> list[NotebookCell]:
        cells = [cell for cell in found if cell is not None]
        if not cells:
            raise PromptError(
                "There are no cells to send.",
                why="they are empty, or prompts, which the chat already has, or have "
                "only lines of %ollama",
                next_step="list the cells that were run: %history -n",
            )
        return cells

    def _run(self, number: int) -> NotebookCell | None:
        """Return a cell as it was run; None if there is nothing to send."""
        source = self._sources.get(number, "")
        if not source.strip() or _is_ours(source):
            return None
        run = self._runs.run_of(number)
        saved = next((s for s in self._file.cells if s.number == number), None)
        outputs: Iterator[CellOutput] = iter(())
        ended_at = run.ended_at if run else None
        if not self._with_outputs or _OUR_LINE.search(source):
            pass
        elif saved and _is_same(source, saved) and self._is_since(ended_at):
            outputs = _outputs_in_file(saved, self._runs.failure_of(number))
        else:
            outputs = self._runs.outputs_of(number)
            self.lacks_streams |= not self._runs.records_streams
        return _cell(f"In[{number}]", source, outputs)

    def _is_since(self, ended_at: datetime | None) -> bool:
        """Return whether the file was saved after a cell had ended."""
        return ended_at is not None and self._file.saved_at > ended_at

    def _saved(self, saved: SavedCell) -> NotebookCell | None:
        """Return a cell that this kernel did not run; None for nothing to send."""
        if not saved.source.strip():
            return None
        if saved.kind == "markdown":
            return _cell("Text", saved.source, iter(()), "markdown")
        if saved.kind != "code" or _is_ours(saved.source):
            return None
        has_outputs = self._with_outputs and not _OUR_LINE.search(saved.source)
        outputs = _outputs_in_file(saved, "") if has_outputs else iter(())
        number = f"In[{saved.number}], as saved"
        return _cell(
            number if saved.number else "A cell that was not run", saved.source, outputs
        )


def _cell(
    name: str, source: str, outputs: Iterator[CellOutput], language: str = ""
) -> NotebookCell:
    from ollama_magic.generation.notebook_cells import NotebookCell

    is_python = not _OTHER_LANGUAGE.match(source)
    language = language or ("python" if is_python else "")
    return NotebookCell(name, source, language, tuple(outputs))


def _outputs_in_file(saved: SavedCell, failure: str) -> Iterator[CellOutput]:
    from ollama_magic.notebook.cell_outputs import saved_outputs

    return saved_outputs(saved.outputs, failure)


def _is_ours(source: str) -> bool:
    """Return whether a cell is a prompt, or has only lines of our magics."""
    lines = [line for line in source.splitlines() if line.split("#")[0].strip()]
    return _PROMPT.match(source) is not None or (
        lines != []
        and all(_OUR_LINE.match(line) or _SET_UP.match(line) for line in lines)
    )


def _is_same(source: str, saved: SavedCell) -> bool:
    return source.strip() == saved.source.strip()


def _no_cell(first: int, last: int, known: Sequence[int]) -> PromptError:
    what = f"cell {first}" if first == last else f"cells {first}-{last}"
    numbers = f"the cells are {known[0]} to {known[-1]}" if known else "none ran yet"
    return PromptError(
        f"There is no {what} in this notebook."
        if first == last
        else f"There are no {what} in this notebook.",
        why=numbers,
        next_step="list the cells that were run: %history -n   All above this one: "
        "%%ollama --above",
    )
