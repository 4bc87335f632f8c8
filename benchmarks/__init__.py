"""Benchmarks: what ollama_magic costs, compared with naive code and lower bounds."""
