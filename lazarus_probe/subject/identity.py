"""What tells subjects apart: their weights, configuration and tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten


@dataclass(eq=False)
class Identity:
    """Weights, configuration and tokenizer of a subject, and the digest of them that was made last.

    Of a model that is split over processes the weights are those of the whole, which `whole` makes, unread.
    """

    model: nn.Module
    config: dict[str, Any]
    tokenizer: Any
    whole: Callable[[], nn.Module] | None = None
    _weights: list[ref[mx.array]] = field(default_factory=list)
    _digest: str = ""

    def fingerprint(self) -> str:
        """SHA-256 of all of it; computed again only where a weight was replaced since."""
        weights = [weight for _, weight in tree_flatten(self.model.parameters())]
        known = self._weights
        if len(known) != len(weights) or any(a() is not b for a, b in zip(known, weights, strict=True)):
            self._digest = self._computed()
            self._weights = [ref(weight) for weight in weights]
        return self._digest

    def _computed(self) -> str:
        digest = hashlib.sha256()
        for part in self._parts():
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    def _named(self) -> Iterator[tuple[str, mx.array]]:
        if self.whole is None:
            yield from sorted(tree_flatten(self.model.parameters()))
            return
        weights = dict(tree_flatten(self.whole().parameters()))
        for name in sorted(weights):
            yield name, weights.pop(name)  # read here and let go

    def _parts(self) -> Iterator[bytes]:
        for name, weight in self._named():
            yield f"{name} {weight.dtype} {tuple(weight.shape)}".encode()
            yield np.array(weight.reshape(-1).view(mx.uint8)).tobytes()
        for name, module in self.model.named_modules():
            if "lora_a" in module:  # what an adapter is multiplied by is no weight
                yield f"{name} scale {module.scale}".encode()
        yield json.dumps(self.config, sort_keys=True, default=str).encode()
        if self.tokenizer is not None:
            backend = getattr(self.tokenizer, "backend_tokenizer", None)
            text = backend.to_str() if backend else json.dumps(self.tokenizer.get_vocab(), sort_keys=True)
            yield text.encode()
            yield str(self.tokenizer.chat_template).encode()
