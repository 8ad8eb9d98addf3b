"""Every type of tensor is read as the numbers that it stands for."""

from __future__ import annotations

import gguf
import mlx.core as mx
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from lazarus_probe.checkpoints.gguf.reader import read_gguf
from lazarus_probe.checkpoints.gguf.tensor_types import TENSOR_TYPES, read_tensor
from tests.checkpoints.gguf.writing import write_file

SHAPE = (6, 512)
# Where each type keeps its scales of 16 bits, in bytes from the start of a block.
SCALES = {
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
    "IQ1_S": (0,), "IQ2_XXS": (0,), "IQ2_XS": (0,), "IQ2_S": (0,), "IQ3_XXS": (0,), "IQ3_S": (0,), "IQ4_NL": (0,),
    "IQ4_XS": (0,), "TQ1_0": (52,), "TQ2_0": (64,),
}  # fmt: skip
OF_MLX = ("Q4_0", "Q4_1", "Q8_0")


def written(tmp_path, kind: Type) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of a random tensor, and what is read of it."""
    rng = np.random.default_rng(int(kind))
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if kind.name in SCALES:
        rows = rng.integers(0, 256, (SHAPE[0], SHAPE[1] // block, size), np.uint8)
        for start in SCALES[kind.name]:
            scales = rng.uniform(0.01, 0.02, rows.shape[:2]).astype(np.float16)
            rows[..., start : start + 2] = scales.view(np.uint8).reshape(*rows.shape[:2], 2)
        raw = rows.reshape(SHAPE[0], -1)
    elif kind is Type.IQ1_M or kind is Type.MXFP4:
        raw = rng.integers(56, 60, (SHAPE[0], SHAPE[1] // block * size), np.uint8)
    else:
        raw = np.ascontiguousarray(gguf.quantize(rng.normal(size=SHAPE).astype(np.float32), kind))
    path = write_file(tmp_path / "a.gguf", "llama", {}, {"token_embd.weight": (raw, kind)})
    return raw, read_tensor(read_gguf(path).tensors["token_embd.weight"])


@pytest.mark.parametrize("name", [kind.name for kind in TENSOR_TYPES.values() if kind.name not in OF_MLX])
def test_numbers_are_those_of_the_gguf_package(tmp_path, name):
    """Row by row, as that reads them."""
    raw, values = written(tmp_path, Type[name])
    expected = np.stack([gguf.dequantize(np.ascontiguousarray(row), Type[name]) for row in raw])
    assert values.shape == SHAPE
    assert np.ptp(values) > 0
    np.testing.assert_array_equal(values, expected.reshape(SHAPE))


@pytest.mark.parametrize("name", OF_MLX)
def test_numbers_are_those_of_mlxs_quantised_layers(tmp_path, name):
    """What mlx's own reader and `mx.dequantize` make of the types that it reads, which is nearly what is exact."""
    raw, values = written(tmp_path, Type[name])
    arrays = mx.load(str(tmp_path / "a.gguf"))
    parts = [arrays[f"token_embd.{part}"] for part in ("weight", "scales", "biases")]
    expected = mx.dequantize(*parts, group_size=32, bits=8 if name == "Q8_0" else 4).astype(mx.float32)
    np.testing.assert_array_equal(values, np.array(expected))
    np.testing.assert_allclose(values, gguf.dequantize(raw, Type[name]).reshape(SHAPE), atol=3e-3)


@pytest.mark.parametrize("kind", [Type.Q4_0, Type.Q4_1, Type.Q8_0, Type.Q5_0, Type.F16, Type.BF16])
def test_two_dimensions_are_rows_and_columns(tmp_path, kind):
    """A row is what it was when it was written, and none of another's."""
    values = np.repeat(np.arange(4, dtype=np.float32)[:, None], 32, axis=1)
    path = write_file(tmp_path / "a.gguf", "llama", {}, {"a.weight": (gguf.quantize(values, kind), kind)})
    np.testing.assert_allclose(read_tensor(read_gguf(path).tensors["a.weight"]), values, atol=0.02)


def test_large_tensors_are_read_in_parts(tmp_path, monkeypatch):
    """What is read in parts is what is read at once."""
    _, whole = written(tmp_path, Type.Q6_K)
    monkeypatch.setattr("lazarus_probe.checkpoints.gguf.tensor_types.CHUNK", 5)
    np.testing.assert_array_equal(written(tmp_path, Type.Q6_K)[1], whole)
