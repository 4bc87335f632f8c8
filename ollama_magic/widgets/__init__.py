"""The model panel; only this package imports ipywidgets."""
