"""Model options: which ones there are, their types, and llama.cpp's names for them.

Knows Ollama's defaults and error texts. Names that Ollama does not know are ignored,
as Ollama ignores them; those it knows and this engine cannot honour are refused.
Source: Ollama ``api/types.go`` (Options) and ``docs/modelfile.mdx``; recordings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_magic.server.embedded.errors import Refusal, not_supported

_INTEGER, _FLOAT, _BOOLEAN, _ARRAY = "integer", "float32", "boolean", "array"
_TYPES = {
    **dict.fromkeys(("num_ctx", "num_predict", "num_thread", "num_gpu"), _INTEGER),
    **dict.fromkeys(("main_gpu", "num_batch", "seed", "top_k"), _INTEGER),
    **dict.fromkeys(("repeat_last_n", "num_keep", "draft_num_predict"), _INTEGER),
    **dict.fromkeys(("temperature", "top_p", "min_p", "typical_p"), _FLOAT),
    "repeat_penalty": _FLOAT,
    "presence_penalty": _FLOAT,
    "frequency_penalty": _FLOAT,
    "use_mmap": _BOOLEAN,
    "stop": _ARRAY,
}
_REFUSED = ("num_keep", "draft_num_predict")

_SAMPLING_DEFAULTS: dict[str, Any] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.0,
}
_SAMPLING = (
    *_SAMPLING_DEFAULTS,
    "typical_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "stop",
)

DEFAULT_NUM_CTX = 4096
_CAP = 10
"""No answer is longer than so many contexts; small models may never stop."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options that are fixed at load time: another value means another load.

    ``None`` leaves the choice to the engine.
    """

    num_ctx: int = DEFAULT_NUM_CTX
    num_thread: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    num_batch: int | None = None
    use_mmap: bool | None = None


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are known, with their types made right.

    Raises
    ------
    Refusal
        500 for a wrong type (Ollama's choice of status), 400 for what is refused.
    """
    checked = {}
    for name, value in options.items():
        if name in _REFUSED:
            raise not_supported(f'the option "{name}"')
        if name in _TYPES and value is not None:
            checked[name] = _typed(name, value)
    return checked


def _typed(name: str, value: object) -> object:
    wanted = _TYPES[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if wanted == _INTEGER and is_number:
        return int(value)  # type: ignore[call-overload]
    if wanted == _FLOAT and is_number:
        return float(value)  # type: ignore[arg-type]
    if wanted == _BOOLEAN and isinstance(value, bool):
        return value
    if wanted == _ARRAY and isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return value
        raise Refusal(500, f'option "{name}" must be of an array of strings')
    raise Refusal(500, f'option "{name}" must be of type {wanted}')


def load_options(options: Mapping[str, Any], trained_context: int) -> LoadOptions:
    """Return what the model is to be loaded with.

    Parameters
    ----------
    trained_context
        Tokens the model was trained for; a larger ``num_ctx`` is cut to it. 0: unknown.
    """
    num_ctx = options.get("num_ctx", 0)
    if num_ctx <= 0:
        num_ctx = DEFAULT_NUM_CTX
    if trained_context:
        num_ctx = min(num_ctx, trained_context)
    rest = ("num_thread", "num_gpu", "main_gpu", "num_batch", "use_mmap")
    given = {name: options[name] for name in rest if name in options}
    if given.get("num_thread") == 0:
        del given["num_thread"]  # Ollama: 0 leaves the choice to the runner
    return LoadOptions(num_ctx=num_ctx, **given)


def sampling(options: Mapping[str, Any], num_ctx: int) -> dict[str, Any]:
    """Return the fields of a llama.cpp request; the number of tokens has a cap."""
    chosen = {name: options[name] for name in _SAMPLING if name in options}
    cap = _CAP * num_ctx
    num_predict = options.get("num_predict", 0)
    chosen["max_tokens"] = min(num_predict, cap) if num_predict > 0 else cap
    return {**_SAMPLING_DEFAULTS, **chosen}
