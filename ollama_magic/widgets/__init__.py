"""The panel, in ipywidgets; the only place that knows them."""
