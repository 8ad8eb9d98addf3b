"""Activation patching of the residual stream: states of other prompts put into the targets' runs.

Heimersheim & Nanda 2024 (arXiv:2404.15255), Zhang & Nanda 2024 (arXiv:2309.16042); here denoising, the source's state
put into the target's run. Commands, analyses and hypotheses all patch with `patch_residual`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.patching.answered_pairs import AnsweredPair
from lazarus_probe.introspection.patching.answers import Effect, classify
from lazarus_probe.introspection.patching.encoded_pairs import EncodedPair, EncodedPrompt
from lazarus_probe.introspection.patching.prompt_pairs import quoted
from lazarus_probe.statistics.measurement import Grid
from lazarus_probe.sweep import Donors, answer, kl, logit_diff, probability, sweep
from lazarus_probe.sweep.metrics import Metric

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Positions = Sequence[int] | Literal["all"]


@dataclass(frozen=True, eq=False)
class PatchEffects:
    """The effects of patching N targets, by layer and position.

    Attributes:
        layers: patched, after the block.
        positions: patched, negative from the end; or "all" at once.
        effects: (layers, positions, N) each an `answers.Effect`.
        completions: (layers, positions, N) the patched model's.
        unpatched: (N,) the unpatched model's completions.
        metrics: by name (layers, positions, N).
        unpatched_metrics: by name (N,).
    """

    layers: tuple[int, ...]
    positions: tuple[int | str, ...]
    effects: NDArray[Any]
    completions: NDArray[Any]
    unpatched: NDArray[Any]
    metrics: Mapping[str, NDArray[Any]]
    unpatched_metrics: Mapping[str, NDArray[Any]]

    def transferred(self, layer: int, position: int) -> NDArray[Any]:
        """(N,) whether the patched model gives the source's answer."""
        return np.asarray(self.effects[self._cell(layer, position)] == "full_transfer")

    def completions_at(self, layer: int, position: int) -> list[str]:
        """(N,) the patched model's completions."""
        return [str(text) for text in self.completions[self._cell(layer, position)]]

    def rates(self, effect: Effect = "full_transfer") -> NDArray[Any]:
        """(layers, positions) share of the pairs with an effect."""
        return np.asarray((self.effects == effect).mean(axis=-1))

    def counts(self, layer: int, position: int) -> dict[str, int]:
        """How many pairs had each effect."""
        return dict(Counter(self.effects[self._cell(layer, position)].tolist()))

    def grid(self, columns: Sequence[str]) -> Grid:
        """The rate of full transfer by layer and position, for a report; `columns` names the positions."""
        rows = tuple(f"L{layer}" for layer in self.layers)
        values = tuple(tuple(row) for row in self.rates().round(3).tolist())
        return Grid("rate of full transfer", rows, tuple(columns), values)

    def _cell(self, layer: int, position: int) -> tuple[int, int]:
        return self.layers.index(layer), self.positions.index(position)


def patch_residual(
    subject: Subject,
    pairs: Sequence[EncodedPair],
    layers: Sequence[int],
    positions: Positions,
    sources: Mapping[str, Donors],
    *,
    metrics: Sequence[Metric] = (),
    blend: float = 1.0,
    max_tokens: int = 4,
    progress: bool = False,
) -> dict[str, PatchEffects]:
    """Patch `resid_post` of the targets at each layer and position, and let the model generate.

    Args:
        subject: the model.
        pairs: N pairs.
        layers: blocks whose output is patched.
        positions: of the prompts, negative from their end; or "all" of them at once, generated ones left alone.
        sources: by name, N prompts to patch from.
        metrics: of the next token's logits, in addition to the completions.
        blend: share of the source's state in the patched state; the rest is the target's own.
        max_tokens: generated at most.
        progress: show a bar, where standard error is a terminal.

    Returns:
        The effects by source.

    Raises:
        ValueError: as `sweep`.
        IndexError: as `sweep`.
    """
    result = sweep(
        subject,
        [pair.target.ids for pair in pairs],
        [resid_post(layer) for layer in layers],
        sources=sources,
        metrics=[*metrics, answer(max_tokens)],
        positions=positions,
        blend=blend,
        progress=progress,
    )
    values = {name: np.moveaxis(array, 0, -1) for name, array in result.values.items()}
    completions, unpatched = values.pop("answer"), result.baseline["answer"]
    effects = np.empty(completions.shape, dtype="<U16")
    for cell in np.ndindex(effects.shape):
        before: Any = unpatched[cell[-1]]
        after: Any = completions[cell]  # a `CutText` stays one
        effects[cell] = classify(before, after, pairs[cell[-1]].pair)
    return {
        name: PatchEffects(
            tuple(layers),
            result.positions,
            effects[row],
            completions[row],
            unpatched,
            {metric: array[row] for metric, array in values.items()},
            {metric: result.baseline[metric] for metric in values},
        )
        for row, name in enumerate(result.sources)
    }


