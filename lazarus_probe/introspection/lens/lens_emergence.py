"""Lens emergence: at which layer does the logit lens predict the answer, or a word for the task?

A lens reads some token everywhere. So the token in question is compared with that of another prompt, with the same
lens on untrained models and on lesioned ones, whose embeddings alone are trained, and, where one layer is claimed,
with an earlier layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.hooks.model_sites import resolve
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.lens.readings import Reading, Score, Target, read_sets
from lazarus_probe.introspection.lens.readings import read_tokens as read_tokens
from lazarus_probe.statistics.measurement import Curve, Measurement, some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.statistics.sequential.until_known import Rows, rate_until_known
from lazarus_probe.subject.batches import Prompt, encode_all
from lazarus_probe.subject.control_models import ControlModel, ControlModels, faced
from lazarus_probe.subject.relative_depth import spaced_layers

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject

# At most so many layers make the curve of a report, evenly spaced: over a vocabulary a layer costs much to read.
CURVE = 9
T = TypeVar("T")


def lens_emergence(
    subject: Subject,
    untrained: ControlModels,
    prompts: Sequence[Prompt],
    targets: Sequence[Sequence[Target]],
    units: ArrayLike,
    layer: int,
    *,
    score: Score = "rank",
    top: int = 1,
    before: int | None = None,
    others: Sequence[Sequence[Target]] | None = None,
    store: ActivationStore | None = None,
    seed: int = 0,
    claim: Claim | None = None,
    known: Callable[[Measurement], bool] | None = None,
) -> Measurement:
    """How often, or with what probability, the lens after a layer predicts each prompt's target.

    A target is a token, or an answer of several. Of an answer all tokens are read, each given the ones before it: all
    of them must be among the `top`, and its probability is their product.

    Controls: `other_target`, the same of another prompt's target; `untrained`, `new_blocks` and `permuted_blocks`, the
    same in several models of each kind, whose interval holds for one more; and with `before`, `earlier_layer`, the same
    lens there.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture; as many lesioned ones of each kind are made.
        prompts: N texts, or token ids.
        targets: N sets of targets: tokens, or answers of several tokens.
        units: (N,) the independent unit of each prompt.
        layer: where the lens reads, after the block.
        score: `rank` counts the prompts whose target is among the `top`, `probability` is the mean.
        top: how many of the top tokens count.
        before: an earlier layer.
        others: N sets of targets that would be wrong; those of other prompts unless given.
        store: activations shared with other claims.
        seed: of the others and the intervals.
        claim: what the measurement is judged by; where its outcome is settled without the control models, they are not
            run, as in `probe`.
        known: `evidence.known`; prompts are then read only until the claim is decided, as by `rate_until_known`, at the
            claim's layers alone, without curves.

    Raises:
        ValueError: as `read_tokens` and `checked_models`, or every prompt has the same tokens.
    """
    wrong = _others(targets, np.random.default_rng(seed)) if others is None else others
    store = ActivationStore() if store is None else store
    layer, before = _block(subject, layer), None if before is None else _block(subject, before)
    at = sorted({layer} if before is None else {layer, before})
    unit = f"top-{top} rate of the lens" if score == "rank" else "lens probability"
    details = {"layer": layer, "earlier_layer": before, **_read(targets)}

    def readings(rows: Rows, layers: Sequence[int]) -> list[Reading]:
        sets = [_some(targets, rows), _some(wrong, rows)]
        return read_sets(subject, _some(prompts, rows), sets, layers, store=store)

    def scored(lens: Reading, other_lens: Reading) -> tuple[NDArray[np.float64], Mapping[str, ArrayLike]]:
        reached = lens.reached(score, top)
        controls = {"other_target": other_lens.reached(score, top)[:, lens.at(layer)]}
        controls |= {} if before is None else {"earlier_layer": reached[:, lens.at(before)]}
        return reached[:, lens.at(layer)], controls

    def in_models(models: Sequence[ControlModel | Subject], rows: Rows) -> NDArray[np.float64]:
        some = _some(prompts, rows), _some(targets, rows)
        of_models = [read_tokens(model, *some, [layer], store=store) for model in models]
        return np.stack([reading.reached(score, top)[:, 0] for reading in of_models])

    costly = {kind: partial(in_models, models) for kind, models in faced(subject, untrained).items()}
    if known is not None:
        return rate_until_known(
            unit,
            units,
            lambda rows: scored(*readings(rows, at)),
            known,
            costly=costly,
            describe=lambda rows: _examples(
                subject, _some(prompts, rows), _some(targets, rows), readings(rows, [layer])[0], layer
            ),
            seed=seed,
            details=details,
        )
    rows = np.arange(len(prompts))
    lens, other_lens = readings(rows, sorted({*curve_layers(subject.num_layers), *at}))
    own, controls = scored(lens, other_lens)
    curves = {"score": lens.reached(score, top), "other_target": other_lens.reached(score, top)}

    def measure(controls: Mapping[str, ArrayLike], left_out: tuple[str, ...]) -> Measurement:
        return rate(
            unit,
            own,
            units,
            controls,
            seed=seed,
            details=details,
            **_examples(subject, prompts, targets, lens, layer),
            curves=tuple(layer_curve(name, values, lens.layers) for name, values in curves.items()),
            unmeasured=left_out,
        )

    return as_needed(
        claim, measure, {name: partial(of_rows, rows) for name, of_rows in costly.items()}, controls
    )


def _some(values: Sequence[T], rows: Rows) -> list[T]:
    return [values[row] for row in rows]


def not_yet(
    subject: Subject,
    prompts: Sequence[Prompt],
    targets: Sequence[Sequence[Target]],
    units: ArrayLike,
    layer: int,
    *,
    top: int = 1,
    store: ActivationStore | None = None,
    seed: int = 0,
) -> Measurement:
    """The same rate for a claim that the lens does not predict the token yet; `last_layer` is the positive control.

    Arguments are those of `lens_emergence`; the curve is of at most nine layers, evenly spaced, and the one claimed.
    """
    layer, last = _block(subject, layer), subject.num_layers - 1
    read = sorted({*curve_layers(subject.num_layers), layer, last})
    lens = read_tokens(subject, prompts, targets, read, store=store)
    reached = lens.reached("rank", top)
    return rate(
        f"top-{top} rate of the lens",
        reached[:, lens.at(layer)],
        units,
        {"last_layer": reached[:, lens.at(last)]},
        positive=["last_layer"],
        seed=seed,
        details={"layer": layer, **_read(targets)},
        **_examples(subject, prompts, targets, lens, layer),
        curves=(layer_curve("score", reached, lens.layers),),
    )


def _block(subject: Subject, layer: int) -> int:
    """A layer counted from 0; a negative one counts from the last."""
    return resolve(resid_post(layer), subject.anatomy).layer or 0


def curve_layers(num_layers: int) -> list[int]:
    """The layers of a curve: all of a model, or some of a deep one."""
    return spaced_layers(num_layers, CURVE)


def layer_curve(name: str, by_layer: NDArray[np.float64], layers: Sequence[int] | None = None) -> Curve:
    """The means of scores (N, K), layer by layer; by default these are all of the model."""
    x = range(by_layer.shape[1]) if layers is None else layers
    return Curve(name, tuple(map(float, x)), tuple(map(float, by_layer.mean(axis=0))))


def _others(targets: Sequence[Sequence[Target]], rng: np.random.Generator) -> list[Sequence[Target]]:
    """For each prompt the targets of another one, drawn among those that share none with its own."""
    sets = [[_tokens(target) for target in some] for some in targets]
    distinct = [list(some) for some in dict.fromkeys(map(tuple, sets))]
    others: list[Sequence[Target]] = []
    for some in sets:
        disjoint = [candidate for candidate in distinct if not set(candidate) & set(some)]
        if not disjoint:
            raise ValueError("every prompt has the same tokens: there is no other to compare them with")
        others.append(disjoint[rng.integers(len(disjoint))])
    return others


def _tokens(target: Target) -> tuple[int, ...]:
    return tuple(map(int, target)) if isinstance(target, Sequence) else (int(target),)


def _read(targets: Sequence[Sequence[Target]]) -> dict[str, Any]:
    """How many tokens the targets have, all of which are read."""
    counts = [len(_tokens(target)) for some in targets for target in some]
    return {} if max(counts) == 1 else {"tokens_read": {"fewest": min(counts), "most": max(counts)}}


def _examples(
    subject: Subject,
    prompts: Sequence[Prompt],
    targets: Sequence[Sequence[Target]],
    lens: Reading,
    layer: int,
) -> dict[str, Any]:
    tops = [[token for token in row.tolist() if token >= 0] for row in lens.tops[:, lens.at(layer)]]
    right = [tuple(top) in map(_tokens, some) for top, some in zip(tops, targets, strict=True)]
    named = [subject.decode(_tokens(some[0])) for some in targets]
    texts = [prompt if isinstance(prompt, str) else subject.decode(prompt) for prompt in prompts]
    shown = some_examples(texts, named, [subject.decode(top) for top in tops], right)
    return {"tokens": sum(map(len, encode_all(subject, prompts))), "examples": shown}
