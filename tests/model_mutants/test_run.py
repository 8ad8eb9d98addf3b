"""A suite on mutants of the bundled model: it catches inner changes, and keeps quiet at harmless ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.cli.mutants.mutants import _begun, _made
from lazarus_probe.mutants import harmless_mutants, inner_mutants
from lazarus_probe.mutants.mutant import write_mutant
from lazarus_probe.mutants.results import Catches, MutantResults, read_results
from lazarus_probe.mutants.run import run_mutants
from lazarus_probe.mutants.suite import PlainRun, Suite, run_models, run_plain
from lazarus_probe.subject import Subject
from tests.model_mutants.own_suite import OWN

pytestmark = pytest.mark.nested

INNER = ("head zeroed", "neurons permuted", "mlp halved", "2-bit layer", "layers swapped")
HARMLESS = ("neurons permuted with their weights", "up and down rescaled", "8-bit layer", "float16 rounding")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    file = tmp_path_factory.mktemp("suite") / "test_own.py"
    file.write_text(OWN)
    return Suite(files=(str(file), "-p", "no:cacheprovider"))


@pytest.fixture(scope="module")
def organism() -> Subject:
    return Subject.load("organism")


@pytest.fixture(scope="module")
def plain(suite: Suite) -> PlainRun:
    return run_plain(suite, "organism")


@pytest.fixture(scope="module")
def catches(
    suite: Suite, plain: PlainRun, organism: Subject, tmp_path_factory: pytest.TempPathFactory
) -> Catches:
    """A trial mutant, from which tolerances are, and nine others."""
    plain = run_plain(suite, "organism")
    mutants = (*inner_mutants(organism), *harmless_mutants(organism))
    kinds = {mutant.kind: mutant for mutant in reversed(mutants)}
    trial = [mutant for mutant in harmless_mutants(organism) if mutant.name == "8-bit rounding groups of 32"]
    path = tmp_path_factory.mktemp("results") / "mutants.json"
    results = MutantResults(model="organism", fingerprint=organism.fingerprint, seed=0, costs={**plain.costs})
    results = run_mutants(organism, plain, suite, trial, results, trial=True)
    chosen = [kinds[kind] for kind in (*INNER, *HARMLESS)]
    results = run_mutants(
        organism, plain, suite, chosen, results, workers=2, keep=lambda so_far: so_far.write(path)
    )
    assert read_results(path) == results
    return Catches(results, tuple(results.costs))


def test_inner_changes_are_caught(catches):
    """Each of five inner changes, in the first place of its kind, is caught by some claim."""
    assert {mutant.kind: bool(catches.by(mutant)) for mutant in catches.inner} == dict.fromkeys(INNER, True)


def test_harmless_changes_raise_no_alarm(catches):
    """Permuted neurons, rescaled pairs, 8-bit and float16 weights set off no claim."""
    assert {mutant.kind: catches.by(mutant) for mutant in catches.harmless} == dict.fromkeys(HARMLESS, ())


def test_what_a_benchmark_shows_stands_beside_it(catches):
    """A harmless change keeps nearly every first choice; the share is kept for each mutant."""
    assert all(mutant.agreement > 0.95 for mutant in catches.harmless)
    assert all(0 <= mutant.agreement <= 1 for mutant in catches.inner)


def test_what_has_a_result_is_not_run_again(catches, organism, plain):
    """Mutants with a result are left out of a later run; nothing is started for them."""
    mutants = [m for m in inner_mutants(organism) if m.name in {known.name for known in catches.inner}]
    nothing = Suite(files=("no such file",))
    assert run_mutants(organism, plain, nothing, mutants, catches.results) == catches.results


def test_a_suite_that_does_not_run_says_what_pytest_said(tmp_path):
    """Where pytest leaves no run the error holds its exit code and the end of what it printed."""
    with pytest.raises(ValueError, match=r"pytest ended with code 4 and left no run(?s:.)*nowhere.py"):
        run_models(Suite(files=(str(tmp_path / "nowhere.py"),)), ["organism"])


@pytest.fixture(scope="module")
def kept_runs(
    suite: Suite, organism: Subject, catches: Catches, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a run of the model, one of it with permuted neurons, and the results of its mutants."""
    folder = tmp_path_factory.mktemp("kept")
    mutant = next(mutant for mutant in inner_mutants(organism) if mutant.name == "neurons permuted L0")
    changed = write_mutant(organism, mutant, folder / "changed")
    both = run_models(suite, ["organism", str(changed)])
    for name in ("organism", "changed"):
        claims = [record for record in both.claims if record.model.name == name]
        run = both.model_copy(update={"claims": claims, "models": [name]})
        (folder / "reports" / name).mkdir(parents=True)
        (folder / "reports" / name / "run.json").write_text(run.model_dump_json())
    catches.results.write(folder / "mutants.json")
    return folder


