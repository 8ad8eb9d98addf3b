"""What commands cost in this checkout compared with another one, in one run.

    python tests/benchmarks/two_checkouts.py OTHER_CHECKOUT --rounds 5

Both checkouts run every command in turns, each round in the other order, on one core. What is compared is processor
time (user and system) of the whole process, so that other work on the machine counts little. The ratio of the medians
is below 1 where this checkout is faster.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from lazarus_probe.tables import Column, Table

HERE = Path(__file__).parents[2]
LAZARUS = "-m lazarus_probe.cli.lazarus introspect"
COMMANDS = {
    "import": "-c 'import lazarus_probe'",
    "load": "-c 'from lazarus_probe import Subject; Subject.load(\"organism\")'",
    "hooks": f"{LAZARUS} hooks -m organism -p 'The capital of France is'",
    "logit lens": f"{LAZARUS} analyze -m organism -p 'The capital of France is' --all-layers",
    "patch": f"{LAZARUS} patch -m organism --source 7*8= --target 7+8=",
    "ablate": f"{LAZARUS} ablate -m organism -p x -c x --prompts 10*10=:100|47*47=:2209",
    "heads": f"{LAZARUS} heads -m organism",
    "probe": f"{LAZARUS} probe -m organism --class-a 7*8=|5*9=|12*3=|6*6= --class-b 7+8=|5+9=|12+3=|6+6=",
    "embedding": f"{LAZARUS} embedding -m organism",
    "hypotheses": "-m pytest hypotheses/steering --model organism -q -p no:xdist",
}


def processor_seconds(checkout: Path, command: str, folder: Path) -> float:
    """Run a command with the package of a checkout; user and system time of its process.

    Raises:
        RuntimeError: it failed; pytest may end with 1, for a claim that was refuted.
    """
    threads = dict.fromkeys(("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "PYTHONPATH": str(checkout)}
    # Only the hypotheses need the checkout as their folder; a command writes into an empty one.
    cwd = checkout if "pytest" in command else folder
    process = subprocess.Popen(
        [sys.executable, *shlex.split(command)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ((0, 1) if "pytest" in command else (0,)):
        raise RuntimeError(f"exit code {process.returncode} in {checkout}: {command}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="names of commands, separated by commas")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(COMMANDS)
    checkouts = (arguments.other.resolve(), HERE)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            seconds: dict[Path, list[float]] = {checkout: [] for checkout in checkouts}
            for number in range(arguments.rounds + 1):  # the first round warms caches
                for checkout in checkouts[:: 1 if number % 2 else -1]:
                    spent = processor_seconds(checkout, COMMANDS[name], Path(folder))
                    if number:
                        seconds[checkout].append(spent)
            old, new = (median(seconds[checkout]) for checkout in checkouts)
            rows.append((name, old, new, new / old))
            print(f"{name}: {new / old:.3f}", file=sys.stderr, flush=True)
    columns = ("command", Column("other", ".2f"), Column("here", ".2f"), Column("ratio", ".3f"))
    print(Table(columns, rows).text())


if __name__ == "__main__":
    main()
