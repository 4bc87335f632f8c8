"""Decide what of a reply can be shown while it comes.

The magics and ``map_prompts`` ask for each output. A front end that ignores updates of
a display would show the first frame for ever, so live frames need a reason to believe
that updates are applied.

Sources:

* JupyterLab 4.6 and Notebook 7.6 (seen) apply updates to the output of a cell, but not
  to what an ``ipywidgets.Output`` has captured. Callbacks of widgets run in answer to
  a ``comm_msg``.
* jupyter console, qtconsole, Spyder and jupyter-server-nbmodel ignore updates;
  jupyter-server-documents shows each as one more output (all seen). None of them tells
  a cell id. nbclient tells none either, and nobody looks on there.
* VS Code loses updates when a cell is run again (seen). Its cell ids are addresses:
  ``vscode-notebook-cell:/home/ann/a.ipynb#W0sZmlsZQ%3D%3D``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ollama_magic.render.output import OutputMode


def output_mode(
    shell: Any,  # noqa: ANN401  (IPython is not typed)
    request: Mapping[str, Any],
    *,
    owns_output: bool,
) -> OutputMode:
    """Return how an output is shown live, and how its end takes its place.

    Parameters
    ----------
    request
        What the kernel is answering.
    owns_output
        Whether the request runs a cell that puts out nothing else.
    """
    header = request.get("header") or {}
    if _is_captured(shell, header.get("msg_id")):
        return "once"
    if owns_output:
        return "clear"
    cell_id = _told_cell_id(request.get("metadata") or {})
    if header.get("msg_type") != "execute_request" or not cell_id:
        return "once"
    return "repeat" if cell_id.startswith("vscode-") else "update"


def _told_cell_id(metadata: Mapping[str, Any]) -> str:
    in_colab = metadata.get("colab") or {}
    return str(metadata.get("cellId") or in_colab.get("cell_id") or "")


def _is_captured(shell: Any, message_id: object) -> bool:  # noqa: ANN401
    """Tell whether outputs go into ``%%capture`` or an ``ipywidgets.Output``."""
    from IPython.core.displaypub import CapturingDisplayPublisher

    return isinstance(shell.display_pub, CapturingDisplayPublisher) or any(
        widget.msg_id == message_id for widget in _output_widgets()
    )


def _output_widgets() -> list[Any]:
    """Return all widgets that capture outputs; none where ipywidgets is not in use."""
    module = sys.modules.get("ipywidgets.widgets.widget_output")
    if module is None:
        return []
    base = sys.modules["ipywidgets.widgets.widget"]
    # NB: ipywidgets 8 knows all widgets in `_instances`, 7 in `Widget.widgets`.
    known = base._instances if hasattr(base, "_instances") else base.Widget.widgets
    return [one for one in list(known.values()) if isinstance(one, module.Output)]
