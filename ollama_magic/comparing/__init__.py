"""One prompt, several models at once."""
