"""Reads collected activations. The files are untrusted: what does not fit together is refused in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.circuit.dataset import PromptSet, is_plain
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.tensors import read_entries

MOST_DESCRIBED = 256 << 20  # bytes of a description that are read at most
ADVICE = "make it with `circuit collect`"
KEY = re.compile(r"(hidden_states|attention|mlp|pattern)\.layer_(\d{1,6})")
LISTS = {
    "labels": "labels",
    "categories": "categories",
    "label_names": "label_names",
    "expected_outputs": "expected",
    "groups": "groups",
}


@dataclass(frozen=True, eq=False)
class Collected:
    """The activations of a model on N prompts.

    Attributes:
        model_id: the model's name.
        fingerprint: its identity, if the file has it.
        num_layers: of the model.
        hidden_size: D.
        at: the position: `last`, `mean` or a number.
        prompts: the N prompts.
        hidden: by layer, (N, D) the residual stream after it.
        attention: by layer, (N, D) its attention output, if collected.
        mlp: by layer, (N, D) its MLP output, if collected.
        patterns: by layer, (N, H, S) each head's attention to each token, if collected.
        tokens: (N,) the tokens of each prompt as texts, if patterns were collected.
        outputs: (N,) the model's continuations, if collected.
    """

    model_id: str
    fingerprint: str | None
    num_layers: int
    hidden_size: int
    at: str | int
    prompts: PromptSet
    hidden: Mapping[int, NDArray[np.float32]]
    attention: Mapping[int, NDArray[np.float32]]
    mlp: Mapping[int, NDArray[np.float32]]
    patterns: Mapping[int, NDArray[np.float32]]
    tokens: tuple[tuple[str, ...], ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def layers(self) -> list[int]:
        """The layers whose residual stream was kept."""
        return sorted(self.hidden)

    def layer_or_all(self, layers: Sequence[int] | None) -> list[int]:
        """The requested layers, or all in the file.

        Raises:
            ValueError: one that was not kept.
        """
        if layers is None:
            return self.layers
        for layer in layers:
            if layer not in self.hidden:
                collected = ", ".join(map(str, self.layers))
                raise ValueError(f"layer {layer} was not collected; the file has {collected}")
        return list(layers)


def read_activations(path: Path) -> Collected:
    """Read a safetensors file and the description next to it; the suffix may be left out.

    Raises:
        OSError: one of the two cannot be read.
        ValueError: a damaged file, keys or shapes that do not fit the description, numbers that are not finite.
    """
    if not path.name:
        raise ValueError(f"{path} is a folder; give the file that `circuit collect` wrote")
    path = path if path.suffix == ".safetensors" else path.with_name(f"{path.name}.safetensors")
    tensors, about = _tensors(path), _description(path.with_suffix(".json"))
    by_kind = _by_kind(path, tensors)
    if not by_kind["hidden_states"]:
        raise ValueError(f"{path} has no hidden_states.layer_N; {ADVICE}")
    prompts = _prompts(path.with_suffix(".json"), about)
    width = about["hidden_size"]
    _check_shapes(path, by_kind, len(prompts.texts), width, about["num_layers"])
    fingerprint = about.get("fingerprint")
    return Collected(
        about["model_id"],
        fingerprint if isinstance(fingerprint, str) else None,
        about["num_layers"],
        width,
        about["at"] if isinstance(about.get("at"), str | int) else "last",
        prompts,
        by_kind["hidden_states"],
        by_kind["attention"],
        by_kind["mlp"],
        by_kind["pattern"],
        _tokens(path.with_suffix(".json"), about, by_kind["pattern"], len(prompts.texts)),
        _texts(path.with_suffix(".json"), about, "model_outputs", len(prompts.texts)),
    )


def _tensors(path: Path) -> Mapping[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        read_entries(path)
        return dict(load_file(path))
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is no usable safetensors file ({reason}); {ADVICE}") from None


def _description(path: Path) -> dict[str, Any]:
    try:
        about = read_json(path, MOST_DESCRIBED)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); {ADVICE}") from None
    if not isinstance(about, dict):
        raise ValueError(f"{path} holds no description; {ADVICE}")
    for key, kind in (("model_id", str), ("hidden_size", int), ("num_layers", int)):
        if type(about.get(key)) is not kind:
            raise ValueError(f"{path} has the {key} {about.get(key)!r}; it must be {kind.__name__}; {ADVICE}")
    return about


def _by_kind(path: Path, tensors: Mapping[str, NDArray[Any]]) -> dict[str, dict[int, NDArray[np.float32]]]:
    """The tensors by kind and layer; other keys are left alone."""
    by_kind: dict[str, dict[int, NDArray[np.float32]]] = {
        kind: {} for kind in ("hidden_states", "attention", "mlp", "pattern")
    }
    for key, values in tensors.items():
        match = KEY.fullmatch(key)
        if match is None:
            continue
        if not np.issubdtype(values.dtype, np.floating) or not np.isfinite(values).all():
            raise ValueError(f"{path}: {key} holds what is no finite number; {ADVICE} again")
        by_kind[match[1]][int(match[2])] = values.astype(np.float32)
    return {kind: dict(sorted(layers.items())) for kind, layers in by_kind.items()}


def _check_shapes(
    path: Path, by_kind: Mapping[str, Mapping[int, NDArray[Any]]], count: int, width: int, num_layers: int
) -> None:
    for kind, layers in by_kind.items():
        for layer, values in layers.items():
            right = values.shape == (count, width)
            if kind == "pattern":
                right = values.ndim == 3 and len(values) == count
            if not right:
                raise ValueError(
                    f"{path}: {kind}.layer_{layer} has shape {values.shape}; the .json has {count} prompts "
                    f"and width {width}"
                )
            if layer >= num_layers:
                raise ValueError(f"{path}: {kind}.layer_{layer} is no layer of a model with {num_layers}")


def _prompts(path: Path, about: Mapping[str, Any]) -> PromptSet:
    texts = _texts(path, about, "prompts")
    if not texts:
        raise ValueError(f"{path} holds no prompts; {ADVICE}")
    lists = {name: _values(path, about, key, len(texts)) for key, name in LISTS.items()}
    names, of = about.get("dataset_name"), about.get("dataset_label_names")
    called = {str(key): str(value) for key, value in of.items()} if isinstance(of, dict) else {}
    return PromptSet(texts, **lists, name=names if isinstance(names, str) else None, names=called)


def _values(path: Path, about: Mapping[str, Any], key: str, count: int) -> tuple[Any, ...]:
    """A plain value for each prompt; None for all if the description lacks the key."""
    values = about.get(key)
    if values is None:
        return (None,) * count
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{path}: {key} must be a list with one entry for each of the {count} prompts")
    if not all(map(is_plain, values)):
        raise ValueError(f"{path}: {key} holds what is neither text nor number")
    return tuple(values)


def _texts(path: Path, about: Mapping[str, Any], key: str, count: int | None = None) -> tuple[str, ...]:
    values = about.get(key, [])
    right = isinstance(values, list) and all(isinstance(value, str) for value in values)
    if not right or (values and count is not None and len(values) != count):
        raise ValueError(f"{path}: {key} must be a list of texts, one a prompt; {ADVICE}")
    return tuple(values)


def _tokens(
    path: Path, about: Mapping[str, Any], patterns: Mapping[int, NDArray[Any]], count: int
) -> tuple[tuple[str, ...], ...]:
    if not patterns:
        return ()
    longest = min(values.shape[2] for values in patterns.values())
    values = about.get("tokens")
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{path}: tokens must be a list with the tokens of each prompt; {ADVICE}")
    for tokens in values:
        if (
            not isinstance(tokens, list)
            or not 1 <= len(tokens) <= longest
            or not all(isinstance(token, str) for token in tokens)
        ):
            raise ValueError(f"{path}: tokens must hold 1 to {longest} texts for each prompt; {ADVICE}")
    return tuple(map(tuple, values))
