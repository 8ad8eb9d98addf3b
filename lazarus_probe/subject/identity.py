"""What tells subjects apart: their weights, configuration and tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

_fingerprints: WeakKeyDictionary[Subject, tuple[list[Any], str]] = WeakKeyDictionary()


def fingerprint(subject: Subject) -> str:
    """SHA-256 of a subject; computed again only where a weight was replaced since."""
    weights = [weight for _, weight in tree_flatten(subject.model.parameters())]
    known, digest = _fingerprints.get(subject, ([], ""))
    if len(known) != len(weights) or any(a() is not b for a, b in zip(known, weights, strict=True)):
        digest = _digest(subject)
        _fingerprints[subject] = ([ref(weight) for weight in weights], digest)
    return digest


def _digest(subject: Subject) -> str:
    digest = hashlib.sha256()
    for part in _identity(subject):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _identity(subject: Subject) -> Iterator[bytes]:
    for name, weight in sorted(tree_flatten(subject.model.parameters())):
        yield f"{name} {weight.dtype} {tuple(weight.shape)}".encode()
        yield np.array(weight.reshape(-1).view(mx.uint8)).tobytes()
    for name, module in subject.model.named_modules():
        if "lora_a" in module:  # what an adapter is multiplied by is no weight
            yield f"{name} scale {module.scale}".encode()
    yield json.dumps(subject.config, sort_keys=True, default=str).encode()
    if subject.tokenizer is not None:
        backend = getattr(subject.tokenizer, "backend_tokenizer", None)
        yield (
            backend.to_str() if backend else json.dumps(subject.tokenizer.get_vocab(), sort_keys=True)
        ).encode()
        yield str(subject.tokenizer.chat_template).encode()
