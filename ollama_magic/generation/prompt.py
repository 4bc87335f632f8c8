"""Builds a prompt: fills its ``{{ placeholders }}``, adds its files and images.

``prepare`` calls ``compose`` for every cell and for ``ask`` and ``chat``. A placeholder
is a name, then attributes, items and slices with literal keys. A prompt is text, so
pasting one must never run code: nothing here compiles, formats or evaluates.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType, ModuleType
from typing import Any

from ollama_magic.client.images import Image
from ollama_magic.errors import PromptError, quoted
from ollama_magic.generation.images import attach, image_of
from ollama_magic.generation.values import (
    ValueText,
    error_text,
    is_environment,
    is_from,
    shows_environment,
    value_text,
    with_files,
)

_MAX_EXPRESSION = 500  # characters; keeps the parser away from its recursion limit

# Two braces, something on one line without braces, two braces. Linear: a scan from
# one pair of braces ends at the next brace.
_PLACEHOLDER = re.compile(r"\{\{([^{}\n]*)\}\}")

# The names that IPython puts into the namespace (InteractiveShell.init_user_ns) are
# filled in like any other, but never suggested for a mistyped one.
_OF_IPYTHON = {"In", "Out", "exit", "get_ipython", "open", "quit"}

_CLOSED: tuple[tuple[type, str], ...] = (
    (type(os.environ), "the environment of this process"),
    (ModuleType, "a module"),
    (FrameType, "a frame of running code"),
)
"""Values that give access to everything in this process."""

_HISTORIES = ("_ih", "_oh", "_dh")
"""IPython's names for the inputs, outputs and directories of the session."""

_NO_TEXT = re.compile(
    r"<.* at 0x[0-9A-Fa-f]+>"
    r"|<(class|enum|bound method|built-in (function|method)|_io\.\w+) .*>"
)
"""The text of an object that has none of its own: a generator, a class, a file."""

_RAW = "--raw sends braces unchanged"
_USE_NAME = "compute it in a cell above and use its name"


@dataclass(frozen=True, slots=True)
class _Expression:
    text: str
    is_pasted: bool
    """Whether it is from a prompt: it may not read secrets, and errors show braces."""

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 60 else f"{self.text[:59]}…"
        return self.quote(shown)

    def quote(self, name: str) -> str:
        return f"{{{{ {name} }}}}" if self.is_pasted else name


Filled = tuple[str, tuple[str, ...], tuple[Image, ...]]
"""The text of a prompt as it is sent; what was filled in; the images beside it."""


def compose(
    text: str,
    namespace: Mapping[str, Any],
    *,
    files: Sequence[str] = (),
    images: Sequence[object] = (),
    raw: bool = False,
    hide: Callable[[str], str] = str,
) -> Filled:
    """Return a prompt as it is sent.

    Parameters
    ----------
    files, images
        As ``-F`` and ``-a`` name them; from Python an image may be a value.
    raw
        Whether ``{{ }}`` is left as it is.
    hide
        Removes secrets from the text.

    Returns
    -------
    text
        The text, with ``[image 1]`` in place of the first image that was filled in.
    filled
        The names of files and images, and the expressions that were filled in, as the
        user wrote them, in order and once each, with a note on those sent in part:
        ``text (cut)``, ``df (15 of 150 rows)``.
    images
        The images in the order of their numbers.

    Raises
    ------
    PromptError
        The prompt is empty, or something in it or with it cannot be sent.
    """
    if not isinstance(text, str):
        raise PromptError(
            f"The prompt cannot be of type {type(text).__name__}.",
            why="it must be text",
            next_step='put the value into a text: f"Explain this: {value}"',
        )
    text = text.strip("\n")
    if not text.strip():
        raise PromptError(
            "The prompt is empty.",
            why="it has no text",
            next_step="write it under the %%ollama line, or on one line: "
            "%ollama ask TEXT; in Python: ask(TEXT)",
        )
    filled, expressions, shown = (text, (), ()) if raw else fill(text, namespace, hide)
    # NB: after the placeholders, so that no file's braces are ever filled in.
    whole, names = hide(filled), tuple[str, ...]()
    if files:
        whole, names = with_files(whole, files, hide)
    find = partial(find_value, namespace=namespace)
    attached = [attach(image, namespace, find) for image in images]
    labels, more = [label for label, _ in attached], [image for _, image in attached]
    return whole, (*names, *labels, *expressions), (*shown, *more)


# -- placeholders -----------------------------------------------------------------


