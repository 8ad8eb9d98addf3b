"""What the dual reward costs: answers to held-out questions of its task, and to prompts of other tasks.

That nothing is lost is tested against a margin, never inferred from a large p. Untrained models after the same training
show that a loss would be detected.
"""

import pytest

pytestmark = pytest.mark.training


@pytest.mark.claim("dual-reward-keeps-answers")
def test_held_out(evidence, measured):
    evidence.record(measured)


@pytest.mark.claim("dual-reward-keeps-other-tasks")
def test_other_tasks(evidence, measured):
    evidence.record(measured)
