"""What the dual reward costs: answers to held-out questions of its task, and to prompts of other tasks.

That nothing is lost is tested against a margin, never read off a large p. That a loss would be found is seen on
untrained models after the same training.
"""

import pytest

pytestmark = pytest.mark.training


@pytest.mark.claim("dual-reward-keeps-answers")
def test_held_out(evidence, measured):
    evidence.record(measured)


@pytest.mark.claim("dual-reward-keeps-other-tasks")
def test_other_tasks(evidence, measured):
    evidence.record(measured)
