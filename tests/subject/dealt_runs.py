"""What one of several processes does in the tests of `dealt`: `python -m tests.subject.dealt_runs FOLDER`.

Each process writes what came out where batches are dealt, and the first one what it computes by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from lazarus_probe import Subject, collect, trace
from lazarus_probe.interventions import scale
from lazarus_probe.subject import NotFinite, greedy
from lazarus_probe.subject.dealt import dealt, of_the_first, owner
from lazarus_probe.subject.one_run import join
from lazarus_probe.sweep import Donors, Zero, answer, attribution, kl, logit_diff, sweep

# isort: split
import mlx.core as mx
import numpy as np

PROMPTS = ["7*8=", "12*12=", "What is 7 times 8?", "9-3=", "111+222=", "The cat"]


def computed(subject: Subject) -> dict[str, Any]:
    """What is computed in batches, by its name: arrays and lists of texts."""
    heads = subject.anatomy.parts[1].heads
    assert heads is not None
    sites = [f"head_out.{layer}.{head}" for layer in (1, 5) for head in range(heads.num_heads)]
    run = trace(subject, PROMPTS, ["resid_post.3", "head_out.2.1"], scale("mlp_out.1", 0.5))
    activations = collect(subject, PROMPTS, ["resid_post.3", "logits"], at="mean")
    zeros = sweep(subject, PROMPTS[:3], sites, sources={"zero": Zero()}, metrics=[kl(), answer(max_tokens=3)])
    pairs = sweep(
        subject, ["7+8=", "16+9="], ["resid_post.2"], sources={"d": Donors(["7*8=", "16*9="])}, metrics=[kl()]
    )
    every = [f"head_out.{layer}.{head}" for layer in range(6) for head in range(heads.num_heads)]
    grid = sweep(subject, PROMPTS[2:3], every, sources={"zero": Zero()}, metrics=[kl()])  # in several groups
    slopes = attribution(subject, ["7+8=", "12+30="], ["7*8=", "12*30="], ["attn_out.3"], logit_diff(3, 5))
    values = {f"trace {index}": value for index, value in enumerate(run.of("resid_post.3"))}
    values |= {f"heads {index}": value for index, value in enumerate(run.of("head_out.2.1"))}
    values |= {f"logits {index}": value for index, value in enumerate(run.logits_of())}
    values |= {f"collect {site}": array for site, array in activations.items()}
    values |= {f"sweep {name}": array for name, array in zeros.values.items()}
    values |= {f"sweep unpatched {name}": array for name, array in zeros.baseline.items()}
    values |= {"patched": pairs.values["kl"], "patched donors": pairs.donors["kl"]}
    values["grid"] = grid.values["kl"]
    return {
        **{name: np.array(value) for name, value in values.items()},
        "attribution": slopes.values["logit_diff"],
        "texts": np.array(greedy(subject, PROMPTS, 4)),
        "untrained": np.array(trace(subject.untrained(3), PROMPTS[:2]).logits_of()[1]),
    }


def digest(array: Any) -> str:
    """The same for two arrays that are the same to the last bit."""
    return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"


def mishaps(subject: Subject, rank: int) -> dict[str, str]:
    """What is raised in this process where a batch fails in one."""

    def failing(index: int) -> int:
        if index == 1:
            raise ValueError(f"batch {index} cannot be run")
        return index

    def failing_here(index: int) -> int:
        if index == 1 and rank == 1:
            raise ValueError("the disk of this process is full")
        return index

    def other_batches(_: int) -> None:
        dealt(subject, list(range(2 + rank)), lambda index: index)

    raised = {}
    for name, run in (("everywhere", failing), ("in one", failing_here)):
        try:
            dealt(subject, list(range(4)), run)
        except (ValueError, RuntimeError) as error:
            raised[name] = f"{type(error).__name__}: {error}"
    broken = Subject.load("organism", parallel="data")
    broken.anatomy.blocks[2].mlp.down_proj.weight[3, 5] = float("nan")
    try:
        trace(broken, PROMPTS)
    except NotFinite as error:
        raised["not finite"] = str(error)
    try:
        other_batches(0)
    except RuntimeError as error:
        raised["other batches"] = str(error)
    return raised


def killed() -> None:
    """Deal batches in a run of several processes, one of which is killed at the second."""
    run = join("data")
    subject = Subject.load("organism")

    def stopping(batch: int) -> int:
        if run.rank == 1 and batch > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    dealt(subject, list(range(2)), stopping)
    dealt(subject, list(range(4)), stopping)


def main(folder: Path) -> None:
    """Write digests of what was computed, and what was raised, to a file of this process."""
    group = mx.distributed.init(strict=True)
    subject = Subject.load("organism", parallel="data")
    values = computed(subject)
    if group.rank() == 0:
        expected = {name: digest(array) for name, array in computed(Subject.load("organism")).items()}
        (folder / "alone.json").write_text(json.dumps(expected))
    ran = list[int]()

    def run(index: int) -> int:
        ran.append(index)
        return 10 * index

    order = dealt(subject, list(range(7)), run)
    result = {
        "values": {name: digest(array) for name, array in values.items()},
        "order": order,
        "ran": ran,
        "owned": [index for index in range(7) if owner(index, group.size()) == group.rank()],
        "first": of_the_first(subject, 5.0 + group.rank()),
        "raised": mishaps(subject, group.rank()),
    }
    (folder / f"dealt.{group.rank()}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    killed() if sys.argv[1] == "killed" else main(Path(sys.argv[1]))
