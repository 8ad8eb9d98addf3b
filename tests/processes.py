"""Several processes of one program on this machine, joined as `mlx.launch` joins them, and ended in any case."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 600.0  # seconds; on a machine that others use too, each exchange waits for the slower process


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, None where it had to be killed, what it printed, and when it ended."""

    code: int | None
    out: str
    err: str
    ended: float  # time.time()


def run_ranks(count: int, command: Sequence[str], folder: Path, limit: float = LIMIT) -> list[Ended]:
    """Run a Python command line in so many processes with a ring between them; all end with the first that fails.

    Args:
        count: how many processes.
        command: arguments of the interpreter.
        folder: for the list of addresses, and what the processes print.
        limit: seconds after which all are killed.
    """
    hosts = folder / "hosts.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in _free_ports(count)]))
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    shared = {**os.environ, "MLX_HOSTFILE": str(hosts), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    processes: list[subprocess.Popen[bytes]] = []
    codes: list[int | None] = [None] * count
    ends = [0.0] * count
    outputs = [(folder / f"out.{rank}", folder / f"err.{rank}") for rank in range(count)]
    with ExitStack() as stack:
        try:
            for rank, (out, err) in enumerate(outputs):
                streams = [stack.enter_context(path.open("wb")) for path in (out, err)]
                env = {**shared, "MLX_RANK": str(rank)}
                processes.append(
                    subprocess.Popen(
                        [sys.executable, *command], env=env, stdout=streams[0], stderr=streams[1]
                    )
                )
            began = time.monotonic()
            while None in codes and time.monotonic() < began + limit:
                time.sleep(0.05)
                for rank, process in enumerate(processes):
                    if codes[rank] is None and (code := process.poll()) is not None:
                        codes[rank], ends[rank] = code, time.time()
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
    return [
        Ended(code, out.read_text(), err.read_text(), end)
        for code, (out, err), end in zip(codes, outputs, ends, strict=True)
    ]


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
