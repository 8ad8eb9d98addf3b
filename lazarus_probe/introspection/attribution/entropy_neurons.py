"""Entropy neurons: those of the last block that make the next token more or less certain through the final norm alone.

Stolfo et al. 2024 (arXiv:2406.16254), after Gurnee et al. 2024 (arXiv:2401.12181). Such a neuron writes much, where the
unembedding reads next to nothing; what it writes makes the stream longer, and so the final norm makes all logits
smaller. So its effect on the entropy goes away where the scale of the norm is held. Neurons are picked by their weights
alone, and in control models too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.introspection.attribution.last_neurons import Floats, LastBlock
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.control_models import ControlModel, ControlModels, built, faced

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject

SETS = 5  # of other neurons


def through_the_norm(
    subject: Subject,
    untrained: ControlModels,
    prompts: Sequence[str],
    units: Sequence[str],
    *,
    seed: int = 0,
    claim: Claim | None = None,
) -> Measurement:
    """How much of what entropy neurons change of the entropy goes through the final norm's scale.

    Of a prompt it is `(live - held) / (live + held)`, where both are how far the entropy of the next token moves, in
    nats, when the neurons are set to their means over the prompts: with the norm as it is, and with its scale held. It
    is 1 where all goes through the scale, and 0 where the scale does nothing.

    Controls: `equal_norm`, the same of 5 sets of as many other neurons that write as much; and the neurons picked in
    control models.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture.
        prompts: P texts.
        units: (P,) the independent unit of each.
        seed: of the other neurons and the interval.
        claim: what the measurement is judged by.

    Raises:
        UnsupportedArchitecture: the last block has no neurons of one MLP, or the final norm is no linear map with its
            scale held.
        ValueError: too few neurons that write anything, or as `checked_models`.
    """
    rng = np.random.default_rng(seed)
    own = LastBlock(subject, prompts)
    chosen = own.neurons.chosen()
    if np.count_nonzero(own.neurons.norms) < 2 * len(chosen):
        raise ValueError(
            f"{np.count_nonzero(own.neurons.norms)} neurons that write anything; {2 * len(chosen)} are needed"
        )
    sets = [own.neurons.of_equal_norm(chosen, rng) for _ in range(SETS)]
    live, held = own.moved(chosen)

    def measure(controls: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        return rate(
            "part of the change of entropy that goes through the norm",
            shares(live, held),
            units,
            controls,
            bound=2.0,
            seed=seed,
            details={
                "neurons": chosen.tolist(),
                "live_nats": float(live.mean()),
                "held_nats": float(held.mean()),
            },
            unmeasured=left_out,
        )

    def in_models(models: Sequence[ControlModel | Subject]) -> Floats:
        runs = (LastBlock(built(model), prompts) for model in models)
        return np.stack([shares(*run.moved(run.neurons.chosen())) for run in runs])

    costly = {kind: partial(in_models, models) for kind, models in faced(subject, untrained).items()}
    return as_needed(claim, measure, costly, {"equal_norm": np.stack([shares(*own.moved(s)) for s in sets])})


def shares(live: Floats, held: Floats) -> Floats:
    """(P,) `(live - held) / (live + held)` of two distances; 0 where nothing moves."""
    both = live + held
    return np.divide(live - held, both, out=np.zeros_like(both), where=both > 0)
