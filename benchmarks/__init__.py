"""Benchmarks: what ollama_magic costs, beside naive ways and physical limits."""
