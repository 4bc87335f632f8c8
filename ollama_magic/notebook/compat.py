"""Private API of IPython, ipykernel and ipywidgets that the magics depend on.

No other module of ``notebook/`` uses it. Each use names the versions that it was seen
in; the tests run with the oldest supported versions and with the newest.
"""

from __future__ import annotations

import dis
import logging
import sys
from bdb import BdbQuit
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import wraps
from types import FrameType
from typing import Any, TypeVar

from ollama_magic.errors import Interrupted

_Owner = TypeVar("_Owner")
_Event = TypeVar("_Event")

# -- events (IPython 8.18 to 9.18) -----------------------------------------------


def harmless_handler(
    handler: Callable[[_Owner, _Event], None],
) -> Callable[[_Owner, _Event], None]:
    """Return an event handler (a method) that logs its errors and never raises.

    IPython prints "Error in callback" in every cell when a handler raises, and kernels
    other than ipykernel (xeus-python 0.17) have other objects in the same places.
    """

    @wraps(handler)
    def handle(owner: _Owner, event: _Event) -> None:
        try:
            handler(owner, event)
        except Exception:  # the user's cell must not be affected
            log = logging.getLogger(__name__)
            log.debug("%s failed", handler.__qualname__, exc_info=True)

    return handle


def unregister_all(shell: Any, owner: object) -> None:  # noqa: ANN401  (IPython is not typed)
    """Unregister all handlers that are methods of an object, if there are any.

    They are found by the object and not by the method: ``%autoreload`` gives objects
    new classes, whose methods do not equal those that were registered.
    """
    for handlers in shell.events.callbacks.values():
        handlers[:] = [
            handler
            for handler in handlers
            if getattr(handler, "__self__", None) is not owner
        ]


# -- errors (IPython 8.18 to 9.18, ipykernel 6.29 to 7.4) ------------------------


class ShownInterrupt(Interrupted, BdbQuit):
    """An interrupt that the output of the cell shows already.

    IPython shows no error for ``BdbQuit``, and still reports that the cell failed, so
    that *Run All* stops. NB: it is an ``Exception``, which code of the user may catch.
    """


def fails_silently(shell: Any) -> bool:  # noqa: ANN401
    """Return whether a cell can fail without an error output.

    Kernels other than ipykernel take the status of a cell from the error that is shown.
    """
    modules = (one.__module__ for one in type(shell).__mro__)
    return is_terminal(shell) or any(one.startswith("ipykernel.") for one in modules)


# -- requests (ipykernel 6.29 to 7.4, xeus-python 0.17) --------------------------


