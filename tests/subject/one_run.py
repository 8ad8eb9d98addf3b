"""What one of several processes does in the tests of `one_run`: `python -m tests.subject.one_run CASE FOLDER`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lazarus_probe.cli.lazarus import main
from lazarus_probe.files.whole_files import write_aside
from lazarus_probe.subject import Subject
from lazarus_probe.subject.one_run import joined


def mishap(case: str) -> None:
    """What happens to a process in a case, if anything does."""
    match case:
        case "raises":
            raise ValueError("the disk of this machine is full")
        case "dies":
            os._exit(7)
        case "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleeps":
            time.sleep(600)
        case "freezes":
            subprocess.Popen(["sh", "-c", f"sleep 25; kill -KILL {os.getpid()}"])
            os.kill(os.getpid(), signal.SIGSTOP)
        case "holds the interpreter":
            ctypes.PyDLL(None).sleep(600)
        case "is interrupted":
            os.kill(os.getpid(), signal.SIGINT)
        case "is terminated":
            os.kill(os.getpid(), signal.SIGTERM)
        case "is slow":
            until = time.monotonic() + 3 * float(os.environ["LAZARUS_PATIENCE"])
            while time.monotonic() < until:
                sum(range(1000))


def called(case: str, folder: Path) -> int:
    """The exit code of a command on a model split over the processes, in one of which something goes wrong."""
    from lazarus_probe.hooks import model_check
    from lazarus_probe.subject import watch

    watch.GRACE = (
        4.0  # seconds, half of what a stuck thread has elsewhere: nothing else happens in the meantime
    )
    if case == "loads":
        return _loaded(folder)
    whole = model_check.self_check

    def failing(subject: Subject, *arguments: Any) -> Any:
        run = joined()
        assert run is not None
        write_aside(folder / "written", str(run.rank))
        if run.rank == 1:
            mishap(case)
        return whole(subject, *arguments)

    model_check.self_check = failing
    parallel = {"works in stages": "pipeline", "works on batches": "data"}.get(case, "tensor")
    return main(["anatomy", "-m", "organism", "--parallel", parallel, "--json"])


def _loaded(folder: Path) -> int:
    """Write how many bytes a process holds of a model in a pipeline."""
    from lazarus_probe.subject.one_run import join, leave

    run = join("pipeline")
    subject = Subject.load("organism")
    import mlx.core as mx

    mx.eval(subject.model.parameters())
    mx.clear_cache()
    (folder / f"bytes.{run.rank}").write_text(str(mx.get_active_memory()))
    leave()
    return 0


if __name__ == "__main__":
    sys.exit(called(sys.argv[1], Path(sys.argv[2])))
