"""Cell magics that talk to a language model through Ollama."""

from ollama_magic._version import __version__

__all__ = ["__version__"]
