"""How many prompts and rows fit under a cap on memory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import mlx.core as mx

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.subject.dealt import of_the_first
from lazarus_probe.sweep.plan import Plan

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
# More than the widest vectors alive at once in a block, in units of the residual's width.
WIDTHS = 64


class Limits(NamedTuple):
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
        raise ValueError(f"memory {memory!r} is not an amount of bytes; give bytes, or a text such as '2GB'")
    return int(float(match[1]) * UNITS[(match[2] or "").upper()])


def bucket_limits(plan: Plan, tokens: mx.array, cap: int) -> Limits:
    """Divide a cap on memory: half for what is recorded of the prompts, half for two batches of rows in flight.

    Args:
        plan: the sweep.
        tokens: (B, T) of prompts of equal length.
        cap: bytes above the model's own.

    Raises:
        ValueError: one prompt does not fit.
    """
    prompt, length, layers = tokens[:1], tokens.shape[1], plan.subject.num_layers
    jobs = int(plan.grid.wanted.sum()) * len(plan.sources)
    width = 4 * length * plan.subject.anatomy.hidden_size  # bytes of a residual stream in float32
    rough = width * (WIDTHS * (jobs + 1) + layers * len(plan.grid.sites) * 8)
    if len(tokens) * rough < cap // 8:
        return Limits(len(tokens), len(tokens) * (jobs + 1))
    targets = plan.record_targets(prompt)
    donors = sum(ids is not None for ids in plan.donors.values())
    values = plan.record_donors(prompt).values.values() if donors else ()
    recorded = _bytes(targets.arrays()) + donors * _bytes(value.values for value in values)
    cached = _bytes(array for cache in targets.caches or [] for array in (cache.keys, cache.values))
    generated = 2 * (cached or 2 * recorded) if plan.answer else 0
    row = WIDTHS * width + generated
    if jobs * row + recorded < cap // 4:
        prompts = max(1, cap // 4 // (jobs * row + recorded))
        return Limits(prompts, prompts * max(jobs, 1))
    row = _peak(plan, prompt) + generated
    rows = cap // 4 // max(row, 1)
    prompts = min(cap // 2 // max(recorded, 1), rows)
    if prompts < 1:
        raise ValueError(
            f"memory is {cap:,} bytes, and a prompt of {length} tokens needs {max(2 * recorded, 4 * row):,}; "
            "give that, or fewer sites"
        )
    return Limits(prompts, rows)


def _peak(plan: Plan, prompt: mx.array) -> int:
    """Bytes that running one prompt takes at its peak."""
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    full = plan.route.name == "full"
    mx.eval([forward(plan.subject.model, prompt)] if full else plan.record_targets(prompt).arrays())
    # Processes of one run have to make the same batches.
    return int(of_the_first(plan.subject, mx.get_peak_memory() - before))


def _bytes(arrays: Iterable[Any]) -> int:
    return sum(array.nbytes for array in arrays)