def test_what_moved_inside_is_told_of_two_runs(kept_runs, capsys):
    """`lazarus report moved` names the claims that a change inside moves and exits with 1; with 0 for one model."""
    options = ["--harmless", str(kept_runs / "mutants.json"), "--reports", str(kept_runs / "reports")]
    assert main(["report", "moved", "organism", "changed", *options]) == 1
    text = capsys.readouterr().out
    assert "block-turns-the-stream" in text
    assert text.endswith("of 9 claims\n")
    assert main(["report", "moved", "organism", "organism", *options]) == 0
    assert capsys.readouterr().out == "moved further than harmless changes do: 0 of 9 claims\n"
    assert main(["report", "moved", "organism", "changed", *options, "--json"]) == 1
    moved = json.loads(capsys.readouterr().out)["moved"]
    assert {claim.partition("[")[0] for claim in moved} >= {"says-it-surely", "block-turns-the-stream"}


def test_tolerances_of_another_model_are_refused(kept_runs, capsys):
    """What harmless changes do to one model says nothing of another: both are named with their weights."""
    options = ["--harmless", str(kept_runs / "mutants.json"), "--reports", str(kept_runs / "reports")]
    assert main(["report", "moved", "changed", "organism", *options]) == 2
    assert "run `lazarus mutants` on the model that is compared with" in capsys.readouterr().err


@pytest.mark.parametrize("chosen", [("gone", "says-it-surely"), ()])
def test_results_of_claims_that_are_gone_are_refused(chosen, suite, organism, plain, tmp_path, monkeypatch):
    """A file of another suite is named, whether its claims were chosen or were still to be tried."""
    path, costs = tmp_path / "mutants.json", {"gone": 1.0, "says-it-surely": 1.0}
    earlier = MutantResults(
        model="organism", fingerprint=organism.fingerprint, seed=0, costs=costs, chosen=chosen
    )
    earlier.write(path)
    monkeypatch.setattr("lazarus_probe.mutants.suite.run_plain", lambda *_: plain)
    with pytest.raises(
        ValueError, match=r"mutants\.json has results of 'gone', which this suite does not decide"
    ):
        _begun(organism, suite, path, 5.0, 0)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_few_mutants_of_a_kind_are_of_layers_far_apart(organism: Subject, count: int):
    """However few of each kind are made, all kinds are there, and the last layers as well as the first."""
    few, every = (_made(organism, number, 0) for number in (count, 0))
    assert {mutant.kind for mutant in few} == {mutant.kind for mutant in every}
    halved = [mutant.place for mutant in few if mutant.kind == "mlp halved"]
    assert halved == {1: ["L0"], 2: ["L0", "L7"], 3: ["L0", "L4", "L7"]}.get(
        count, [f"L{i}" for i in range(8)]
    )


@pytest.mark.slow
def test_the_command_counts_and_goes_on(suite: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """`lazarus mutants` chooses claims on one mutant of each kind, counts on the rest, and reruns nothing it has."""
    path = tmp_path / "mutants.json"
    command = ["mutants", "-m", "organism", suite.files[0], "--each", "2", "--choose", "1", "--seconds", "60"]
    command += ["--results", str(path)]
    assert main(command) == 0
    text = capsys.readouterr().out
    results = read_results(path)
    assert len(results.chosen) == 1
    assert text.startswith(
        f"caught: {Catches(results, results.chosen).caught(Catches(results, ()).inner)[0]} of "
    )
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chosen"] == list(results.chosen)
    assert read_results(path) == results
    assert main([*command, "--seed", "1"]) == 2
    assert "of organism with seed 0, another model or seed" in capsys.readouterr().err
