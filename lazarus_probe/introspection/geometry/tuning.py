"""What tuning changed: every prompt is run on a model and on the one it was tuned from, and the difference is measured.

Two models differ in everything a little. So a change is compared with the change in something that the claim says
nothing of: other prompts, or the difference between two untrained models of the same architecture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.probe import ProbeDataset
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.statistics.cosines import paired_cosines
from lazarus_probe.statistics.difference import difference_interval
from lazarus_probe.statistics.measurement import Control, Example, Measurement
from lazarus_probe.statistics.permutation import sign_flip
from lazarus_probe.statistics.probes.out_of_fold import out_of_fold_classification
from lazarus_probe.statistics.threads import one_thread

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class Change:
    """What the tuned model and its base score on the same rows.

    Attributes:
        tuned: (N,) scores from 0 to 1, or cosines, or whether each row is right.
        base: (N,) likewise.
        units: (N,) the independent unit of each row.

    Raises:
        ValueError: lengths that differ, scores outside [-1, 1], or fewer than two units.
    """

    tuned: NDArray[Any]
    base: NDArray[Any]
    units: NDArray[Any]

    def __post_init__(self) -> None:
        for name, kind in (("tuned", float), ("base", float), ("units", None)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        if not len(self.tuned) == len(self.base) == len(self.units):
            raise ValueError(
                f"{len(self.tuned)} rows of the tuned model, {len(self.base)} of its base and {len(self.units)} "
                "units: give one of each a row"
            )
        if max(np.abs(self.tuned).max(), np.abs(self.base).max()) > 1 + 1e-9:
            raise ValueError("scores lie outside [-1, 1]; divide them by their range")
        if len(np.unique(self.units)) < 2:
            raise ValueError("the rows are all of one unit; give at least two")

    @property
    def difference(self) -> NDArray[Any]:
        """(N,) the tuned model's score less its base's."""
        return np.asarray(self.tuned - self.base)

    @property
    def reach(self) -> float:
        """How far a row can change: 1 for rates and probabilities, 2 for cosines."""
        least = min(self.tuned.min(), self.base.min())
        return 2.0 if least < 0 else 1.0


def widest(values: Sequence[NDArray[Any]], units: NDArray[Any]) -> Change:
    """The largest difference between two of several peers, such as untrained models: what no tuning made.

    One pair of peers does not suffice, since its difference may happen to be small. Seven have a range that the
    difference of two further ones exceeds less than once in twenty times.

    Args:
        values: (models, N) what each peer scores on the rows.
        units: (N,) the independent unit of each row.

    Raises:
        ValueError: fewer than two peers.
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} peers; a difference needs at least two")
    means = [float(np.mean(scores)) for scores in values]
    return Change(values[int(np.argmax(means))], values[int(np.argmin(means))], units)


def probed(
    subject: Subject, labelled: ProbeDataset, site: Site, store: ActivationStore | None = None, seed: int = 0
) -> NDArray[Any]:
    """(N,) whether a linear probe of a site is right about each prompt, fitted on other groups of them.

    Raises:
        ValueError: no groups, or labels that no grouped split can be made of.
    """
    states = (store or ActivationStore()).get(subject, labelled.prompts, [site], at=labelled.at)[site]
    features = states.reshape(len(states), -1)
    with one_thread():
        guesses = out_of_fold_classification(features, labelled.labels, labelled.groups, seed=seed)
    return np.asarray(guesses == labelled.labels)


def form_cosines(
    subject: Subject,
    first: Sequence[str],
    second: Sequence[str],
    layer: int,
    store: ActivationStore | None = None,
) -> NDArray[Any]:
    """(N,) the cosine, after a layer, of the last positions of two prompts with the same question in two forms.

    Raw, as it was published. What all states share changes with tuning too, which the claim's unrelated pairs show.
    """
    site = Site("resid_post", layer)
    states = (store or ActivationStore()).get(subject, [*first, *second], [site])[site]
    return paired_cosines(states[: len(first)], states[len(first) :])


