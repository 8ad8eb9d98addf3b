"""Several models as one control: a score is held against where a further such model would fall.

Models with random weights differ from each other, often by more than the prompts that one of them is asked can show:
the R2 of one untrained model went from .10 to .71 by its seed alone. So the interval of a gain over them holds for one
more model of their kind, as a handful of them tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lazarus_probe.introspection.estimates import prediction_reach
from lazarus_probe.introspection.held_out import HeldOut, gain_over, mean_of
from lazarus_probe.statistics import Interval, Kind
from lazarus_probe.statistics.bounded import Units
from lazarus_probe.statistics.difference import difference_interval
from lazarus_probe.statistics.measurement import Control
from lazarus_probe.subject.control_models import LESIONS, ControlModel, architecture
from lazarus_probe.subject.subject import Subject

if TYPE_CHECKING:
    from lazarus_probe.subject.control_models import ControlKind

COUNT = 5
FEWEST = 3
FIRST_SEED = 1000
ControlModels = Iterable[ControlModel | Subject]


def untrained_models(subject: Subject, count: int = COUNT) -> Iterator[Subject]:
    """Untrained models of the subject's architecture, each made when its turn comes."""
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        yield subject.untrained(seed)


def control_models(
    subject: Subject, kind: ControlKind = "untrained", count: int = COUNT, first: int = FIRST_SEED
) -> tuple[ControlModel, ...]:
    """Untrained or lesioned models, of the seeds from `first` on, built only where their values are not known yet."""
    return tuple(ControlModel(subject, kind, seed) for seed in range(first, first + count))


def checked_models(subject: Subject, models: ControlModels) -> tuple[ControlModel | Subject, ...]:
    """The untrained models, if a control can be made of them.

    Raises:
        ValueError: one model alone, fewer than three, the same one twice, or one of another architecture.
    """
    right = f"give at least {FEWEST} untrained models, as `untrained_models(subject)` does"
    if isinstance(models, ControlModel | Subject):
        raise ValueError(f"one untrained model, {models.name}, shows no spread between such models; {right}")
    listed = tuple(models)
    if len(listed) < FEWEST:
        raise ValueError(f"{len(listed)} untrained models show no spread between such models; {right}")
    expected = architecture(subject)
    for model in listed:
        actual = architecture(model.origin if isinstance(model, ControlModel) else model)
        if wrong := [name for name in expected if actual.get(name, "absent") != expected[name]]:
            name = wrong[0]
            raise ValueError(
                f"{model.name} is of another architecture than {subject.name}: its {name} is "
                f"{actual.get(name, 'absent')}, not {expected[name]}; {right}"
            )
    if len({model.fingerprint for model in listed}) < len(listed):
        names = ", ".join(model.name for model in listed)
        raise ValueError(f"the untrained models {names} hold one model twice; give each another seed")
    return listed


def faced(subject: Subject, untrained: ControlModels) -> dict[str, tuple[ControlModel | Subject, ...]]:
    """All models that a claim about layers is held against: untrained ones, and as many lesioned ones of each kind.

    Raises:
        ValueError: as `checked_models`.
    """
    models = checked_models(subject, untrained)
    return {
        "untrained": models,
        **{lesion: control_models(subject, lesion, len(models)) for lesion in LESIONS},
    }


def over_models(
    name: str, score: HeldOut, models: Sequence[HeldOut], units: Units, kind: Kind, seed: int
) -> Control:
    """The control of several models of one kind: the score's gain over their mean, row by row.

    Args:
        name: of the control.
        score: of the model.
        models: the same of each control model, on the same rows.
        units: (N,) the independent units, or several kinds of them by name.
        kind: whether the labels are classes or numbers.
        seed: of the interval.

    Raises:
        ValueError: fewer than three models.
    """
    return one_more(
        gain_over(name, score, mean_of(models), units, kind, seed), [each.score for each in models]
    )


def over_others(name: str, score: float, interval: Interval, others: Sequence[float]) -> Control:
    """The control of several models whose scores are not of the same rows: the score's gain over their mean.

    Args:
        name: of the control.
        score: of the model.
        interval: of that score.
        others: the same score of each control model.

    Raises:
        ValueError: fewer than three models.
    """
    mean = float(np.mean(others)) if len(others) else 0.0
    gain = Control(name, mean, score - mean, interval.low - mean, interval.high - mean)
    return one_more(gain, others, interval.level)


def over_untrained(score: float, interval: Interval, others: Sequence[float]) -> Control:
    """The control `untrained`, as `over_others` makes it."""
    return over_others("untrained", score, interval, others)


def one_more(gain: Control, others: Sequence[float], level: float = 0.95) -> Control:
    """A gain over the mean of several models, whose interval holds for one more model of their kind.

    The gain's own interval is joined, by square-and-add, with the prediction interval of a further model around the
    mean of these: Student's t on their number less one. With a gain above 0 the score is beyond what chance weights
    come to, not only what these came to.

    Args:
        gain: over the mean of the models, with the interval of the rows.
        others: the score of each model.
        level: of the gain's interval.

    Raises:
        ValueError: fewer than three models.
    """
    reach = model_spread(others, level)
    rows, models = Interval(gain.low, gain.high, level), Interval(-reach, reach, level)
    joined = difference_interval(gain.gain, rows, 0.0, models)
    return Control(gain.name, gain.score, gain.gain, joined.low, joined.high, reach)


def model_spread(scores: Sequence[float], level: float = 0.95) -> float:
    """How far from the mean of several models a further one may fall, see `prediction_reach`.

    Raises:
        ValueError: fewer than three models.
    """
    if len(scores) < FEWEST:
        raise ValueError(
            f"{len(scores)} untrained models; give at least {FEWEST}, for their spread to be known"
        )
    return prediction_reach(scores, level)
