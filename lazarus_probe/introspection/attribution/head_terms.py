"""What single heads add to the residual stream: their outputs through the output projection, one at a time."""

# ruff: noqa: N806 - B and H are the names that the field gives to these sizes

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Floats = NDArray[np.float64]


def projected_heads(subject: Subject, layer: int, heads: NDArray[Any]) -> tuple[Floats, Floats]:
    """Each head's output (B, H, Dh) alone after the output projection, (B, H, D), and that projection's bias (B, D).

    Raises:
        KeyError: the block has no output projection.
    """
    B, H, _ = heads.shape
    project = subject.anatomy.part("o_proj", layer)
    alone = heads[:, None] * np.eye(H)[None, :, :, None]
    rows = np.concatenate([alone, np.zeros_like(heads)[:, None]], axis=1).reshape(B, H + 1, -1)
    out = project(mx.array(rows.astype(np.float32)).astype(getattr(mx, subject.dtype)))
    projected = np.array(out.astype(mx.float32), dtype=np.float64)
    return projected[:, :H] - projected[:, H:], projected[:, H]
