"""Residual streams of a set of prompts, in a safetensors file with its description beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lazarus_probe.circuit.dataset import PromptSet
from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.subject.subject import Subject

At = Literal["last", "mean"] | int


def collect_residuals(
    subject: Subject, prompts: PromptSet, output: Path, layers: Sequence[int], at: At = "last"
) -> Path:
    """Write the residual stream after some blocks, one vector a prompt.

    `output` gets a tensor `hidden_states.layer_{i}` (N, D) in float32 a layer, and the `.json` beside it the
    model, its fingerprint and the prompts with their labels. Both are written aside first, so that what is
    found under their names is whole.

    Args:
        subject: the model.
        prompts: N prompts.
        output: the safetensors file.
        layers: blocks, from 0.
        at: "last" position, "mean" over positions, or one position, counted from the end if negative.

    Returns:
        The description's path.

    Raises:
        IndexError: a layer, or a position of some prompt, that does not exist.
    """
    from safetensors.numpy import save_file

    found = collect(subject, prompts.texts, [resid_post(layer) for layer in layers], at)
    tensors = {f"hidden_states.layer_{site.layer}": value for site, value in found.items()}
    description = output.with_suffix(".json")
    asides = [path.with_name(f".{path.name}.partial") for path in (output, description)]
    save_file(tensors, asides[0])
    text = json.dumps(_description(subject, prompts, layers, at), indent=2, ensure_ascii=False)
    asides[1].write_text(text + "\n", encoding="utf-8")
    for aside, path in zip(asides, (output, description), strict=True):
        aside.replace(path)
    return description


def _description(subject: Subject, prompts: PromptSet, layers: Sequence[int], at: At) -> dict[str, Any]:
    return {
        "model_id": subject.name,
        "fingerprint": subject.fingerprint,
        "hidden_size": subject.anatomy.hidden_size,
        "num_layers": subject.num_layers,
        "num_samples": len(prompts.texts),
        "captured_layers": list(layers),
        "at": at,
        "prompts": list(prompts.texts),
        "labels": list(prompts.labels),
        "categories": list(prompts.categories),
    }
