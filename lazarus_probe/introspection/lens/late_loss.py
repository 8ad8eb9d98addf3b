"""Does a model hold the answer in its middle layers and lose it again before the end?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.introspection.generation.continuation import with_answers
from lazarus_probe.introspection.lens.lens_emergence import layer_curve
from lazarus_probe.introspection.lens.readings import read_tokens
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.statistics.controls import paired_control
from lazarus_probe.statistics.folds import halves_of_units
from lazarus_probe.statistics.measurement import Measurement, some_examples
from lazarus_probe.statistics.permutation import sign_flip

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def late_loss(
    subject: Subject,
    base: Subject,
    prompts: Sequence[str],
    answers: Sequence[str],
    units: ArrayLike,
    seed: int = 0,
) -> Measurement:
    """How far the lens probability of the answer falls from its best layer to the last one.

    The best layer is chosen on one half of the units and the fall measured on the other. Controls: `base`, the same
    fall in the model that the subject was tuned from, at its own best layer; `other_answer`, the fall in probability
    of another prompt's answer.

    Args:
        subject: the tuned model.
        base: what it was tuned from.
        prompts: N texts.
        answers: N texts that continue them; all of their tokens are read, each given the ones before it.
        units: (N,) the independent unit of each prompt.
        seed: of the halves, the other answers and the intervals.

    Raises:
        ValueError: fewer than four units, or a model of one layer.
    """
    if subject.num_layers < 2:
        raise ValueError(f"{subject.name} has one layer: there is none to lose the answer after")
    units = np.asarray(units)
    choosing, confirming = halves_of_units(units, np.random.default_rng(seed))
    ours, theirs = (_answer_by_layer(model, prompts, answers) for model in (subject, base))
    foreign = _answer_by_layer(subject, prompts, [answers[-1], *answers[:-1]])
    (fall, best), (of_base, base_best), (of_other, _) = (
        _fall(probabilities, choosing, confirming) for probabilities in (ours, theirs, foreign)
    )
    confirmed = units[confirming]
    interval = paired_interval(fall, confirmed, seed=seed)
    outputs = [f"{p:.2f} after L{best}, {q:.2f} at the end" for p, q in ours[:, [best, -1]]]
    return Measurement(
        score=float(fall.mean()),
        low=interval.low,
        high=interval.high,
        n=len(fall),
        groups=len(np.unique(confirmed)),
        unit="answer probability lost by the last layer",
        controls=(
            paired_control("base", fall, of_base, confirmed, seed, bound=2),
            paired_control("other_answer", fall, of_other, confirmed, seed, bound=2),
        ),
        p=sign_flip(fall, confirmed, seed=seed, alternative="greater"),
        seed=seed,
        details={
            "layer": best,
            "base": {"name": base.name, "fingerprint": base.fingerprint, "layer": base_best},
        },
        tokens=sum(len(subject.encode(prompt)) for prompt in prompts),
        examples=some_examples(prompts, answers, outputs, ours[:, best] > ours[:, -1]),
        curves=(layer_curve("score", ours[confirming]), layer_curve("base", theirs[confirming])),
        floor=-1.0,
    )


def _answer_by_layer(model: Subject, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[Any]:
    """(N, layers) the lens probability of each answer: of several tokens, the product over them."""
    contexts, tokens = with_answers(model, prompts, answers)
    return read_tokens(model, contexts, [[answer] for answer in tokens]).probability


def _fall(
    by_layer: NDArray[Any], choosing: NDArray[np.intp], confirming: NDArray[np.intp]
) -> tuple[NDArray[Any], int]:
    """The fall of each confirming row, and the layer chosen on the others."""
    best = int(by_layer[choosing, :-1].mean(0).argmax())
    rows = by_layer[confirming]
    return rows[:, best] - rows[:, -1], best
