"""What of a model is trained, kept while something else is trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx.utils import tree_flatten

from lazarus_probe.anatomy.anatomy import architecture


@dataclass(frozen=True)
class Trained:
    """The weights of a model that are trained, by name, and each module with whether it is in training mode."""

    names: frozenset[str]
    modes: tuple[tuple[Any, bool], ...]

    @classmethod
    def of(cls, model: Any) -> Trained:
        """What is so now.

        Raises:
            ValueError: mlx cannot train the model.
        """
        for path, module in model.named_modules():
            if not hasattr(module, "_no_grad"):
                where = f"its {path}" if path else "the model"
                raise ValueError(
                    f"{architecture(module)} cannot be trained: {where} is not built as mlx needs it"
                )
        names = frozenset(name for name, _ in tree_flatten(model.trainable_parameters()))
        return cls(names, tuple((module, module.training) for _, module in model.named_modules()))

    def restore(self, model: Any) -> None:
        """Make it so again."""
        model.freeze()
        for path, module in model.named_modules():
            prefix = f"{path}." if path else ""
            # What LoRA is on lies one level deeper, as long as it is.
            own = [key for key in module if {f"{prefix}{key}", f"{prefix}linear.{key}"} & self.names]
            if own:
                module.unfreeze(recurse=False, keys=own)
        for module, training in self.modes:
            module._training = training  # `train` would set all below it as well
