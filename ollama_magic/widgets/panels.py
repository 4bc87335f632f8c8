"""Panels that are open in this kernel: one a server, shown as often as wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ollama_magic.client.client import OllamaClient
from ollama_magic.generation.api_session import current_session
from ollama_magic.widgets.board import ModelBoard

if TYPE_CHECKING:
    from ollama_magic.widgets.model_panel import ModelPanel

_FIRST_ANSWER_S = 0.5
_panels: dict[tuple[str, bool], ModelPanel] = {}
"""By the server, and by whether a model can be chosen for a notebook in it."""


def panel(host: str | None = None) -> ModelPanel:
    """Return a panel that lists, pulls, copies, deletes, loads and shows models.

    Parameters
    ----------
    host
        Another server than that of this notebook, in any form that ``OLLAMA_HOST`` may
        have.

    Returns
    -------
    ModelPanel
        An ipywidgets widget: the last value of a cell, or a part of your own layout.
        The same one for the same server, until it is closed.

    Raises
    ------
    ConfigError
        The host cannot be used.
    """
    return open_panel(current_session().client(host))


def open_panel(
    client: OllamaClient,
    *,
    used: str = "",
    use: Callable[[str], None] | None = None,
) -> ModelPanel:
    """Return the panel of a server, a new one where there is none.

    Parameters
    ----------
    used
        The model that this notebook uses; empty text: none.
    use
        Makes a model that one.
    """
    from ollama_magic.widgets.model_panel import ModelPanel

    key = (client.host.base_url, use is not None)
    known = _panels.get(key)
    if known is not None and not known.is_closed:
        known.refresh(used)
        return known
    board = ModelBoard(client)
    board.set_used(used)
    board.refresh()
    # What is saved with the notebook is drawn now; a slow server is not waited for.
    board.wait_until_known(_FIRST_ANSWER_S)
    _panels[key] = ModelPanel(board, use=use)
    return _panels[key]


def close_panels() -> None:
    """Close all panels and end their threads."""
    while _panels:
        _panels.popitem()[1].close()
