"""The subcommands of ``%ollama``, a module for each family."""
