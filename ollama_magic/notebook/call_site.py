"""Tell whether the code that calls a magic drops its value.

IPython shows the value of the last expression of a cell. ``%ollama list`` anywhere
else, in a loop, in a function or in an ``.ipy`` script, has to show its page itself.
"""

from __future__ import annotations

import dis
import sys
from types import FrameType

_ON_THE_WAY = frozenset({"IPython", "ollama_magic", "decorator"})
"""Packages between the user's code and a magic."""


def is_value_dropped() -> bool:
    """Tell whether the user's code, whose call led here, drops the value of the call.

    The compiled code tells: a statement drops the value (``POP_TOP``), while IPython
    compiles the last expression of a cell so that its value is shown.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _package_of(frame) in _ON_THE_WAY:
        frame = frame.f_back
    if frame is None:
        return False
    # NB: the place of a call is that of its instruction, or of the caches behind it.
    following = (
        instruction.opname
        for instruction in dis.get_instructions(frame.f_code)
        if instruction.offset > frame.f_lasti
    )
    return next(following, "") == "POP_TOP"


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
