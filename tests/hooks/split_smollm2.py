"""What one of several processes computes of SmolLM2: `python -m tests.hooks.split_smollm2 FOLDER PARALLEL`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

from lazarus_probe import Subject, trace
from lazarus_probe.subject import greedy
from lazarus_probe.subject.one_run import Mode

# isort: split
import mlx.core as mx
import numpy as np

PROMPTS = ("The capital of France is", "When Mary and John went to the store, John gave a drink to")
SITES = ("resid_post.14", "head_out.20.7", "neurons.3")


def computed(subject: Subject) -> dict[str, Any]:
    """Logits and values of two prompts of other lengths, and what follows them."""
    run = trace(subject, PROMPTS, SITES)
    values = {f"{site} {row}": value for site in SITES for row, value in enumerate(run.of(site))}
    values |= {f"logits {row}": logits for row, logits in enumerate(run.logits_of())}
    return {**{name: np.array(value) for name, value in values.items()}, "texts": greedy(subject, PROMPTS, 5)}


def main(folder: Path, parallel: Mode) -> None:
    """Write the arrays and texts to files of this process."""
    rank = mx.distributed.init(strict=True).rank()
    values = computed(Subject.load("smollm2", parallel=parallel))
    (folder / f"texts.{rank}.json").write_text(json.dumps(values.pop("texts")))
    np.savez(folder / f"values.{rank}.npz", **values)


if __name__ == "__main__":
    main(Path(sys.argv[1]), cast(Mode, sys.argv[2]))
