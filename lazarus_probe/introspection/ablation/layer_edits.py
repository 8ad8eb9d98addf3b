"""Whole blocks deleted, or swapped with their neighbours, compared with random perturbations of equal norm.

Lad et al. 2024 (arXiv:2406.19384): a model with a middle block deleted, or two neighbours swapped, keeps most of its
predictions; Gromov et al. 2024 (arXiv:2403.17887): many of the deeper blocks can go together. A block that adds little
can go in any model. So the control moves every state by as much as the edit does, in a random direction; and as random
blocks too write mostly where a push does little, the best block of untrained models is the second one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, get_args

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.forward_pass import log_softmax
from lazarus_probe.introspection.ablation.edited_blocks import LayerEdit, blocks_to_edit, named_edit
from lazarus_probe.introspection.ablation.edited_runs import (
    At,
    UneditedRun,
    block_end,
    edited_logits,
    pushed_logits,
    share_kept,
    unedited_runs,
)
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.spelling import one_of
from lazarus_probe.statistics.cell_effects import CellEffects
from lazarus_probe.statistics.student import signed_estimate
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.control_models import built, control_models, faced
from lazarus_probe.subject.dealt import dealt
from lazarus_probe.sweep.progress import bar
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class LayerEdits:
    """What K edits of whole blocks do to the next-token distributions of P prompts.

    Attributes:
        edit: `delete` or `swap`.
        blocks: (K,) the blocks that are deleted together, or the two that are swapped.
        at: `all` positions of a prompt, averaged, or its `last`.
        kl: (K, P) divergence KL(unedited || edited) of the next token, in nats.
        kl_control: (K, P) the same after a random perturbation of every state, as large as the edit's.
        kept: (K, P) the share of positions whose most probable token stays.
        kept_control: (K, P) the same after a random perturbation.
        size: (K, P) how far the edit moves states, as a share of their norm; a median over positions.
        units: (P,) the independent unit of each prompt.
        models: by kind of control model, the share that each one's best edit keeps beyond a random perturbation; empty
            where they were not run.
        draws: random perturbations per edit.
        seed: of the perturbations.
    """

    edit: LayerEdit
    blocks: tuple[tuple[int, ...], ...]
    at: At
    kl: NDArray[np.float64]
    kl_control: NDArray[np.float64]
    kept: NDArray[np.float64]
    kept_control: NDArray[np.float64]
    size: NDArray[np.float64]
    units: tuple[str, ...]
    models: Mapping[str, tuple[float, ...]]
    draws: int
    seed: int

    @cached_property
    def predictions(self) -> CellEffects:
        """The share of predictions kept, and how much more that is than after a random perturbation."""
        return CellEffects(self.kept, self.kept_control, self.units, self.seed)

    @cached_property
    def divergence(self) -> CellEffects:
        """The divergence in nats, and how much more that is than after a random perturbation."""
        return CellEffects(self.kl, self.kl_control, self.units, self.seed)

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "edit": self.edit,
            "at": self.at,
            "n": len(self.units),
            "units": len(set(self.units)),
            "draws": self.draws,
            "seed": self.seed,
            "best_of_models": {kind: list(best) for kind, best in self.models.items()},
            "edits": [
                {
                    "blocks": list(blocks),
                    "size": float(self.size[row].mean()),
                    "kept": self.predictions.cell_data(row),
                    "kl": self.divergence.cell_data(row),
                }
                for row, blocks in enumerate(self.blocks)
            ],
        }

    def table(self) -> Table:
        """By edit its size, the predictions kept, those kept after a random perturbation, and the divergences."""
        kept, kl = self.predictions, self.divergence
        rows = [
            (
                named_edit(self.edit, blocks),
                float(self.size[row].mean()),
                Cell(float(kept.effect.mean[row]), shade=float(kept.effect.mean[row])),
                float(self.kept_control[row].mean()),
                signed_estimate(*(float(end[row]) for end in kept.gain)),
                float(kept.p[row]),
                float(kl.effect.mean[row]),
                float(self.kl_control[row].mean()),
            )
            for row, blocks in enumerate(self.blocks)
        ]
        columns = (
            Column("Edit", width=12),
            Column("Moves", ".0%", right=True),
            Column("Kept", ".0%", right=True),
            Column("Pushed", ".0%", right=True),
            Column("Kept beyond it", width=26),
            Column("p", ".4f"),
            Column("KL", ".3f", right=True),
            Column("Pushed", ".3f", right=True),
        )
        return Table(columns, rows, f"blocks to {self.edit}: predictions kept over {len(self.units)} prompts")

    def _repr_html_(self) -> str:
        return self.table().html()


def layer_edits(
    subject: Subject,
    prompts: Sequence[Prompt] | None = None,
    edit: LayerEdit = "delete",
    *,
    layers: Sequence[int] | None = None,
    count: int = 1,
    at: At = "all",
    units: Sequence[str] | None = None,
    draws: int = 2,
    untrained: int = 0,
    seed: int = 0,
    progress: bool = False,
) -> LayerEdits:
    """Delete blocks, or swap neighbours, and compare with a push of every state as far in a random direction.

    Args:
        subject: the model.
        prompts: P texts, or token ids; by default those of all language tasks, in their phrasings.
        edit: `delete`, where a block hands on what it is given; or `swap`, where a block and the next run in the other
            order, each with the mask and cache of its place.
        layers: the first block of every edit; by default all that there can be, of neighbours those that are alike.
        count: neighbouring blocks that are deleted together.
        at: `all` positions of a prompt, averaged, or its `last`.
        units: (P,) the independent unit of each prompt; by default itself.
        draws: random perturbations per edit.
        untrained: how many untrained models to edit too, and lesioned ones of each kind: at least 3, or none.
        seed: of the perturbations.
        progress: show a bar, where standard error is a terminal.

    Raises:
        UnsupportedArchitecture: neighbours of two kinds, which cannot run in each other's place; or a model of one
            block to be swapped.
        ValueError: an unknown edit, a count that leaves no block, no draws, one or two untrained models, or units that
            are not one a prompt.
        IndexError: a block that does not exist.

    Example:
        >>> from lazarus_probe.introspection import layer_edits
        >>> result = layer_edits(subject, ["7*8=", "6*9="], layers=[0, 5])
        >>> result.kept.shape  # (edits, prompts)
        (2, 2)
    """
    for name, value, values in (("edit", edit, get_args(LayerEdit)), ("at", at, get_args(At))):
        if value not in values:
            raise ValueError(f"{name} {value!r} is unknown; {one_of(value, values)}")
    if draws < 1:
        raise ValueError(f"draws is {draws}; give at least 1 random perturbation")
    blocks = blocks_to_edit(subject, edit, layers, count)
    if prompts is None:
        unrelated = unrelated_prompts()
        prompts, units = unrelated.prompts, unrelated.units if units is None else units
    encoded = encode_all(subject, prompts)
    units = [str(row) for row in range(len(encoded))] if units is None else units
    if len(units) != len(encoded):
        raise ValueError(f"{len(units)} units for {len(encoded)} prompts; give one a prompt")
    models = {}
    for kind, of_kind in (
        faced(subject, control_models(subject, count=untrained)).items() if untrained else ()
    ):
        runs = (_measured(built(model), encoded, edit, blocks, at, draws, seed) for model in of_kind)
        gains = (CellEffects(run["kept"], run["kept_control"], tuple(units)).gain.mean for run in runs)
        models[kind] = tuple(float(gain.max()) for gain in gains)
    numbers = _measured(subject, encoded, edit, blocks, at, draws, seed, progress)
    return LayerEdits(edit, blocks, at, **numbers, units=tuple(units), models=models, draws=draws, seed=seed)


def _measured(
    subject: Subject,
    encoded: Sequence[Sequence[int]],
    edit: LayerEdit,
    blocks: Sequence[Sequence[int]],
    at: At,
    draws: int,
    seed: int,
    progress: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """The numbers (K, P) of every edit, by the attribute of `LayerEdits`."""
    numbers = {
        name: np.empty((len(blocks), len(encoded)))
        for name in ("kl", "kl_control", "kept", "kept_control", "size")
    }
    batches = list(by_length(encoded))
    with bar(len(blocks) * len(batches), progress, "blocks", "runs") as step:
        for rows, clean in unedited_runs(subject, batches, blocks, at):
            before = log_softmax(clean.logits.astype(mx.float32))
            run = partial(_of_edit, subject, edit, blocks, clean, before, at, draws, seed, step)
            for number, of_edit in enumerate(dealt(subject, range(len(blocks)), run)):
                for name, values in of_edit.items():
                    numbers[name][number, rows] = values
    return numbers


def _of_edit(
    subject: Subject,
    edit: LayerEdit,
    blocks: Sequence[Sequence[int]],
    clean: UneditedRun,
    before: mx.array,
    at: At,
    draws: int,
    seed: int,
    step: Callable[[int], None],
    number: int,
) -> dict[str, NDArray[np.float64]]:
    """The numbers (B,) of one edit, on prompts of equal length whose log probabilities without it are known."""
    logits, left = edited_logits(subject, edit, blocks[number], clean, at)
    states = clean.seen[block_end(blocks[number])].astype(mx.float32)
    change = _norms(left.astype(mx.float32) - states)
    size = np.median(np.array(change / mx.maximum(_norms(states), 1e-30)).reshape(len(states), -1), axis=1)
    kl, kept = _compared(before, logits)
    pushes = (_push(change, states.shape, (seed, number, draw)) for draw in range(draws))
    pushed = [_compared(before, pushed_logits(subject, push, blocks[number], clean, at)) for push in pushes]
    kl_control, kept_control = (np.mean(values, axis=0) for values in zip(*pushed, strict=True))
    step(1)
    return {"size": size, "kl": kl, "kept": kept, "kl_control": kl_control, "kept_control": kept_control}


def _compared(before: mx.array, logits: mx.array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(B,) divergence in nats and share of equal predictions, of log probabilities (B, L, V) and logits after."""
    after = log_softmax(logits.astype(mx.float32))
    kl = (mx.exp(before) * (before - after)).sum(axis=-1).mean(axis=1)
    # Rounding puts the divergence of equal distributions a little below 0.
    return np.maximum(np.array(kl, dtype=np.float64), 0.0), share_kept(before, after)


def _norms(states: mx.array) -> mx.array:
    return mx.sqrt((states**2).sum(axis=-1, keepdims=True))


def _push(change: mx.array, shape: tuple[int, ...], seed: tuple[int, ...]) -> Any:
    """An edit that moves every state as far as `change` (B, L, 1), in a direction of its own."""
    drawn = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    directions = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    step = mx.array(directions) * change
    return lambda value: value + step.astype(value.dtype)
