"""Whether later components make up for the loss of the model's best head, as one number to be judged.

What a head adds directly may be compared with what is lost without it prompt by prompt, and the sign of the difference
is as often one as the other where later components do nothing systematic. So prompts are counted. A ratio of the two
would be drawn towards repair by noise alone. The head is chosen on half of the prompts and measured on the other half.
McGrath et al. 2023 (arXiv:2307.15771); Rushing & Nanda 2024 (arXiv:2402.15390).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.introspection.ablation.effects import head_sites
from lazarus_probe.introspection.attribution.repair_effects import Head, HeadAblation
from lazarus_probe.introspection.attribution.self_repair import ablate_heads
from lazarus_probe.statistics.folds import halves_of_units
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.control_models import ControlModel, ControlModels, built, faced

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject

OTHER_HEADS = 5


def made_up_for(
    subject: Subject,
    untrained: ControlModels,
    prompts: Sequence[str],
    answers: Sequence[str],
    others: Sequence[str],
    units: Sequence[str],
    *,
    ablation: HeadAblation = "resample",
    seed: int = 0,
    claim: Claim | None = None,
) -> Measurement:
    """The share of prompts in which less is lost without the best head than it adds, the final norm's scale frozen.

    The best head is the one that adds most to the logit difference directly.

    Controls: `other_heads`, the same of 5 heads at random; and the best heads of control models.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture.
        prompts: P texts.
        answers: (P,) words that are one token.
        others: (P,) words that are one token, which answers are compared with.
        units: (P,) the independent unit of each prompt.
        ablation: what takes the place of a head's output, as in `self_repair`; on the next prompt, as published.
        seed: of the halves, the other heads and the interval.
        claim: what the measurement is judged by.

    Raises:
        UnsupportedArchitecture: as `self_repair`.
        ValueError: too few units, heads or models, or a word that is not one token.
    """
    sides = halves_of_units(np.asarray(units), np.random.default_rng(seed))
    there = head_sites(subject)
    if len(there) <= OTHER_HEADS:
        raise ValueError(f"{len(there)} heads; more than {OTHER_HEADS} are needed")

    def effects(model: Subject, rows: NDArray[np.intp], heads: Sequence[Head] | None) -> Any:
        texts, words, wrong = ([of[row] for row in rows] for of in (prompts, answers, others))
        return ablate_heads(model, texts, words, wrong, heads=heads, top=1, ablation=ablation, seed=seed)[0]

    best = effects(subject, sides[0], None).heads[0]
    pool = [(site.layer, site.head) for site in there if (site.layer, site.head) != best]
    drawn = np.random.default_rng(seed).choice(len(pool), OTHER_HEADS, replace=False)
    own = effects(subject, sides[1], [best, *(pool[number] for number in drawn)])
    repaired = _repaired(own.direct, own.frozen)

    def measure(controls: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        return rate(
            "share of prompts with less lost than the head adds",
            repaired[0],
            [units[row] for row in sides[1]],
            controls,
            seed=seed,
            details={
                "head": f"L{best[0]} head {best[1]}",
                "direct": float(own.direct[0].mean()),
                "lost_with_frozen_norm": float(own.frozen[0].mean()),
                "lost": float(own.lost[0].mean()),
            },
            unmeasured=left_out,
        )

    def in_models(models: Sequence[ControlModel | Subject]) -> NDArray[np.bool_]:
        rows = []
        for model in map(built, models):
            chosen = effects(model, sides[0], None).heads
            of_model = effects(model, sides[1], chosen)
            rows.append(_repaired(of_model.direct, of_model.frozen)[0])
        return np.stack(rows)

    costly = {kind: partial(in_models, models) for kind, models in faced(subject, untrained).items()}
    return as_needed(claim, measure, costly, {"other_heads": repaired[1:]})


def _repaired(direct: NDArray[np.float64], left: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(K, P) whether what is lost is nearer to nothing, or beyond it, than what heads add directly."""
    return np.asarray(np.sign(direct) * (direct - left) > 0)
