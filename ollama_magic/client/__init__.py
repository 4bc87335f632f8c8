"""Ollama's HTTP API as typed Python: no IPython, usable alone."""