def fill(
    text: str, namespace: Mapping[str, Any], hide: Callable[[str], str] = str
) -> Filled:
    r"""Fill every ``{{ expression }}`` of ``text`` from ``namespace``, in one pass.

    An expression is a name, then attributes without a leading underscore, items and
    slices with literal keys: ``df``, ``fit.params["a"]``, ``rows[-1]``, ``Out[3]``.
    Values are never scanned again. An image or a figure is sent beside the text, which
    has ``[image 1]`` in its place.

    Parameters
    ----------
    hide
        Removes secrets from the values.

    Returns
    -------
    text, filled, images
        As those of ``compose``.

    Raises
    ------
    PromptError
        A name, attribute or item does not exist, the user's own code failed, the
        expression is outside the grammar, or it looks into a module, ``os.environ`` or
        a value with the API key: pasted text could name those.

    Notes
    -----
    Double braces also occur in code, templates and JSON that people paste. Anything
    that could be a placeholder is filled in or is an error, and never silently sent:
    text that begins with a letter or an underscore (``{{ user name }}``,
    ``{{ x | filter }}``), and Python expressions with a name (``{{ (a + b) }}``).
    Everything else is left as it is: ``{{}}``, ``{{"a": 1}}``, ``{{#each}}``,
    ``{{ 'text' }}``, and text with braces or a line break between its braces.

    Examples
    --------
    >>> fill("Sum up {{ rows[0] }} as {\"sum\": 1}", {"rows": ["this"]})
    ('Sum up this as {"sum": 1}', ('rows[0]',), ())
    """
    rendered: dict[str, str] = {}
    labels: dict[str, None] = {}
    images: list[Image] = []

    def replacement(match: re.Match[str]) -> str:
        expression = _Expression(match.group(1).strip(), is_pasted=True)
        if expression.text not in rendered:
            tree = _parse(expression)
            if tree is None:
                return match.group(0)
            value = _look_up(tree, expression, namespace)
            if _is_history(value, namespace):
                raise _history_closed(expression)
            if image := image_of(value):
                images.append(image)
                name = f"[{image.kind} {len(images)}]"
                shown = ValueText(name, image.describe())
            else:
                shown = _value_text(expression, value, hide)
            rendered[expression.text] = shown.text
            note = f" ({shown.note})" if shown.note else ""
            labels[f"{expression.text}{note}"] = None
        return rendered[expression.text]

    try:
        whole = _PLACEHOLDER.sub(replacement, text)
    except PromptError as error:  # the user's own errors may name a secret
        error.why = hide(error.why)
        raise
    return whole, tuple(labels), tuple(images)


@dataclass(frozen=True, slots=True)
class CellPrompt:
    """A prompt as the source of a cell contains it."""

    text: str
    is_raw: bool = False
    """Whether ``{{ }}`` in it is text."""
    has_files: bool = False
    """Whether text that the cell only names comes before it: files, other cells."""

    @property
    def parts(self) -> Sequence[str]:
        """The text around its placeholders."""
        return [self.text] if self.is_raw else literal_parts(self.text)


def literal_parts(text: str) -> list[str]:
    """Return the text before, between and after the placeholders of a prompt.

    >>> literal_parts("Sum up {{ df }}, please")
    ['Sum up ', ', please']
    """
    return _PLACEHOLDER.split(text)[::2]


def find_value(text: str, namespace: Mapping[str, Any]) -> object:
    """Return the value of an expression without braces, as ``-T`` and ``-a`` take it.

    The user typed it, so modules are allowed.

    Raises
    ------
    PromptError
        As ``fill`` does; also for what ``fill`` would leave as it is.
    """
    expression = _Expression(text.strip(), is_pasted=False)
    tree = _parse(expression)
    assert tree is not None
    return _look_up(tree, expression, namespace)


def _value_text(
    expression: _Expression, value: object, hide: Callable[[str], str]
) -> ValueText:
    def checked(text: str) -> str:
        if not isinstance(value, str) and shows_environment(text):
            raise _closed(expression, _CLOSED[0][1])
        return hide(text)

    try:
        found = value_text(value, hide=checked)
    except PromptError:
        raise
    except Exception as error:  # the user's __str__ and __repr__ may raise anything
        raise _failed(expression, error) from error
    if not isinstance(value, str) and _NO_TEXT.fullmatch(found.text):
        what, why = f"{expression} has no text that a model can read.", found.text
        raise _error(expression, what, f"it is {quoted(why)}", _USE_NAME)
    return found


# -- grammar -------------------------------------------------------------------


def _parse(expression: _Expression) -> ast.expr | None:
    """Return the tree of an expression; None if the text is not meant as one."""
    text = expression.text
    is_meant = not expression.is_pasted or text[:1].isalpha() or text.startswith("_")
    if len(text) > _MAX_EXPRESSION:
        if is_meant:
            raise _outside(expression, "it is too long")
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in the user's text
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError) as error:
        if is_meant:
            why = "it is not a name, an attribute or an item"
            raise _outside(expression, why) from error
        return None
    problem = _problem(tree)
    if problem is None:
        return tree
    names_something = any(isinstance(node, ast.Name) for node in ast.walk(tree))
    if is_meant or names_something:
        raise _outside(expression, problem)
    return None


