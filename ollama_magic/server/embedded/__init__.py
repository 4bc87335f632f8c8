"""An Ollama-compatible server on llama.cpp, which runs in its own process."""
