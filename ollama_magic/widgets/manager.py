"""The state behind the panel: a server, its models, and what is being done to them.

Work runs in threads that the board owns; who looks at the board reads snapshots and
is told when they have changed. Knows threads and actions; knows nothing of widgets.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ollama_magic.client import actions as model_actions
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import (
    LoadedModel,
    ModelDetails,
    ModelSummary,
    canonical,
)
from ollama_magic.client.progress import STALL_S, Transfer, size_text
from ollama_magic.widgets.jobs import Action, Crew, Job, Teller, Work, error_lines


@dataclass(frozen=True, slots=True)
class ServerLine:
    """Who is asked, and whether it answers."""

    url: str = ""
    state: Literal["asking", "online", "offline"] = "asking"
    version: str = ""
    problem: tuple[str, ...] = ()
    """The lines of the error, while it is offline."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model, and what it is doing."""

    summary: ModelSummary
    loaded: LoadedModel | None
    is_used: bool
    """Whether cells of this notebook ask it when they name none."""


class ModelBoard:
    """What the panel shows and does; every method returns at once.

    Parameters
    ----------
    client
        Whom it asks, for as long as it lives: a setting that is changed meanwhile must
        not turn a deletion to another server.
    stall_s
        After so many seconds without a byte a pull counts as stalled.
    interval_s
        Listeners are told at most once in so many seconds; the last change is told.
    """

    def __init__(
        self,
        client: OllamaClient,
        *,
        stall_s: float = STALL_S,
        interval_s: float = 0.2,
    ) -> None:
        self._client = client
        self._stall_s = stall_s
        self._lock = threading.Lock()
        self._server = ServerLine()
        self._installed: Sequence[ModelSummary] = ()
        self._loaded: Sequence[LoadedModel] = ()
        self._used = ""
        self._work: dict[int, Work] = {}
        self._next_number = 1
        self._is_refreshing = False
        self._refresh_again = False
        self._deleting = threading.Lock()
        self._is_known = threading.Event()
        self._crew = Crew()
        self._teller = Teller(self._crew, interval_s, lambda: self.is_busy)

    # -- what there is -----------------------------------------------------------

    @property
    def server(self) -> ServerLine:
        """Who is asked, as of the last refresh."""
        return self._server

    @property
    def installed(self) -> tuple[ModelSummary, ...]:
        """The models as the server lists them, the newest first."""
        return tuple(self._installed)

    @property
    def models(self) -> tuple[ModelRow, ...]:
        """The same, each with what it is doing."""
        with self._lock:
            installed, loaded, used = self._installed, self._loaded, self._used
        by_digest = {model.digest: model for model in loaded if model.digest}
        by_name = {canonical(model.name): model for model in loaded}
        used = canonical(used) if used else ""
        rows = []
        for model in installed:
            name = canonical(model.name)
            in_memory = by_name.get(name) or by_digest.get(model.digest)
            rows.append(ModelRow(model, in_memory, name == used))
        return tuple(rows)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """What is being done, or has ended and was not dismissed; oldest first."""
        with self._lock:
            return tuple(work.snapshot() for work in self._work.values())

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called; nothing is done any more then."""
        return self._crew.is_closed

    @property
    def is_busy(self) -> bool:
        """Whether something is being done."""
        return any(job.state == "running" for job in self.jobs)

    def set_used(self, name: str) -> None:
        """Mark the model that this notebook uses; empty text: none."""
        with self._lock:
            self._used = name
        self._teller.tell()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have a function called, always in the same thread, after changes.

        Returns
        -------
        Callable
            Call it to hear no more.
        """
        return self._teller.subscribe(listener)

    def notify(self) -> None:
        """Have the listeners called, as after a change."""
        self._teller.tell()

    # -- what can be done --------------------------------------------------------

    def refresh(self) -> None:
        """Ask the server anew; while that lasts, once more at its end."""
        with self._lock:
            self._refresh_again = True
            if self._is_refreshing:
                return
            self._is_refreshing = True
        self._crew.start(self._refresh, "ollama-refresh")

    def wait_until_known(self, timeout_s: float) -> bool:
        """Wait for the first answer of the server, or that there is none."""
        return self._is_known.wait(timeout_s)

    def pull(self, name: str) -> int:
        """Pull a model and return the job's number; that of the running one, if any."""
        name = name.strip()

        def run(work: Work) -> str:
            work.transfer = transfer = Transfer(stall_s=self._stall_s)
            for progress in work.open(model_actions.pull(self._client, name)):
                transfer.add(progress)
                self._teller.tell()
            if not transfer.was_needed:
                return f"{name} is up to date"
            return f"pulled {name}, {size_text(transfer.total_bytes)}"

        return self._begin("pull", name, run)

    def copy(self, source: str, destination: str, *, overwrite: bool = False) -> int:
        """Copy a model; it fails where the name is taken, unless to overwrite it."""

        def run(_: Work) -> str:
            client = self._client
            model_actions.copy(client, source, destination, overwrite=overwrite)
            return f"copied {source} to {destination}"

        return self._begin("copy", f"{source} to {destination}", run)

    def delete(self, names: Sequence[str]) -> list[int]:
        """Delete models, each as a job of its own."""

        def deletion(name: str) -> Callable[[Work], str]:
            def run(_: Work) -> str:
                client = self._client
                with self._deleting:  # one by one, so that the space is told rightly
                    removal = model_actions.plan_removal(client, [name])
                    model_actions.remove(client, removal)
                freed = removal.freed_bytes
                return f"deleted {name}" + (f", {size_text(freed)} freed" * bool(freed))

            return run

        return [self._begin("delete", name, deletion(name)) for name in names]

    def load(self, name: str) -> int:
        """Load a model into memory."""

        def run(work: Work) -> str:
            for _ in work.open(model_actions.load(self._client, name)):
                pass
            return f"loaded {name}"

        return self._begin("load", name, run)

    def stop(self, name: str) -> int:
        """Take a model out of memory."""

        def run(_: Work) -> str:
            was_loaded = model_actions.stop(self._client, name)
            return f"{name} {'was taken out of' if was_loaded else 'was not in'} memory"

        return self._begin("stop", name, run)

    def show(self, name: str, on_details: Callable[[ModelDetails], None]) -> int:
        """Ask what a model is, and hand it on in a thread; stays only if it fails."""

        def run(work: Work) -> str:
            details = self._client.show(name)
            if not work.is_cancelled and not self.is_closed:
                on_details(details)
            return ""

        return self._begin("show", name, run)

    def cancel(self, number: int) -> None:
        """End a job, if it runs; what a pull has fetched is kept by the server."""
        with self._lock:
            work = self._work.get(number)
        if work is not None:
            work.cancel()

    def retry(self, number: int) -> None:
        """Do again what failed or was cancelled, in its place."""
        with self._lock:
            work = self._work.get(number)
            if work is None or work.job.state in {"running", "done"}:
                return
            again = Work(Job(number, work.job.action, work.job.model), work.task)
            self._work[number] = again
        self._crew.start(lambda: self._do(again), f"ollama-{again.job.action}")
        self._teller.tell()

    def dismiss(self, number: int) -> None:
        """Forget a job that has ended."""
        with self._lock:
            work = self._work.get(number)
            if work is None or work.job.state == "running":
                return
            del self._work[number]
        self._teller.tell()

    def close(self) -> None:
        """End everything that runs, and its threads; a second time is harmless."""
        self._crew.close()
        self._teller.close()
        with self._lock:
            numbers = list(self._work)
        for number in numbers:
            self.cancel(number)
        self._crew.join()

    # -- how it is done ------------------------------------------------------------

    def _begin(self, action: Action, model: str, run: Callable[[Work], str]) -> int:
        wanted = canonical(model)
        with self._lock:
            for work in self._work.values():
                job = work.job
                is_same = job.action == action and canonical(job.model) == wanted
                if is_same and job.state == "running":
                    return job.number
            number, self._next_number = self._next_number, self._next_number + 1
            begun = Work(Job(number, action, model), run)
            self._work[number] = begun
        self._crew.start(lambda: self._do(begun), f"ollama-{action}")
        self._teller.tell()
        return number

    def _do(self, work: Work) -> None:
        work.do()
        job = work.job
        is_quiet = job.action == "show" and job.state != "failed"
        with self._lock:
            if is_quiet and self._work.get(job.number) is work:
                del self._work[job.number]
        if not is_quiet:
            self.refresh()
        self._teller.tell()

    def _refresh(self) -> None:
        while True:
            with self._lock:
                if not self._refresh_again or self.is_closed:
                    self._is_refreshing = False
                    return
                self._refresh_again = False
            client = self._client
            url = client.host.base_url
            try:
                online = ServerLine(url, "online", client.version())
                installed, loaded = client.list(), client.ps()
            except Exception as error:  # noqa: BLE001  (shown as the server's state)
                offline = ServerLine(url, "offline", "", error_lines(error))
                with self._lock:
                    self._server, self._installed, self._loaded = offline, (), ()
            else:
                with self._lock:
                    self._server = online
                    self._installed, self._loaded = installed, loaded
            self._is_known.set()
            self._teller.tell()
