"""The types of tensors that GGUF files hold, and their numbers as float32.

Quantised types are blocks of so many numbers that share a scale; the gguf package knows the layout of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.files.reading import open_regular

READ = (
    *("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    *(
        "IQ1_S",
        "IQ1_M",
        "IQ2_XXS",
        "IQ2_XS",
        "IQ2_S",
        "IQ3_XXS",
        "IQ3_S",
        "IQ4_NL",
        "IQ4_XS",
        "TQ1_0",
        "TQ2_0",
    ),
    "MXFP4",
)


CHUNK = 2**15  # blocks


@dataclass(frozen=True)
class TensorType:
    """How numbers are stored.

    Attributes:
        name: as in Q4_K.
        block: how many numbers are stored together.
        block_bytes: that these take.
    """

    name: str
    block: int
    block_bytes: int


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file.

    Attributes:
        path: the file that holds it.
        type: how its numbers are stored.
        shape: of the tensor, the rows first, as in NumPy.
        start: byte of the file at which it begins.
    """

    path: Path
    type: TensorType
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes it takes in the file."""
        return self.size // self.type.block * self.type.block_bytes


TENSOR_TYPES = {
    int(number): TensorType(number.name, *GGML_QUANT_SIZES[number])
    for name in READ
    for number in [GGMLQuantizationType[name]]
}
TYPE_NAMES = {int(number): number.name for number in GGMLQuantizationType}


def read_tensor(entry: TensorEntry) -> NDArray[np.float32]:
    """The numbers of a tensor.

    Raises:
        LoadError: the file no longer holds them.
    """
    raw = np.empty(entry.nbytes, np.uint8)
    try:
        with open_regular(entry.path) as file:
            file.seek(entry.start)
            count = file.readinto(raw.data) if entry.nbytes else 0  # type: ignore[attr-defined]
    except OSError as error:
        raise LoadError(f"{entry.path} cannot be read: {error.strerror or error}") from None
    if count != entry.nbytes:
        raise LoadError(f"{entry.path} is truncated: it changed while it was read; fetch it again")
    return _float32(raw, entry.type).reshape(entry.shape)


def _float32(raw: NDArray[np.uint8], kind: TensorType) -> NDArray[np.float32]:
    if kind.name == "F32":
        return raw.view("<f4").astype(np.float32, copy=False)
    if kind.name == "F16":
        return raw.view("<f2").astype(np.float32)
    values = np.empty(len(raw) // kind.block_bytes * kind.block, np.float32)
    blocks = raw.reshape(-1, kind.block_bytes)
    for start in range(0, len(blocks), CHUNK):  # what is computed on the way takes several times the room
        part = blocks[start : start + CHUNK]
        with np.errstate(all="ignore"):  # numbers that are not finite are refused by name, later
            if kind.name in AFFINE:
                numbers = AFFINE[kind.name](part)
            else:
                numbers = dequantize(part.reshape(-1), GGMLQuantizationType[kind.name])
        values[start * kind.block : (start + CHUNK) * kind.block] = numbers
    return values


def _q4_0(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    scales = _halves(blocks, 0)
    return _affine(_nibbles(blocks[:, 2:]), 4, scales, np.float16(-8) * scales)


def _q4_1(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    return _affine(_nibbles(blocks[:, 4:]), 4, _halves(blocks, 0), _halves(blocks, 2))


def _q8_0(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    scales = _halves(blocks, 0)
    return _affine(blocks[:, 2:] ^ np.uint8(0x80), 8, scales, np.float16(-128) * scales)


# The types that mlx has quantised layers for. Their numbers are those of these layers: float16, as their scales.
AFFINE = {"Q4_0": _q4_0, "Q4_1": _q4_1, "Q8_0": _q8_0}


def _halves(blocks: NDArray[np.uint8], start: int) -> NDArray[np.float16]:
    return np.ascontiguousarray(blocks[:, start : start + 2]).view("<f2")


def _nibbles(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """32 codes of four bits as mlx packs them, neighbours in a byte; GGUF has the first half below the second."""
    ordered = np.concatenate([codes & 0xF, codes >> 4], axis=1)
    return ordered[:, ::2] | (ordered[:, 1::2] << 4)


def _affine(
    codes: NDArray[np.uint8], bits: int, scales: NDArray[np.float16], biases: NDArray[np.float16]
) -> NDArray[np.float32]:
    """Each code times the scale of its block, plus its bias, as mlx computes it."""
    import mlx.core as mx

    packed = mx.array(np.ascontiguousarray(codes).view("<u4"))
    numbers = mx.dequantize(packed, mx.array(scales), mx.array(biases), group_size=32, bits=bits)
    return np.array(numbers.astype(mx.float32)).reshape(-1)
