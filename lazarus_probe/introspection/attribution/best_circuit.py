"""Whether a model has a head that copies, suppresses or counts on by its OV circuit, as one number to be judged.

`head_circuits` names heads for a reader. Here the head is chosen on half of the rows of tokens, or of the ordered
sequences, and measured on the other half, and the other way round: in the model and in each control model alike, so a
maximum over hundreds of heads flatters neither. Copying: Elhage et al. 2021; suppressing, the token lowered most:
McDougall et al. 2023 (arXiv:2310.04625); counting on: Gould et al. 2023 (arXiv:2312.09230).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.introspection.attribution.ov_scores import CircuitKind, OvReader, read_once
from lazarus_probe.statistics.folds import random_half
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.control_models import ControlModel, ControlModels, faced

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject

# What else a head may name: the token that happens to follow in the row, or any other word of the sequence.
CONTROLS: Mapping[CircuitKind, str] = {
    "copying": "following_token",
    "suppressing": "following_token",
    "successor": "other_words",
}
FEWEST = 4  # rows; two to choose a head on


def best_circuit(
    subject: Subject,
    untrained: ControlModels,
    rows: Sequence[Sequence[int]],
    kind: CircuitKind,
    *,
    read: OvReader | None = None,
    seed: int = 0,
    claim: Claim | None = None,
) -> Measurement:
    """The share of tokens for which the OV circuit of a model's best head names the right token of its row.

    That is the token it attends to, raised above all others of the row (`copying`) or lowered below them
    (`suppressing`), or the next of an ordered sequence, raised above all others (`successor`).

    Controls: `following_token` or `other_words`, how often the same head names another one; and the best heads of
    control models, chosen and measured in the same way.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture.
        rows: token ids of at least 4 rows, or of ordered sequences, which are the units.
        kind: of head.
        read: scores of all heads on the same rows, as `read_once` shares them between claims.
        seed: of the halves and of the interval.
        claim: what the measurement is judged by.

    Raises:
        UnsupportedArchitecture: no heads with an output projection of their own, or as `token_states`.
        ValueError: fewer rows, or as `checked_models`.
    """
    if len(rows) < FEWEST:
        raise ValueError(f"{len(rows)} rows; give at least {FEWEST}, half of them to choose a head on")
    first = random_half(len(rows), np.random.default_rng(seed))
    read = read_once({kind: rows}, {}) if read is None else read
    own, other, heads = cross_fitted(*read(subject)[kind], first)

    def measure(controls: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        return rate(
            "share of tokens named by the best head",
            own,
            [str(row) for row in range(len(rows))],
            controls,
            seed=seed,
            details={"heads": [f"L{layer} head {head}" for layer, head in heads]},
            unmeasured=left_out,
        )

    def in_models(models: Sequence[ControlModel | Subject]) -> Callable[[], NDArray[np.float64]]:
        return lambda: np.stack([cross_fitted(*read(model)[kind], first)[0] for model in models])

    costly = {name: in_models(models) for name, models in faced(subject, untrained).items()}
    return as_needed(claim, measure, costly, {CONTROLS[kind]: other})


def cross_fitted(
    scores: NDArray[Any], controls: NDArray[Any], first: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[tuple[int, int], tuple[int, int]]]:
    """Scores and controls (R,) of the head that gains most on the other half of the rows, and the two heads.

    Args:
        scores: (R, layers, H) of all heads; NaN where there is none.
        controls: (R, layers, H) likewise.
        first: (R,) whether a row is of the first half.
    """
    score, control = np.empty(len(first)), np.empty(len(first))
    heads = []
    for half in (first, ~first):
        gains = (scores - controls)[~half].mean(axis=0)
        layer, head = np.unravel_index(int(np.nanargmax(gains)), gains.shape)
        score[half], control[half] = scores[half, layer, head], controls[half, layer, head]
        heads.append((int(layer), int(head)))
    return score, control, (heads[0], heads[1])
