"""Kill a command at random moments, let it go on, and hold what is there against a run that was left alone."""

from __future__ import annotations

import random
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.processes import OUTPUT, Hang, ended, killed, preload
from tests.faults.scenes import Problems, Scene, left_over

KILLS_A_RUN = 4  # at most, before a run is let go on to its end


@dataclass(frozen=True)
class Outcome:
    """The result of a scene.

    Attributes:
        scene: its name.
        kills: that met a running command.
        runs: that were killed, gone on with and ended.
        problems: what was then not as it should be, a line each.
    """

    scene: str
    kills: int
    runs: int
    problems: tuple[str, ...]


def kill_at_random(scene: Scene, kills: int, folder: Path, seed: int = 0) -> Outcome:
    """Kill a scene's command again and again.

    Args:
        scene: what is killed.
        kills: how often at least; those that came too late do not count.
        folder: an empty folder to do it in.
        seed: of the moments.
    """
    rng = random.Random(f"{scene.name} {seed}")
    whole = _ready(scene, folder / "whole")
    preload()
    began = time.monotonic()
    code = ended(scene.command, whole)
    seconds = time.monotonic() - began
    if code != scene.code:
        return Outcome(scene.name, 0, 0, (f"left alone it ends with {code}: {_last_line(whole)}",))
    done, runs, problems = 0, 0, Problems()
    while done < kills:
        runs += 1
        run = _ready(scene, folder / f"run-{runs}")
        for _ in range(rng.randint(1, KILLS_A_RUN)):
            done += killed(scene.command, run, seconds, rng)
            problems += _named(runs, scene.check_killed(run))
        problems += _named(runs, _gone_on(scene, run, whole))
        shutil.rmtree(run)
        print(f"{scene.name}: {done} kills, {len(problems)} problems", file=sys.stderr, flush=True)
    return Outcome(scene.name, done, runs, tuple(problems))


def _ready(scene: Scene, folder: Path) -> Path:
    folder.mkdir(parents=True)
    scene.prepare(folder)
    return folder


def _gone_on(scene: Scene, run: Path, whole: Path) -> Problems:
    """What is wrong once the command was let go on to its end."""
    try:
        code = ended(scene.command, run)
    except Hang as hang:
        return [f"gone on with, {hang}"]
    said = _last_line(run)
    if code != scene.code and not (scene.finished and scene.finished in said):
        return [f"gone on with, it ends with {code}: {said}"]
    return different(scene, run, whole) + left_over(run) + scene.check_ended(run)


def different(scene: Scene, run: Path, whole: Path) -> Problems:
    """The files that differ, by name, from those of a run that was left alone."""
    problems = Problems()
    for pattern in scene.same:
        names = sorted({file.relative_to(base) for base in (run, whole) for file in base.glob(pattern)})
        if not names:
            problems.append(f"no run leaves {pattern}")
        for name in names:
            here, there = (
                (base / name).read_bytes() if (base / name).exists() else None for base in (run, whole)
            )
            if here != there:
                problems.append(f"{name} {'is missing' if here is None else 'differs'}")
    return problems


def _named(run: int, problems: Problems) -> Problems:
    return [f"run {run}: {problem}" for problem in problems]


def _last_line(folder: Path) -> str:
    lines = (
        folder.with_name(f"{folder.name}.{OUTPUT}").read_text(encoding="utf-8", errors="replace").splitlines()
    )
    return lines[-1] if lines else "without a word"
