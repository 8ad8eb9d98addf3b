"""A study as small as one can be."""

from __future__ import annotations

import pytest

from lazarus_probe.experiments.classifier_emergence.material import Material, Size
from lazarus_probe.experiments.classifier_emergence.study import Study
from lazarus_probe.experiments.study_tasks import TASKS

TINY = Size(
    "tiny", per_label=14, held_out=0.3, steps=3, batch_size=4, learning_rate=1e-2, grpo_steps=1, others=1
)


@pytest.fixture(scope="session")
def tiny() -> Material:
    """A dozen held-out items, three steps."""
    return Material.of(TASKS["arithmetic"], TINY)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of the bundled model in a folder of its own."""
    folder = tmp_path_factory.mktemp("study")
    return Study.open("organism", TASKS["arithmetic"], TINY, folder)
