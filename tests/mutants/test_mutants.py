"""The faults that `make faults-caught` puts into the package are still faults of it."""

from __future__ import annotations

import pytest

from tests.mutants.run import ROOT, Mutant, caught_by, copy_of_checkout, mutants

MUTANTS = mutants()


def test_there_are_at_least_ten():
    """Each has a sentence of its own."""
    assert len({mutant.fault for mutant in MUTANTS}) == len(MUTANTS) >= 10


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_the_text_that_is_right_is_there(mutant: Mutant):
    """What a fault replaces is in the package, once, and its tests are there."""
    file = ROOT / "lazarus_probe" / mutant.file
    assert file.read_text(encoding="utf-8").count(mutant.old) == 1
    assert mutant.old != mutant.new
    assert all((ROOT / name).exists() for name in mutant.tests)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_the_fault_is_caught(mutant: Mutant, tmp_path):
    """A test of those that run every time fails with the fault, and passes without it."""
    assert caught_by(mutant, copy_of_checkout(tmp_path))
