"""Attacks by class: what a poisoned model or server could write.

All of our own making. In a text, ``@RUN@`` stands for script that would be seen when
it runs and ``@SINK@`` for a server that would see a request; :func:`armed` puts real
ones in. Nothing here knows where the texts are tried; see ``tests/surfaces.py``.
"""

from corpus import (
    clobbering,
    fetching,
    frames,
    hiding,
    links,
    markup,
    mathematics,
    mutations,
    structure,
    templates,
)

CLASSES = {
    "markup": markup.VECTORS,
    "mutation": mutations.VECTORS,
    "link": links.VECTORS,
    "fetch": fetching.VECTORS,
    "clobber": clobbering.VECTORS,
    "frame": frames.VECTORS,
    "math": mathematics.VECTORS,
    "structure": structure.VECTORS,
    "hide": hiding.VECTORS,
    "template": templates.VECTORS,
}

RUN = "top.owned=1"
"""Sets a flag that every page of a test looks at; no quotes, no blanks."""
SINK = "http://sink.invalid"


def armed(text, run=RUN, sink=SINK):
    return text.replace("@RUN@", run).replace("@SINK@", sink)


def vectors(run=RUN, sink=SINK, classes=tuple(CLASSES)):
    """Return id and text of all vectors of some classes, ready to be tried.

    A text that stands in two classes is tried once.
    """
    ids = {
        text: f"{name}-{number}"
        for name in reversed(classes)
        for number, text in reversed([*enumerate(CLASSES[name])])
    }
    return {ids[text]: armed(text, run, sink) for text in reversed(ids)}
