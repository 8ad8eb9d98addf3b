"""LoRA on a subject's projections, built on mlx-lm's layers, that leaves no trace when it is removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import mlx.core as mx
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.anatomy.projections import (
    Projection,
    bare,
    found,
    is_lora,
    rank_of,
    sizes,
    with_lora,
)
from lazarus_probe.anatomy.random_state import random_state
from lazarus_probe.subject.relative_depth import layer_number
from lazarus_probe.taps import is_tapped
from lazarus_probe.training.lora.merging import merged, rounding_of, warn_of_rounding
from lazarus_probe.training.lora.trained import Trained

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

CANDIDATES = 20_000  # combinations of ranks that `ranks_for` considers


@contextmanager
def attached(
    subject: Subject,
    targets: Sequence[str],
    rank: int | Mapping[str, int] = 16,
    scale: float = 2.0,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    dropout: float = 0.0,
) -> Iterator[Any]:
    """The subject's model with LoRA as by `attach`; exactly restored on exit, also after an exception.

    The LoRA is always new: a projection's existing LoRA (a loaded adapter's) is wrapped and frozen, so that the arms of
    an experiment start alike on an adapted model, too.

    Yields:
        The model, whose trainable parameters are the LoRA matrices.

    Raises:
        ValueError: as `attach`.
        IndexError: as `attach`.
    """
    on = attach_new(subject, targets, rank, scale, seed, layers, dropout)
    try:
        yield subject.model
    finally:
        on.detach()


def attach_new(
    subject: Subject,
    targets: Sequence[str],
    rank: int | Mapping[str, int],
    scale: float,
    seed: int,
    layers: Sequence[int] | None = None,
    dropout: float = 0.0,
) -> Attached:
    """As `attach`, but existing LoRA of a projection is wrapped and frozen instead of being trained further."""
    return _attach(subject, targets, rank, scale, seed, layers, dropout, resume=False)


def attach(
    subject: Subject,
    targets: Sequence[str],
    rank: int | Mapping[str, int] = 16,
    scale: float = 2.0,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    dropout: float = 0.0,
) -> Attached:
    """Put LoRA on the named projections and freeze everything else (Hu et al. 2021).

    `lora_a` is drawn from `seed` alone and `lora_b` is zero, so nothing changes before the first step. A projection
    that already has LoRA, such as a loaded adapter's, continues from its matrices; LoRA elsewhere stays unchanged and
    frozen. On the experts of a mixture each expert has matrices of its own.

    Args:
        subject: the model.
        targets: last names of linear layers in the blocks, as in `["v_proj", "o_proj"]` or `["mlp.down_proj"]`; a
            block that lacks one is skipped.
        rank: of all updates, or by target.
        scale: multiplies the update.
        seed: of `lora_a`.
        layers: the blocks that are trained; negative ones count from the last. All by default.
        dropout: share of the update's input left out at random, while the model is in training mode.

    Raises:
        ValueError: a target that no chosen block has, or that is only part of a fused projection; a rank below 1, a
            scale that is not finite, a dropout outside [0, 1); LoRA of another rank or scale on a projection.
        IndexError: a layer the model does not have.
    """
    return _attach(subject, targets, rank, scale, seed, layers, dropout, resume=True)


def _attach(
    subject: Subject,
    targets: Sequence[str],
    rank: int | Mapping[str, int],
    scale: float,
    seed: int,
    layers: Sequence[int] | None,
    dropout: float,
    resume: bool,
) -> Attached:
    projections = found(subject.anatomy, targets, chosen_layers(subject, layers))
    ranks = _ranks(targets, rank)
    _check(scale, dropout)
    if resume:
        for target, projection in projections:
            _check_same(projection, ranks[target], scale)
    on = Attached(
        subject,
        tuple((projection, projection.module) for _, projection in projections),
        Trained.of(subject.model),
    )
    try:
        subject.model.freeze()
        for (target, projection), key in zip(
            projections, mx.random.split(mx.random.key(seed), len(projections)), strict=True
        ):
            make = _continued if resume and is_lora(projection.module) else _fresh
            projection.put(make(projection.module, ranks[target], scale, dropout, key))
        _check_runs(subject, targets)
    except BaseException:
        on.detach()
        raise
    return on


@dataclass(eq=False)
class Attached:
    """LoRA attached to a model.

    Attributes:
        subject: the model.
        projections: each adapted projection, with its original module.
    """

    subject: Subject
    projections: tuple[tuple[Projection, Any], ...]
    before: Trained = field(repr=False)
    on: bool = True

    def detach(self) -> None:
        """Remove it and restore modules, modes and trainable weights. A second call does nothing."""
        if self.on:
            for projection, module in self.projections:
                projection.put(module)
            self.before.restore(self.subject.model)
            self.on = False

    def merge(self, dequantize: bool = False) -> None:
        """Add the updates to the weights and remove the LoRA; the previous trainable weights are trainable again.

        A quantised projection is quantised again, as by `mlx_lm.fuse`, unless `dequantize` leaves it unquantised. That
        rounds the update, often by more than its own size, so a `MergeWarning` reports the measured share. An update
        that continued from a loaded adapter is merged together with it.

        Raises:
            ValueError: it was removed already, or a projection is quantised in a way that does not allow merging.
        """
        if not self.on:
            raise ValueError("this LoRA is no longer on the model; merge it before removing it")
        for projection, _ in self.projections:
            if getattr(bare(projection.module), "global_scale", None) is not None:
                # mlx-lm's `fuse` would leave that scale out.
                raise ValueError(
                    f"{projection.path} is quantised with a global scale; LoRA cannot be merged into it"
                )
        roundings = []
        with random_state(0):  # mlx-lm initialises the merged layer first
            for projection, _ in self.projections:
                layer = projection.module
                projection.put(merged(layer, dequantize))
                roundings.append(rounding_of(layer, projection.module))
        mx.eval(self.subject.model.parameters())
        self.before.restore(self.subject.model)
        self.on = False
        warn_of_rounding(self.subject.name, [rounding for rounding in roundings if rounding is not None])


def trainable_count(model: Any) -> int:
    """The number of trainable parameters."""
    return sum(value.size for _, value in tree_flatten(model.trainable_parameters()))


def ranks_for(
    subject: Subject, targets: Sequence[str], budget: int, layers: Sequence[int] | None = None
) -> dict[str, int]:
    """Ranks of the targets with which `attach` has `budget` trainable parameters, or as close as possible.

    Among ties, the most even ranks. This equalises the parameter counts of arms that train different projections.

    Raises:
        ValueError: the budget is too small for rank 1 everywhere; targets as for `attach`.
        IndexError: a layer the model does not have.
    """
    cost = dict.fromkeys(targets, 0)
    for target, projection in found(subject.anatomy, targets, chosen_layers(subject, layers)):
        experts, inputs, outputs = sizes(projection.module)
        cost[target] += experts * (inputs + outputs)
    least = sum(cost.values())
    if budget < least:
        raise ValueError(f"a budget of {budget} is below rank 1 on {', '.join(targets)}, which is {least}")
    width = max(2, int(CANDIDATES ** (1 / len(cost))))
    start = max(1, budget // least - (width - 1) // 2)
    best, ranks = (inf, inf), (1,) * len(cost)
    for tried in product(range(start, start + width), repeat=len(cost)):
        off = abs(sum(r * c for r, c in zip(tried, cost.values(), strict=True)) - budget)
        if (off, max(tried) - min(tried)) < best:
            best, ranks = (off, max(tried) - min(tried)), tried
    return dict(zip(cost, ranks, strict=True))


def chosen_layers(subject: Subject, layers: Sequence[int] | None) -> list[int]:
    """Layers counted from the first, each once, in their order.

    Raises:
        IndexError: the model lacks one of them.
        ValueError: no layer is given.
    """
    count = subject.num_layers
    chosen = range(count) if layers is None else sorted({layer_number(layer, count) for layer in layers})
    if not chosen:
        raise ValueError("no layer is left to train; give at least one")
    return list(chosen)


def _fresh(module: Any, rank: int, scale: float, dropout: float, key: mx.array) -> Any:
    """A projection with new LoRA."""
    layer: Any = with_lora(module, rank, scale, dropout)
    bound = sizes(module)[1] ** -0.5
    layer.lora_a = mx.random.uniform(-bound, bound, layer.lora_a.shape, key=key)
    return layer


def _check_runs(subject: Subject, targets: Sequence[str]) -> None:
    """Check that the model still runs: some model files read a projection's weight directly. Nothing is evaluated."""
    if is_tapped(subject.model):
        return  # active hooks would capture this run
    try:
        with random_state(0):  # dropout draws
            forward(subject.model, mx.array([[0, 0]]))
    except AttributeError as error:
        raise ValueError(f"{subject.name} cannot run with LoRA on {', '.join(targets)}: {error}") from None


