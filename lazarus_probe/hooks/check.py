"""A statement about hooks on a model, and the run of the model that statements are checked on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.hooks.captures import Captures
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.places import whole_value
from lazarus_probe.hooks.trace import Trace, hooked, trace
from lazarus_probe.subject.dealt import of_the_first
from lazarus_probe.subject.finite import require_finite, require_finite_weights
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import Change, Inside, Tap, held, tapped

TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
TOKENS = (2, 12)
# The checks run a model some twenty times. One that takes this many seconds of CPU time for a few tokens is run on no
# more than those: mlx-lm's own tiny jamba, whose scan copies a state of 200 MB at each of 12 positions, took minutes.
FEW_TOKENS, SLOW = (1, 3), 0.3


@dataclass(frozen=True)
class Check:
    """One statement about hooks on a model.

    Attributes:
        name: what must hold.
        holds: whether it does; None where the model has nothing to check it on.
        error: largest difference, relative to the largest value.
        required: whether a model on which it fails cannot be trusted; other statements are facts about the model.
        note: what was checked, or what differs.
    """

    name: str
    holds: bool | None
    error: float | None = None
    required: bool = True
    note: str = ""


@dataclass(frozen=True, eq=False)
class CheckRun:
    """A plain forward of a model, and the same watched at every site.

    Attributes:
        subject: the model.
        tokens: (B, L) what it was given.
        logits: (B, L, V) of its own forward.
        watched: (B, L, V) of the watched one.
        seen: what was captured, at every site.
        kernels: by layer, what the attention kernel returned (B, L, H, Dv).
        tolerance: relative error that is put down to rounding.
    """

    subject: Subject
    tokens: mx.array
    logits: mx.array
    watched: mx.array
    seen: Captures
    kernels: dict[int, mx.array]
    tolerance: float

    def check(self, name: str, actual: Any, expected: Any, required: bool = True, note: str = "") -> Check:
        """Whether two arrays are the same up to rounding."""
        error = distance(actual, expected)
        return Check(name, error <= self.tolerance, error, required, note)

    def over_layers(self, name: str, pairs: Sequence[tuple[int, Any, Any]], required: bool = True) -> Check:
        """The worst of what was found and expected at several layers."""
        errors = {layer: distance(actual, expected) for layer, actual, expected in pairs}
        if not errors:
            return Check(name, None, None, required, "nothing to check: no layer has these sites")
        wrong = [layer for layer, error in errors.items() if error > self.tolerance]
        note = f"not at layers {', '.join(map(str, wrong))}" if wrong else f"{len(errors)} layers"
        return Check(name, not wrong, max(errors.values()), required, note)

    def trace(self, capture: Any = (), interventions: Any = ()) -> Trace:
        """The same tokens once more."""
        return trace(self.subject, self.tokens, capture, interventions)

    @property
    def sites(self) -> list[str]:
        """Every site of the model."""
        return all_sites(self.subject)


def check_run(subject: Subject, tokens: Any = None) -> CheckRun:
    """Run a model on tokens (B, L), by default on some drawn from its vocabulary, and watch it.

    Raises:
        NotFinite: its own weights or logits are not finite.
    """
    require_finite_weights(subject)
    prompt_tokens = _drawn(subject) if tokens is None else mx.array(tokens)
    logits = forward(subject.model, prompt_tokens)
    kernels: dict[int, mx.array] = {}
    with tapped(list(_kernel_taps(subject, kernels))), hooked(subject, all_sites(subject)) as captured:
        watched = forward(subject.model, prompt_tokens)
    mx.eval(logits, watched, kernels, [value for values in captured.seen.values() for value in values])
    require_finite(subject, prompt_tokens, logits)
    return CheckRun(
        subject, prompt_tokens, logits, watched, captured, kernels, TOLERANCE.get(subject.dtype, 1e-4)
    )


def _drawn(subject: Subject) -> mx.array:
    rng = np.random.default_rng(0)
    tokens = mx.array(rng.integers(0, subject.anatomy.vocab_size, size=TOKENS))
    few = tokens[: FEW_TOKENS[0], : FEW_TOKENS[1]]
    mx.eval(forward(subject.model, few))  # the first time a compiler may run
    begin = time.process_time()
    mx.eval(forward(subject.model, few))
    took = time.process_time() - begin
    # Processes of one run have to run the same.
    return few if of_the_first(subject, took) > SLOW else tokens


def _kernel_taps(subject: Subject, outputs: dict[int, mx.array]) -> Iterator[Tap]:
    anatomy = subject.anatomy
    for layer, parts in enumerate(anatomy.parts):
        if parts.heads and parts.heads.fused and "head_out" in kinds_at(anatomy, layer):
            yield Tap(
                anatomy.part("attention", layer), inside=Inside("output", _noted(anatomy, outputs, layer))
            )


def _noted(anatomy: Anatomy, values: dict[int, mx.array], layer: int) -> Change:
    def note(value: mx.array) -> None:
        values[layer] = held(whole_value(anatomy, layer, "head_out", value))

    return note


def distance(actual: Any, expected: Any) -> float:
    """Largest difference between two arrays, relative to the largest value of the second."""
    left, right = (np.array(value.astype(mx.float32)) for value in (actual, expected))
    if left.shape != right.shape or not np.all(np.isfinite(left)):
        return float("inf")
    size = float(np.abs(right).max())
    return float(np.abs(left - right).max()) / (size or 1.0)


def layers_of_kinds(subject: Subject) -> dict[str, tuple[int, ...]]:
    """The kinds of site that a model has, with the layers that have them."""
    layers_of = {
        kind: tuple(layer for layer in range(subject.num_layers) if kind in kinds_at(subject.anatomy, layer))
        for kind in PER_LAYER
    }
    return {"embed": (), **{kind: layers for kind, layers in layers_of.items() if layers}, "logits": ()}


def all_sites(subject: Subject) -> list[str]:
    """Every site of a model."""
    kinds = layers_of_kinds(subject)
    return [
        f"{kind}.{layer}" if kind in PER_LAYER else kind for kind in kinds for layer in kinds[kind] or (0,)
    ]
