"""What is killed: each a command, run again until it ends, and what must then be as if nobody had killed it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from lazarus_probe.training.pretraining.recipe import RECIPE
from tests.faults.processes import ended

SUITE = Path(__file__).parent / "suite.py.txt"
# Written by a hook that pytest calls after the plugin's own: a claim that is in it has ended for whoever looks on.
WITNESS = "witness.txt"
CONFTEST = f"""
import os
import pytest

@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    if report.when == "call" and "PYTEST_XDIST_WORKER" not in os.environ:
        with open({WITNESS!r}, "a") as file:
            file.write(report.nodeid + "\\n")
"""

Problems = list[str]


@dataclass(frozen=True)
class Scene:
    """A command that may be killed.

    Attributes:
        name: as the table has it.
        command: run in a folder that `prepare` made ready; the same again goes on.
        prepare: writes what the command reads.
        same: patterns of the files that must be byte for byte those of a run that was left alone.
        check: what else is wrong after a kill, before anything runs again; then after the last run.
        code: the exit code of a run that ended by itself.
        finished: what the command says, in place of that code, where an earlier run had ended by itself.
    """

    name: str
    command: tuple[str, ...]
    prepare: Callable[[Path], None]
    same: tuple[str, ...]
    check_killed: Callable[[Path], Problems] = lambda _folder: []
    check_ended: Callable[[Path], Problems] = lambda _folder: []
    code: int = 0
    finished: str = ""


def _organism_recipe(folder: Path) -> None:
    settings: dict[str, Any] = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    settings["model"] |= {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}
    settings |= {"steps": 24, "early_step": 9, "batch_size": 4, "pool": 4, "warmup": 2, "checkpoint_every": 3}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


def _examples(folder: Path) -> None:
    facts = [{"prompt": f"{a}*{b}=", "response": str(a * b)} for a in range(2, 9) for b in range(2, 9)]
    text = "".join(json.dumps(fact) + "\n" for fact in facts)
    (folder / "facts.jsonl").write_text(text, encoding="utf-8")


def _suite(folder: Path) -> None:
    (folder / "test_claims.py").write_text(SUITE.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")


@cache
def _written() -> TemporaryDirectory[str]:
    """A folder in which the suite ran; it is gone when this process ends."""
    folder = TemporaryDirectory(prefix="faults-run-")
    _suite(Path(folder.name))
    ended(PYTEST, Path(folder.name))
    return folder


def _run(folder: Path) -> None:
    """The folder of a run whose page is not written yet."""
    (run,) = Path(_written().name).glob("reports/2*")
    shutil.copytree(run, folder / "run")
    (folder / "run" / "index.html").unlink()


ADAPTER = ("out/adapters.safetensors", "out/adapter_config.json", "out/lora_weights.npz", "out/config.json")
SFT = (
    *("lazarus", "train", "sft", "-m", "organism-early", "--data", "facts.jsonl", "-o", "out"),
    *("--max-steps", "6", "--checkpoint-interval", "1", "--eval-share", "0.2", "--eval-interval", "2"),
    *("--lora-rank", "2", "--learning-rate", "1e-3"),
)
GRPO = (
    *(
        "lazarus",
        "train",
        "grpo",
        "-m",
        "organism-early",
        "-o",
        "out",
        "--max-steps",
        "4",
        "--batch-size",
        "2",
    ),
    *("--group-size", "4", "--max-tokens", "2", "--evaluate", "2", "--checkpoint-interval", "1"),
)
DUAL_REWARD = (
    *("lazarus", "introspect", "dual-reward", "-m", "organism-early", "-o", "out", "--steps", "4"),
    *("--num-samples", "32", "--batch-size", "4", "--held-out", "4", "--lora-rank", "2"),
)
TUNED_LENS = (
    *("lazarus", "introspect", "tuned-lens", "train", "-m", "organism-early", "-o", "out", "--steps", "4"),
    *("--samples", "20", "--no-untrained"),
)
ORGANISM = ("lazarus", "organism", "train", "--recipe", "recipe.yaml", "--output", "out")
PYTEST = (
    *("pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--probe-model", "organism-early"),
    *("--probe-report", "reports", "--probe-save", "kept", "test_claims.py"),
)


def _finished_claims(folder: Path) -> Problems:
    """Every claim that pytest told the end of is in the records of its run, once for each time that it ended."""
    witness = folder / WITNESS
    ended = Counter(witness.read_text(encoding="utf-8").splitlines()) if witness.exists() else Counter()
    kept = Counter(test for file in folder.glob("reports/*/run.jsonl") for test in _tests(file))
    return [f"{test} had ended and is in no record" for test in sorted((ended - kept).elements())]


def _tests(file: Path) -> Iterator[str]:
    """The tests whose records are in the file of a run."""
    from lazarus_probe.reports.run import RunError
    from lazarus_probe.reports.run_log import read_log

    try:
        run = read_log(file)
    except RunError:  # killed before its first line was whole: then it holds no claim that ended
        return
    yield from (record.test for record in run.claims)


def _whole_reports(folder: Path) -> Problems:
    """Every report and every baseline reads, and nothing half-written lies about."""
    from lazarus_probe.claims.baseline import read_baseline
    from lazarus_probe.reports.run import read_run

    problems = [f"{file} cannot be read" for file in folder.glob("reports/*/run.json") if not read_run(file)]
    for file in folder.glob("reports/baselines/*.json"):
        read_baseline(file)
    return problems


def left_over(folder: Path) -> Problems:
    """Files that only a write that was cut short leaves."""
    names = [path for path in folder.rglob("*") if "partial" in path.name or path.name.endswith(".tmp")]
    return [f"{path.relative_to(folder)} was left over" for path in names]


SCENES = {
    scene.name: scene
    for scene in (
        Scene(
            "organism train",
            ORGANISM,
            _organism_recipe,
            (
                *("out/log.csv", "out/recipe.yaml", "out/organism/*", "out/organism-early/*"),
                "out/curve.png",
            ),
            finished="exists: train into another folder",
        ),
        Scene("train sft", SFT, _examples, (*ADAPTER, "out/log.csv", "out/sft.yaml", "out/curve.png")),
        Scene("train grpo", GRPO, lambda _folder: None, (*ADAPTER, "out/log.csv", "out/grpo.yaml")),
        Scene(
            "dual-reward",
            DUAL_REWARD,
            lambda _folder: None,
            ADAPTER,
            finished="holds lora_weights.npz already",
        ),
        Scene(
            "tuned-lens train",
            TUNED_LENS,
            lambda _folder: None,
            ("out/tuned_lens.*",),
            finished="holds tuned_lens.json",
        ),
        Scene(
            "pytest -n 2 --probe-save",
            PYTEST,
            _suite,
            (),
            lambda folder: _finished_claims(folder) + _whole_reports(folder),
            _whole_reports,
            code=1,
        ),
        Scene("report page", ("lazarus", "report", "page", "run"), _run, ("run/index.html", "run/run.json")),
    )
}
