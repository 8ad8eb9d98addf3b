"""What one of several processes does in the tests of `over_processes`: `python -m tests.training.process_runs FOLDER`.

Each process trains LoRA together with the others and writes its weights; the first trains by itself as well.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lazarus_probe.anatomy.random_state import random_key, random_state
from lazarus_probe.subject import Subject
from lazarus_probe.training.batches import Sample, batches
from lazarus_probe.training.loop import Optimisation, steps
from lazarus_probe.training.lora.lora import attach
from lazarus_probe.training.losses import sft_loss
from lazarus_probe.training.over_processes import summed

# isort: split
import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from tests.architectures import zoo

RATES = Optimisation(1e-2, 4, warmup=1, clip_norm=0.5)
# Responses of 1 to 12 tokens beside each other, and five rows a batch, which two and three processes share unequally.
SAMPLES = [Sample(tuple(range(i, i + 4 + (5 * i) % 12)), 3, i % 5) for i in range(1, 24)]


def trained(group: Any, dropout: float = 0.0) -> dict[str, Any]:
    """Losses, norms and final weights of a training of LoRA, with a class word at a middle layer."""
    subject = Subject.from_model(zoo.fresh("llama"), name="llama")
    with random_state(5):
        attach(subject, ("q_proj", "v_proj", "down_proj"), 4, 2.0, 1, dropout=dropout)
        loss = sft_loss(subject, 1, 0.4)
        made = list(steps(subject.model, loss, batches(SAMPLES, 5, 0, 0, 2), RATES, group=group))
        key = random_key()
    weights = dict(tree_flatten(subject.model.trainable_parameters()))
    return {
        **{name: np.array(value) for name, value in weights.items()},
        "losses": np.array([[step.loss, *step.parts.values(), step.grad_norm] for step in made]),
        "tokens": np.array([step.tokens for step in made]),
        "key": np.array(key),
    }


def main(folder: Path) -> None:
    """Write what each way of training gives, and whether sums are alike, to files of this process."""
    group = mx.distributed.init(strict=True)
    for name, compiling in (("compiled", mx.enable_compile), ("as written", mx.disable_compile)):
        compiling()
        np.savez(folder / f"{name}.{group.rank()}.npz", **trained(group))
        if group.rank() == 0:
            np.savez(folder / f"{name}.alone.npz", **trained(None))
    np.savez(folder / f"dropout.{group.rank()}.npz", **trained(group, dropout=0.4))
    rng = np.random.default_rng(group.rank())
    tree = {
        "large": mx.array(rng.normal(size=(300, 70)).astype(np.float32)),
        "half": [mx.array(rng.normal(size=9).astype(np.float16)), mx.array(np.float32(rng.normal()))],
    }
    sums: dict[str, Any] = dict(tree_flatten(summed(tree, group)))
    result = {name: [str(value.dtype), np.array(value).tolist()] for name, value in sums.items()}
    (folder / f"sums.{group.rank()}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
