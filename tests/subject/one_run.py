"""What one of several processes does in the tests of `one_run`: `python -m tests.subject.one_run CASE FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lazarus_probe.cli.lazarus import main
from lazarus_probe.files.whole_files import write_aside
from lazarus_probe.subject import Subject
from lazarus_probe.subject.one_run import joined


def called(case: str, folder: Path) -> int:
    """The exit code of a command on a model split over the processes, in one of which something goes wrong."""
    from lazarus_probe.hooks import model_check

    if case == "loads":
        return _loaded(folder)
    whole = model_check.self_check

    def failing(subject: Subject, *arguments: Any) -> Any:
        run = joined()
        assert run is not None
        write_aside(folder / "written", str(run.rank))
        if case == "raises" and run.rank == 1:
            raise ValueError("the disk of this machine is full")
        if case == "dies" and run.rank == 1:
            sys.stderr.flush()
            import os

            os._exit(7)
        return whole(subject, *arguments)

    model_check.self_check = failing
    parallel = "pipeline" if case == "works in stages" else "tensor"
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
