"""A small server with Ollama's API in front of llama.cpp, for trying things out.

Runs as a child process (``python -m ollama_magic.embedded``), never inside the kernel:
a crash of the engine must not take the user's variables along. Knows nothing of
notebooks; nothing outside of this package is imported from here.
"""
