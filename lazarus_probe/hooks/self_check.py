"""Whether hooks do on a model what they say: checked on the model itself, against its own plain forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np

from lazarus_probe.hooks.additivity import Additivity, additivity
from lazarus_probe.hooks.interventions import Intervention, patch, steer, zero
from lazarus_probe.hooks.replay import replay, resume
from lazarus_probe.hooks.sites import PER_LAYER, kinds_at
from lazarus_probe.hooks.trace import Trace, hooked, trace
from lazarus_probe.subject.generate import forward, new_cache
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import Change, Inside, Tap, held, mix, tapped

LENGTH = 12
TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
PARTS = ("attn_out", "mixer_out", "mlp_out", "resid_post")


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


@dataclass(frozen=True)
class SelfCheck:
    """What a model has, and which statements about hooks hold on it.

    Attributes:
        architecture: the file of mlx-lm that the model comes from.
        num_layers: its blocks.
        sites: the kinds of site, with the layers that have them.
        additivity: the sum that each block makes.
        checks: the statements.
    """

    architecture: str
    num_layers: int
    sites: dict[str, tuple[int, ...]]
    additivity: tuple[Additivity, ...]
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every statement that is required holds."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The required statements that do not hold."""
        return tuple(check for check in self.checks if check.required and check.holds is False)

    def __getitem__(self, name: str) -> Check:
        """The statement of that name."""
        return next(check for check in self.checks if check.name == name)


def self_check(subject: Subject, tokens: Any = None) -> SelfCheck:
    """Check every kind of hook on a model, against its own plain forward.

    Args:
        subject: the model; a tokenizer is not needed.
        tokens: (2, L) token ids to run; 12 drawn from the vocabulary by default.
    """
    given = _drawn(subject) if tokens is None else mx.array(tokens)
    run = _Run(subject, given, forward(subject.model, given), TOLERANCE.get(subject.dtype, 1e-4))
    return SelfCheck(
        architecture=type(subject.model).__module__.rsplit(".", 1)[-1],
        num_layers=subject.num_layers,
        sites=_sites(subject),
        additivity=tuple(additivity(subject, given, run.tolerance)),
        checks=tuple(check for checks in CHECKS for check in checks(run)),
    )


@dataclass(frozen=True, eq=False)
class _Run:
    subject: Subject
    tokens: mx.array
    logits: mx.array
    tolerance: float

    def check(self, name: str, found: Any, expected: Any, required: bool = True, note: str = "") -> Check:
        error = distance(found, expected)
        return Check(name, error <= self.tolerance, error, required, note)

    def over_layers(self, name: str, pairs: Sequence[tuple[int, Any, Any]], required: bool = True) -> Check:
        """The worst of what was found and expected at several layers."""
        errors = {layer: distance(found, expected) for layer, found, expected in pairs}
        if not errors:
            return Check(name, None, None, required, "no layer to check it on")
        wrong = [layer for layer, error in errors.items() if error > self.tolerance]
        note = f"not at layers {', '.join(map(str, wrong))}" if wrong else f"{len(errors)} layers"
        return Check(name, not wrong, max(errors.values()), required, note)

    def trace(self, capture: Any = (), interventions: Any = ()) -> Trace:
        return trace(self.subject, self.tokens, capture, interventions)


def distance(found: Any, expected: Any) -> float:
    """Largest difference between two arrays, relative to the largest value of the second."""
    left, right = (np.array(value.astype(mx.float32)) for value in (found, expected))
    if left.shape != right.shape or not np.all(np.isfinite(left)):
        return float("inf")
    size = float(np.abs(right).max())
    return float(np.abs(left - right).max()) / (size or 1.0)


def _drawn(subject: Subject) -> mx.array:
    rng = np.random.default_rng(0)
    return mx.array(rng.integers(0, subject.anatomy.vocab_size, size=(2, LENGTH)))


