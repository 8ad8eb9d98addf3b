"""Following a command through the package does not get longer."""

from __future__ import annotations

import pytest

from tests.paths_crossed import PATHS, Counts, Step, counts, path_of

# What each path has now. A longer one is a reason to look at it with `python tests/paths_crossed.py PATH`. Since
# the first count measurements became several files, models run in several processes, answers are batched padded, sweeps
# compute wide gates by NumPy and unembed few tokens, and probes look at which control models others compute.
MOST = {
    "load": Counts(27, 43),
    "probe": Counts(62, 120),
    "sweep": Counts(31, 73),
    "introspect patch": Counts(91, 174),
    "train sft": Counts(56, 99),
}


def test_a_climb_is_a_step_back_into_a_file_that_was_left():
    """Steps within a file and down into new ones are none."""
    path = [Step(file, str(index)) for index, file in enumerate("aabbcabda")]
    assert counts(path) == Counts(files=4, climbs=3)
    assert counts(path[:5]) == Counts(files=3, climbs=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", PATHS)
def test_paths_do_not_grow(name: str):
    """Files crossed and climbs back are at most what they were."""
    path = counts(path_of(PATHS[name]()))
    assert path.files <= MOST[name].files
    assert path.climbs <= MOST[name].climbs
