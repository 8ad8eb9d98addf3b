"""How stable the verdicts of the hypotheses are over seeds: of each seed alone, and of pools of several.

    make stability
    python tests/stability/stability.py --seeds 4 --pool 2 hypotheses/arithmetic/test_suffix.py

Runs the hypotheses once with each seed, as long as `make hypotheses` each time, and prints every case with its verdict
by seed. What `--probe-seeds` would give is computed from the same runs: a pool holds what each of its seeds
measures alone. Where a seed was settled without controls that others needed, the pool is judged by what all of them
measured, if that settles it, and else has no verdict here. Pools share no seed, so that two of them differ as much as
two runs of a user do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.claims.families import correct
from lazarus_probe.claims.pooling import pool
from lazarus_probe.claims.record import ClaimRecord, judged_fields
from lazarus_probe.claims.seed_runs import Judged, SeedRun, judge_pooled
from lazarus_probe.claims.verdict import Verdict, decided_early, judge
from lazarus_probe.reports.run import Run, read_run
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.statistics.measurement import Measurement

ROOT = Path(__file__).parents[2]
LETTERS = {
    "supported": "S", "refuted": "R", "confounded": "C", "inconclusive": "i", "not applicable": "n", "": "-",
}  # fmt: skip
OPPOSED = {"refuted", "confounded"}
MEASUREMENT = TypeAdapter(Measurement)


@dataclass(frozen=True)
class Case:
    """One claim under one set of parameters on one model.

    Attributes:
        name: of the claim, its parameters and the model.
        claim: its id.
        alone: the final verdict of each seed's run, empty where it has none.
        scores: what was measured, by seed.
        pooled: the final verdict of each pool.
    """

    name: str
    claim: str
    alone: tuple[str, ...]
    scores: tuple[float, ...]
    pooled: tuple[str, ...]

    @property
    def flips(self) -> bool:
        """Whether one seed supports what another refutes or finds confounded."""
        return "supported" in self.alone and bool(OPPOSED & set(self.alone))

    @property
    def pool_flips(self) -> bool:
        """Likewise of pools."""
        return "supported" in self.pooled and bool(OPPOSED & set(self.pooled))


def cases(runs: Mapping[int, Run], size: int) -> list[Case]:
    """Every case that some seed has, with its verdicts by seed and by pool.

    Args:
        runs: one for each seed, in order.
        size: seeds of a pool; as many pools as there are seeds for.
    """
    by_seed = {seed: {_name(record): record for record in run.claims} for seed, run in runs.items()}
    pools = [
        {_name(record): record for record in pooled_records({seed: runs[seed] for seed in pool})}
        for pool in _pools(list(runs), size)
    ]
    names = dict.fromkeys(name for records in by_seed.values() for name in records)
    return [_case(name, list(by_seed.values()), pools) for name in names]


def _pools(seeds: Sequence[int], size: int) -> list[Sequence[int]]:
    return [seeds[first : first + size] for first in range(0, len(seeds) - size + 1, size)]


def _name(record: ClaimRecord) -> str:
    return f"{record.model.name}: {record.key}"


def _case(
    name: str, seeds: Sequence[Mapping[str, ClaimRecord]], pools: Sequence[Mapping[str, ClaimRecord]]
) -> Case:
    of_seeds = [records.get(name) for records in seeds]
    measured = [record.measurement for record in of_seeds if record and record.measurement]
    return Case(
        name=name,
        claim=next(record.claim.id for record in of_seeds if record),
        alone=tuple(str(record.outcome) if record else "" for record in of_seeds),
        scores=tuple(measurement.score for measurement in measured),
        pooled=tuple(str(pool[name].outcome) if name in pool else "" for pool in pools),
    )


def pooled_records(runs: Mapping[int, Run]) -> list[ClaimRecord]:
    """The records that a run of all these seeds pooled would have, each corrected in its family.

    Raises:
        ClaimError: the seeds measured different things.
    """
    by_name: dict[str, dict[int, ClaimRecord]] = {}
    for seed, run in runs.items():
        for record in run.claims:
            by_name.setdefault(_name(record), {})[seed] = record
    pooled = [_pooled(records) for records in by_name.values() if len(records) == len(runs)]
    return correct([record for record in pooled if record is not None])[0]


def _pooled(records: Mapping[int, ClaimRecord]) -> ClaimRecord | None:
    """The record of a pool; None where it depends on controls that a seed, settled without them, left out."""
    first = next(iter(records.values()))
    runs = [_seed_run(seed, record) for seed, record in records.items()]
    try:
        judged = judge_pooled(first.claim, runs)
    except ClaimError:
        if (settling := _on_common_controls(first.claim, runs)) is None:
            return None
        judged = settling
    anew = {"q": None, "q_refuted": None, "known": None}
    return first.model_copy(update={**judged_fields(first.claim, judged), **anew})


def _on_common_controls(claim: Claim, runs: Sequence[SeedRun]) -> Judged | None:
    """The verdict of a pool by what every seed measured; None where more could change it."""
    measured = {run.seed: run.measurement for run in runs if run.measurement is not None}
    common = set.intersection(*(_measured_by(measurement) for measurement in measured.values()))
    pooled = pool(
        {
            seed: replace(
                measurement,
                controls=tuple(control for control in measurement.controls if control.name in common),
                parts=tuple(part for part in measurement.parts if part.name in common),
                unmeasured=tuple(sorted({*claim.controls, *claim.parts} - common)),
            )
            for seed, measurement in measured.items()
        }
    )
    if not decided_early(claim, pooled):
        return None
    requirements = tuple(dict.fromkeys(text for run in runs for text in run.requirements))
    return Judged(judge(claim, pooled), pooled, requirements, tuple(runs))


def _measured_by(measurement: Measurement) -> set[str]:
    return {part.name for part in (*measurement.controls, *measurement.parts)}


def _seed_run(seed: int, record: ClaimRecord) -> SeedRun:
    stored = record.measurement
    measurement = MEASUREMENT.validate_python(stored.model_dump()) if stored else None
    return SeedRun(seed, Verdict(record.alone, record.reason), measurement, tuple(record.requirements))


def report(results: Sequence[Case], seeds: Sequence[int], size: int) -> Iterator[str]:
    """The table of verdicts and its totals, line by line."""
    pools = _pools(seeds, size)
    width = max(len(case.name) for case in results)
    yield ", ".join(f"{letter} {outcome or 'no verdict'}" for outcome, letter in LETTERS.items())
    yield f"{'case'.ljust(width)}  seeds {seeds[0]} to {seeds[-1]}  pools of {size}  scores"
    for case in results:
        alone, pooled = (
            "".join(LETTERS[outcome] for outcome in verdicts) for verdicts in (case.alone, case.pooled)
        )
        scores = f"{min(case.scores):.2f} to {max(case.scores):.2f}" if case.scores else ""
        mark = "  FLIPS" if case.flips else "  flips when pooled" if case.pool_flips else ""
        yield f"{case.name.ljust(width)}  {alone.ljust(12)}  {pooled.ljust(10)}  {scores}{mark}"
    yield ""
    yield _count(
        "flip between supported and refuted or confounded over the seeds", (case.flips for case in results)
    )
    yield _count("change their verdict over the seeds", (len(set(case.alone)) > 1 for case in results))
    if len(pools) > 1:
        yield _count(f"flip between pools of {size}", (case.pool_flips for case in results))
        yield _count(
            f"change their verdict between pools of {size}",
            (len(set(case.pooled) - {""}) > 1 for case in results),
        )
        yield _count(
            f"have no verdict in a pool of {size}, which needs controls that a seed alone could do without",
            ("" in case.pooled and "" not in case.alone for case in results),
        )
    flipping = sorted({case.claim for case in results if case.flips})
    yield f"claims with a flip: {len(flipping)} of {len({case.claim for case in results})}" + (
        f" ({', '.join(flipping)})" if flipping else ""
    )


def _count(what: str, which: Iterable[bool]) -> str:
    flags = list(which)
    return f"{sum(flags)} of {len(flags)} cases {what}, {exact(sum(flags), len(flags))}"


def run_seed(seed: int, folder: Path, options: argparse.Namespace) -> Run:
    """The run of one seed: made anew, or with `--resume` that which lies there whole.

    Raises:
        SystemExit: pytest wrote no run, or one that lacks claims.
    """
    if options.resume and (runs := sorted(folder.glob("*/run.json"))):
        return read_run(runs[-1])
    before = set(folder.glob("*/run.json"))
    arguments = ["--probe-model", options.model, f"--probe-seed={seed}", "--probe-baseline=none"]
    parallel = ["-n", str(options.workers), "--dist", "loadfile"] if options.workers > 1 else []
    command = [
        sys.executable,
        "-m",
        "pytest",
        *options.tests,
        *arguments,
        f"--probe-report={folder}",
        *parallel,
    ]
    done = subprocess.run([*command, "-q", "--tb=no"], cwd=ROOT, capture_output=True, text=True, check=False)
    made = sorted(set(folder.glob("*/run.json")) - before)
    if not made:
        sys.exit(f"seed {seed}: pytest ended with {done.returncode} and no run:\n{done.stdout}{done.stderr}")
    run = read_run(made[-1])
    if run.partial or run.broken:
        sys.exit(
            f"seed {seed}: the run in {made[-1].parent} lacks claims: {run.broken or done.stdout[-2000:]}"
        )
    return run


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "tests", nargs="*", default=["hypotheses/"], help="files of tests (default: hypotheses/)"
    )
    parser.add_argument("--model", default="organism")
    parser.add_argument("--seeds", type=int, default=10, help="how many, from 0 on (default: 10)")
    parser.add_argument("--pool", type=int, default=5, help="seeds of a pool (default: 5)")
    parser.add_argument("--workers", type=int, default=2, help="of pytest-xdist, in each run (default: 2)")
    parser.add_argument("--reports", type=Path, help="where the runs lie (default: reports/stability/MODEL)")
    parser.add_argument(
        "--resume", action="store_true", help="take the runs that lie there, and make those that lack"
    )
    options = parser.parse_args(arguments)
    if not 2 <= options.pool <= options.seeds:
        parser.error(
            f"--pool {options.pool} of --seeds {options.seeds}: give a pool of 2 seeds or more, and as many seeds"
        )
    options.reports = options.reports or ROOT / "reports" / "stability" / options.model.replace("/", "--")
    return options


def main() -> None:
    """Run what is to be run, and print the table."""
    options = options_of()
    runs = {}
    for seed in range(options.seeds):
        print(f"seed {seed}", file=sys.stderr, flush=True)
        runs[seed] = run_seed(seed, options.reports / f"seed-{seed}", options)
    for line in report(cases(runs, options.pool), list(runs), options.pool):
        print(line)


if __name__ == "__main__":
    main()
