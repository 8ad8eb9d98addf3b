"""Does training V and O, and not Q and K, let a middle layer's logit lens name the operation?

Both arms have the same number of trained parameters, the same data and the same seeds. The class word is trained and
read at the last token of the prompt; the questions it is read on have operands held out of the training.
"""

import numpy as np
import pytest

from lazarus_probe.tasks import prompts
from lazarus_probe.training.dual_reward import DualReward, class_tokens
from lazarus_probe.training.emergence import compare_arms, read, run_arm, split_families

VO, QK = ("v_proj", "o_proj"), ("q_proj", "k_proj")


@pytest.fixture(scope="module")
def trained():
    """Both arms of each model, trained once for both claims."""
    return {}


def arms(subject, evidence, trained):
    """The base model's reading and both arms; the claim applies to a model that can do the arithmetic."""
    declared = evidence.claim.parameters
    try:
        words = class_tokens(subject)
    except ValueError as error:
        evidence.require(False, str(error))
    asked = prompts.questions(np.random.default_rng(0), declared["per_operation"], phrasings=["spaced"])
    train_on, held_out = split_families(asked, declared["held_out"], seed=0)
    base, _, answered = read(subject, held_out, words)
    evidence.require(
        answered.mean() >= declared["answered"],
        f"answers {answered.mean():.2f} of the held-out questions; {declared['answered']:.2f} needed",
    )
    if subject.name not in trained:
        options = {name: declared[name] for name in ("steps", "batch_size", "learning_rate", "cls_weight")}
        runs = {"rank": declared["rank"], "seeds": declared["seeds"]}
        trained[subject.name] = [
            run_arm(subject, targets, train_on, held_out, DualReward(**options), **runs)
            for targets in (VO, QK)
        ]
    return base, float(answered.mean()), *trained[subject.name]


@pytest.mark.claim("vo-creates-vocabulary-classifier")
def test_vo(subject, evidence, trained):
    base, answered, vo, qk = arms(subject, evidence, trained)
    others = {"no_training": np.broadcast_to(base, vo.named.shape), "qk": qk.named}
    details = {"base_answers_right": answered, "qk_answers_right": float(qk.answered.mean())}
    evidence.record(compare_arms(vo, others, details, evidence.seed))


@pytest.mark.claim("qk-creates-no-vocabulary-classifier")
def test_qk(subject, evidence, trained):
    _, answered, vo, qk = arms(subject, evidence, trained)
    details = {"base_answers_right": answered}
    evidence.record(compare_arms(qk, {"vo": vo.named}, details, evidence.seed, absence=True))
