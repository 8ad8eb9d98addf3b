"""What the examples in the docstrings of public names start from: a few names, and a folder with files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lazarus_probe.introspection import write_lens
from lazarus_probe.reports.run import make_run
from lazarus_probe.reports.write import write_into
from lazarus_probe.subject import Subject
from lazarus_probe.tasks import facts
from lazarus_probe.training import LensTraining, train_lens
from tests.reports.conftest import made_record

SETUP = """\
import mlx.core as mx
import numpy as np
from mlx_lm.models import mamba2, mixtral

from lazarus_probe import Subject

subject = Subject.load("organism")  # a bundled model of 8 layers, trained on arithmetic and short texts

# Two small random models, for the sites that a dense transformer does not have.
mixture = Subject.from_model(
    mixtral.Model(
        mixtral.ModelArgs(
            model_type="mixtral",
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_local_experts=4,
        )
    ),
    name="mixture",
)
mamba = Subject.from_model(
    mamba2.Model(
        mamba2.ModelArgs(
            model_type="mamba2",
            num_heads=4,
            head_dim=16,
            vocab_size=64,
            hidden_size=32,
            intermediate_size=64,
            state_size=8,
            num_hidden_layers=2,
            layer_norm_epsilon=1e-5,
            conv_kernel=4,
            n_groups=1,
            use_bias=False,
            use_conv_bias=True,
            tie_word_embeddings=True,
            time_step_limit=(0.001, 100.0),
            time_step_rank="auto",
        )
    ),
    name="mamba",
)
"""
CLAIM = """\
- id: answers-products
  statement: The model answers products of digits, and an untrained model does not.
  source: arXiv:2305.15054
  kind: decodability
  threshold: 0.8
  controls: [untrained]
"""


def namespace() -> dict[str, Any]:
    """The names that every example may use."""
    names: dict[str, Any] = {}
    exec(SETUP, names)
    return {name: names[name] for name in ("mamba", "mixture", "mx", "np", "subject")}


def write_files(folder: Path, subject: Subject) -> None:
    """The files that examples read: a lens, training data, a claim, and two runs."""
    products = facts("multiply")[:20]
    prompts = [fact.prompt() for fact in products]
    write_lens(folder / "lens", train_lens(subject, prompts, LensTraining(steps=2)).lens)
    rows = [json.dumps({"prompt": fact.prompt(), "response": fact.response()}) for fact in products]
    (folder / "facts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (folder / "expectations").mkdir()
    (folder / "expectations" / "arithmetic.yaml").write_text(CLAIM, encoding="utf-8")
    records = [made_record(index, model="organism") for index in range(3)]
    for name in ("before", "after"):
        run_folder = folder / "reports" / name
        run_folder.mkdir(parents=True)
        write_into(make_run(records, [0], ["hypotheses/"], partial=False, run=name), run_folder)
