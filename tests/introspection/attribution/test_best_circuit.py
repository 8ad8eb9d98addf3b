"""The best head by its weights: the planted one on rows it was not chosen on, and none in untrained models."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.attribution import ov_scores
from lazarus_probe.introspection.attribution.best_circuit import best_circuit, cross_fitted
from lazarus_probe.organisms import planted
from lazarus_probe.organisms.planted import number_tokens
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models, untrained_models
from lazarus_probe.subject.random_tokens import random_rows

ROWS = 8


def subject_of(circuit):
    return Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)


def rows_of(subject, seed=0):
    return random_rows(subject, 12, ROWS, seed=seed)[1].tolist()


def test_a_planted_copying_head_is_the_best():
    """Of both halves of the rows it is the best one, names every token, and beats its controls."""
    circuit = planted.induction()
    subject = subject_of(circuit)
    measurement = best_circuit(subject, control_models(subject, count=3), rows_of(subject), "copying")
    layer, head = circuit.heads["induction"]
    assert measurement.details["heads"] == [f"L{layer} head {head}"] * 2
    assert (measurement.score, measurement.n) == (1.0, ROWS)
    names = {control.name for control in measurement.controls}
    assert names == {"following_token", "untrained", "new_blocks", "permuted_blocks"}
    assert min(control.gain for control in measurement.controls) > 0.4


def test_a_head_that_lowers_what_it_reads_suppresses_and_does_not_copy():
    """With the unembedding turned round the copying head is a suppressing one."""
    circuit = planted.induction()
    circuit.model.lm_head.weight = -circuit.model.lm_head.weight
    subject = subject_of(circuit)
    models = control_models(subject, count=3)
    assert best_circuit(subject, models, rows_of(subject), "suppressing").score == 1.0
    assert best_circuit(subject, models, rows_of(subject), "copying").score < 0.3


def test_a_planted_successor_counts_on_in_sequences_it_was_not_chosen_on():
    """The head that turns numbers into the next ones is the best of either half of the sequences."""
    circuit, tokens = planted.successor(), number_tokens()
    subject = subject_of(circuit)
    sequences = [[tokens[start + i] for i in range(8)] for start in range(100, 220, 20)]
    measurement = best_circuit(subject, control_models(subject, count=3), sequences, "successor")
    assert measurement.details["heads"] == ["L1 head 2"] * 2
    assert measurement.score == 1.0


@pytest.mark.parametrize("kind", ["copying", "suppressing", "successor"])
def test_the_best_head_of_an_untrained_model_does_nothing(organism, kind):
    """The null: measured on other rows, the best of all heads is about as often right as wrong."""
    model = next(iter(untrained_models(organism, 3)))
    measurement = best_circuit(model, control_models(model, count=3), rows_of(model), kind)
    assert measurement.score < 0.3
    assert measurement.low < 0.1


def test_a_head_is_chosen_on_the_other_half():
    """Scores and controls are those of the head with the largest gain over the other half, from a naive loop."""
    rng = np.random.default_rng(0)
    scores, controls = rng.random((6, 2, 3)), rng.random((6, 2, 3))
    scores[:, 1, 2] = np.nan  # a head that is not there
    first = np.array([True, False, True, False, False, True])
    score, control, heads = cross_fitted(scores, controls, first)
    for row in range(6):
        gains = {
            (layer, head): np.mean(
                [
                    scores[i, layer, head] - controls[i, layer, head]
                    for i in range(6)
                    if first[i] != first[row]
                ]
            )
            for layer in range(2)
            for head in range(3)
            if (layer, head) != (1, 2)
        }
        best = max(gains, key=gains.__getitem__)
        assert best == heads[0 if first[row] else 1]
        assert (score[row], control[row]) == (scores[row][best], controls[row][best])


def test_claims_about_the_same_rows_run_each_model_once(organism, monkeypatch):
    """Scores of two kinds that are read together are those of each alone, and no model is run for the second."""
    rows = random_rows(organism, 6, 8, seed=0)[1].tolist()
    models = control_models(organism, count=3)
    kinds = ("copying", "suppressing")
    alone = [best_circuit(organism, models, rows, kind) for kind in kinds]
    runs = []

    read = ov_scores.read_once(dict.fromkeys(kinds, rows), {})
    original = ov_scores.ov_scores
    monkeypatch.setattr(
        ov_scores, "ov_scores", lambda *arguments: runs.append(arguments) or original(*arguments)
    )
    assert [best_circuit(organism, models, rows, kind, read=read) for kind in kinds] == alone
    assert len(runs) == 1 + 9


def test_too_few_rows_are_refused(organism):
    """A head needs rows to be chosen on, and others to be measured on."""
    with pytest.raises(ValueError, match="3 rows; give at least 4"):
        best_circuit(organism, control_models(organism, count=3), [[1, 2]] * 3, "copying")
