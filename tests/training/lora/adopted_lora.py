"""The LoRA that is already on a model, to merge or remove it."""

from __future__ import annotations

from lazarus_probe.anatomy.projections import adapted, bare
from lazarus_probe.subject import Subject
from lazarus_probe.training.lora.lora import Attached
from lazarus_probe.training.lora.trained import Trained


def adopt(subject: Subject) -> Attached:
    """Take over the LoRA of a model, such as a loaded adapter's."""
    projections = tuple((projection, bare(projection.module)) for projection in adapted(subject.anatomy))
    return Attached(subject, projections, Trained.of(subject.model))
