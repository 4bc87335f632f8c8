"""Attacks by class: what a poisoned model or server could write.

The texts were written for these tests. In a text, ``@RUN@`` stands for a script whose
effect a test can detect and ``@SINK@`` for a server that detects requests;
:func:`armed` inserts real ones. ``tests/surfaces.py`` lists where the texts are tested.
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
"""Sets a flag that tests check on every page; has no quotes and no blanks."""
SINK = "http://sink.invalid"


def armed(text, run=RUN, sink=SINK):
    return text.replace("@RUN@", run).replace("@SINK@", sink)


def vectors(run=RUN, sink=SINK, classes=tuple(CLASSES)):
    """Return id and text of all vectors of some classes, ready for use.

    A text in two classes is returned once.
    """
    ids = {
        text: f"{name}-{number}"
        for name in reversed(classes)
        for number, text in reversed([*enumerate(CLASSES[name])])
    }
    return {ids[text]: armed(text, run, sink) for text in reversed(ids)}
