"""Cell magics that talk to a language model through Ollama.

``%load_ext ollama_magic`` registers ``%%ollama`` and ``%ollama``; the names below are
for Python, and are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from ollama_magic.api import ask, chat, decide, embed, models, stream
    from ollama_magic.batch.map_decisions import map_decisions
    from ollama_magic.batch.map_prompts import map_prompts
    from ollama_magic.client.client import OllamaClient
    from ollama_magic.client.decisions import Choice, Score, YesNo
    from ollama_magic.errors import OllamaMagicError
    from ollama_magic.generation.compare import Comparison
    from ollama_magic.generation.decisions import Decision
    from ollama_magic.generation.reply import Reply
    from ollama_magic.generation.web import web_fetch, web_search
    from ollama_magic.widgets.panel import panel

__all__ = [
    "Choice",
    "Comparison",
    "Decision",
    "OllamaClient",
    "OllamaMagicError",
    "Reply",
    "Score",
    "YesNo",
    "__version__",
    "ask",
    "chat",
    "decide",
    "embed",
    "load_ipython_extension",
    "map_decisions",
    "map_prompts",
    "models",
    "panel",
    "stream",
    "unload_ipython_extension",
    "web_fetch",
    "web_search",
]

_HOMES = {
    "Choice": "client.decisions",
    "Comparison": "generation.compare",
    "Decision": "generation.decisions",
    "OllamaClient": "client.client",
    "OllamaMagicError": "errors",
    "Reply": "generation.reply",
    "Score": "client.decisions",
    "YesNo": "client.decisions",
    "ask": "api",
    "chat": "api",
    "decide": "api",
    "embed": "api",
    "stream": "api",
    "map_decisions": "batch.map_decisions",
    "map_prompts": "batch.map_prompts",
    "models": "api",
    "panel": "widgets.panel",
    "web_fetch": "generation.web",
    "web_search": "generation.web",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  (any public name)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def load_ipython_extension(shell: Any) -> None:  # noqa: ANN401  (IPython is not typed)
    """Register the magics; called by ``%load_ext ollama_magic``."""
    from ollama_magic.notebook.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:  # noqa: ANN401  (as above)
    """Unregister the magics; called by ``%unload_ext ollama_magic``."""
    from ollama_magic.notebook.magics import unload

    unload(shell)
