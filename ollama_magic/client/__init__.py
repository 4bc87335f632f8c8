"""Ollama's HTTP API as typed Python; works without IPython."""
