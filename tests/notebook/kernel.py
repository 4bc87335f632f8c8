"""Runs cells in a real ipykernel, and collects outputs as a front end does."""

import os
import queue
import time
from dataclasses import dataclass, field

from jupyter_client.manager import start_new_kernel

PATIENCE_S = 60


@dataclass
class CellResult:
    """The result of one cell."""

    status: str = ""
    outputs: list = field(default_factory=list)
    messages: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    number: int | None = None
    """The number that the front end shows beside the cell: ``In[number]``."""

    @property
    def html(self):
        return "\n".join(o["data"].get("text/html", "") for o in self._displayed())

    @property
    def text(self):
        return "\n".join(o["data"].get("text/plain", "") for o in self._displayed())

    @property
    def streams(self):
        return "".join(o["text"] for o in self.outputs if o["type"] == "stream")

    @property
    def error(self):
        errors = [o["traceback"] for o in self.outputs if o["type"] == "error"]
        return "\n".join(errors[0]) if errors else None

    @property
    def provenance(self):
        (found,) = [o["metadata"] for o in self._displayed() if o["metadata"]]
        return found["ollama_magic"]

    @property
    def place(self):
        """The place of the reply in its chat, which the footer seldom shows."""
        return "turn {turn} of {chat}".format_map(self.provenance)

    def _displayed(self):
        return [o for o in self.outputs if "data" in o]


class Kernel:
    """A kernel in its own process; cells are run one at a time.

    ``session_name`` is the notebook's path, as a Jupyter server passes it to a kernel.
    """

    def __init__(self, session_name=None, kernel_name="python3", cwd=None):
        env = {k: v for k, v in os.environ.items() if k != "JPY_SESSION_NAME"}
        if session_name:
            env["JPY_SESSION_NAME"] = str(session_name)
        self.manager, self.client = start_new_kernel(
            startup_timeout=180, kernel_name=kernel_name, env=env, cwd=cwd
        )

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def kill(self):
        """Kill the process, as ``kill -9`` does."""
        self.client.stop_channels()
        self.manager.provisioner.process.kill()

    def send(self, code, cell_id=None, deleted=(), **metadata):
        """Send a cell and return the id of its message."""
        metadata |= {"deletedCells": list(deleted)} if deleted else {}
        metadata |= {"cellId": cell_id} if cell_id else {}
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": self.answers is not None,
            "stop_on_error": True,
        }
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        if self.opening:
            message["header"]["session"] = self.opening
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def click(self, comm_id):
        """Click a button as a front end does; return the outputs of its callback."""
        data = {"method": "custom", "content": {"event": "click"}}
        content = {"comm_id": comm_id, "data": data}
        message = self.client.session.msg("comm_msg", content)
        self.client.shell_channel.send(message)
        msg_id, view = message["header"]["msg_id"], self._view()
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            message = self.client.get_iopub_msg(timeout=PATIENCE_S)
            if message["parent_header"].get("msg_id") == msg_id and view.take(message):
                return view.ran
        raise AssertionError(f"the callback did not end: {view.ran}")

    applies_updates = True
    """Whether the front end applies ``update_display_data``; many ignore it."""

    def _view(self, since=None):
        return _View(since, applies_updates=self.applies_updates)

    answers = None
    """The answers to questions of the kernel; None if no user can answer."""

    opening = None
    """The session id in requests; None for that of the client."""

    def run(self, code, cell_id=None, deleted=(), **metadata):
        """Run a cell to its end.

        A kernel aborts requests that arrive too soon after an error. Such a cell is
        sent again.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            ran = self.collect(self.send(code, cell_id, deleted, **metadata))
            if ran.status != "aborted" or time.monotonic() > deadline:
                return ran

    def collect(self, msg_id, until=None, since=None):
        """Collect the outputs of a cell to its end, or until ``until`` returns true.

        It is an error if the cell fails before that.

        ``since`` is the result of an earlier call for the same cell, which continues
        with its outputs.
        """
        view, deadline = self._view(since), time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self._answer(view)
            try:
                message = self.client.get_iopub_msg(timeout=0.05)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            if view.take(message):
                view.ran.status = self._reply(msg_id)
                failed = until is not None and view.ran.status != "ok"
                assert not failed or until(view.ran), view.ran.error
                return view.ran
            if until is not None and until(view.ran):
                return view.ran
        raise AssertionError(f"the cell did not end: {view.ran}")

    def _answer(self, view):
        if self.answers is not None and self.client.stdin_channel.msg_ready():
            asked = self.client.get_stdin_msg(timeout=1)["content"]["prompt"]
            view.ran.asked.append(asked)
            self.client.input(self.answers.pop(0))

    def _reply(self, msg_id):
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE_S)
            if reply["parent_header"].get("msg_id") == msg_id:
                return reply["content"]["status"]


class _View:
    """The outputs of one cell, as a front end keeps them."""

    def __init__(self, since=None, *, applies_updates=True):
        self.ran = since or CellResult()
        self._applies_updates = applies_updates
        self._clears = False

    def take(self, message):
        """Take one message; return whether the cell has ended."""
        kind, content = message["msg_type"], message["content"]
        self.ran.messages.append(kind)
        if kind == "status":
            return content["execution_state"] == "idle"
        if kind == "execute_input":
            self.ran.number = content["execution_count"]
        elif kind == "clear_output":
            self._clears = True
            if not content["wait"]:
                self._clear()
        elif kind == "update_display_data" and self._applies_updates:
            for output in self.ran.outputs:
                if output.get("id") == content["transient"]["display_id"]:
                    output.update(data=content["data"], metadata=content["metadata"])
        elif kind in {"display_data", "execute_result", "stream", "error"}:
            self._clear()
            display_id = content.get("transient", {}).get("display_id")
            self.ran.outputs.append({**content, "type": kind, "id": display_id})
        return False

    def _clear(self):
        if self._clears:
            self.ran.outputs.clear()
        self._clears = False
