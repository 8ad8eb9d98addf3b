"""Does training V and O, and not Q and K, let a middle layer's logit lens name the operation?

Both arms have the same number of trained parameters, the same data and the same seeds. The class word is trained and
read at the last token of the prompt; the questions it is read on have operands held out of the training.

Whether the training reads out what is there or builds it anew is a claim of its own, held against the same training of
an untrained model.
"""

import numpy as np
import pytest

from lazarus_probe.tasks import prompts
from lazarus_probe.training.dual_reward import DualReward, class_tokens
from lazarus_probe.training.emergence import compare_arms, read, run_arm, split_families

pytestmark = pytest.mark.training
VO, QK = ("v_proj", "o_proj"), ("q_proj", "k_proj")


@pytest.fixture(scope="module")
def trained():
    """The arms of each model, each trained once for all claims."""
    return {}


def questions(declared):
    """Questions to train on, and held-out ones with other operands."""
    asked = prompts.questions(np.random.default_rng(0), declared["per_operation"], phrasings=["spaced"])
    return split_families(asked, declared["held_out"], seed=0)


def arm(subject, targets, claim, trained, seeds):
    """One arm of one model, trained unless it was before."""
    key, declared = (subject.name, targets), claim.parameters
    if key not in trained:
        options = {name: declared[name] for name in ("steps", "batch_size", "learning_rate", "cls_weight")}
        options["classifier_layer"] = claim.layer_for(subject.name, subject.num_layers)
        runs = {"rank": declared["rank"], "seeds": seeds}
        trained[key] = run_arm(subject, targets, *questions(declared), DualReward(**options), **runs)
    return trained[key]


def base_reading(subject, evidence):
    """What the lens names, and the share answered, without training; the claims apply to a model that can answer."""
    declared = evidence.claim.parameters
    try:
        words = class_tokens(subject)
    except ValueError as error:
        evidence.require(False, str(error))
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    named, _, answered = read(subject, questions(declared)[1], words, layer)
    share = float(answered.mean())
    needed = declared["answered"]
    evidence.require(share >= needed, f"answers {share:.2f} of the held-out questions; {needed:.2f} needed")
    return named, share


@pytest.mark.claim("vo-creates-vocabulary-classifier")
def test_vo(subject, evidence, trained):
    claim = evidence.claim
    base, answered = base_reading(subject, evidence)
    vo, qk = (arm(subject, targets, claim, trained, claim.parameters["seeds"]) for targets in (VO, QK))
    others = {"no_training": base, "qk": qk.named}
    details = {"base_answers_right": answered, "qk_answers_right": float(qk.answered.mean())}
    evidence.record(compare_arms(vo, others, details, evidence.seed))


@pytest.mark.claim("qk-creates-no-vocabulary-classifier")
def test_qk(subject, evidence, trained):
    claim = evidence.claim
    _, answered = base_reading(subject, evidence)
    vo, qk = (arm(subject, targets, claim, trained, claim.parameters["seeds"]) for targets in (VO, QK))
    details = {"base_answers_right": answered}
    evidence.record(compare_arms(qk, {"vo": vo.named}, details, evidence.seed, absence=True))


@pytest.mark.claim("vo-reveals-existing-classifier")
def test_vo_reveals(subject, twin, evidence, trained):
    claim = evidence.claim
    _, answered = base_reading(subject, evidence)
    vo = arm(subject, VO, claim, trained, claim.parameters["seeds"])
    untrained = arm(twin, VO, claim, trained, claim.parameters["seeds"][:1])
    details = {"base_answers_right": answered}
    evidence.record(compare_arms(vo, {"untrained": untrained.named}, details, evidence.seed))
