"""What a pass over many short prompts costs by how many columns a cache grows by: mlx-lm's 256, and ours.

python -m tests.benchmarks.short_rows smollm2

Each number of columns has a process of its own, so that the peak of memory is its own too. What is collected must have
the same bits.
"""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import time

from lazarus_probe.anatomy import forward_pass
from lazarus_probe.hooks import collect
from lazarus_probe.sites import resid_post
from lazarus_probe.subject import Subject, greedy

PROMPTS = [f"{a}+{b}=" for a in range(10, 99, 5) for b in range(10, 99, 6)]


def measured(model: str, columns: int) -> dict[str, float | str]:
    """CPU seconds of activations and of 8 tokens of each prompt, the peak of memory in GB, and what came out."""
    forward_pass.COLUMNS = columns
    subject = Subject.load(model)
    last = resid_post(subject.num_layers - 1)
    collect(subject, PROMPTS[:2], [last])
    greedy(subject, PROMPTS[:2], 2)
    seconds = [time.process_time()]
    states = collect(subject, PROMPTS, [last])[last]
    seconds.append(time.process_time())
    texts = greedy(subject, PROMPTS, 8)
    seconds.append(time.process_time())
    return {
        "collect": seconds[1] - seconds[0],
        "greedy": seconds[2] - seconds[1],
        "GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "bits": hashlib.sha256(states.tobytes() + repr(texts).encode()).hexdigest(),
    }


def main() -> None:
    """Print both sides, and their ratio."""
    model = sys.argv[1]
    if len(sys.argv) == 3:
        print(json.dumps(measured(model, int(sys.argv[2]))))
        return
    sides = []
    for columns in (256, forward_pass.COLUMNS):
        command = [sys.executable, "-m", "tests.benchmarks.short_rows", model, str(columns)]
        sides.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    wide, narrow = sides
    print(f"{len(PROMPTS)} prompts of {model}, caches that grow by {forward_pass.COLUMNS} columns beside 256")
    for name in ("collect", "greedy", "GB"):
        print(f"{name:8} {narrow[name]:8.2f} {wide[name]:8.2f}  {narrow[name] / wide[name]:.2f}")
    print(f"the same bits: {wide['bits'] == narrow['bits']}")


if __name__ == "__main__":
    main()
