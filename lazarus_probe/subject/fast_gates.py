"""The gates of MLPs on a CPU, by NumPy's exponential: mlx's is scalar there.

`silu(gate) * up` of 1,536 x 1,536 values takes mlx longer than an MLP's largest product, and NumPy a third of that
(`tests/benchmarks/gates.py`). Only numbers that are held to float32's rounding anyway are computed so: activations that
are collected, answers that are generated, sweeps and circuits of edges. `trace`, edits, checks and training run the
model's own code.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np

from lazarus_probe.subject.subject import Subject

VARIABLE = "LAZARUS_GATES"
OWN = "model"  # what it is set to for the model's own code everywhere
# Narrower gates take less time than waiting for them does, and small models keep their bits.
NARROW = 1024
# Calls of blocks whose MLPs nobody needs.
_left_to_mlx = False


@contextmanager
def fast_gates(subject: Subject, blocks: int | None = None) -> Iterator[None]:
    """Within it the model's `swiglu` is NumPy's, where it is mlx-lm's own, in float32, on a CPU.

    Nothing within may be compiled or differentiated. Not thread-safe, as hooks are not.

    Args:
        subject: the model.
        blocks: how many blocks of each forward are needed for certain, from the first; by default all but the last.
            NumPy computes at once, so that what mlx would never have reached is left to mlx.
    """
    files = _with_swiglu(subject) if is_fast() else []
    own = [file.swiglu for file in files]
    needed = subject.num_layers - 1 if blocks is None else blocks
    calls = itertools.cycle(range(subject.num_layers))
    try:
        for file, swiglu in zip(files, own, strict=True):
            file.swiglu = _falling_back(swiglu, lambda: next(calls) < needed)
        yield
    finally:
        for file, swiglu in zip(files, own, strict=True):
            file.swiglu = swiglu


@contextmanager
def left_to_mlx() -> Iterator[None]:
    """Within it gates are the model's own also under `fast_gates`: for a call whose MLPs mlx is not to compute."""
    global _left_to_mlx
    before, _left_to_mlx = _left_to_mlx, True
    try:
        yield
    finally:
        _left_to_mlx = before


def is_fast() -> bool:
    """Whether gates may be computed by NumPy here."""
    return os.environ.get(VARIABLE) != OWN and mx.default_device().type == mx.DeviceType.cpu


def _with_swiglu(subject: Subject) -> list[Any]:
    """The files of mlx-lm's that the model's blocks come from, as far as they call its `swiglu`."""
    from mlx_lm.models import activations

    names = {type(module).__module__ for block in subject.anatomy.blocks for module in block.modules()}
    files = [sys.modules[name] for name in sorted(names) if name in sys.modules]
    return [file for file in files if getattr(file, "swiglu", None) is activations.swiglu]


def _falling_back(own: Any, is_needed: Callable[[], bool]) -> Any:
    def swiglu(gate: mx.array, up: mx.array) -> mx.array:
        wide = gate.dtype == up.dtype == mx.float32 and gate.shape[-1] >= NARROW
        if is_needed() and wide and not _left_to_mlx:
            return numpy_swiglu(gate, up)
        result: mx.array = own(gate, up)
        return result

    return swiglu


def numpy_swiglu(gate: mx.array, up: mx.array) -> mx.array:
    """`silu(gate) * up` of float32 arrays (..., D), within two roundings of mlx's."""
    mx.eval(gate, up)
    gates = np.asarray(gate)
    # Beyond 88 an exponential is infinite, and the gate is closed: 0, as in mlx.
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.exp(-gates)
        values += 1
        np.divide(gates, values, out=values)
        values *= np.asarray(up)
    return mx.array(values)
