"""How many prompts and rows fit under a cap on memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
# More than the widest vectors alive at once in a block, in units of the residual's width.
WIDTHS = 64


@dataclass(frozen=True)
class Limits:
    """How many prompts are recorded together, and how many rows run together."""

    prompts: int
    rows: int


def parse_bytes(memory: str | int) -> int:
    """Bytes of a number, or of a text such as "2GB" or "512MiB".

    Raises:
        ValueError: it is neither, or not positive.
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMG]i?B)?\s*", str(memory), re.IGNORECASE)
    if match is None or match[1].count(".") > 1 or not float(match[1]) > 0:
        raise ValueError(f"memory {memory!r} is no amount; give bytes, or a text such as '2GB'")
    return int(float(match[1]) * UNITS[(match[2] or "").upper()])


def limits(
    cap: int, kept: int, generated: int, width: int, length: int, jobs: int, run: Callable[[], list[mx.array]]
) -> Limits:
    """Divide a cap on memory: half for what is recorded of the prompts, half for two batches of rows in flight.

    Args:
        cap: bytes above the model's own.
        kept: bytes recorded for one prompt.
        generated: bytes that a row keeps while it generates.
        width: of the residual stream.
        length: of the prompts.
        jobs: rows of one prompt.
        run: makes, unevaluated, a run of one prompt, whose peak is measured if the sweep is not small.

    Raises:
        ValueError: one prompt does not fit.
    """
    row = 4 * WIDTHS * width * length + 2 * generated
    if jobs * row + kept < cap // 4:
        prompts = max(1, cap // 4 // (jobs * row + kept))
        return Limits(prompts, prompts * max(jobs, 1))
    row = _peak(run) + 2 * generated
    found = Limits(cap // 2 // max(kept, 1), cap // 4 // max(row, 1))
    if min(found.prompts, found.rows) < 1:
        need = max(2 * kept, 4 * row)
        raise ValueError(
            f"memory is {cap:,} bytes, and a prompt of {length} tokens needs {need:,}; give that, or fewer sites"
        )
    return Limits(min(found.prompts, found.rows), found.rows)


def _peak(run: Callable[[], list[mx.array]]) -> int:
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(run())
    return int(mx.get_peak_memory() - before)