def _sites(subject: Subject) -> dict[str, tuple[int, ...]]:
    layers = range(subject.num_layers)
    there = {
        kind: tuple(layer for layer in layers if kind in kinds_at(subject.anatomy, layer))
        for kind in PER_LAYER
    }
    return {"embed": (), **{kind: found for kind, found in there.items() if found}, "logits": ()}


def _all_sites(subject: Subject) -> list[str]:
    found = _sites(subject)
    return [
        f"{kind}.{layer}" if kind in PER_LAYER else kind for kind in found for layer in found[kind] or (0,)
    ]


def _looking(run: _Run) -> Iterator[Check]:
    sites = _all_sites(run.subject)
    same = [Intervention(site, lambda value: value) for site in sites]
    with hooked(run.subject, sites, same) as captures:
        logits = forward(run.subject.model, run.tokens)
    error = distance(logits, run.logits)
    yield Check("looking changes no logit", error == 0, error, note=f"{len(sites)} sites at once")
    calls = {site: len(captures.calls(site)) for site in sites}
    often = ", ".join(site for site, count in calls.items() if count != 1)
    yield Check("every site is met once", not often, note=often and f"not {often}")
    odd = [site for site in sites if not _finite(captures[site])]
    yield Check("every value is finite", not odd, note=", ".join(odd))


def _finite(value: mx.array) -> bool:
    return bool(mx.all(mx.isfinite(value)).item()) and value.size > 0


def _editing(run: _Run) -> Iterator[Check]:
    for kind in PARTS:
        layers = _sites(run.subject).get(kind, ())
        if layers:
            yield from _editing_at(run, f"{kind}.{layers[(len(layers) - 1) // 2]}")


def _editing_at(run: _Run, site: str) -> Iterator[Check]:
    own = run.trace(site)[site]
    other = trace(run.subject, run.tokens[:, ::-1], site)[site]
    rng = np.random.default_rng(0)
    direction = mx.array(rng.normal(size=own.shape[-1])).astype(own.dtype) * mx.abs(own).mean()
    edits = {"zero": zero(site), "patch": patch(site, other), "steer": steer(site, direction)}
    changed = {name: distance(run.trace((), edit).logits, run.logits) for name, edit in edits.items()}
    still = [name for name, change in changed.items() if change == 0]
    kind, note = site.split(".")[0], ", ".join([site, *(f"{name} does not" for name in still)])
    yield Check(f"edits at {kind} reach the logits", not still, note=note)
    same = run.trace((), patch(site, own)).logits
    yield run.check(f"{kind} patched with itself changes nothing", same, run.logits, note=site)


def _replaying(run: _Run) -> Iterator[Check]:
    last, middle = run.subject.num_layers - 1, run.subject.num_layers // 2
    found = run.trace([f"resid_post.{last}", f"resid_pre.{middle}"])
    final = found[f"resid_post.{last}"]
    lens = replay(run.subject, final, tokens=run.tokens)
    yield run.check("the lens at the last layer is the logits", lens, run.logits)
    yield run.check("the lens needs no tokens", replay(run.subject, final), run.logits, required=False)
    resid = found[f"resid_pre.{middle}"]
    yield run.check(
        "resuming at the middle layer", resume(run.subject, resid, middle, run.tokens), run.logits
    )
    yield run.check(
        "resuming needs no tokens", resume(run.subject, resid, middle), run.logits, required=False
    )


