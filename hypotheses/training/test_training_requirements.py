"""Which kind of training makes a middle layer assign probability to the class word? The table of training requirements.

The arms differ in the objective, not in the number of parameters: answers alone, by standard LoRA or on V and O;
rewards for answers (GRPO); or answers together with the class word.
"""

import pytest

pytestmark = pytest.mark.training


@pytest.mark.claim("dual-reward-gives-class-word-probability")
def test_dual_reward(evidence, measured):
    evidence.record(measured)


@pytest.mark.claim("lora-names-less-than-vo")
def test_standard_lora(evidence, measured):
    evidence.record(measured)


@pytest.mark.claim("sft-names-less-than-vo")
def test_sft(evidence, measured):
    evidence.record(measured)


@pytest.mark.claim("grpo-names-less-than-vo")
def test_grpo(evidence, measured):
    evidence.record(measured)
