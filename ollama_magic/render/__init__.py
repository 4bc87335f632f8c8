"""Safe HTML and terminal text: the only package that makes HTML."""
