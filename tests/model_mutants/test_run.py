"""A suite on mutants of the bundled model: it catches inner changes, and keeps quiet at harmless ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.mutants import harmless_mutants, inner_mutants
from lazarus_probe.mutants.results import Catches, MutantResults, read_results
from lazarus_probe.mutants.run import run_mutants
from lazarus_probe.mutants.suite import PlainRun, Suite, run_models, run_plain
from lazarus_probe.subject import Subject
from tests.model_mutants.own_suite import OWN

INNER = ("head zeroed", "neurons permuted", "mlp halved", "2-bit layer", "layers swapped", "attention halved")
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
    """Two trial mutants, from which tolerances are, and a dozen others."""
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
    """Each of six inner changes, in the first place of its kind, is caught by one of two claims."""
    assert {mutant.kind: bool(catches.by(mutant)) for mutant in catches.inner} == dict.fromkeys(INNER, True)


def test_harmless_changes_raise_no_alarm(catches):
    """Permuted neurons, rescaled pairs, 8-bit and float16 weights set off neither claim."""
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
    with pytest.raises(ValueError, match="of organism with seed 0, another model or seed"):
        raise ValueError(capsys.readouterr().err) if main([*command, "--seed", "1"]) else AssertionError
