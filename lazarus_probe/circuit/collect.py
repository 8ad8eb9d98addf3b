"""Activations of a set of prompts, in a safetensors file with a JSON description next to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.circuit.dataset import PromptSet
from lazarus_probe.files.whole_files import whole_file
from lazarus_probe.hooks.activations import At, collect
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.subject.batches import by_length, encode_all
from lazarus_probe.subject.generate import greedy
from lazarus_probe.subject.subject import Subject

# By kind of site, the key of its tensors in the file, without the layer number.
KEYS = {
    "resid_post": "hidden_states.layer_",
    "attn_out": "attention.layer_",
    "mlp_out": "mlp.layer_",
    "pattern": "pattern.layer_",
}


def decision_layers(num_layers: int) -> list[int]:
    """The layers from half of the depth to three quarters of it, where published accounts see decisions made."""
    return list(range(num_layers // 2, min(3 * num_layers // 4, num_layers - 1) + 1))


def collect_residuals(
    subject: Subject,
    prompts: PromptSet,
    output: Path,
    layers: Sequence[int],
    at: At = "last",
    *,
    attention: bool = False,
    generate: int = 0,
) -> Path:
    """Write the residual stream after some blocks, one vector per prompt.

    `output` gets a float32 tensor `hidden_states.layer_{i}` (N, D) for each layer, and the `.json` next to it the
    model, its fingerprint and the prompts with their labels. With `attention` there are also, for blocks that have
    them, `attention.layer_{i}` and `mlp.layer_{i}` (N, D), the outputs of attention and MLP, and `pattern.layer_{i}`
    (N, H, S), the attention of each head from the position to each token, zero-padded. Both files are written under
    temporary names first, so neither is ever half written.

    Args:
        subject: the model.
        prompts: N prompts.
        output: the safetensors file.
        layers: blocks, from 0.
        at: "last" position, "mean" over positions, or one position, counted from the end if negative.
        attention: whether to keep outputs of attention and MLP, and attention patterns.
        generate: how many tokens of the model's own continuation to keep with each prompt.

    Returns:
        The description's path.

    Raises:
        IndexError: a layer, or a position of some prompt, that does not exist.
        ValueError: attention patterns of a mean over positions.
    """
    from safetensors.numpy import save_file

    if attention and at == "mean":
        raise ValueError("attention patterns are those of one position; give last or a number, not mean")
    tensors = _tensors(subject, prompts.texts, layers, at, attention)
    about = _description(subject, prompts, layers, at)
    if attention:
        about["tokens"] = [
            [subject.decode([token]) for token in ids] for ids in encode_all(subject, prompts.texts)
        ]
    if generate:
        about["model_outputs"] = greedy(subject, prompts.texts, generate)
    description = output.with_suffix(".json")
    output.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(about, indent=2, ensure_ascii=False)
    with whole_file(output) as activations, whole_file(description) as words:
        save_file(tensors, activations)
        words.write_text(text + "\n", encoding="utf-8")
    return description


def _tensors(
    subject: Subject, texts: Sequence[str], layers: Sequence[int], at: At, attention: bool
) -> dict[str, NDArray[Any]]:
    """By key, the values of all prompts, from one pass."""
    sites = [resid_post(layer) for layer in layers]
    if not attention:
        return _named(collect(subject, texts, sites, at))
    wanted = ("attn_out", "mlp_out", "pattern")
    sites += [Site(kind, n) for n in layers for kind in kinds_at(subject.anatomy, n) if kind in wanted]
    encoded = encode_all(subject, texts)
    # Prompts of one length at a time: a pattern is as long as its prompt.
    lengths = np.array([len(ids) for ids in encoded])
    rows: list[Mapping[str, NDArray[Any]]] = [{}] * len(encoded)
    for indices, _ in by_length(encoded, limit=int(lengths.sum() + lengths.max())):
        tensors = _named(collect(subject, [encoded[i] for i in indices], sites, at))
        for row, index in enumerate(indices):
            rows[index] = {key: values[row] for key, values in tensors.items()}
    return {key: _padded([row[key] for row in rows]) for key in rows[0]}


def _named(by_site: Mapping[Site, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{KEYS[site.kind]}{site.layer}": values for site, values in by_site.items()}


def _padded(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Rows stacked, zeros after those whose last axis is shorter."""
    longest = max(row.shape[-1] for row in rows)
    stacked = np.zeros((len(rows), *rows[0].shape[:-1], longest), dtype=np.float32)
    for into, row in zip(stacked, rows, strict=True):
        into[..., : row.shape[-1]] = row
    return stacked


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
        "label_names": [None if label is None else prompts.called(label) for label in prompts.labels],
        "categories": list(prompts.categories),
        "expected_outputs": list(prompts.expected),
        "groups": list(prompts.groups),
        "dataset_name": prompts.name,
        "dataset_label_names": dict(prompts.names),
    }
