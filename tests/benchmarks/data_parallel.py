"""What a process computes alone and with its batches dealt: `python -m tests.benchmarks.data_parallel [MODEL [COUNT]]`.

Each run is repeated, one process and several in turn, with one thread each. Times are of the processor, since the cores
may be others' as well: seconds of the process that has most, without the threads that spin while they wait for others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lazarus_probe import Subject, collect
from lazarus_probe.anatomy.random_state import random_state
from lazarus_probe.subject import greedy
from lazarus_probe.subject.one_run import join, leave
from lazarus_probe.sweep import Zero, kl, sweep
from lazarus_probe.tables import Table
from lazarus_probe.training.batches import Sample, batches
from lazarus_probe.training.loop import Optimisation, steps
from lazarus_probe.training.lora.lora import attach
from lazarus_probe.training.losses import sft_loss

# isort: split
import numpy as np

from tests.processes import run_ranks

ROUNDS = 2
PROMPTS = [f"{a} times {b} is" for a in range(10, 90, 4) for b in (3, 12, 45, 678)]


def work(subject: Subject) -> dict[str, Any]:
    """What is timed, by its name."""
    heads = [
        f"head_out.{layer}.{head}"
        for layer, parts in enumerate(subject.anatomy.parts)
        for head in range(parts.heads.num_heads if parts.heads else 0)
    ]
    layers = [f"mlp_out.{layer}" for layer in range(subject.num_layers)]
    samples = [Sample(tuple(subject.encode(prompt)), 2) for prompt in PROMPTS]

    def trained() -> None:
        with random_state(0):
            attach(subject, ("v_proj", "o_proj"), 8)
            loss, rates = sft_loss(subject), Optimisation(1e-4, 2)
            list(steps(subject.model, loss, batches(samples, 16, 0), rates, group=subject.group))

    return {
        "every head zeroed on 2 prompts": lambda: sweep(
            subject, PROMPTS[:2], heads, sources={"zero": Zero()}, metrics=[kl()], positions="last"
        ),
        "every layer zeroed at each position of 4 prompts": lambda: sweep(
            subject, PROMPTS[4:8], layers, sources={"zero": Zero()}, metrics=[kl()]
        ),
        "activations of 320 prompts": lambda: collect(
            subject, PROMPTS * 4, [f"resid_post.{subject.num_layers - 1}"]
        ),
        "4 tokens after each of 160 prompts": lambda: greedy(subject, PROMPTS * 2, 4),
        "2 LoRA steps of 16 prompts": trained,
    }


def measured(name: str, path: Path) -> None:
    """Write the CPU seconds of each piece of work in this process to a file."""
    run = join("data") if "MLX_RANK" in os.environ else None
    subject = Subject.load(name)
    greedy(subject, PROMPTS[:2], 2)  # what is found out about a model once
    spinning = run.watch.ring.threads if run else frozenset()
    seconds = {}
    for what, do in work(subject).items():
        before = _cpu(spinning)
        do()
        seconds[what] = _cpu(spinning) - before
    path.with_suffix(f".{run.rank if run else 0}").write_text(json.dumps(seconds))
    leave()


def _cpu(left_out: frozenset[int]) -> float:
    """Seconds that the threads of this process, some left out, have computed."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        if int(task.name) not in left_out:
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def main(name: str, count: int) -> None:
    """Print the table."""
    times: dict[str, dict[int, list[float]]] = {}
    for _ in range(ROUNDS):
        for processes in (1, count):
            with TemporaryDirectory() as folder:
                path = Path(folder) / "seconds"
                _run(name, processes, path)
                parts = [json.loads(path.with_suffix(f".{rank}").read_text()) for rank in range(processes)]
            for what in parts[0]:
                busiest = max(part[what] for part in parts)
                times.setdefault(what, {}).setdefault(processes, []).append(busiest)
                print(f"{what}, {processes} processes: {busiest:.1f} s", file=sys.stderr)
    rows = []
    for what, by_count in times.items():
        alone, together = (float(np.median(by_count[processes])) for processes in (1, count))
        rows.append([what, f"{alone:.1f}", f"{together:.1f}", f"{alone / together:.2f}"])
    print(*Table(("work", "one process", f"each of {count}", "ratio"), rows).markdown(str), sep="\n")


def _run(name: str, processes: int, path: Path) -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = ["-m", "tests.benchmarks.data_parallel", name, "0", str(path)]
    if processes == 1:
        subprocess.run([sys.executable, *command], check=True)
        return
    ended = run_ranks(processes, command, path.parent, limit=3600.0)
    if {process.code for process in ended} != {0}:
        raise SystemExit("".join(process.err for process in ended) or "it took too long")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measured(sys.argv[1], Path(sys.argv[3]))
    else:
        main(*(sys.argv[1:2] or ["organism"]), int((sys.argv[2:] or ["2"])[0]))
