"""``map_prompts``: one prompt over many rows."""