def current_request(shell: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Return the request that the kernel is working on; empty if it is unknown.

    ``get_parent`` takes a channel in ipykernel, and nothing in xeus-python.
    """
    kernel: Any = getattr(shell, "kernel", None)
    for arguments in (("shell",), ()):
        with suppress(Exception):  # a kernel that is not ipykernel may raise anything
            parent = kernel.get_parent(*arguments)
            return parent if isinstance(parent, Mapping) else {}
    return {}


# -- outputs (IPython 8.18 to 9.18, ipywidgets 7.7 to 8.1) -----------------------


def is_captured(shell: Any, message_id: object) -> bool:  # noqa: ANN401
    """Return whether outputs go into ``%%capture`` or an ``ipywidgets.Output``."""
    from IPython.core.displaypub import CapturingDisplayPublisher

    return isinstance(shell.display_pub, CapturingDisplayPublisher) or any(
        widget.msg_id == message_id for widget in _output_widgets()
    )


def is_value_captured() -> bool:
    """Return whether the value of a cell goes into ``%%capture``."""
    from IPython.core.displayhook import CapturingDisplayHook

    return isinstance(sys.displayhook, CapturingDisplayHook)


def _output_widgets() -> Iterator[Any]:
    """Yield all widgets that capture outputs; none if ipywidgets is not in use."""
    module = sys.modules.get("ipywidgets.widgets.widget_output")
    if module is None:
        return
    base = sys.modules["ipywidgets.widgets.widget"]
    # NB: ipywidgets 8 keeps all widgets in `_instances`, 7 in `Widget.widgets`.
    known = base._instances if hasattr(base, "_instances") else base.Widget.widgets
    yield from [one for one in list(known.values()) if isinstance(one, module.Output)]


# -- the next input (IPython 8.18 to 9.18, ipykernel 6.29 to 7.4) ----------------


def next_input(shell: Any) -> tuple[str, bool]:  # noqa: ANN401
    """Return what this run has put into the next input.

    Returns
    -------
    tuple
        The text, and whether it replaces the running cell.
    """
    if is_terminal(shell):
        return shell.rl_next_input or "", False
    for payload in shell.payload_manager.read_payload():
        if payload.get("source") == "set_next_input":
            return str(payload.get("text", "")), bool(payload.get("replace"))
    return "", False


def is_terminal(shell: Any) -> bool:  # noqa: ANN401
    """Return whether the shell runs in a terminal and not in a kernel."""
    return getattr(shell, "kernel", None) is None


def has_prompt(shell: Any) -> bool:  # noqa: ANN401
    """Return whether a terminal shows a text in its next prompt.

    The simple prompt, for terminals that are dumb, does not.
    """
    return getattr(shell, "pt_app", None) is not None


# -- completion (IPython 8.18 to 9.18) --------------------------------------------


class NoCompletions(list[Any]):
    """An empty result that also hides the completions of all other matchers.

    IPython hides them only if the result has a length.
    """

    def __len__(self) -> int:
        return 1


def install_inspector(shell: Any, page: Callable[[str, int], str]) -> None:  # noqa: ANN401
    """Make a kernel answer inspect requests (Shift+Tab) with a page, where it has one.

    ipykernel 6.29 to 7.4 passes IPython only a name of Python, and not the line.
    """
    kernel: Any = getattr(shell, "kernel", None)
    default = getattr(kernel, "do_inspect", None)
    if default is None:
        return

    def do_inspect(code: str, cursor_pos: int, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if text := page(code, cursor_pos):
            data = {"text/plain": text}
            return {"status": "ok", "found": True, "data": data, "metadata": {}}
        return default(code, cursor_pos, *args, **kwargs)

    do_inspect.is_of_ollama = True  # type: ignore[attr-defined]
    kernel.do_inspect = do_inspect


def uninstall_inspector(shell: Any) -> None:  # noqa: ANN401
    """Undo :func:`install_inspector`, unless another extension has come after it."""
    kernel: Any = getattr(shell, "kernel", None)
    if hasattr(vars(kernel or object).get("do_inspect"), "is_of_ollama"):
        del kernel.do_inspect


# -- code (IPython 8.18 to 9.18, Python 3.11 to 3.13) ----------------------------


def cell_name(shell: Any, file: str) -> str | None:  # noqa: ANN401
    """Return ``In[7]`` for the file name of compiled code; None if it is not a cell."""
    found = shell.compile.format_code_name(file)
    return str(found[1]) if found else None


def past_cells(shell: Any) -> list[str]:  # noqa: ANN401
    """Return the sources of the cells that were run; their numbers are the indices."""
    return list(shell.history_manager.input_hist_raw)


def exit_code(shell: Any) -> int:  # noqa: ANN401
    """Return the exit code of the last ``!command``; 0 if there was none."""
    code = shell.user_ns.get("_exit_code")
    return code if isinstance(code, int) else 0


_BETWEEN = frozenset({"IPython", "ollama_magic", "decorator"})
"""Packages between the user's code and a magic."""


def is_value_dropped() -> bool:
    """Return whether the user's code, whose call led here, drops the value of the call.

    A statement drops it (``POP_TOP`` in its bytecode), while IPython compiles the last
    expression of a cell so that its value is shown. ``%ollama list`` anywhere else (in
    a loop, a function or an ``.ipy`` script) has to show its page itself.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _package_of(frame) in _BETWEEN:
        frame = frame.f_back
    if frame is None:
        return False
    # NB: `f_lasti` is at the call instruction, or at one of its caches after it.
    following = (
        instruction.opname
        for instruction in dis.get_instructions(frame.f_code)
        if instruction.offset > frame.f_lasti
    )
    return next(following, "") == "POP_TOP"


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
