"""The answer by lens and layer, against the model's own logits, plain softmax and a model that knows nothing."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.replay import replay
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.generation.continuation import before_answers
from lazarus_probe.introspection.lens.lens_emergence import (
    lens_emergence,
    not_yet,
    read_tokens,
)
from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.statistics.model_spread import model_spread
from lazarus_probe.subject.control_models import LESIONS, ControlModel, control_models
from tests.cases import slow_except
from tests.tolerance import in_order, of_logits, possible_ranks

CONTROLS = ("other_target", "untrained", "new_blocks", "permuted_blocks")
SCORE = {"kind": "decodability", "threshold": 0.5, "margin": 0.25, "minimum_groups": 10}
CLAIM = Claim(id="test", statement="a", source="b", controls=CONTROLS, **SCORE)


@pytest.fixture(scope="module")
def asked():
    """Products of two digits with their answers."""
    return [(f"{a}*{b}=", str(a * b), f"{min(a, b)},{max(a, b)}") for a in range(2, 10) for b in range(2, 10)]


def parts(subject, asked):
    """Prompts, answer tokens and families."""
    texts, answers, families = zip(*asked, strict=True)
    contexts, firsts = before_answers(subject, texts, answers)
    return contexts, [[token] for token in firsts], families


def test_reading_is_the_lens_by_hand(organism, asked):
    """Probability, rank and top token are those of the model's tail on one residual, for a set of tokens too."""
    texts, tokens, _ = parts(organism, asked[:5])
    tokens = [[*each, 7] for each in tokens]
    found = read_tokens(organism, texts, tokens)
    for row, text in enumerate(texts):
        for layer in (2, organism.num_layers - 1):
            resid = trace(organism, text, capture=f"resid_post.{layer}")[f"resid_post.{layer}"]
            logits = np.array(replay(organism, resid)[0, -1].astype(mx.float32), dtype=np.float64)
            chance = np.exp(logits - np.log(np.exp(logits).sum()))
            assert found.probability[row, layer] == pytest.approx(chance[tokens[row]].sum(), abs=1e-4)
            ties = of_logits(organism, logits)
            best = max(tokens[row], key=lambda token: logits[token])
            assert found.rank[row, layer] + 1 in possible_ranks(logits, best, ties)
            assert in_order([found.top_tokens[row, layer]], logits, ties)


def test_rates_are_counted_by_hand(organism, asked):
    """The score and the earlier layer are plain means of the reading, and one curve goes through the score."""
    texts, tokens, families = parts(organism, asked)
    untrained, last = control_models(organism), organism.num_layers - 1
    found = lens_emergence(organism, untrained, texts, tokens, families, last, before=1, top=3)
    rank = read_tokens(organism, texts, tokens).rank
    assert found.score == pytest.approx((rank[:, last] < 3).mean())
    earlier = next(control for control in found.controls if control.name == "earlier_layer")
    assert earlier.score == pytest.approx((rank[:, 1] < 3).mean())
    assert found.curves[0].y[last] == pytest.approx(found.score)
    plain = lens_emergence(organism, untrained, texts, tokens, families, last)
    assert judge(CLAIM, plain).outcome is Outcome.SUPPORTED


def test_no_control_model_is_run_where_the_claim_is_settled(organism, asked, monkeypatch):
    """Where the lens does not show the answer, the claim is refuted by the subject alone; else all models are read."""
    texts, tokens, families = parts(organism, asked)
    untrained, last = control_models(organism), organism.num_layers - 1
    arguments = (organism, untrained, texts, tokens, families)
    assert lens_emergence(*arguments, last, claim=CLAIM) == lens_emergence(*arguments, last)
    whole = lens_emergence(*arguments, 0)

    def refuse(*_):
        raise AssertionError("a control model was built")

    monkeypatch.setattr("lazarus_probe.subject.control_models.ControlModel.build", refuse)
    short = lens_emergence(*arguments, 0, claim=CLAIM)
    assert short.unmeasured == ("untrained", *LESIONS)
    assert (short.score, short.low, short.high) == (whole.score, whole.low, whole.high)
    assert judge(CLAIM, short).outcome is judge(CLAIM, whole).outcome is Outcome.REFUTED


def test_control_models_are_read_one_by_one(organism, asked):
    """The score of untrained and lesioned models is the mean of the plain lens on each; a gain holds for one more."""
    texts, tokens, families = parts(organism, asked[:24])
    found = lens_emergence(
        organism, control_models(organism), texts, tokens, families, 3, score="probability"
    )
    for kind in ("untrained", "new_blocks", "permuted_blocks"):
        alone = [
            logit_lens(model.build(), texts, [3]).probability([token for (token,) in tokens]).mean()
            for model in control_models(organism, kind)
        ]
        (control,) = (each for each in found.controls if each.name == kind)
        assert control.score == pytest.approx(np.mean(alone), rel=1e-4)
        assert control.spread == pytest.approx(model_spread(alone), rel=1e-2)


@pytest.mark.parametrize("score", ["rank", "probability"])
@pytest.mark.parametrize("kind", slow_except(["untrained", *LESIONS], LESIONS[-1]))
def test_a_model_that_learnt_nothing_says_nothing(organism, asked, kind, score):
    """In an untrained model, or one whose embeddings alone are trained, no layer says the answer."""
    texts, tokens, families = parts(organism, asked[:24])
    subject = ControlModel(organism, kind, 5).build()
    found = lens_emergence(subject, control_models(subject), texts, tokens, families, 7, score=score)
    assert judge(CLAIM, found).outcome is Outcome.REFUTED


@pytest.mark.slow
def test_a_constant_answer_is_no_finding(organism):
    """A prompt whose answer is what the lens says of all prompts gains nothing over another's tokens."""
    texts = [f"{a}*{b}=" for a in range(2, 8) for b in range(2, 8)]
    said = read_tokens(organism, texts, [[0]] * len(texts)).top_tokens[:, -1]
    common = int(np.bincount(said).argmax())
    both = [[common], [common, 5]]
    tokens = [both[i % 2] for i in range(len(texts))]
    others = [both[1 - i % 2] for i in range(len(texts))]
    found = lens_emergence(organism, control_models(organism), texts, tokens, texts, 7, others=others)
    assert found.controls[0].gain == pytest.approx(0)


def test_an_absence_has_the_last_layer_beside_it(organism, asked):
    """Early the answer is not on top and at the end it is; an untrained model shows no absence."""
    texts, tokens, families = parts(organism, asked)
    absent = CLAIM.model_copy(
        update={"kind": "absence", "threshold": 0.5, "margin": 0.5, "controls": ("last_layer",)}
    )
    assert judge(absent, not_yet(organism, texts, tokens, families, 0)).outcome is Outcome.SUPPORTED
    untrained = not_yet(organism.untrained(5), texts, tokens, families, 1)
    assert judge(absent, untrained).outcome is Outcome.CONFOUNDED


def test_what_cannot_be_compared_is_refused(organism):
    """Prompts that all have one answer are refused."""
    with pytest.raises(ValueError, match="every prompt has the same tokens"):
        lens_emergence(organism, control_models(organism), ["1+1=", "2+0="], [[3], [3]], ["a", "b"], 0)
