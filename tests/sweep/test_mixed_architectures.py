"""Sweeps of tiny models of every architecture with experts, recurrent blocks or convolutions."""

from __future__ import annotations

import architectures
import pytest

NAMES = architectures.names(mixed=True)


@pytest.mark.parametrize("name", architectures.fast(NAMES))
def test_a_sweep_equals_the_naive_loop(name):
    """Every site, patched and zeroed at two positions, gives what one whole forward a cell gives."""
    architectures.check(name, whole=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_whole_sweep_equals_the_naive_loop(name):
    """So do several targets, and edits of all positions at once."""
    architectures.check(name, whole=True)
