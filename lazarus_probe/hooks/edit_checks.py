"""Whether looking changes nothing, and whether an edit does what it says, at every site of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_map

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.check import Check, CheckRun, distance, layers_of_kinds
from lazarus_probe.hooks.interventions import Intervention, patch, steer, zero
from lazarus_probe.hooks.sites import HEAD_AXIS, Site
from lazarus_probe.subject.finite import finite_at

PARTS = {"attn_out": "attention", "mixer_out": "mixer", "mlp_out": "mlp", "resid_post": ""}


def looking(run: CheckRun) -> Iterator[Check]:
    """Whether a run with a capture at every site is the plain one."""
    error = distance(run.watched, run.logits)
    yield Check("looking changes no logit", error == 0, error, note=f"{len(run.sites)} sites at once")
    calls = {site: len(run.seen.calls(site)) for site in run.sites}
    often = ", ".join(site for site, count in calls.items() if count != 1)
    yield Check("every site is met once", not often, note=often and f"not {often}")
    odd = [site for site in run.sites if not _finite(run.seen[site], Site.parse(site).kind)]
    yield Check("every value is finite", not odd, note=", ".join(odd))


def _finite(value: mx.array, kind: str) -> bool:
    return value.size > 0 and bool(finite_at(value, kind).item())


def writing(run: CheckRun) -> Iterator[Check]:
    """Whether an edit that writes into its argument is one that makes a new array: whole, at a position, of a head."""
    name = "an edit in place is one that makes a new array"
    error = _written_and_made(run, run.sites)
    if error <= run.tolerance:
        yield Check(name, True, error, note=f"{len(run.sites)} sites: whole, one position, one head")
        return
    lost = [site for site in run.sites if _written_and_made(run, [site]) > run.tolerance]
    yield Check(name, False, error, note=f"not at {', '.join(lost)}" if lost else "not at all sites at once")


def _written_and_made(run: CheckRun, sites: Sequence[str]) -> float:
    written, made = (
        run.trace((), [edit for site in sites for edit in _edits_at(site, halve)]).logits
        for halve in (_halve_in_place, _halve)
    )
    return distance(written, made)


def _edits_at(site: str, edit: Callable[[mx.array], mx.array]) -> list[Intervention]:
    edits = [Intervention(site, edit), Intervention(site, edit, "last")]
    one_head = Site.parse(site).kind in HEAD_AXIS
    return [*edits, Intervention(f"{site}.0", edit)] if one_head else edits


def _halve_in_place(value: mx.array) -> mx.array:
    value[...] = 0.5 * value
    return value


def _halve(value: mx.array) -> mx.array:
    return 0.5 * value


def editing(run: CheckRun) -> Iterator[Check]:
    """Whether edits of a middle block reach the logits, and those that change nothing do not."""
    kinds = layers_of_kinds(run.subject)
    layers = {kind: kinds[kind][(len(kinds[kind]) - 1) // 2] for kind in PARTS if kind in kinds}
    sites = [f"{kind}.{layer}" for kind, layer in layers.items()]
    for kind, layer in layers.items():
        yield _reaching(run, kind, layer)
    error = _with_itself(run, sites)
    for site in sites:
        own = error if error <= run.tolerance else _with_itself(run, [site])
        name = f"{site.split('.')[0]} patched with itself changes nothing"
        yield Check(name, own <= run.tolerance, own, note=site)
    same = run.trace((), [Intervention(site, lambda value: value) for site in run.sites]).logits
    yield run.check(
        "an edit that changes nothing changes no logit", same, run.logits, note=f"{len(run.sites)} sites"
    )


def _with_itself(run: CheckRun, sites: Sequence[str]) -> float:
    return distance(run.trace((), [patch(site, run.seen[site]) for site in sites]).logits, run.logits)


def _reaching(run: CheckRun, kind: str, layer: int) -> Check:
    site = f"{kind}.{layer}"
    own = run.seen[site]
    edits = {"steer": steer(site, direction(own))} | ({"zero": zero(site)} if mx.any(own != 0).item() else {})
    still = [name for name, edit in edits.items() if distance(run.trace((), edit).logits, run.logits) == 0]
    name = f"edits at {kind} reach the logits"
    if still and not _weights_reach(run, kind, layer):
        note = (
            f"nothing to check: {site} is multiplied by zero, its own weights do not reach the logits either"
        )
        return Check(name, None, note=note)
    notes = [site, *(f"{name} does not" for name in still)]
    return Check(name, not still, note=", ".join([*notes, *([] if "zero" in edits else ["it is zero"])]))


def direction(value: mx.array) -> mx.array:
    """A direction (D,) of about the size of a value (..., D), or of size 1 where the value is zero."""
    rng = np.random.default_rng(0)
    size: Any = mx.abs(value.astype(mx.float32)).mean().item()
    return mx.array((size or 1.0) * rng.normal(size=value.shape[-1])).astype(value.dtype)


def _weights_reach(run: CheckRun, kind: str, layer: int) -> bool:
    """Whether other weights in a part change the logits of a forward without any hook."""
    anatomy = run.subject.anatomy
    module: nn.Module = anatomy.part(PARTS[kind], layer) if PARTS[kind] else anatomy.blocks[layer]
    before: Any = module.parameters()
    module.update(tree_map(_moved, before))
    try:
        return distance(forward(run.subject.model, run.tokens), run.logits) > 0
    finally:
        module.update(before)


def _moved(weight: mx.array) -> mx.array:
    if not mx.issubdtype(weight.dtype, mx.floating):
        return weight
    noise = mx.random.normal(weight.shape, key=mx.random.key(0))
    return weight + (0.1 * noise).astype(weight.dtype)
