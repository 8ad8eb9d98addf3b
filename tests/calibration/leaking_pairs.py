"""Labels dealt at random to pairs of numbers, of which `a*b` is in one group and `b*a` in another."""

from __future__ import annotations

from functools import cache

import numpy as np
from draws import OF_A_PROBE, Draw, architecture, claim, operands

from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.probing.emergence import emergence
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.organisms import planted
from lazarus_probe.statistics.model_spread import FEWEST
from lazarus_probe.subject.control_models import control_models

PAIRS = 24


def both_orders(seed: int) -> ProbeDataset:
    """Each pair in both orders, with one label and two groups."""
    rng = np.random.default_rng(seed)
    numbers, labels = (
        np.array(operands(rng, 2 * PAIRS)).reshape(PAIRS, 2),
        rng.permutation(np.arange(PAIRS) % 2),
    )
    texts = [planted.prompt(int(a), int(b)) for a, b in (*numbers, *numbers[:, ::-1])]
    return ProbeDataset(texts, np.tile(labels, 2), np.arange(2 * PAIRS))


@cache
def leaked(kind: str, seed: int) -> Draw:
    """A claim that the labels are readable, by the analysis of its kind, from an untrained model.

    Raises:
        ValueError: the two orders of a pair are in different groups.
    """
    models, labelled = (
        (architecture(2).untrained(1), control_models(architecture(2), count=FEWEST)),
        both_orders(seed),
    )
    if kind == "emergence":
        found = emergence(*models, labelled, threshold=0.5, margin=0.01, layer=0, seed=seed)
    else:
        found = probe(*models, labelled, Site("resid_post", 0), seed=seed)
    return Draw(claim(kind, 0.5, *OF_A_PROBE), found)


def is_supported(kind: str, seed: int) -> bool:
    """Whether the claim is supported by the controls that know nothing of words; a refusal is no support."""
    try:
        return leaked(kind, seed).seen_by("majority", "shuffled_labels").alarms
    except ValueError as error:
        if "have the same words" not in str(error):
            raise
        return False
