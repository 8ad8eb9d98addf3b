"""Which heads have a name, from how far their scores exceed controls and the heads of control models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, Verdict, judge
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.statistics.permutation import sign_step_down
from lazarus_probe.statistics.student import Estimate, mean_t_interval, next_above
from lazarus_probe.tables import Cell, Column, Table

KINDS = ("induction", "duplicate", "previous")
NAMES = {
    "induction": "induction head",
    "duplicate": "duplicate-token head",
    "previous": "previous-token head",
    "copying": "copying head",
    "successor": "successor head",
}
UNITS = {
    "copying": "share of tokens copied over the control",
    "successor": "share of tokens counted on over the control",
}
CLAIM = "head-has-a-name"
DRAWS = 2000  # sign patterns; up to 10 rows all of them are counted


@dataclass(frozen=True, eq=False)
class Measured:
    """What one model does on R rows: by kind scores and controls (R, layers, H)."""

    scores: dict[str, NDArray[Any]]
    controls: dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Kind:
    """Scores of one kind, of all heads; NaN where a layer has no attention.

    Attributes:
        score: (layers, H) mean attention to the position in question, from 0 to 1.
        control: (layers, H) for `induction` and `duplicate` the attention to the same positions in rows whose second
            half is in another order; for `previous` that of evenly spread attention; for `copying` and `successor` the
            share of tokens of which another token is named.
        gain: (layers, H) score minus control, with its interval over rows.
        p: (layers, H) of a gain as large by chance, corrected for all heads of all kinds; see `judged`.
        models: by kind of control model, each model's largest gain.
        verdicts: by layer and head, whether it has the name of its kind, as a claim declares it.
    """

    score: NDArray[Any]
    control: NDArray[Any]
    gain: Estimate
    p: NDArray[Any]
    models: Mapping[str, tuple[float, ...]]
    verdicts: Mapping[tuple[int, int], Verdict]

    @property
    def named(self) -> tuple[tuple[int, int], ...]:
        """The heads whose claim is supported."""
        return tuple(head for head, verdict in self.verdicts.items() if verdict.outcome is Outcome.SUPPORTED)

    @property
    def best(self) -> tuple[int, int]:
        """Layer and head of the largest gain."""
        layer, head = np.unravel_index(np.nanargmax(self.gain.mean), self.gain.mean.shape)
        return int(layer), int(head)


def judged(
    own: Measured, models: Mapping[str, Sequence[Measured]], claim: Claim, seed: int, families: int = 1
) -> dict[str, Kind]:
    """By kind, every head's gain over its control, and whether the claim holds of it.

    A head has a name where three things hold at once: its gain's interval over rows is past the claim's threshold; its
    gain is past the best head of control models, as far as one more of them may reach; and p is at most alpha.

    The p is that of chance over rows, by a step-down maximum over all heads of all kinds (`step_down_p`): under the
    null a head's gain in a row could as well have had the other sign, and a row's heads change sign together, however
    they depend on each other. For `induction` and `duplicate` that is so where the head does not tell the repeated half
    from the half in another order, for a row's two runs are then exchangeable. For `previous`, whose control is a
    number, the gains must be symmetric about 0 (or below it). The chance that any head whose null holds has
    p <= alpha is then at most alpha, whichever others are real, for any number of rows and tails of any weight. A mean
    of 0 alone is not that null: gains that are a little above 0 in nearly every row and far below it in a few can have
    a small p; of those the threshold is the guard.

    Args:
        own: of the model.
        models: of the control models, by kind.
        claim: what would have to hold of a head.
        seed: of the sign patterns that are drawn, where there are too many to count.
        families: of how many such sets of heads, with rows of their own, this is one; p is that many times as large
            (Bonferroni).
    """
    gains = {name: score - own.controls[name] for name, score in own.scores.items()}
    p = {name: np.minimum(1.0, families * values) for name, values in _step_down(gains, seed).items()}
    return {name: _scored(name, own, gains[name], p[name], models, claim) for name in gains}


def _scored(
    name: str,
    own: Measured,
    gains: NDArray[Any],
    p: NDArray[Any],
    models: Mapping[str, Sequence[Measured]],
    claim: Claim,
) -> Kind:
    gain = mean_t_interval(gains)
    others = {
        kind: tuple(
            float(np.nanmax((model.scores[name] - model.controls[name]).mean(axis=0))) for model in of_kind
        )
        for kind, of_kind in models.items()
    }
    heads = [(int(layer), int(head)) for layer, head in np.argwhere(~np.isnan(p))]
    verdicts = {head: judge(claim, _measurement(name, gain, p, others, head, len(gains))) for head in heads}
    return Kind(own.scores[name].mean(axis=0), own.controls[name].mean(axis=0), gain, p, others, verdicts)


def _measurement(
    name: str,
    gain: Estimate,
    p: NDArray[Any],
    others: Mapping[str, Sequence[float]],
    head: tuple[int, int],
    rows: int,
) -> Measurement:
    """A head's gain compared with the best heads of control models."""
    score, low, high = (float(values[head]) for values in gain)
    return Measurement(
        score,
        low,
        high,
        n=rows,
        groups=rows,
        unit=UNITS.get(name, f"{name} attention over the control"),
        controls=tuple(_over_best(kind, (score, low, high), best) for kind, best in others.items()),
        p=float(p[head]),
        details={"layer": head[0], "head": head[1]},
        floor=-1.0,
    )


def _over_best(kind: str, gain: tuple[float, float, float], best: Sequence[float]) -> Control:
    """A head's gain over the best heads of models of one kind, whose further one would lie within `reach` of them."""
    (score, low, high), middle = gain, float(np.mean(best))
    reach = next_above(best) - middle
    return Control(kind, middle, score - middle, low - middle - reach, high - middle + reach, reach)


def _step_down(gains: Mapping[str, NDArray[Any]], seed: int) -> dict[str, NDArray[Any]]:
    """By kind the p (layers, H) of mean gains (R, layers, H); see `judged`."""
    stacked = np.stack(list(gains.values()), axis=1)
    defined = ~np.isnan(stacked[0])
    p = np.full(defined.shape, np.nan)
    p[defined] = sign_step_down(stacked[:, defined], DRAWS, seed)
    return dict(zip(gains, p, strict=True))


def kind_data(name: str, kind: Kind, claim: str = CLAIM) -> dict[str, Any]:
    """Scores, gains, p and the named heads of one kind as plain data."""
    return {
        "scores": kind.score.tolist(),
        "control": kind.control.tolist(),
        "gain": kind.gain.mean.tolist(),
        "low": kind.gain.low.tolist(),
        "high": kind.gain.high.tolist(),
        "p": kind.p.tolist(),
        "untrained": list(kind.models["untrained"]),
        "best_of_models": {name: list(best) for name, best in kind.models.items()},
        "claim": claim,
        "named": [{"layer": layer, "head": head, "name": NAMES[name]} for layer, head in kind.named],
    }


def heat_map(name: str, kind: Kind) -> str:
    """The scores of one kind by layer and head, as an HTML table shaded by gain."""
    heads = range(kind.score.shape[1])
    rows = [
        [
            f"L{layer}",
            *(
                Cell(
                    kind.score[layer, head],
                    f"control {kind.control[layer, head]:.2f}, p {kind.p[layer, head]:.3g}",
                    float(np.nan_to_num(kind.gain.mean[layer, head])),
                )
                for head in heads
            ),
        ]
        for layer in range(len(kind.score))
    ]
    columns = [Column("layer"), *(Column(f"H{head}", ".2f") for head in heads)]
    return Table(columns, rows, f"{name} score by head").html()