def _inside_attention(run: _Run) -> Iterator[Check]:
    """Whether pattern @ values is what the kernel returns, and the heads, projected, what attention returns."""
    anatomy = run.subject.anatomy
    fused = [layer for layer, parts in enumerate(anatomy.parts) if parts.heads and parts.heads.fused]
    projected = [layer for layer, parts in enumerate(anatomy.parts) if parts.heads and parts.o_proj]
    outputs: dict[int, mx.array] = {}
    taps = [Tap(anatomy.part("attention", at), inside=Inside("output", _noted(outputs, at))) for at in fused]
    with tapped(taps):
        found = run.trace(
            _sites_at(("pattern", "values"), fused) + _sites_at(("head_out", "attn_out"), projected)
        )
    mixed = [
        (at, mix(found[f"pattern.{at}"], found[f"values.{at}"].swapaxes(1, 2)).swapaxes(1, 2), outputs[at])
        for at in fused
    ]
    yield run.over_layers("pattern @ values is what the kernel returns", mixed)
    both = [(at, found[f"head_out.{at}"], value) for at, value, _ in mixed if at in projected]
    yield run.over_layers("pattern @ values is head_out", both, required=False)
    heads = [
        (at, anatomy.part("o_proj", at)(found[f"head_out.{at}"].flatten(2)), found[f"attn_out.{at}"])
        for at in projected
    ]
    yield run.over_layers("heads through o_proj are attn_out", heads, required=False)


def _inside_mlp(run: _Run) -> Iterator[Check]:
    anatomy = run.subject.anatomy
    dense = [layer for layer, parts in enumerate(anatomy.parts) if parts.down_proj]
    found = run.trace(_sites_at(("neurons", "mlp_out"), dense))
    down = [
        (at, anatomy.part("down_proj", at)(found[f"neurons.{at}"]), found[f"mlp_out.{at}"]) for at in dense
    ]
    yield run.over_layers("neurons through down_proj are mlp_out", down, required=False)


def _sites_at(kinds: Sequence[str], layers: Sequence[int]) -> list[str]:
    return [f"{kind}.{layer}" for kind in kinds for layer in layers]


def _noted(values: dict[int, mx.array], layer: int) -> Change:
    def change(value: mx.array) -> None:
        values[layer] = held(value)

    return change


def _running(run: _Run) -> Iterator[Check]:
    model, tokens = run.subject.model, run.tokens
    rows = mx.concatenate([forward(model, tokens[row : row + 1]) for row in range(tokens.shape[0])])
    yield run.check("a row of a batch is the prompt alone", run.logits, rows, required=False)
    yield _cacheless(run)
    yield run.check("token by token is the whole at once", _stepped(run), run.logits, required=False)
    site = f"resid_post.{run.subject.num_layers // 2}"
    own = run.trace(site)[site]
    direction = mx.ones(own.shape[-1]).astype(own.dtype) * mx.abs(own).mean()
    edited = run.trace((), steer(site, direction)).logits
    with hooked(run.subject, site, steer(site, direction)) as captures:
        stepped = _stepped(run)
    lengths = [value.shape[1] for value in captures.calls(site)]
    plain = distance(_stepped(run), run.logits)
    check = run.check("edits while generating with the cache", stepped, edited)
    if plain > run.tolerance:
        # The model itself computes something else token by token; then so it does under an edit.
        check = replace(check, holds=None, note=f"token by token differs by {plain:.1g} without edits")
    yield replace(check, holds=check.holds and lengths == [run.tokens.shape[1] - 2, 1, 1], note=check.note)


def _cacheless(run: _Run) -> Check:
    name = "without a cache the same"
    try:
        return run.check(name, run.subject.model(run.tokens), run.logits, required=False)
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        return Check(name, False, None, False, f"the model fails without one: {error}")


def _stepped(run: _Run) -> mx.array:
    """Logits of the tokens, the last two one at a time."""
    cache, cut = new_cache(run.subject.model), run.tokens.shape[1] - 2
    pieces = [run.tokens[:, :cut], run.tokens[:, cut : cut + 1], run.tokens[:, cut + 1 :]]
    return mx.concatenate([run.subject.model(piece, cache=cache) for piece in pieces], axis=1)


CHECKS: tuple[Callable[[_Run], Iterator[Check]], ...] = (
    _looking,
    _editing,
    _replaying,
    _inside_attention,
    _inside_mlp,
    _running,
)
