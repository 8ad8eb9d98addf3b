"""What is made up for: all of a planted head with a stand-in, nothing without one, and in untrained models chance."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.attribution.best_repair import made_up_for
from lazarus_probe.introspection.attribution.self_repair import ablate_heads
from lazarus_probe.organisms import planted
from lazarus_probe.statistics.folds import halves_of_units
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models
from tests.cases import slow_except

DRAWN = np.random.default_rng(0).choice(planted.NUMBERS, size=(16, 2)).tolist()
PROMPTS, UNITS = [planted.prompt(a, b) for a, b in DRAWN], [str(row) for row in range(16)]


def measured(circuit, ablation):
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    answers = [circuit.answer(a, b) for a, b in DRAWN]
    words, others = [str(answer) for answer in answers], [str(1 - answer) for answer in answers]
    models = control_models(subject, count=3)
    return (
        subject,
        words,
        others,
        made_up_for(subject, models, PROMPTS, words, others, UNITS, ablation=ablation),
    )


def test_a_planted_stand_in_is_counted_in_every_prompt():
    """Without its mark the head's work is done by another, and random heads' is not."""
    *_, measurement = measured(planted.backup(), "zero")
    assert (measurement.score, measurement.n) == (1.0, 8)
    assert measurement.details["head"] == "L0 head 0"
    assert measurement.details["lost"] == pytest.approx(0.0, abs=0.5)
    assert next(control for control in measurement.controls if control.name == "other_heads").score < 0.8


def test_the_score_is_counted_from_self_repair_on_prompts_not_chosen_on():
    """The share of the tested half in which the effect with the frozen norm falls short of the direct one."""
    subject, words, others, measurement = measured(planted.distractor(1), "zero")
    assert measurement.details["head"] == "L1 head 0"
    tested = halves_of_units(np.array(UNITS), np.random.default_rng(0))[1]
    of_tested = [[of[row] for row in tested] for of in (PROMPTS, words, others)]
    result, _ = ablate_heads(subject, *of_tested, heads=[(1, 0)], ablation="zero")
    short = [
        abs(frozen) < abs(direct) or frozen * direct < 0
        for direct, frozen in zip(result.direct[0], result.frozen[0], strict=True)
    ]
    assert measurement.score == pytest.approx(np.mean(short))
    assert np.abs(result.direct - result.frozen).max() < 0.05, "nothing makes up for it"


@pytest.mark.parametrize("seed", slow_except(range(2), 0))
def test_in_untrained_models_it_goes_either_way(organism, seed):
    """The null: without the best head of an untrained model as often more as less is lost than it adds."""
    rng = np.random.default_rng(seed)
    prompts = [f"{a}*{b}=" for a, b in rng.choice(planted.NUMBERS, size=(24, 2)).tolist()]
    answers, others = (rng.choice([str(n) for n in planted.NUMBERS], size=24).tolist() for _ in range(2))
    model = organism.untrained(seed)
    measurement = made_up_for(
        model,
        control_models(model, count=3),
        prompts,
        answers,
        others,
        [str(row) for row in range(24)],
        seed=seed,
    )
    assert measurement.low < 0.6
    assert max(control.low for control in measurement.controls) < 0.5


def test_a_model_of_few_heads_is_refused(make_llama, tokenizer):
    """Other heads are drawn, and there must be some."""
    subject = Subject.from_model(make_llama(num_hidden_layers=1), tokenizer)
    with pytest.raises(ValueError, match="4 heads; more than 5 are needed"):
        made_up_for(subject, control_models(subject, count=3), ["ab", "cd"] * 2, "aaaa", "bbbb", list("abcd"))
