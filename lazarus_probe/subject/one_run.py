"""One run of several processes: all compute alike, the first alone prints and writes, and a failure ends all of them.

Each process runs the same program, on its part of a model or on the whole model and its share of the batches, and takes
part in every exchange of values. So what decides what is computed has to be the same in all: prompts, seeds, sizes of
batches.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lazarus_probe.spelling import one_of
from lazarus_probe.subject.watch import GPU_FACTOR, Watch, patience, ring_of

Parallel = Literal["tensor", "pipeline"]  # ways of splitting a model
KINDS: tuple[Parallel, ...] = get_args(Parallel)
Mode = Parallel | Literal["data"]
MODES: tuple[Mode, ...] = (*KINDS, "data")
LONGEST_TEXT = 1024  # bytes, of what the processes tell each other as they join


@dataclass(frozen=True)
class OneRun:
    """The run that this process has joined: what is divided in it, its number in it, and how many there are.

    Attributes:
        parallel: how models are split, or that the batches of whole models are dealt.
        rank: of this process.
        size: how many processes there are.
        watch: what ends them all when one does not come any more.
    """

    parallel: Mode
    rank: int
    size: int
    watch: Watch = field(repr=False)


_joined: list[OneRun] = []


def joined() -> OneRun | None:
    """The run of several processes that this one has joined, if it has."""
    return _joined[-1] if _joined else None


def data_group() -> Any:
    """The processes of the run that batches are dealt to; None of a process that has joined no such run."""
    import mlx.core as mx

    run = joined()
    return mx.distributed.init() if run and run.parallel == "data" else None


def several_processes(parallel: str) -> Any:
    """The processes that `mlx.launch` started.

    Raises:
        ValueError: there is one.
    """
    import mlx.core as mx

    group = mx.distributed.init()
    if group.size() == 1:
        raise ValueError(
            f"parallel {parallel!r} needs several processes: start the command with `mlx.launch -n 2 --backend ring`"
        )
    return group


def join(parallel: str) -> OneRun:
    """Join the processes that `mlx.launch` started: models, or their batches, are divided from now on.

    All but the first print and write nothing, errors left out.

    Raises:
        ValueError: an unknown way of dividing, or there is one process.
    """
    import mlx.core as mx

    from lazarus_probe.files.whole_files import write_nothing

    if parallel not in MODES:
        raise ValueError(f"parallel {parallel!r} is unknown; {one_of(parallel, MODES)}")
    silence = patience()
    group, ring = ring_of(lambda: several_processes(parallel))
    idle = silence if mx.default_device() == mx.cpu else GPU_FACTOR * silence
    run = OneRun(parallel, group.rank(), group.size(), Watch(group.rank(), group.size(), ring, silence, idle))
    run.watch.start(_of_the_first)
    _joined.append(run)
    mx.random.seed(0)
    random.seed(0)
    if run.rank > 0:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
        warnings.simplefilter("ignore")
        os.environ.pop("GITHUB_STEP_SUMMARY", None)
        write_nothing()
    return run


def _of_the_first(text: str) -> str:
    """The first process' text, in every process."""
    import mlx.core as mx

    own = text.encode().ljust(LONGEST_TEXT)[:LONGEST_TEXT] if text else bytes(LONGEST_TEXT)
    numbers: Any = mx.distributed.all_sum(mx.array(list(own), dtype=mx.int32)).tolist()
    return bytes(numbers).decode().rstrip()


def require_one_process(what: str, instead: str = "") -> None:
    """Refuse what each process would do for itself, where this one has joined others.

    Args:
        what: it is.
        instead: the command that does the like in all of them, to which `--probe-parallel` is added.

    Raises:
        ValueError: it has.
    """
    if run := joined():
        or_else = f", or run `{instead} --probe-parallel {run.parallel}`" if instead else ""
        raise ValueError(
            f"{what} runs in one process, and here are {run.size}; leave out --parallel {run.parallel}{or_else}"
        )


def leave() -> None:
    """Wait for the other processes of the run: mlx.launch ends them all when one is over with an error of its own."""
    if run := joined():
        import mlx.core as mx

        with suppress(RuntimeError):  # one that is gone already
            mx.eval(mx.distributed.all_sum(mx.array(1.0)))
        run.watch.stop()


def failure(error: BaseException) -> str | None:
    """What a process of one run says of its end, which ends the others; None of a process that is alone."""
    run = joined()
    if run is None:
        return None
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, RuntimeError) and "peer" in text:
        text = f"another of the {run.size} processes ended first; what it says is the reason ({text})"
    text = f"process {run.rank} of {run.size}: {text}"
    run.watch.fail(text)
    return text
