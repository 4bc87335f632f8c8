"""The state behind the panel: a server, its models, and the jobs that change them.

The widgets call ``ModelManager``, whose methods return at once, and redraw from its
snapshots when it notifies them. All work runs in threads that it owns.
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
from ollama_magic.client.progress import STALL_S, TransferProgress, size_text
from ollama_magic.widgets.jobs import (
    Action,
    ChangeNotifier,
    Job,
    JobRunner,
    ThreadGroup,
    error_lines,
)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The server, and whether it responds."""

    url: str = ""
    state: Literal["connecting", "online", "offline"] = "connecting"
    version: str = ""
    problem: tuple[str, ...] = ()
    """The lines of the error while the server is offline."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model, and what it is used for."""

    summary: ModelSummary
    loaded: LoadedModel | None
    is_default: bool
    """Whether it is the default model of this notebook."""


class ModelManager:
    """Lists and changes the models of one server.

    Parameters
    ----------
    client
        Stays the same: a setting that changes meanwhile must not make the panel delete
        a model on another server.
    stall_s
        A pull counts as stalled after this time without a byte.
    interval_s
        The shortest time between two calls of the listeners.
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
        self._server = ServerStatus()
        self._installed: Sequence[ModelSummary] = ()
        self._loaded: Sequence[LoadedModel] = ()
        self._default = ""
        self._runners: dict[int, JobRunner] = {}
        self._next_number = 1
        self._is_refreshing = False
        self._refresh_again = False
        self._deleting = threading.Lock()
        self._first_refresh = threading.Event()
        self._threads = ThreadGroup()
        self._notifier = ChangeNotifier(self._threads, interval_s, lambda: self.is_busy)

    # -- state -------------------------------------------------------------------

    @property
    def server(self) -> ServerStatus:
        """The server, as of the last refresh."""
        return self._server

    @property
    def installed(self) -> tuple[ModelSummary, ...]:
        """The models as the server lists them, newest first."""
        return tuple(self._installed)

    @property
    def models(self) -> tuple[ModelRow, ...]:
        """The models, with those that are loaded and the default model marked."""
        with self._lock:
            installed, loaded, default = self._installed, self._loaded, self._default
        by_digest = {model.digest: model for model in loaded if model.digest}
        by_name = {canonical(model.name): model for model in loaded}
        default = canonical(default) if default else ""
        rows = []
        for model in installed:
            name = canonical(model.name)
            in_memory = by_name.get(name) or by_digest.get(model.digest)
            rows.append(ModelRow(model, in_memory, name == default))
        return tuple(rows)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs that were not dismissed, oldest first."""
        with self._lock:
            return tuple(runner.snapshot() for runner in self._runners.values())

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._threads.is_closed

    @property
    def is_busy(self) -> bool:
        """Whether a job is running."""
        return any(job.state == "running" for job in self.jobs)

    def set_default(self, name: str) -> None:
        """Mark the default model of the notebook; empty text marks none."""
        with self._lock:
            self._default = name
        self._notifier.notify()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a function after changes, always in the same thread.

        Returns
        -------
        Callable
            Unsubscribes the function.
        """
        return self._notifier.subscribe(listener)

    def notify(self) -> None:
        """Call the listeners, as after a change."""
        self._notifier.notify()

    # -- actions -----------------------------------------------------------------

    def refresh(self) -> None:
        """Fetch the state of the server; during a refresh, once more after it."""
        with self._lock:
            self._refresh_again = True
            if self._is_refreshing:
                return
            self._is_refreshing = True
        self._threads.start(self._refresh, "ollama-refresh")

    def wait_for_first_refresh(self, timeout_s: float) -> bool:
        """Wait until the server has responded, or is known to be offline."""
        return self._first_refresh.wait(timeout_s)

    def pull(self, name: str) -> int:
        """Pull a model; return the number of the new job, or of the one running."""
        name = name.strip()

        def run(runner: JobRunner) -> str:
            runner.transfer = transfer = TransferProgress(stall_s=self._stall_s)
            for progress in runner.open(model_actions.pull(self._client, name)):
                transfer.add(progress)
                self._notifier.notify()
            if not transfer.was_needed:
                return f"{name} is up to date"
            return f"pulled {name}, {size_text(transfer.total_bytes)}"

        return self._start("pull", name, run)

    def copy(self, source: str, destination: str, *, overwrite: bool = False) -> int:
        """Copy a model; the job fails if the name is taken and ``overwrite`` false."""

        def run(_: JobRunner) -> str:
            client = self._client
            model_actions.copy(client, source, destination, overwrite=overwrite)
            return f"copied {source} to {destination}"

        return self._start("copy", f"{source} to {destination}", run)

    def delete(self, names: Sequence[str]) -> list[int]:
        """Delete models, one job for each."""

        def deletion(name: str) -> Callable[[JobRunner], str]:
            def run(_: JobRunner) -> str:
                client = self._client
                with self._deleting:  # one at a time: twins free their space once
                    removal = model_actions.plan_removal(client, [name])
                    model_actions.remove(client, removal)
                freed = removal.freed_bytes
                return f"deleted {name}" + (f", {size_text(freed)} freed" * bool(freed))

            return run

        return [self._start("delete", name, deletion(name)) for name in names]

    def load(self, name: str) -> int:
        """Load a model into memory."""

        def run(runner: JobRunner) -> str:
            for _ in runner.open(model_actions.load(self._client, name)):
                pass
            return f"loaded {name}"

        return self._start("load", name, run)

    def stop(self, name: str) -> int:
        """Unload a model from memory."""

        def run(_: JobRunner) -> str:
            was_loaded = model_actions.stop(self._client, name)
            return f"unloaded {name}" if was_loaded else f"{name} was not loaded"

        return self._start("stop", name, run)

    def show(self, name: str, on_details: Callable[[ModelDetails], None]) -> int:
        """Fetch the details of a model; the job is only kept if it fails.

        Parameters
        ----------
        on_details
            Called in the thread of the job.
        """

        def run(runner: JobRunner) -> str:
            details = self._client.show(name)
            if not runner.is_cancelled and not self.is_closed:
                on_details(details)
            return ""

        return self._start("show", name, run)

    def cancel(self, number: int) -> None:
        """Cancel a job; the server keeps what a pull has fetched."""
        with self._lock:
            runner = self._runners.get(number)
        if runner is not None:
            runner.cancel()

    def retry(self, number: int) -> None:
        """Run a failed or cancelled job again, in its place."""
        with self._lock:
            runner = self._runners.get(number)
            if runner is None or runner.job.state in {"running", "done"}:
                return
            job = Job(number, runner.job.action, runner.job.model)
            self._runners[number] = again = JobRunner(job, runner.task)
        self._run_in_thread(again)

    def dismiss(self, number: int) -> None:
        """Remove a job that has ended."""
        with self._lock:
            runner = self._runners.get(number)
            if runner is None or runner.job.state == "running":
                return
            del self._runners[number]
        self._notifier.notify()

    def close(self) -> None:
        """End all jobs and threads; calling it again does nothing."""
        self._threads.close()
        self._notifier.close()
        with self._lock:
            numbers = list(self._runners)
        for number in numbers:
            self.cancel(number)
        self._threads.join()

    # -- threads -----------------------------------------------------------------

    def _start(
        self, action: Action, model: str, run: Callable[[JobRunner], str]
    ) -> int:
        wanted = canonical(model)
        with self._lock:
            for runner in self._runners.values():
                job = runner.job
                is_same = job.action == action and canonical(job.model) == wanted
                if is_same and job.state == "running":
                    return job.number
            number, self._next_number = self._next_number, self._next_number + 1
            self._runners[number] = started = JobRunner(Job(number, action, model), run)
        self._run_in_thread(started)
        return number

    def _run_in_thread(self, runner: JobRunner) -> None:
        self._threads.start(lambda: self._run(runner), f"ollama-{runner.job.action}")
        self._notifier.notify()

    def _run(self, runner: JobRunner) -> None:
        runner.run()
        job = runner.job
        is_hidden = job.action == "show" and job.state != "failed"
        with self._lock:
            if is_hidden and self._runners.get(job.number) is runner:
                del self._runners[job.number]
        if not is_hidden:
            self.refresh()
        self._notifier.notify()

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
                online = ServerStatus(url, "online", client.version())
                installed, loaded = client.list(), client.ps()
            except Exception as error:  # noqa: BLE001  (shown as the server's state)
                offline = ServerStatus(url, "offline", "", error_lines(error))
                with self._lock:
                    self._server, self._installed, self._loaded = offline, (), ()
            else:
                with self._lock:
                    self._server = online
                    self._installed, self._loaded = installed, loaded
            self._first_refresh.set()
            self._notifier.notify()
