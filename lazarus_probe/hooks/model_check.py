"""Whether hooks do on a model what they say: checked on the model itself, against its own plain forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx

from lazarus_probe.anatomy.forward_pass import forward, new_cache
from lazarus_probe.hooks.additivity import Additivity, additivity
from lazarus_probe.hooks.check import Check, CheckRun, check_run, distance, layers_of_kinds
from lazarus_probe.hooks.edit_checks import direction, editing, looking, writing
from lazarus_probe.hooks.interventions import steer
from lazarus_probe.hooks.places import own_value, whole_value
from lazarus_probe.hooks.replay import replay, resume
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import mix


@dataclass(frozen=True)
class SelfCheck:
    """What a model has, and which statements about hooks hold on it.

    Attributes:
        architecture: the file of mlx-lm that the model comes from.
        num_layers: its blocks.
        sites: the kinds of site, with the layers that have them.
        additivity: the sum that each block makes.
        checks: the statements.

    Example:
        >>> from lazarus_probe.hooks import self_check
        >>> check = self_check(mamba)
        >>> check.architecture, check.num_layers
        ('mamba2', 2)
        >>> check.sites["mixer_out"]
        (0, 1)
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
        tokens: (B, L) token ids to run, L at least 3. By default two rows of 12 drawn from the vocabulary, or one row
            of 3 on a model so slow that the checks would take minutes.

    Example:
        >>> from lazarus_probe.hooks import self_check
        >>> check = self_check(mixture)
        >>> check.ok, check.failed
        (True, ())
    """
    run = check_run(subject, tokens)
    return SelfCheck(
        architecture=type(subject.model).__module__.rsplit(".", 1)[-1],
        num_layers=subject.num_layers,
        sites=layers_of_kinds(subject),
        additivity=tuple(additivity(subject, run.tokens, run.tolerance)),
        checks=tuple(check for checks in CHECKS for check in checks(run)),
    )


def _replaying(run: CheckRun) -> Iterator[Check]:
    last, middle = run.subject.num_layers - 1, run.subject.num_layers // 2
    final = run.seen[f"resid_post.{last}"]
    lens = replay(run.subject, final, tokens=run.tokens)
    yield run.check("the lens at the last layer is the logits", lens, run.logits)
    yield run.check("the lens needs no tokens", replay(run.subject, final), run.logits, required=False)
    resid = run.seen[f"resid_pre.{middle}"]
    yield run.check(
        "resuming at the middle layer", resume(run.subject, resid, middle, run.tokens), run.logits
    )
    yield run.check(
        "resuming needs no tokens", resume(run.subject, resid, middle), run.logits, required=False
    )


def _inside_attention(run: CheckRun) -> Iterator[Check]:
    """Whether pattern @ values is what the kernel returns, and the heads, projected, what attention returns."""
    anatomy = run.subject.anatomy
    captured = run.seen
    fused = [layer for layer in run.kernels if f"values.{layer}" in run.sites]
    projected = [layer for layer, parts in enumerate(anatomy.parts) if parts.heads and parts.o_proj]
    mixed = [
        (
            at,
            mix(captured[f"pattern.{at}"], captured[f"values.{at}"].swapaxes(1, 2)).swapaxes(1, 2),
            run.kernels[at],
        )
        for at in fused
    ]
    yield run.over_layers("pattern @ values is what the kernel returns", mixed)
    both = [(at, captured[f"head_out.{at}"], value) for at, value, _ in mixed if at in projected]
    yield run.over_layers("pattern @ values is head_out", both, required=False)
    heads = [(at, _projected(run, "o_proj", at, "head_out"), captured[f"attn_out.{at}"]) for at in projected]
    yield run.over_layers("heads through o_proj are attn_out", heads, required=False)


def _inside_mlp(run: CheckRun) -> Iterator[Check]:
    anatomy = run.subject.anatomy
    dense = [layer for layer, parts in enumerate(anatomy.parts) if parts.down_proj]
    captured = run.seen
    down = [(at, _projected(run, "down_proj", at, "neurons"), captured[f"mlp_out.{at}"]) for at in dense]
    yield run.over_layers("neurons through down_proj are mlp_out", down, required=False)


def _projected(run: CheckRun, part: str, layer: int, kind: str) -> mx.array:
    """What a projection makes of the captured value that it reads."""
    anatomy = run.subject.anatomy
    own = own_value(anatomy, layer, kind, run.seen[f"{kind}.{layer}"])
    value: mx.array = anatomy.own_part(part, layer)(own.flatten(2) if own.ndim == 4 else own)
    return whole_value(anatomy, layer, "attn_out" if kind == "head_out" else "mlp_out", value)


def _running(run: CheckRun) -> Iterator[Check]:
    yield _rows(run)
    yield _cacheless(run)
    alone = _stepped(run)
    yield run.check("token by token is the whole at once", alone, run.logits, required=False)
    site = f"resid_post.{run.subject.num_layers // 2}"
    edit = steer(site, direction(run.seen[site]))
    edited = run.trace((), edit).logits
    with hooked(run.subject, site, edit) as captures:
        stepped = _stepped(run)
    lengths = [value.shape[1] for value in captures.calls(site)]
    plain = distance(alone, run.logits)
    check = run.check("edits while generating with the cache", stepped, edited)
    if plain > run.tolerance:
        # The model itself computes something else token by token; then so it does under an edit.
        check = replace(check, holds=None, note=f"token by token differs by {plain:.1g} without edits")
    yield replace(check, holds=check.holds and lengths == [run.tokens.shape[1] - 2, 1, 1], note=check.note)


def _rows(run: CheckRun) -> Check:
    name, tokens = "a row of a batch is the prompt alone", run.tokens
    if len(tokens) == 1:
        return Check(name, None, None, False, "nothing to check: the model is slow, one row was run")
    rows = [forward(run.subject.model, tokens[row : row + 1]) for row in range(len(tokens))]
    return run.check(name, run.logits, mx.concatenate(rows), required=False)


def _cacheless(run: CheckRun) -> Check:
    name = "without a cache the same"
    try:
        return run.check(name, run.subject.model(run.tokens), run.logits, required=False)
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        return Check(name, False, None, False, f"the model fails without one: {error}")


def _stepped(run: CheckRun) -> mx.array:
    """Logits of the tokens, the last two one at a time."""
    cache, cut = new_cache(run.subject.model), run.tokens.shape[1] - 2
    pieces = [run.tokens[:, :cut], run.tokens[:, cut : cut + 1], run.tokens[:, cut + 1 :]]
    return mx.concatenate([run.subject.model(piece, cache=cache) for piece in pieces], axis=1)


CHECKS: tuple[Callable[[CheckRun], Iterator[Check]], ...] = (
    looking,
    writing,
    editing,
    _replaying,
    _inside_attention,
    _inside_mlp,
    _running,
)
