"""Which seeds a run has: one of `--probe-seed`, or several of `--probe-seeds`, whose measurements are pooled."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

DEFAULT_SEED = 0


def add_seed_options(group: pytest.OptionGroup) -> None:
    """Add `--probe-seed` and `--probe-seeds`."""
    group.addoption(
        "--probe-seed",
        type=int,
        metavar="N",
        help=f"random seed (default: {DEFAULT_SEED})",
    )
    group.addoption(
        "--probe-seeds",
        metavar="N|LIST",
        help="run the test of each claim once per seed, for N seeds 0 to N-1 or a list such as 0,3,7, and judge the "
        "pooled measurements; the verdict of each seed alone is reported next to it",
    )


def check_seeds(config: pytest.Config) -> None:
    """Check `--probe-seed` and `--probe-seeds`.

    Raises:
        pytest.UsageError: both are given, a seed is negative, or `--probe-seeds` is not a number of seeds or a list.
    """
    text, seed = config.getoption("probe_seeds"), config.getoption("probe_seed")
    if seed is not None and seed < 0:
        raise pytest.UsageError(f"--probe-seed {seed}: give 0 or more")
    if text is not None and seed is not None:
        raise pytest.UsageError(
            f"--probe-seeds {text} and --probe-seed {seed} are given: give one of the two, "
            f"as in --probe-seeds 0,{seed or 1} to pool several seeds"
        )
    seeds_of(config)


def seeds_of(config: pytest.Config) -> tuple[int, ...]:
    """The seeds of a run, the smallest first: one alone, or those that are pooled.

    Raises:
        pytest.UsageError: `--probe-seeds` names none.
    """
    text = config.getoption("probe_seeds")
    if text is None:
        seed = config.getoption("probe_seed")
        return (DEFAULT_SEED if seed is None else seed,)
    return read_seeds(text)


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds that a text means: `5` is 0 to 4, `0,3,7` is these three.

    Raises:
        pytest.UsageError: it is neither, holds a seed twice, or means none at all.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]+", part) for part in parts):
        raise pytest.UsageError(
            f"--probe-seeds {text}: give a number of seeds, such as 5, or a list of them, such as 0,3,7"
        )
    numbers = [int(part) for part in parts]
    if len(numbers) == 1:
        if numbers[0] < 1:
            raise pytest.UsageError(
                f"--probe-seeds {text}: give at least 1 seed, such as 5 for the seeds 0 to 4"
            )
        return tuple(range(numbers[0]))
    if twice := [str(number) for number in sorted(set(numbers)) if numbers.count(number) > 1]:
        raise pytest.UsageError(
            f"--probe-seeds {text} holds {', '.join(twice)} twice, and a seed drawn again adds nothing: give each once"
        )
    return tuple(sorted(numbers))


def option_for(seeds: Sequence[int]) -> str:
    """The option that gives a run these seeds."""
    if len(seeds) == 1:
        return f"--probe-seed {seeds[0]}"
    first = tuple(seeds) == tuple(range(len(seeds)))
    return f"--probe-seeds {len(seeds) if first else ','.join(map(str, seeds))}"