def _continued(module: Any, rank: int, scale: float, dropout: float, _: mx.array) -> Any:
    """A projection with new LoRA that continues from its existing matrices; the original module can be restored."""
    layer: Any = with_lora(module.linear, rank, scale, dropout)
    layer.lora_a, layer.lora_b = module.lora_a, module.lora_b
    return layer


def _ranks(targets: Sequence[str], rank: int | Mapping[str, int]) -> dict[str, int]:
    ranks = dict(rank) if isinstance(rank, Mapping) else dict.fromkeys(targets, rank)
    if ranks.keys() != set(targets):
        raise ValueError(
            f"ranks are given for {', '.join(ranks)}; one for each of {', '.join(targets)} is needed"
        )
    for target, value in ranks.items():
        if value < 1:
            raise ValueError(f"rank of {target} is {value}; at least 1 is needed")
    return ranks


def _check(scale: float, dropout: float) -> None:
    if not isfinite(scale):
        raise ValueError(f"scale is {scale}; a finite number is needed")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; a share of at least 0 and below 1 is needed")


def _check_same(projection: Projection, rank: int, scale: float) -> None:
    layer = projection.module
    if is_lora(layer) and (rank_of(layer), layer.scale) != (rank, scale):
        raise ValueError(
            f"layer {projection.layer} {projection.path} has LoRA of rank {rank_of(layer)} and scale {layer.scale} "
            f"already, not {rank} and {scale}; request those, or merge it first"
        )
