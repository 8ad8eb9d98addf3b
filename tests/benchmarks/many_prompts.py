"""A sweep of many prompts under a cap of memory: `python -m tests.benchmarks.many_prompts [MODEL [COUNT [CAP]]]`.

Every layer's MLP is zeroed at the last position of each prompt. Printed are mlx's peak above the model's own memory,
which the cap is for, the resident memory of the process at its highest, and the processor seconds of a thousand cells.
"""

from __future__ import annotations

import os
import resource
import sys
import time

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

from lazarus_probe import Subject
from lazarus_probe.sweep import Zero, kl, route_of, sweep
from lazarus_probe.sweep.memory import parse_bytes

# isort: split
import mlx.core as mx
import numpy as np

LENGTHS = range(4, 20)
MB = 2**20


def prompts(subject: Subject, count: int) -> list[list[int]]:
    """Random tokens, of sixteen lengths."""
    rng = np.random.default_rng(0)
    lengths = rng.choice(LENGTHS, count)
    return [rng.integers(0, subject.anatomy.vocab_size, length).tolist() for length in lengths]


def main() -> None:
    """Measure, and print a line."""
    name, count, cap = (*sys.argv[1:], *("organism", "10000", "500MB")[len(sys.argv) - 1 :])[:3]
    subject = Subject.load(name)
    route_of(subject)
    targets = prompts(subject, int(count))
    sites = [f"mlp_out.{layer}" for layer in range(subject.num_layers)]
    mx.clear_cache()
    own = mx.get_active_memory()
    mx.reset_peak_memory()
    began = time.process_time()
    result = sweep(
        subject, targets, sites, sources={"zero": Zero()}, metrics=[kl()], positions="last", memory=cap
    )
    seconds, peak = time.process_time() - began, mx.get_peak_memory() - own
    assert np.isfinite(result.values["kl"]).all()
    cells = result.values["kl"].size
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{name}: {len(targets)} prompts, {cells} cells: peak {peak / MB:.0f} of {parse_bytes(cap) / MB:.0f} MiB, "
        f"resident {resident / MB:.0f} MiB, {1e3 * seconds / cells:.2f} CPU s a thousand cells"
    )


if __name__ == "__main__":
    main()
