"""A model under study: the mlx-lm model, its tokenizer, its anatomy, and how text goes in and comes out.

The names below are imported when they are first used, so that `lazarus_probe.backend` and the
resolution of names stay importable without mlx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazarus_probe.lazy import lazy_names

if TYPE_CHECKING:
    from lazarus_probe.anatomy.anatomy import Anatomy, UnsupportedArchitecture
    from lazarus_probe.anatomy.forward_pass import forward
    from lazarus_probe.checkpoints.differences import CheckpointWarning
    from lazarus_probe.checkpoints.errors import LoadError
    from lazarus_probe.checkpoints.names import num_layers_of
    from lazarus_probe.subject.batches import as_tokens, by_length
    from lazarus_probe.subject.control_models import untrained_models
    from lazarus_probe.subject.encoding import PromptWarning
    from lazarus_probe.subject.finite import NotFinite
    from lazarus_probe.subject.generate import greedy
    from lazarus_probe.subject.spans import Span, span
    from lazarus_probe.subject.spellings import word_of
    from lazarus_probe.subject.subject import Subject

__all__ = [
    "Anatomy",
    "CheckpointWarning",
    "LoadError",
    "NotFinite",
    "PromptWarning",
    "Span",
    "Subject",
    "UnsupportedArchitecture",
    "as_tokens",
    "by_length",
    "forward",
    "greedy",
    "num_layers_of",
    "span",
    "untrained_models",
    "word_of",
]

_HOMES = {
    "Anatomy": "anatomy.anatomy",
    "CheckpointWarning": "checkpoints.differences",
    "LoadError": "checkpoints.errors",
    "NotFinite": "subject.finite",
    "PromptWarning": "subject.encoding",
    "Span": "subject.spans",
    "Subject": "subject.subject",
    "UnsupportedArchitecture": "anatomy.anatomy",
    "as_tokens": "subject.batches",
    "by_length": "subject.batches",
    "forward": "anatomy.forward_pass",
    "greedy": "subject.generate",
    "num_layers_of": "checkpoints.names",
    "span": "subject.spans",
    "untrained_models": "subject.control_models",
    "word_of": "subject.spellings",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
