"""Runs hostile inputs in watched processes, and says which of them broke something.

python tests/fuzz/hostile_run.py [PART] prints a table by kind; PART is a word that names of kinds or inputs hold.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hostile_worker
from hostile import Hostile

SECONDS = 45.0  # for one input; the limits inside are of 10 and less, on a machine that is not busy
MEMORY = 2 << 30


@dataclass(frozen=True)
class Result:
    """What came of an input.

    Attributes:
        input: the input.
        fault: "traceback", "hang", "memory", "died", "code ran", "lines" or "taken"; "" if it was refused in one line.
        detail: what was said.
        seconds: that it took.
        peak: the most memory of the process so far, in bytes.
    """

    input: Hostile
    fault: str
    detail: str
    seconds: float
    peak: int


class Worker:
    """A process that inputs are given to."""

    def __init__(self, scratch: Path) -> None:
        here = Path(__file__).parent
        paths = [str(here), os.environ.get("PYTHONPATH") or str(here.parents[1])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "HF_HUB_OFFLINE": "1",
            "RUST_BACKTRACE": "0",
        }
        command = [sys.executable, str(here / "hostile_worker.py"), str(scratch)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )

        self.process.stdout.readline()  # type: ignore[union-attr]

    def ask(self, number: int) -> dict[str, Any]:
        """What came of an input; `fault` where the process had to be ended, or ended itself."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{number}\n".encode())
        self.process.stdin.flush()
        end, peak = time.monotonic() + SECONDS, 0
        while not select.select([self.process.stdout], [], [], 0.05)[0]:
            peak = max(peak, _resident(self.process.pid))
            if peak > MEMORY or time.monotonic() > end:
                self.close()
                return {"fault": "memory" if peak > MEMORY else "hang", "peak": peak}
        line = self.process.stdout.readline()
        if line:
            return dict(json.loads(line))
        return {"fault": "died", "peak": peak, "errors": f"exit {self.process.wait()}"}

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


def _resident(pid: int) -> int:
    """The memory of a process in bytes; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def fault_of(one: Hostile, answer: dict[str, Any]) -> str:
    """What is wrong with what came of an input."""
    if answer.get("fault"):
        return str(answer["fault"])
    said, code = str(answer["errors"]), answer["code"]
    if answer["ran"]:
        return "code ran"
    if isinstance(code, str):
        return "traceback"
    if answer["peak"] > MEMORY:
        return "memory"
    if code == 0:
        return "" if one.harmless else "taken"
    if code != 2 or not said.startswith("error: ") or said.count("\n") != 1 or not said.endswith("\n"):
        return "lines"
    return ""


def results(numbers: Iterable[int], scratch: Path) -> Iterator[Result]:
    """What came of inputs, by number."""
    everything, worker = hostile_worker.inputs(), None
    try:
        for number in numbers:
            worker = worker or Worker(scratch)
            start = time.monotonic()
            answer = worker.ask(number)
            fault = fault_of(everything[number], answer)
            detail = f"{answer.get('code', '')} {answer.get('errors', '')}".strip()
            yield Result(everything[number], fault, detail, time.monotonic() - start, answer.get("peak", 0))
            if answer.get("fault") or answer.get("peak", 0) > MEMORY:
                worker.close()
                worker = None
    finally:
        if worker is not None:
            worker.close()


def main() -> None:
    """Run all inputs, or those of a part, and print what broke and a table by kind."""
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [
        n for n, one in enumerate(hostile_worker.inputs()) if part in f"{one.reader}: {one.kind}: {one.name}"
    ]
    counts: dict[str, Counter[str]] = {}
    peak = 0
    with tempfile.TemporaryDirectory() as scratch:
        for result in results(chosen, Path(scratch)):
            kind = result.input.kind
            counts.setdefault(kind, Counter()).update([result.fault or "right"])
            peak = max(peak, result.peak)
            if result.fault or result.seconds > 5:
                said = " ".join(result.detail.split())[-300:]
                name = f"{kind}: {result.input.name}"
                print(f"{result.fault or 'slow'} {result.seconds:.1f} s {name}: {said}", flush=True)
    faults = sorted({fault for of_kind in counts.values() for fault in of_kind} - {"right"})
    print(f"| kind | inputs | {' | '.join(['right', *faults])} |")
    for kind, of_kind in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(
            f"| {kind} | {of_kind.total()} | {' | '.join(str(of_kind[name]) for name in ['right', *faults])} |"
        )
    print(f"peak memory {peak / 2**30:.2f} GB")


if __name__ == "__main__":
    main()
