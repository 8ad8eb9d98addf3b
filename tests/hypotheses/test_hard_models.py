"""The atlas on models that lack what its claims are about: each is adapted to them or does not apply, in one line."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import checkpoints

from lazarus_probe.claims.verdict import Outcome

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TOPICS = ("circuits", "heads", "stream", "facts", "representations")
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "one-layer": ("llama", {"num_hidden_layers": 1}),
    "three-heads": (
        "llama",
        {"num_attention_heads": 3, "num_key_value_heads": 1, "hidden_size": 48, "head_dim": 16},
    ),
    "state-space": ("mamba", {}),
    "some-attention": ("jamba", {}),
    "experts": ("olmoe", {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_no_claim_breaks(tmp_path: Path, name: str) -> None:
    """No test raises on a model of one layer, of three heads, with experts or without attention; all say why.

    The organism's tokenizer begins texts without a token of its own, and splits most names and words.
    """
    architecture, changes = MODELS[name]
    model = checkpoints.save(architecture, tmp_path / name, **changes)
    topics = [f"hypotheses/{topic}" for topic in TOPICS]
    run = checkpoints.run_hypotheses(
        *topics, f"--probe-model={model}", cwd=ROOT, reports=tmp_path / "reports"
    )
    assert not run.broken
    assert not run.partial
    outcomes = Counter(str(record.outcome) for record in run.claims)
    assert len(run.claims) > 30
    assert outcomes[Outcome.SUPPORTED] == 0
    for record in run.claims:
        assert record.reason
        assert "\n" not in record.reason
    print(name, dict(outcomes))
