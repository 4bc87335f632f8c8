"""The state behind the panel: a server, its models, and the jobs that change them.

The widgets call ``ModelManager``, whose methods return at once, and redraw from its
state when it notifies them. It uses no widget: all work runs in threads that it owns,
which set the state and never print.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ollama_magic.client import actions as model_actions
from ollama_magic.client.background import ask_in_time
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import (
    LoadedModel,
    ModelDetails,
    ModelSummary,
    canonical,
    find_model,
)
from ollama_magic.client.progress import STALL_S, TransferProgress
from ollama_magic.errors import OllamaMagicError, last_time_text, size_text
from ollama_magic.generation.models import ServerModels, look_up, model_to_ask
from ollama_magic.render.text import counted
from ollama_magic.widgets.jobs import Action, Job, Task, error_lines

_JOIN_S = 2.0


# -- models ----------------------------------------------------------------------


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
    is_default: bool = False
    """Whether it is the default model of this notebook."""
    is_outdated: bool = False
    """Whether the registry has a newer version, as far as it was asked."""


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
    last_load_s
        Returns how long a model last took to load; 0 if that is unknown.
    """

    def __init__(
        self,
        client: OllamaClient,
        *,
        stall_s: float = STALL_S,
        interval_s: float = 0.2,
        last_load_s: Callable[[str], float] = lambda _: 0.0,
    ) -> None:
        self._last_load_s = last_load_s
        self._outdated: frozenset[tuple[str, str]] = frozenset()
        self._client = client
        self._stall_s = stall_s
        self._lock = threading.Lock()
        self._server = ServerStatus()
        self._installed: Sequence[ModelSummary] = ()
        self._loaded: Sequence[LoadedModel] = ()
        self._default = ""
        self._jobs: dict[int, Job] = {}
        self._next_number = 1
        self._is_refreshing = False
        self._refresh_again = False
        self._deleting = threading.Lock()
        self._first_refresh = threading.Event()
        self._interval_s = interval_s
        self._listeners: list[Callable[[], None]] = []
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._threads: set[threading.Thread] = set()
        self._start_thread(self._call_listeners, "ollama-notifier")

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
            outdated = self._outdated
        by_digest = {model.digest: model for model in loaded if model.digest}
        by_name = {canonical(model.name): model for model in loaded}
        default = canonical(default) if default else ""
        rows = []
        for model in installed:
            name = canonical(model.name)
            in_memory = by_name.get(name) or by_digest.get(model.digest)
            is_outdated = (model.name, model.digest) in outdated
            rows.append(ModelRow(model, in_memory, name == default, is_outdated))
        return tuple(rows)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs that were not dismissed, oldest first."""
        with self._lock:
            return tuple(self._jobs.values())

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed.is_set()

    @property
    def is_busy(self) -> bool:
        """Whether a job is running."""
        return any(job.state == "running" for job in self.jobs)

    @property
    def default(self) -> str:
        """The default model of the notebook; empty text if none is known."""
        return self._default

    @property
    def automatic(self) -> str:
        """The model of prompts if there is no default; empty text if there is none."""
        with self._lock:
            models = ServerModels(self._installed, self._loaded)
        try:
            return model_to_ask("", models)
        except OllamaMagicError:
            return ""

    def set_default(self, name: str) -> None:
        """Mark the default model of the notebook; empty text marks none."""
        with self._lock:
            self._default = name
        self.notify()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call a function after changes, until :meth:`close`.

        It is called in one thread, at a limited rate; the last change is never lost.
        """
        with self._lock:
            self._listeners.append(listener)

    def notify(self) -> None:
        """Call the listeners soon."""
        self._changed.set()

    # -- actions -----------------------------------------------------------------

    def refresh(self) -> None:
        """Fetch the state of the server; during a refresh, once more after it."""
        with self._lock:
            self._refresh_again = True
            if self._is_refreshing:
                return
            self._is_refreshing = True
        self._start_thread(self._refresh, "ollama-refresh")

    def wait_for_first_refresh(self, timeout_s: float) -> bool:
        """Wait until the server has responded, or is known to be offline."""
        return self._first_refresh.wait(timeout_s)

    def pull(self, name: str) -> None:
        """Pull a model, unless a job pulls it already."""
        name = name.strip()

        def run(job: Job) -> str:
            job.transfer = transfer = TransferProgress(stall_s=self._stall_s)
            for progress in job.open(self._client.pull(name)):
                transfer.add(progress)
                self.notify()
            if not transfer.was_needed:
                return f"{name} is up to date"
            return f"pulled {name}, {size_text(transfer.total_bytes)}"

        self._start("pull", name, run)

    def copy(self, source: str, destination: str, *, overwrite: bool = False) -> None:
        """Copy a model; the job fails if the name is taken and ``overwrite`` false."""

        def run(_: Job) -> str:
            client = self._client
            model_actions.copy(client, source, destination, overwrite=overwrite)
            return f"copied {source} to {destination}"

        self._start("copy", f"{source} to {destination}", run)

    def delete(self, names: Sequence[str]) -> None:
        """Delete models, one job for each."""

        def deletion(name: str) -> Task:
            def run(_: Job) -> str:
                client = self._client
                # one at a time, so that two names of one model free its space once
                with self._deleting:
                    removal = model_actions.plan_removal(client, [name], unlisted=True)
                    model_actions.remove(client, removal)
                freed = removal.freed_bytes
                return f"deleted {name}" + (f", {size_text(freed)} freed" * bool(freed))

            return run

        for name in names:
            self._start("delete", name, deletion(name))

    def load(self, name: str) -> None:
        """Load a model into memory."""
        model = find_model(name, self._installed)
        size = size_text(model.size_bytes) if model and not model.cloud_host else ""
        last = last_time_text(self._last_load_s(name))
        waits = f"loading{f' {size}' if size else ''}… {{}}{last}"

        def run(job: Job) -> str:
            job.waits, began = waits, time.monotonic()
            for _ in job.open(model_actions.load(self._client, name)):
                pass
            return f"loaded {name} in {time.monotonic() - began:.1f} s"

        self._start("load", name, run)

    def stop(self, name: str) -> None:
        """Unload a model from memory."""

        def run(_: Job) -> str:
            was_loaded = model_actions.stop(self._client, name)
            return f"unloaded {name}" if was_loaded else f"{name} was not loaded"

        self._start("stop", name, run)

    def check_updates(self) -> None:
        """Ask Ollama's registry which models have a newer version there."""

        def run(job: Job) -> str:
            job.waits = "asking registry.ollama.ai for the newest versions… {}"
            updates = model_actions.check_updates(self._client)
            names = {one.name for one in updates if one.state == "outdated"}
            marked = {(m.name, m.digest) for m in self._installed if m.name in names}
            with self._lock:
                self._outdated = frozenset(marked)
            unknown = sum(one.state == "unknown" for one in updates)
            failed = f"; {counted(unknown, 'model')} could not be checked"
            found = f"{counted(len(names), 'update')} available"
            return f"{found}{failed if unknown else ''}"

        self._start("check", "for updates", run)

    def show(self, name: str, on_details: Callable[[ModelDetails], None]) -> None:
        """Fetch the details of a model; the job is only kept if it fails.

        Parameters
        ----------
        on_details
            Called in the thread of the job.
        """

        def run(job: Job) -> str:
            details = self._client.show(name)
            if not job.is_cancelled and not self.is_closed:
                on_details(details)
            return ""

        self._start("show", name, run)

    def retry(self, job: Job) -> None:
        """Run a failed or cancelled job again, in its place."""
        with self._lock:
            is_known = self._jobs.get(job.number) is job
            if not is_known or job.state in {"running", "done"}:
                return
            again = Job(job.number, job.action, job.model, job.task)
            self._jobs[job.number] = again
        self._run_in_thread(again)

    def dismiss(self, job: Job) -> None:
        """Remove a job that has ended."""
        with self._lock:
            if self._jobs.get(job.number) is not job or job.state == "running":
                return
            del self._jobs[job.number]
        self.notify()

    def close(self) -> None:
        """End all jobs and threads; calling it again does nothing."""
        with self._lock:
            self._closed.set()  # no thread starts from now on
            self._listeners.clear()
            jobs, threads = list(self._jobs.values()), list(self._threads)
        self._changed.set()
        for job in jobs:
            job.cancel()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_S)

    # -- threads -----------------------------------------------------------------

    def _start(self, action: Action, model: str, task: Task) -> None:
        wanted = canonical(model)
        with self._lock:
            for job in self._jobs.values():
                is_same = job.action == action and canonical(job.model) == wanted
                if is_same and job.state == "running":
                    return
            number, self._next_number = self._next_number, self._next_number + 1
            self._jobs[number] = started = Job(number, action, model, task)
        self._run_in_thread(started)

    def _run_in_thread(self, job: Job) -> None:
        self._start_thread(lambda: self._run(job), f"ollama-{job.action}")
        self.notify()

    def _run(self, job: Job) -> None:
        job.run()
        is_hidden = job.action == "show" and job.state != "failed"
        with self._lock:
            if is_hidden and self._jobs.get(job.number) is job:
                del self._jobs[job.number]
        if not is_hidden:
            self.refresh()
        self.notify()

    def _start_thread(self, work: Callable[[], None], name: str) -> None:
        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=run, name=name, daemon=True)
        with self._lock:
            if not self.is_closed:
                self._threads.add(thread)
                thread.start()  # inside the lock: only a started thread can be joined

    def _call_listeners(self) -> None:
        while not self.is_closed:
            # Times pass without any change while a job runs.
            self._changed.wait(1.0 if self.is_busy else None)
            self._changed.clear()
            with self._lock:
                listeners = list(self._listeners)
            for listener in listeners:
                listener()
            self._closed.wait(self._interval_s)

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
                # NB: a server whose version a proxy hides can still be used.
                models = look_up(client, must_list=True)
                (version,) = ask_in_time(client.version)
                known = "" if isinstance(version, Exception) else version
                online = ServerStatus(url, "online", known)
            except Exception as error:  # noqa: BLE001  (shown as the server's state)
                offline = ServerStatus(url, "offline", "", error_lines(error))
                with self._lock:
                    self._server, self._installed, self._loaded = offline, (), ()
            else:
                with self._lock:
                    self._server = online
                    self._installed, self._loaded = models.installed, models.loaded
            self._first_refresh.set()
            self.notify()
