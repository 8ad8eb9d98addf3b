"""What an adapter is put on: a model whose parts are known."""

from __future__ import annotations

from typing import Any, Protocol

import mlx.nn as nn

from lazarus_probe.anatomy.anatomy import Anatomy


class LoadedModel(Protocol):
    """The part of a `Subject` that adapters need, so that subjects can be loaded with one."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def model(self) -> nn.Module:
        """The mlx-lm model."""

    @property
    def config(self) -> dict[str, Any]:
        """Its configuration."""

    @property
    def anatomy(self) -> Anatomy:
        """Where its parts are."""

    @property
    def num_layers(self) -> int:
        """How many blocks it has."""
