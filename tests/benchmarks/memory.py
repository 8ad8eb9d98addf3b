"""What a model, its untrained ones and a store take: `python -m tests.benchmarks.memory [MODEL]`.

Each case runs in a process of its own, with one thread. Printed are the resident memory of that process at its highest,
and how much more that is than the model alone takes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

from lazarus_probe import Subject
from lazarus_probe.hooks import ActivationStore
from lazarus_probe.subject import as_tokens, forward
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.sweep import Zero, kl, sweep
from lazarus_probe.tables import Column, Table

# isort: split
import mlx.core as mx

MB = 2**20
PROMPTS = [f"{a} times {b} is" for a in range(10, 90) for b in range(2, 27)]


def loaded(subject: Subject) -> None:
    mx.eval(forward(subject.model, as_tokens(subject, PROMPTS[0])))


def twin(subject: Subject) -> None:
    loaded(subject)
    loaded(subject.untrained(0))


def controls(subject: Subject) -> None:
    """Fifteen untrained models, one after another, whose activations of 64 prompts are kept."""
    store, last = ActivationStore(), subject.num_layers - 1
    for model in control_models(subject, count=15):
        store.get(model, PROMPTS[:64], [f"resid_post.{last}"])


def layers(subject: Subject) -> tuple[int, int, int]:
    return 0, subject.num_layers // 2, subject.num_layers - 1


def in_memory(subject: Subject) -> None:
    """The first, middle and last residual stream of 400 prompts, of which the store keeps a MiB."""
    store = ActivationStore(memory=MB)
    for layer in layers(subject):
        store.get(subject, PROMPTS[:400], [f"resid_post.{layer}"], at="mean")


def on_disk(subject: Subject) -> None:
    """The same, each value on disk and none in memory."""
    with TemporaryDirectory() as folder:
        store = ActivationStore(memory=0, folder=folder)
        for layer in layers(subject):
            store.get(subject, PROMPTS[:400], [f"resid_post.{layer}"], at="mean")


def at_once(subject: Subject) -> None:
    """Every layer's residual stream at the end of 2,000 prompts in one pass."""
    sites = [f"resid_post.{layer}" for layer in range(subject.num_layers)]
    ActivationStore().get(subject, PROMPTS, sites)


def swept(subject: Subject) -> None:
    """Every MLP zeroed at the last position of 100 prompts, in 500 MB."""
    sites = [f"mlp_out.{layer}" for layer in range(subject.num_layers)]
    sweep(
        subject,
        PROMPTS[:100],
        sites,
        sources={"zero": Zero()},
        metrics=[kl()],
        positions="last",
        memory="500MB",
    )


CASES: dict[str, Callable[[Subject], None]] = {
    "the model": loaded,
    "and an untrained one": twin,
    "15 untrained models on 64 prompts": controls,
    "three layers of 400 prompts, a MiB kept": in_memory,
    "three layers of 400 prompts, on disk": on_disk,
    "every layer of 2,000 prompts, one pass": at_once,
    "every MLP zeroed for 100 prompts, cap 500 MB": swept,
}


def peak() -> int:
    """Bytes of this process at its highest, by Linux."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main(name: str) -> None:
    """Print the table."""
    peaks = {}
    for case in CASES:
        command = [sys.executable, "-m", "tests.benchmarks.memory", name, case]
        print(case, file=sys.stderr, flush=True)
        peaks[case] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    alone = peaks["the model"]
    rows = [(case, highest / MB, (highest - alone) / MB) for case, highest in peaks.items()]
    columns = ("case", Column("MiB at most", ".0f"), Column("MiB more", ".0f"))
    print("\n".join(Table(columns, rows).markdown(str)))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        CASES[sys.argv[2]](Subject.load(sys.argv[1]))
        print(peak())
    else:
        main(*(sys.argv[1:] or ["smollm2"]))
