"""What is kept of a model's predictions where blocks of its middle are deleted or swapped, as a measurement.

`layer_edits` shows every block to a reader; here the number is the mean over evenly spaced blocks, so that no block is
picked, compared with a push of every state as far in a random direction. Lad et al. 2024 (arXiv:2406.19384).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.introspection.ablation.edited_blocks import LayerEdit
from lazarus_probe.introspection.ablation.edited_runs import kept_after_edits
from lazarus_probe.introspection.ablation.layer_edits import layer_edits
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.batches import encode_all
from lazarus_probe.subject.control_models import ControlModel, ControlModels, built, faced

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject

BLOCKS = 4


def middle_blocks(num_layers: int) -> list[int]:
    """At most four evenly spaced blocks of the middle half, so that each can be swapped with the next.

    Raises:
        ValueError: fewer than four blocks, which have no middle.
    """
    if num_layers < 4:
        raise ValueError(f"has {num_layers} blocks; at least 4 are needed for some to be in the middle")
    first, last = num_layers // 4, num_layers - num_layers // 4 - 2
    return np.unique(np.linspace(first, max(first, last), BLOCKS).round().astype(int)).tolist()


def predictions_kept(
    subject: Subject,
    untrained: ControlModels,
    edit: LayerEdit,
    *,
    seed: int = 0,
    claim: Claim | None = None,
) -> Measurement:
    """The share of most probable next tokens that stay, a mean over blocks of the middle edited one at a time.

    Controls: `random_push`, the share that stays where every state is moved as far in a random direction; and control
    models, for what their blocks write does little too, and a push alone would not tell.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture.
        edit: `delete` or `swap`.
        seed: of pushes and intervals.
        claim: what the measurement is judged by; where its outcome is settled without the control models, they are not
            run.

    Raises:
        UnsupportedArchitecture: as `layer_edits`.
        ValueError: too few blocks, or as `checked_models`.
    """
    blocks = middle_blocks(subject.num_layers)

    unrelated = unrelated_prompts()
    own = layer_edits(
        subject, unrelated.prompts, edit, layers=blocks, units=unrelated.units, draws=1, seed=seed
    )

    def measure(reached: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        return rate(
            "share of predictions kept",
            own.kept.mean(axis=0),
            own.units,
            reached,
            seed=seed,
            details={
                "blocks": [list(of_edit) for of_edit in own.blocks],
                "moves": float(own.size.mean()),
                "kl": float(own.kl.mean()),
            },
            unmeasured=left_out,
        )

    def in_models(models: Sequence[ControlModel | Subject]) -> NDArray[np.float64]:
        # A control model's score is all that counts of it: no push, and no divergence over the vocabulary.
        encoded = encode_all(subject, unrelated.prompts)
        kept = (kept_after_edits(built(model), encoded, edit, own.blocks) for model in models)
        return np.stack([of_model.mean(axis=0) for of_model in kept])

    costly = {kind: partial(in_models, models) for kind, models in faced(subject, untrained).items()}
    return as_needed(claim, measure, costly, {"random_push": own.kept_control.mean(axis=0)})