def _problem(tree: ast.expr) -> str | None:
    """Return what puts a tree outside the grammar; None if it is inside."""
    problem = None
    while not isinstance(tree, ast.Name) and problem is None:
        match tree:
            case ast.Attribute(attr=name) if name.startswith("_"):
                problem = f"attribute {name!r} is private"
            case ast.Subscript(slice=key) if not _is_key(key):
                problem = "an item's key must be a literal: [0], [-1], ['a'], [1:3]"
            case ast.Attribute(value=owner) | ast.Subscript(value=owner):
                tree = owner
            case ast.Call():
                problem = "function calls are not allowed"
            case _:
                problem = "it is not a name, an attribute or an item"
    return problem


def _is_key(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Tuple):
        return all(_is_key(element) for element in node.elts)
    if isinstance(node, ast.Slice):
        parts = (node.lower, node.upper, node.step)
        return all(part is None or _is_key(part) for part in parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
        return isinstance(node, ast.Constant) and isinstance(node.value, int | float)
    return isinstance(node, ast.Constant)


# -- values --------------------------------------------------------------------


def _check_open(
    value: object, expression: _Expression, namespace: Mapping[str, Any]
) -> None:
    """Raise ``PromptError`` for a value that gives access to secrets.

    A class of this package that contains a secret sets ``holds_secrets``.
    """
    for kind, what in _CLOSED:
        if isinstance(value, kind):
            raise _closed(expression, what)
    if isinstance(value, Mapping) and _is_environment(value):
        raise _closed(expression, _CLOSED[0][1])
    if value is namespace or is_from(value, "traitlets", "Configurable"):
        raise _closed(expression, "all variables and settings of this session")
    if getattr(type(value), "holds_secrets", False) is True:
        what = f"a value of type {type(value).__name__} (it may hold a secret)"
        raise _closed(expression, what)


def _is_environment(value: Mapping[Any, Any]) -> bool:
    try:
        return is_environment(value)
    except Exception:  # noqa: BLE001  (the user's own mapping)
        return False


def _look_up(
    tree: ast.expr, expression: _Expression, namespace: Mapping[str, Any]
) -> object:
    """Return the value of a tree that is within the grammar."""
    if isinstance(tree, ast.Name):
        if tree.id not in namespace:
            raise _unknown(tree.id, expression, namespace)
        value = namespace[tree.id]
    else:
        assert isinstance(tree, ast.Attribute | ast.Subscript)
        owner: Any = _look_up(tree.value, expression, namespace)
        takes_part = isinstance(tree, ast.Subscript) and isinstance(
            tree.slice, ast.Slice
        )
        if takes_part and expression.is_pasted and _is_history(owner, namespace):
            raise _history_closed(expression)
        try:
            if isinstance(tree, ast.Attribute):
                value = getattr(owner, tree.attr)
            else:
                value = owner[_key(tree.slice)]
        except Exception as error:  # the user's properties may raise anything
            raise _failed(expression, error) from error
    if expression.is_pasted:
        _check_open(value, expression, namespace)
    return value


def _is_history(value: object, namespace: Mapping[str, Any]) -> bool:
    """Return whether a value is the history of this session, not an entry of it."""
    return value is not None and any(value is namespace.get(n) for n in _HISTORIES)


def _key(node: ast.expr) -> object:
    if isinstance(node, ast.Tuple):
        return tuple(_key(element) for element in node.elts)
    if isinstance(node, ast.Slice):
        parts = (node.lower, node.upper, node.step)
        return slice(*(None if part is None else _key(part) for part in parts))
    return ast.literal_eval(node)


# -- errors --------------------------------------------------------------------


def _error(expression: _Expression, what: str, why: str, step: str) -> PromptError:
    step = f"{step}; {_RAW}" if expression.is_pasted else step
    return PromptError(what, why=why, next_step=step)


def _outside(expression: _Expression, why: str, step: str = _USE_NAME) -> PromptError:
    place = "in a prompt" if expression.is_pasted else "here"
    return _error(expression, f"{expression} can't be used {place}.", why, step)


def _closed(expression: _Expression, what: str) -> PromptError:
    why = f"it gives access to {what}; pasted text could leak secrets this way"
    step = "compute what you need in a cell above and use its name"
    return _outside(expression, why, step)


def _history_closed(expression: _Expression) -> PromptError:
    why = "it is the history of this session; pasted text could send all of it"
    return _outside(expression, why, "name one entry: {{ In[3] }} or {{ Out[3] }}")


def _unknown(
    name: str, expression: _Expression, namespace: Mapping[str, Any]
) -> PromptError:
    own = {key for key in map(str, namespace) if not key.startswith("_")}
    near = difflib.get_close_matches(name, own - _OF_IPYTHON, n=1)
    guess = f"did you mean {expression.quote(near[0])}? If not: " if near else ""
    place = "" if str(expression) == name else f" for {expression}"
    why = f"name {name!r} is not defined in this notebook"
    step = f"{guess}define it in a cell above"
    return _error(expression, f"There is no variable {name!r}{place}.", why, step)


def _failed(expression: _Expression, error: Exception) -> PromptError:
    step = "display it in a cell above to see the error"
    return _error(expression, f"{expression} cannot be read.", error_text(error), step)
