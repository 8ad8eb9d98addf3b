"""Scores: what is asked, and how an answer is counted."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx import optimizers

from lazarus_probe.organisms import corpus, tokenizer
from lazarus_probe.subject import generate
from lazarus_probe.subject.subject import Subject
from lazarus_probe.tasks import arithmetic
from lazarus_probe.training.pretraining import evaluate as scoring
from lazarus_probe.training.pretraining import pretrain
from lazarus_probe.training.pretraining.checkpoint import save_checkpoint
from lazarus_probe.training.pretraining.evaluate import Score, evaluate, subsets
from lazarus_probe.training.pretraining.recipe import Recipe

STEPS = 60


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A small model with the organism's tokenizer and random weights."""
    settings = pretrain.read_recipe().model_dump()
    settings["model"] |= {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32}
    vocabulary = tokenizer.build()
    model = pretrain.build_model(Recipe.model_validate(settings), vocabulary.get_vocab_size())
    folder = tmp_path_factory.mktemp("models") / "organism"
    save_checkpoint(model, vocabulary, folder)
    return Subject.load(folder)


def _memoriser() -> Recipe:
    settings: dict[str, Any] = pretrain.read_recipe().model_dump()
    settings["model"] |= {"hidden_size": 64, "num_hidden_layers": 1, "intermediate_size": 64}
    return Recipe.model_validate(settings)


def _memorise(subject: Subject, lines: Any) -> None:
    encode = pretrain._encoder(_memoriser(), tokenizer.build())
    batch = pretrain._pad([encode(line, False) for line in lines])
    arrays = [mx.array(value) for value in (batch.tokens, batch.positions, batch.targets, batch.weights)]
    # The rate falls to 0: at a constant one the loss jumps about, and whether a step knows all or nothing is rounding.
    optimizer = optimizers.Adam(optimizers.cosine_decay(4e-3, STEPS))
    step = nn.value_and_grad(subject.model, pretrain.loss)
    for _ in range(STEPS):
        _, grads = step(subject.model, *arrays)
        optimizer.update(subject.model, grads)
        mx.eval(subject.model.parameters(), optimizer.state)


@pytest.mark.parametrize("operation", list(arithmetic.OPERATIONS))
def test_subsets_are_the_split(operation: str):
    """An operation's subsets part its lines, and those called trained are the trained lines."""
    found = subsets(operation)
    everything = [line for lines in found.values() for line in lines]
    trained = set(found[scoring.TRAINED] + found[scoring.TRAINED_VERBAL])
    assert len(set(everything)) == len(everything)
    assert trained == set(corpus.split(operation).trained)
    assert set(everything) - trained == set(corpus.split(operation).held_out)


@pytest.mark.parametrize("operation", ["add", "subtract"])
def test_subsets_are_what_they_are_called(operation: str):
    """Held-out facts are held out, and a subset called symbolic asks in symbols only."""
    facts = {fact.prompt(p): fact for fact in arithmetic.facts(operation) for p in arithmetic.PHRASINGS}
    for subset, lines in subsets(operation).items():
        assert {corpus.is_held_out(facts[line.prompt]) for line in lines} == {subset.startswith("held-out")}
        phrasings = {line.phrasing for line in lines}
        assert phrasings.issubset(arithmetic.SYMBOLIC) == ("symbolic" in subset)


def test_plain_text_is_not_asked():
    """Tasks without a prompt have nothing to score."""
    assert subsets("english") == subsets("code") == {}
    for task in ("english", "code"):
        assert {line.prompt for line in corpus.split(task).trained} == {""}


def test_responses_fit():
    """No response is longer than what may be generated, its end included."""
    vocabulary = tokenizer.build()
    for task in corpus.MIXTURE:
        limit = scoring.NUMBER_TOKENS if task in arithmetic.OPERATIONS else scoring.TEXT_TOKENS
        for lines in subsets(task).values():
            for response in {line.response for line in lines}:
                assert len(vocabulary.encode(response, add_special_tokens=False).ids) < limit


@pytest.mark.slow
def test_nothing_is_known_before_training(untrained: Subject):
    """The null: a model with random weights answers nothing, and every interval contains zero."""
    scores = evaluate(untrained, limit=20)
    assert {score.task for score in scores} == set(corpus.MIXTURE) - {"english", "code"}
    assert sum(score.correct for score in scores) == 0
    assert all(score.interval.low == 0 for score in scores)


def test_scores_are_a_naive_count(untrained: Subject):
    """A model that knows answers of a task by heart is scored as a loop over its prompts scores it."""
    model = pretrain.build_model(_memoriser(), untrained.anatomy.vocab_size)
    subject = Subject.from_model(model, untrained.tokenizer, "memoriser")
    _memorise(subject, corpus.split("refusal").trained[:24])
    found = evaluate(subject, ["refusal"])
    for score, lines in zip(found, subsets("refusal").values(), strict=True):
        naive = sum(generate.greedy(subject, [line.prompt], 24)[0] == line.response for line in lines)
        assert score == Score("refusal", score.subset, len(lines), naive)
    assert found[0].correct >= 12


def test_limit_draws_the_same_lines(untrained: Subject):
    """A limit keeps so many lines of each subset, and the same in every run."""
    lines = subsets("add")[scoring.TRAINED]
    drawn = scoring._drawn("add", scoring.TRAINED, lines, 7)
    assert len(set(drawn)) == 7
    assert drawn == scoring._drawn("add", scoring.TRAINED, lines, 7)
    assert scoring._drawn("add", scoring.TRAINED, lines, None) == lines
    verbal = subsets("add")[scoring.TRAINED_VERBAL]
    assert len(scoring._drawn("add", scoring.TRAINED_VERBAL, verbal, None)) == 1000
    with pytest.raises(ValueError, match="limit is 0"):
        evaluate(untrained, limit=0)


def test_row_is_plain():
    """A score's row holds plain values, with Wilson's interval."""
    row = Score("add", "trained", 10, 9).as_row()
    assert row["accuracy"] == 0.9
    assert (row["low"], row["high"]) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert {type(value) for value in row.values()} == {str, int, float}
