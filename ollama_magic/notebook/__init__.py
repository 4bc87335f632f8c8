"""The IPython extension: magics, command line, completion and cells."""
