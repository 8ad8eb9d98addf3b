"""Whether a model's choice between two answers rests on a concept: what erasing it costs, as a measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.introspection.directions.concept_erasure import NothingToEraseError
from lazarus_probe.introspection.directions.erase_concept import NOTHING, erase_concept
from lazarus_probe.introspection.directions.erased_choices import Floats
from lazarus_probe.introspection.generation.damage import Unrelated
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.control_models import ControlModel, ControlModels, built, faced
from lazarus_probe.sweep.routes import share_route

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject


def concept_used(
    subject: Subject,
    untrained: ControlModels,
    prompts: Sequence[str],
    labels: Sequence[str],
    answers: Sequence[int],
    others: Sequence[int],
    units: Sequence[str],
    layer: int,
    *,
    unrelated: Unrelated | None = None,
    seed: int = 0,
    claim: Claim | None = None,
    check: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> Measurement:
    """The share of the logit gap that right choices lose where a concept is erased after a layer.

    Controls: `random_subspace` and `shuffled_labels`, what erasing those loses; and `untrained`, `new_blocks` and
    `permuted_blocks`, what the same prompts lose in models in which the concept is erased in the same way.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture.
        prompts: P texts; other arguments as for `erase_concept`.
        labels: (P,).
        answers: (P,).
        others: (P,).
        units: (P,).
        layer: after which it is erased.
        unrelated: prompts of other tasks, for the damage.
        seed: of halves, random directions, shuffled labels and intervals.
        claim: what the measurement is judged by.
        check: given the measurement's details before any other model is run, to end there what does not apply.

    Raises:
        ValueError: as `erase_concept` and `checked_models`, or no right choice.
    """
    erase = partial(
        erase_concept, prompts=prompts, labels=labels, answers=answers, others=others, units=units, seed=seed
    )
    result = erase(subject, layers=[layer], unrelated=unrelated)
    right = result.gap > 0
    if not right.any():
        raise ValueError(f"{subject.name} makes no right choice, so none can be lost")

    details = {
        "layer": layer,
        "right": float(right.mean()),
        "right_erased": float((result.erased[0] > 0).mean()),
        "probe": result.before[0].as_data(),
        "probe_erased": result.after[0].as_data(),
    }
    check(details)

    def lost(gaps: Floats) -> Floats:
        return result.share_lost(gaps)[..., right]

    def measure(controls: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        return rate(
            "share of the logit gap of right choices lost",
            lost(result.erased[0]),
            [unit for unit, counts in zip(result.units, right, strict=True) if counts],
            controls,
            seed=seed,
            details=details,
            damage=result.damage,
            unmeasured=left_out,
        )

    def in_model(model: Subject) -> NDArray[Any]:
        share_route(model, subject)
        try:
            other = erase(model, layers=[layer], random=1, unrelated=NOTHING)
        except NothingToEraseError:  # its states are the same for all prompts
            return np.zeros(int(right.sum()))
        return np.asarray(other.share_lost(other.erased[0])[right])

    def in_models(models: Sequence[ControlModel | Subject]) -> NDArray[Any]:
        return np.stack([in_model(built(model)) for model in models])

    costly: dict[str, Callable[[], Any]] = {
        kind: partial(in_models, models) for kind, models in faced(subject, untrained).items()
    }
    own = {"random_subspace": lost(result.random[0]), "shuffled_labels": lost(result.shuffled[0])}
    return as_needed(claim, measure, costly, own)
