"""The header of a GGUF file: what the model is, without loading it.

Reads the metadata and the list of tensors, never the weights. The file is untrusted:
damage raises ``GGUFError`` and nothing else.
Source: the GGUF specification (ggml, ``docs/gguf.md``), versions 2 and 3.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NUMBERS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_TYPE_FLOAT32, _TYPE_STRING, _TYPE_ARRAY = 6, 8, 9
_MAX_DIMENSIONS = 8

_FILE_TYPE_NAMES = (
    "F32 F16 Q4_0 Q4_1 - - - Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S "
    "Q4_K_M Q5_K_S Q5_K_M Q6_K IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL "
    "IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16 - - - TQ1_0 TQ2_0 MXFP4"
)
_TENSOR_TYPE_NAMES = (
    "F32 F16 Q4_0 Q4_1 - - Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K "
    "IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS I8 I16 I32 I64 F64 "
    "IQ1_M BF16 - - - TQ1_0 TQ2_0 - - - MXFP4"
)
_FILE_TYPES = dict(enumerate(_FILE_TYPE_NAMES.split()))
_TENSOR_TYPES = dict(enumerate(_TENSOR_TYPE_NAMES.split()))


class GGUFError(ValueError):
    """The file is not a readable GGUF file."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor: its name, its type (such as ``Q4_1``) and its shape."""

    name: str
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """The metadata and tensors of one file."""

    metadata: Mapping[str, Any]
    """Arrays are ``None`` unless requested."""
    tensors: tuple[Tensor, ...] = field(repr=False)

    @property
    def architecture(self) -> str:
        """The family, such as ``llama``; empty if the file has none."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def context_length(self) -> int:
        """The number of tokens the model was trained for; 0 if unknown."""
        return self._number("context_length")

    @property
    def embedding_length(self) -> int:
        """The length of a hidden vector; 0 if unknown."""
        return self._number("embedding_length")

    @property
    def parameter_count(self) -> int:
        """The number of weights in all tensors."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def quantization(self) -> str:
        """The quantization in Ollama's form, such as ``Q4_1``."""
        name = _FILE_TYPES.get(self.metadata.get("general.file_type", -1), "-")
        return "unknown" if name == "-" else name

    @property
    def chat_template(self) -> str:
        """The Jinja chat template; empty if the model has none."""
        return str(self.metadata.get("tokenizer.chat_template") or "")

    @property
    def is_generative(self) -> bool:
        """Whether it generates text: not a projector, adapter or embedding model."""
        pooling = f"{self.architecture}.pooling_type"
        is_model = self.metadata.get("general.type", "model") == "model"
        has_vocabulary = "tokenizer.ggml.model" in self.metadata
        return is_model and has_vocabulary and pooling not in self.metadata

    def _number(self, name: str) -> int:
        value = self.metadata.get(f"{self.architecture}.{name}", 0)
        return value if isinstance(value, int) else 0


def human_parameters(count: int) -> str:
    """Return a number of parameters as Ollama writes it.

    Examples
    --------
    >>> human_parameters(134_515_008), human_parameters(7_241_732_096)
    ('134.52M', '7.2B')
    """
    for unit, letter, digits in ((1e9, "B", 1), (1e6, "M", 2), (1e3, "K", 0)):
        if count >= unit:
            return f"{count / unit:.{digits}f}{letter}"
    return str(count)


def read_header(path: Path, *, with_arrays: bool = False) -> GGUFHeader:
    """Read the header of a GGUF file.

    Parameters
    ----------
    with_arrays
        Include arrays, such as the vocabulary, which takes megabytes.

    Raises
    ------
    GGUFError
        It is not GGUF, has an unsupported byte order or version, or is truncated.
    OSError
        The file cannot be opened.
    """
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise GGUFError("the file is empty") from error
        with data:
            try:
                return _Reader(data, with_arrays=with_arrays).header()
            except (struct.error, KeyError, UnicodeDecodeError, IndexError) as error:
                raise GGUFError("the GGUF header is damaged or truncated") from error


class _Reader:
    """Reads values from the file, one after the other."""

    def __init__(self, data: mmap.mmap, *, with_arrays: bool) -> None:
        self._data = data
        self._at = 0
        self._with_arrays = with_arrays

    def header(self) -> GGUFHeader:
        if self._data[:4] != b"GGUF":
            raise GGUFError("not a GGUF file")
        self._at = 4
        version = self._take("<I")
        if version not in {2, 3}:
            raise GGUFError("only little-endian GGUF of version 2 or 3 can be read")
        tensor_count, entry_count = self._take("<Q"), self._take("<Q")
        metadata = {}
        for _ in range(entry_count):
            key = self._string()
            metadata[key] = self._value(self._take("<I"))
        return GGUFHeader(metadata, tuple(self._tensor() for _ in range(tensor_count)))

    def _take(self, layout: str) -> Any:  # noqa: ANN401  (the layout decides)
        (value,) = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return value

    def _string(self) -> str:
        return self._skip(self._take("<Q")).decode("utf-8")

    def _skip(self, length: int) -> bytes:
        start, self._at = self._at, self._at + length
        if self._at > len(self._data):
            raise GGUFError("the GGUF header is damaged or truncated")
        return self._data[start : self._at]

    def _value(self, kind: int) -> object:
        if kind == _TYPE_STRING:
            return self._string()
        if kind == _TYPE_ARRAY:
            return self._array(self._take("<I"), self._take("<Q"))
        value = self._take(_NUMBERS[kind])
        return _shortest(value) if kind == _TYPE_FLOAT32 else value

    def _array(self, kind: int, count: int) -> list[object] | None:
        if kind == _TYPE_ARRAY:
            raise GGUFError("arrays of arrays cannot be read")
        if self._with_arrays:
            return [self._value(kind) for _ in range(count)]
        if kind == _TYPE_STRING:
            for _ in range(count):
                self._skip(self._take("<Q"))
        else:
            self._skip(count * struct.calcsize(_NUMBERS[kind]))
        return None

    def _tensor(self) -> Tensor:
        name, dimensions = self._string(), self._take("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise GGUFError("the GGUF header is damaged or truncated")
        shape = tuple(self._take("<Q") for _ in range(dimensions))
        kind = _TENSOR_TYPES.get(self._take("<I"), "-")
        self._take("<Q")  # where its weights are
        return Tensor(name, kind, shape)


def _shortest(value: float) -> float:
    """Return the shortest decimal for a float32: 1e-05, not 9.99…e-06."""
    packed = struct.pack("<f", value)
    for digits in range(1, 10):
        candidate = float(f"{value:.{digits}g}")
        if struct.pack("<f", candidate) == packed:
            return candidate
    return value  # not a number
