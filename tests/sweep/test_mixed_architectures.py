"""Sweeps of tiny models of every architecture with experts, recurrent blocks or convolutions."""

from __future__ import annotations

import architectures
import pytest


@pytest.mark.parametrize("name", architectures.cases(mixed=True))
def test_a_sweep_equals_the_naive_loop(name):
    """Every site, patched and zeroed, gives what one whole forward a cell gives."""
    architectures.check(name)
