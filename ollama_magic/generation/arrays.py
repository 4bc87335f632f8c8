"""Turns arrays into files for a model: pixels into PNG, samples of sound into WAV.

``images`` calls it. An array is one of numpy, or a tensor that has one.
"""

from __future__ import annotations

import io
from numbers import Real
from typing import Any

from ollama_magic.client.images import png_of
from ollama_magic.errors import PromptError
from ollama_magic.generation.values import as_array, is_from

_MAX_CHANNELS = 8
_MAX_HERTZ = 1_000_000


def png_of_array(value: object) -> bytes:
    """Return an array of pixels as a PNG file.

    Raises
    ------
    PromptError
        The array has another shape, type or range than those of an image.
    """
    array: Any = as_array(value)
    if is_from(value, "torch", "Tensor"):
        array = _channels_last(array)
    shape = array.shape
    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in {2, 3} or channels not in {1, 3, 4} or not array.size:
        raise _not_pixels(array, f"its shape is {shape}")
    kind = array.dtype
    if kind.kind == "f":
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):  # also if one is NaN
            raise _not_pixels(array, f"its values range from {low:g} to {high:g}")
        array = (array * 255).round()
    elif kind.kind == "b":
        array = array * 255
    elif kind != "uint8":
        raise _not_pixels(array, f"its type is {kind}")
    samples = array.astype("uint8").tobytes()
    return png_of(shape[1], shape[0], channels, samples)


def _channels_last(array: Any) -> Any:  # noqa: ANN401  (an ndarray)
    """Return an image as (h, w, channels); torch has the channels first."""
    colours = {1, 3, 4}
    is_first = array.ndim == 3 and array.shape[0] in colours
    is_last = array.ndim == 3 and array.shape[2] in colours
    return array.transpose(1, 2, 0) if is_first and not is_last else array


def _not_pixels(array: Any, why: str) -> PromptError:  # noqa: ANN401
    if array.ndim == 4:
        example = "x[0]"
    elif array.ndim == 3 and array.shape[2] not in {1, 3, 4}:
        example = (
            "x.transpose(1, 2, 0)" if array.shape[0] in {1, 3, 4} else "x[:, :, 0]"
        )
    elif array.dtype.kind == "f":
        example = "(x - x.min()) / (x.max() - x.min())"
    else:
        example = "x.astype('uint8')"
    return PromptError(
        "The array is not an image.",
        why=f"{why}; the shape must be (h, w), (h, w, 3) or (h, w, 4), and the values "
        "uint8, bool, or floats from 0 to 1",
        next_step=f"convert it in a cell above: image = {example}",
    )


def wav_of(value: object) -> bytes | None:
    """Return samples with their rate as a WAV file; None for another value.

    Parameters
    ----------
    value
        An array and its rate in samples per second, in either order, or a dict with
        ``array`` and ``sampling_rate``, as in datasets of Hugging Face. The
        array has the shape (n,), (n, channels) or (channels, n); its values are int16,
        int32, uint8, or floats from -1 to 1.

    Raises
    ------
    PromptError
        The array has another shape, type or range.
    """
    if isinstance(value, dict) and {"array", "sampling_rate"} <= value.keys():
        value = value["array"], value["sampling_rate"]
    if type(value) is not tuple or len(value) != 2:
        return None
    for samples, rate in (value, value[::-1]):
        if isinstance(rate, Real) and (array := as_array(samples)) is not None:
            return _wav(array, int(float(rate)))
    return None


def _wav(array: Any, rate: int) -> bytes:  # noqa: ANN401  (an ndarray)
    import wave

    if array.ndim == 2 and array.shape[0] < array.shape[1]:
        array = array.T
    channels = array.shape[1] if array.ndim == 2 else 1
    if array.ndim not in {1, 2} or not array.size or channels > _MAX_CHANNELS:
        raise _not_samples(f"its shape is {array.shape}", "x.ravel()")
    if not 0 < rate <= _MAX_HERTZ:
        raise _not_samples(f"its rate is {rate}", "x")
    kind = array.dtype
    if kind.kind == "f":
        low, high = array.min(), array.max()
        if not (low >= -1 and high <= 1):  # also if one is NaN
            is_nan = str(low) == "nan"
            example = "numpy.nan_to_num(x)" if is_nan else "x / abs(x).max()"
            raise _not_samples(f"its values range from {low:g} to {high:g}", example)
        array = (array.astype("float64") * 32_767).round()
    elif kind.str[1:] == "i4":  # after the order of its bytes
        array = array >> 16
    elif kind.str[1:] not in {"i2", "u1"}:
        raise _not_samples(f"its type is {kind}", "x / abs(x).max()")
    width = 1 if kind == "uint8" else 2
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(array.astype("u1" if width == 1 else "<i2").tobytes())
    return buffer.getvalue()


def _not_samples(why: str, example: str) -> PromptError:
    return PromptError(
        "The array is not a sound.",
        why=f"{why}; it must be (array, samples per second), the array of shape (n,) "
        "or (n, channels), and its values int16, int32, uint8, or floats from -1 to 1",
        next_step=f"convert it in a cell above: sound = ({example}, rate)",
    )
