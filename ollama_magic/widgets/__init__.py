"""The model panel; the only package that imports ipywidgets."""