def patch_answered(
    subject: Subject,
    pairs: Sequence[AnsweredPair],
    layers: Sequence[int],
    positions: Positions,
    sources: Mapping[str, Sequence[EncodedPrompt]],
    *,
    blend: float = 1.0,
    max_tokens: int = 8,
    progress: bool = False,
) -> dict[str, PatchEffects]:
    """`patch_residual` with prompts of any lengths and three metrics.

    They are logit_diff (the source's answer against the target's), probability (of the source's answer) and kl (in
    nats); NaN where the answers do not begin with tokens of their own. A position counts from the start, or if
    negative from the end, of either prompt.

    Raises:
        ValueError: "all" with prompts of different lengths.
        IndexError: a position that a prompt does not have.
    """
    targets = [pair.target for pair in pairs]
    if positions == "all":
        _check_lengths(targets, sources)
    else:
        _check_positions([*targets, *(donor for donors in sources.values() for donor in donors)], positions)
    first, second = ([pair.source_token or 0 for pair in pairs], [pair.target_token or 0 for pair in pairs])
    effects = patch_residual(
        subject,
        pairs,
        layers,
        positions,
        {name: Donors([donor.ids for donor in donors], False) for name, donors in sources.items()},
        metrics=[logit_diff(first, second), probability(first), kl()],
        blend=blend,
        max_tokens=max_tokens,
        progress=progress,
    )
    defined = {
        "logit_diff": [pair.tokens_differ for pair in pairs],
        "probability": [pair.source_token is not None for pair in pairs],
    }
    return {
        name: replace(
            of_source,
            metrics=_defined(of_source.metrics, defined),
            unpatched_metrics=_defined(of_source.unpatched_metrics, defined),
        )
        for name, of_source in effects.items()
    }


def _defined(
    metrics: Mapping[str, NDArray[Any]], defined: Mapping[str, Sequence[bool]]
) -> dict[str, NDArray[Any]]:
    """Metrics (..., N), NaN for pairs for which they are not defined."""
    return {name: np.where(defined.get(name, True), values, np.nan) for name, values in metrics.items()}


def _check_lengths(targets: Sequence[EncodedPrompt], sources: Mapping[str, Sequence[EncodedPrompt]]) -> None:
    for donors in sources.values():
        for source, target in zip(donors, targets, strict=True):
            if len(source.ids) != len(target.ids):
                raise ValueError(
                    f"all positions of {quoted(source.text)} ({len(source.ids)} tokens) cannot be put into "
                    f"{quoted(target.text)} ({len(target.ids)}); give prompts of equal length, or --position last"
                )


def _check_positions(prompts: Iterable[EncodedPrompt], positions: Sequence[int]) -> None:
    for prompt in prompts:
        length = len(prompt.ids)
        for position in positions:
            if not -length <= position < length:
                raise IndexError(
                    f"position {position} is out of range: {quoted(prompt.text)} has positions 0 to {length - 1}"
                )
