"""Lens emergence: at which layer does the logit lens predict the answer, or a word for the task?

A lens reads some token everywhere. So the token in question is compared with that of another prompt, with the same
lens on untrained models and on lesioned ones, whose embeddings alone are trained, and, where one layer is claimed,
with an earlier layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.lens.logit_lens import logit_lens, read_states
from lazarus_probe.statistics.measurement import Curve, Measurement, some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.batches import Prompt, encode_all
from lazarus_probe.subject.control_models import ControlModel, ControlModels, built, faced

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Score = Literal["rank", "probability"]
AT_ONCE = 32


@dataclass(frozen=True)
class Reading:
    """What the lens reads of the tokens in question, for N prompts after each layer.

    Attributes:
        probability: (N, layers) of all of a prompt's tokens together.
        rank: (N, layers) of the best of them; 0 is the top.
        top_tokens: (N, layers) the most probable token.
    """

    probability: NDArray[np.float64]
    rank: NDArray[Any]
    top_tokens: NDArray[Any]

    def reached(self, score: Score, top: int) -> NDArray[np.float64]:
        """(N, layers) the probability, or whether the rank is below `top`."""
        return self.probability if score == "probability" else (self.rank < top).astype(np.float64)


def read_tokens(subject: Subject, prompts: Sequence[Prompt], targets: Sequence[Sequence[int]]) -> Reading:
    """The lens at the last position of each prompt, after every layer.

    Args:
        subject: the model.
        prompts: N texts, or token ids.
        targets: N sets of tokens, such as the spellings of a word.

    Raises:
        ValueError: no prompts, or a prompt without tokens.
    """
    lenses = (logit_lens(subject, prompts[at : at + AT_ONCE]) for at in range(0, len(prompts), AT_ONCE))
    return _reading((lens.log_probs for lens in lenses), targets)


def read_tokens_after(
    model: ControlModel | Subject,
    prompts: Sequence[Prompt],
    targets: Sequence[Sequence[int]],
    layer: int,
    store: ActivationStore,
) -> Reading:
    """The same after one layer, (N, 1), from states that a store may hold already."""
    site = resid_post(layer)
    states = store.get(model, prompts, [site])[site]
    made = built(model)
    parts = (states[at : at + AT_ONCE] for at in range(0, len(states), AT_ONCE))
    return _reading((read_states(made, part)[:, None] for part in parts), targets)


def _reading(log_probs: Iterable[NDArray[np.float32]], targets: Sequence[Sequence[int]]) -> Reading:
    """From log probabilities (any, layers, V), some prompts at a time: over a vocabulary they are large."""
    parts, left = [], iter(targets)
    for row in (row for batch in log_probs for row in batch):
        tokens = list(next(left))
        if not tokens:
            raise ValueError("a prompt has no target tokens; give at least one per prompt")
        best = row[:, tokens].max(axis=1)
        mass = np.exp(row[:, tokens].astype(np.float64)).sum(axis=1)
        parts.append((np.minimum(mass, 1), (row > best[:, None]).sum(axis=1), row.argmax(axis=1)))
    return Reading(*(np.stack(arrays) for arrays in zip(*parts, strict=True)))


def crystallisation(
    subject: Subject,
    untrained: ControlModels,
    prompts: Sequence[Prompt],
    targets: Sequence[Sequence[int]],
    units: ArrayLike,
    layer: int,
    *,
    score: Score = "rank",
    top: int = 1,
    before: int | None = None,
    others: Sequence[Sequence[int]] | None = None,
    store: ActivationStore | None = None,
    seed: int = 0,
) -> Measurement:
    """How often, or with what probability, the lens after a layer predicts each prompt's token.

    Controls: `other_target`, the same of another prompt's token; `untrained`, `new_blocks` and `permuted_blocks`, the
    same in several models of each kind, whose interval holds for one more; and with `before`, `earlier_layer`, the same
    lens there.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture; as many lesioned ones of each kind are made.
        prompts: N texts, or token ids.
        targets: N sets of tokens.
        units: (N,) the independent unit of each prompt.
        layer: where the lens reads, after the block.
        score: `rank` counts the prompts whose token is among the `top`, `probability` is the mean.
        top: how many of the top tokens count.
        before: an earlier layer.
        others: N sets of tokens that would be wrong; those of other prompts unless given.
        store: activations shared with other claims.
        seed: of the others and the intervals.

    Raises:
        ValueError: as `read_tokens` and `checked_models`, or every prompt has the same tokens.
    """
    wrong = _others(targets, np.random.default_rng(seed)) if others is None else others
    store = ActivationStore() if store is None else store
    lens, other_lens = (read_tokens(subject, prompts, tokens) for tokens in (targets, wrong))
    reached = {"score": lens.reached(score, top), "other_target": other_lens.reached(score, top)}
    controls = {"other_target": reached["other_target"][:, layer]}
    for kind, models in faced(subject, untrained).items():
        readings = [read_tokens_after(model, prompts, targets, layer, store) for model in models]
        controls[kind] = np.stack([reading.reached(score, top)[:, 0] for reading in readings])
    controls |= {} if before is None else {"earlier_layer": reached["score"][:, before]}
    return rate(
        f"top-{top} rate of the lens" if score == "rank" else "lens probability",
        reached["score"][:, layer],
        units,
        controls,
        seed=seed,
        details={"layer": layer, "earlier_layer": before},
        **_examples(subject, prompts, targets, lens, layer),
        curves=tuple(layer_curve(name, values) for name, values in reached.items()),
    )


def not_yet(
    subject: Subject,
    prompts: Sequence[Prompt],
    targets: Sequence[Sequence[int]],
    units: ArrayLike,
    layer: int,
    *,
    top: int = 1,
    seed: int = 0,
) -> Measurement:
    """The same rate for a claim that the lens does not predict the token yet; `last_layer` is the positive control.

    Arguments are those of `crystallisation`.
    """
    lens = read_tokens(subject, prompts, targets)
    reached = lens.reached("rank", top)
    return rate(
        f"top-{top} rate of the lens",
        reached[:, layer],
        units,
        {"last_layer": reached[:, -1]},
        positive=["last_layer"],
        seed=seed,
        details={"layer": layer},
        **_examples(subject, prompts, targets, lens, layer),
        curves=(layer_curve("score", reached),),
    )


def _others(targets: Sequence[Sequence[int]], rng: np.random.Generator) -> list[Sequence[int]]:
    """For each prompt the tokens of another one, drawn among those that share none with its own."""
    distinct = [list(tokens) for tokens in dict.fromkeys(tuple(tokens) for tokens in targets)]
    others: list[Sequence[int]] = []
    for tokens in targets:
        disjoint = [candidate for candidate in distinct if not set(candidate) & set(tokens)]
        if not disjoint:
            raise ValueError("every prompt has the same tokens: there is no other to compare them with")
        others.append(disjoint[rng.integers(len(disjoint))])
    return others


def _examples(
    subject: Subject, prompts: Sequence[Prompt], targets: Sequence[Sequence[int]], lens: Reading, layer: int
) -> dict[str, Any]:
    top_tokens = lens.top_tokens[:, layer].tolist()
    right = [token in tokens for token, tokens in zip(top_tokens, targets, strict=True)]
    named = [subject.decode([tokens[0]]) for tokens in targets]
    texts = [prompt if isinstance(prompt, str) else subject.decode(prompt) for prompt in prompts]
    shown = some_examples(texts, named, [subject.decode([token]) for token in top_tokens], right)
    return {"tokens": sum(map(len, encode_all(subject, prompts))), "examples": shown}


def layer_curve(name: str, by_layer: NDArray[np.float64]) -> Curve:
    """The means of scores (N, layers), layer by layer."""
    return Curve(name, tuple(map(float, range(by_layer.shape[1]))), tuple(map(float, by_layer.mean(axis=0))))
