"""Analyses are held against three control models of a kind here, where users have five."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _few(few_models: None) -> None:
    """Every module: what holds against three holds against five."""
