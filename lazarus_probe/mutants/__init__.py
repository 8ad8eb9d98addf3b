"""Mutants of a model: changes inside it that a suite of claims should notice, and harmless ones that it should not."""

from __future__ import annotations

from lazarus_probe.mutants.forgetting import forgetting_mutants
from lazarus_probe.mutants.harmless_changes import harmless_mutants
from lazarus_probe.mutants.inner_changes import inner_mutants
from lazarus_probe.mutants.mutant import Mutant

__all__ = ["Mutant", "forgetting_mutants", "harmless_mutants", "inner_mutants"]
