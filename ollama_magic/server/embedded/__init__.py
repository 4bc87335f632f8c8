"""An Ollama-compatible server on llama.cpp, in a process of its own."""
