from __future__ import annotations

import pytest

from lazarus_probe.claims.baseline_record import BaselineRecord, Difference
from lazarus_probe.mutants.readings import LEAST, SAFETY, MutantOutcome, readings, tolerances
from lazarus_probe.mutants.results import Catches, MutantResult, MutantResults, choose, read_results
from lazarus_probe.mutants.table import mutants_text
from lazarus_probe.reports.versions.compare import Comparison, Line
from lazarus_probe.reports.versions.sides import Side

COSTS = {"cheap": 0.1, "dear": 9.0, "nervous": 0.1, "idle": 0.1}


def mutant(
    kind: str, place: str, *, harmless: bool = False, trial: bool = False, **moved: float
) -> MutantResult:
    return MutantResult(
        kind=kind, place=place, harmless=harmless, agreement=0.9, trial=trial, seconds=1.0,
        readings={claim: MutantOutcome(moved=value, rows=500) for claim, value in moved.items()},
    )  # fmt: skip


@pytest.fixture
def results() -> MutantResults:
    """A claim that catches heads, one that catches neurons at a price, one that harmless changes set off, one idle."""
    mutants = [
        mutant("rounding", "8 bit", harmless=True, trial=True, cheap=0.015, dear=0.0, nervous=0.0, idle=0.0),
        mutant("seed", "1", harmless=True, trial=True, cheap=0.01, dear=0.0, nervous=0.03, idle=0.0),
        mutant("heads", "L0", trial=True, cheap=0.2, dear=0.0, nervous=0.2, idle=0.0),
        mutant("neurons", "L0", trial=True, cheap=0.0, dear=0.2, nervous=0.2, idle=0.0),
        mutant("heads", "L1", cheap=0.2, dear=0.0),
        mutant("heads", "L2", cheap=0.029, dear=0.0),
        mutant("neurons", "L1", cheap=0.0, dear=0.2),
        mutant("rounding", "16 bit", harmless=True, cheap=0.001, dear=0.0),
    ]
    return MutantResults(model="m", fingerprint="f", seed=0, costs=COSTS, mutants=tuple(mutants))


def test_a_move_counts_beyond_twice_what_harmless_changes_made():
    """A claim catches what moved its units further than twice the furthest harmless move, and than the least."""
    assert SAFETY * 0.015 > LEAST
    assert not MutantOutcome(moved=0.03, rows=500).catches(0.015)
    assert MutantOutcome(moved=0.031, rows=500).catches(0.015)
    assert not MutantOutcome(moved=0.02, rows=500).catches(None)
    assert MutantOutcome(moved=0.021, rows=500).catches(0.0)


def test_one_row_of_few_that_turns_over_is_no_catch():
    """With twenty rows one right answer more is .05, and counts for nothing; three of them do."""
    assert not MutantOutcome(moved=0.05, rows=20).catches(0.0)
    assert MutantOutcome(moved=0.15, rows=20).catches(0.0)


def test_what_can_no_longer_be_measured_is_caught():
    """A claim that broke, is gone, or no longer applies shows that the model changed, whatever it moved."""
    for status in ("broken", "gone", "no longer measurable", "newly measurable"):
        assert MutantOutcome(status=status).catches(0.5)


def test_other_prompts_count_by_the_difference_of_scores():
    """Where units cannot be paired, a claim catches what differs by more than chance."""
    assert MutantOutcome(moved=None, real=True).catches(0.0)
    assert not MutantOutcome(moved=None, real=False).catches(0.0)


def test_tolerances_are_the_furthest_harmless_moves(results):
    """By claim the largest move of the harmless changes of the trial, and of no other mutant."""
    assert Catches(results, tuple(COSTS)).tolerances == {
        "cheap": 0.015,
        "dear": 0,
        "nervous": 0.03,
        "idle": 0,
    }
    assert tolerances({}) == {}


def test_trial_mutants_are_not_counted(results):
    """What claims were chosen by, and tolerances taken from, is in neither count."""
    catches = Catches(results, ("cheap", "dear"))
    assert [m.name for m in catches.inner] == ["heads L1", "heads L2", "neurons L1"]
    assert catches.caught(catches.inner)[0] == 2
    assert catches.caught(catches.harmless)[0] == 0


def test_claims_are_chosen_that_catch_most_a_second(results):
    """The cheap claim comes first, then the dear one that catches what it leaves; idle and nervous ones never do."""
    calm = results.model_copy(update={"mutants": results.mutants})
    chosen = choose(Catches(calm, tuple(COSTS)), 10)
    assert chosen[-2:] == ("cheap", "dear") or set(chosen) == {"nervous", "cheap", "dear"}
    assert "idle" not in chosen


def test_a_claim_that_a_harmless_change_sets_off_is_not_chosen(results):
    """A claim that no longer applies under a harmless change of the trial is left out."""
    broken = results.mutants[1].model_copy(
        update={"readings": {**results.mutants[1].readings, "nervous": MutantOutcome(status="gone")}}
    )
    noisy = results.model_copy(update={"mutants": (results.mutants[0], broken, *results.mutants[2:])})
    assert choose(Catches(noisy, tuple(COSTS)), 10) == ("cheap", "dear")
    assert choose(Catches(noisy, tuple(COSTS)), 1) == ("cheap",)


def test_the_text_names_what_was_missed(results):
    """The counts come first, with exact intervals; then what was not caught, and a line for each kind and claim."""
    lines = mutants_text(Catches(results, ("cheap", "dear"))).splitlines()
    assert lines[0] == "caught: 2 of 3 [0.09, 0.99] inner changes"
    assert lines[1] == "  not caught: heads L2"
    assert lines[2] == "alarms: 0 of 1 [0.00, 0.97] harmless changes"
    assert any(line.split()[:4] == ["cheap", "0.1", "s", "1"] for line in lines)


def test_results_come_back_from_their_file(results, tmp_path):
    """What is written is read, and a file of something else is refused by name."""
    path = tmp_path / "mutants.json"
    results.write(path)
    assert read_results(path) == results
    path.write_text('{"model": "m"}')
    with pytest.raises(ValueError, match=r"mutants.json holds no results of mutants: fingerprint"):
        read_results(path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_results(tmp_path / "none.json")


def line(group: str, old: BaselineRecord | None, new: BaselineRecord | None) -> Line:
    return Line("c", "m", group, old, new)


def record(score: float | None, **changes: object) -> BaselineRecord:
    return BaselineRecord(outcome="supported", score=score, low=score, high=score, claim_hash="h", **changes)


def test_readings_are_of_what_was_measured():
    """A claim measured on neither model has no reading; one whose units are paired has its move and rows."""
    side = Side("s", (0,), "", "", {}, {})
    paired = Difference(score=0.1, low=0, high=0.2, p=0.01, q=0.01, paired=True, real=True)
    old = record(0.5, group_scores={"a": (0.5, 3), "b": (0.5, 3)}, difference=paired)
    new = record(0.5, group_scores={"a": (0.9, 3), "b": (0.1, 3)})

    def read(*lines: Line) -> dict[str, MutantOutcome]:
        return readings(Comparison(side, side, lines, ()))

    assert read(line("unchanged", old, new)) == {"c": MutantOutcome(moved=0.4, rows=6)}
    assert read(line("unchanged", record(None), record(None))) == {}
    assert read(line("new", None, new)) == {}
    assert read(line("broken", old, None)) == {"c": MutantOutcome(status="broken")}
    assert read(line("no longer measurable", old, record(None))) == {
        "c": MutantOutcome(status="no longer measurable")
    }
