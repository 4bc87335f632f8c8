"""One prompt over many rows: ``map_prompts``, and what it is made of."""