def changed(
    subject: Subject,
    base: Subject,
    change: Change,
    controls: Mapping[str, Change],
    unit: str,
    *,
    loss: bool = False,
    seed: int = 0,
    details: Mapping[str, Any] | None = None,
    tokens: int | None = None,
    examples: Sequence[Example] = (),
) -> Measurement:
    """The mean change from base to tuned, its gain over the change of each control, and a sign-flip p.

    Args:
        subject: the tuned model.
        base: the model it was tuned from; a report names it, with its fingerprint.
        change: what the claim is about.
        controls: changes that it should exceed; those of the same rows and units are compared row by row.
        unit: of the score, as in `accuracy gained`.
        loss: whether the claim is about a loss: the score is then base less tuned, and so are the controls.
        seed: of the intervals.
        details: to keep with the number.
        tokens: of all the prompts.
        examples: of the prompts.
    """
    sign = -1.0 if loss else 1.0
    controls_of_change = [_control(name, change, other, sign, seed) for name, other in controls.items()]
    return _measurement(
        subject,
        base,
        change,
        controls_of_change,
        sign,
        unit=unit,
        p=sign_flip(sign * change.difference, change.units, seed=seed, alternative="greater"),
        seed=seed,
        details=details or {},
        tokens=tokens,
        examples=tuple(examples),
    )


def unchanged(
    subject: Subject,
    base: Subject,
    change: Change,
    positives: Mapping[str, Change],
    unit: str,
    *,
    seed: int = 0,
    tokens: int | None = None,
    examples: Sequence[Example] = (),
) -> Measurement:
    """The mean change for a claim that there is none; `positives` are changes that the instrument must see.

    Raises:
        ValueError: a positive control on other rows.
    """
    controls = [_excess(name, change, other, seed) for name, other in positives.items()]
    return _measurement(
        subject,
        base,
        change,
        controls,
        unit=unit,
        seed=seed,
        tokens=tokens,
        examples=tuple(examples),
    )


def _measurement(
    subject: Subject,
    base: Subject,
    change: Change,
    controls: Sequence[Control],
    sign: float = 1.0,
    *,
    seed: int,
    details: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Measurement:
    moved = sign * change.difference
    interval = paired_interval(moved, change.units, seed=seed, bound=change.reach)
    models = {
        "tuned": {"name": subject.name, "score": float(change.tuned.mean())},
        "base": {"name": base.name, "fingerprint": base.fingerprint, "score": float(change.base.mean())},
    }
    return Measurement(
        score=float(moved.mean()),
        low=interval.low,
        high=interval.high,
        n=len(moved),
        groups=len(np.unique(change.units)),
        controls=tuple(controls),
        seed=seed,
        details={**models, **(details or {})},
        floor=-change.reach,
        ceiling=change.reach,
        **fields,
    )


def _control(name: str, change: Change, other: Change, sign: float, seed: int) -> Control:
    score, theirs = sign * change.difference, sign * other.difference
    gain = float(score.mean() - theirs.mean())
    if np.array_equal(change.units, other.units):
        reach = change.reach + other.reach
        interval = paired_interval(score - theirs, change.units, seed=seed, bound=reach)
    else:
        intervals = [
            paired_interval(sign * part.difference, part.units, seed=seed, bound=part.reach)
            for part in (change, other)
        ]
        interval = difference_interval(float(score.mean()), intervals[0], float(theirs.mean()), intervals[1])
    return Control(name, float(theirs.mean()), gain, interval.low, interval.high)


def _excess(name: str, change: Change, positive: Change, seed: int) -> Control:
    """How much further a positive control goes than the change of the claim, whatever the direction of either."""
    if not np.array_equal(change.units, positive.units):
        raise ValueError(f"the known change {name!r} is of other rows: give those of the claim")
    score, moved = change.difference, positive.difference
    excess = np.sign(moved.mean()) * moved - np.sign(score.mean()) * score
    interval = paired_interval(excess, change.units, seed=seed, bound=change.reach + positive.reach)
    return Control(name, float(moved.mean()), float(excess.mean()), interval.low, interval.high)
