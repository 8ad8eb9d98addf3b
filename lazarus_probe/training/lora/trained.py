"""Saving and restoring which weights of a model are trainable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx.utils import tree_flatten

from lazarus_probe.anatomy.anatomy import architecture


@dataclass(frozen=True)
class Trained:
    """The names of a model's trainable weights, and the training mode of each module."""

    names: frozenset[str]
    modes: tuple[tuple[Any, bool], ...]

    @classmethod
    def of(cls, model: Any) -> Trained:
        """The current state of a model.

        Raises:
            ValueError: mlx cannot train the model.
        """
        for path, module in model.named_modules():
            if not hasattr(module, "_no_grad"):
                where = f"its {path}" if path else "the model"
                raise ValueError(
                    f"{architecture(module)} cannot be trained: {where} is not built as mlx requires"
                )
        names = frozenset(name for name, _ in tree_flatten(model.trainable_parameters()))
        return cls(names, tuple((module, module.training) for _, module in model.named_modules()))

    def restore(self, model: Any) -> None:
        """Restore that state."""
        model.freeze()
        for path, module in model.named_modules():
            prefix = f"{path}." if path else ""
            # While LoRA is attached, its base layer lies one level deeper.
            own = [key for key in module if {f"{prefix}{key}", f"{prefix}linear.{key}"} & self.names]
            if own:
                module.unfreeze(recurse=False, keys=own)
        for module, training in self.modes:
            module._training = training  # `train` would also set all submodules
