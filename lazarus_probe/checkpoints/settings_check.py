"""Checking a checkpoint's settings: their types, and their sizes against its weights.

mlx-lm builds the model of config.json before it reads the weights: a billion layers would fill the memory. The headers
of the weights bound the sizes, so that a wrong one is found without building anything.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Union, get_args, get_origin, get_type_hints

from lazarus_probe.checkpoints.errors import LoadError

MOST_LAYERS = 2_000  # the deepest published model has 1,000
MOST_EXPERTS = 100_000  # in all layers; the largest mixtures have 25,000
PACKED = 32  # numbers of one bit in a word of the weights
MODEL_TYPE = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
SIZE = re.compile(r"(?:.*_)?(?:size|dims?|rank|heads?|layers?|experts?|embd)|n_group|n_groups|d_model")
# Sizes of windows, text chunks and images, and other counts, which do not occur in the shape of any weight.
OTHER_SIZE = re.compile(
    r".*(?:window|chunk|block|patch|image|merge|batch|buffer|every|max_|kernel|conv_).*|mamba_d_.*"
)
LAYERS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer", "num_transformer_layers")
EXPERTS = re.compile(r"(?:.*_)?experts?")
HEADS = ("num_attention_heads", "n_head", "n_heads", "head_dim")
AT_LEAST_ONE = (*LAYERS, *HEADS, "hidden_size", "vocab_size", "n_embd", "d_model")
# Mamba's limit has no upper bound; others clamp at infinity.
MAY_BE_INFINITE = re.compile(r".*(?:limit|max|min|clamp|clip|floor|threshold).*")
BITS, GROUP = range(1, 9), range(1, 4097)


@dataclass(frozen=True)
class WeightTotals:
    """Totals over the weights of a checkpoint, from their headers.

    Attributes:
        tensors: number of non-empty tensors.
        longest: their longest axis.
        stacked: the longest first axis of those with three axes or more, in which experts are stacked.
    """

    tensors: int
    longest: int
    stacked: int


class Shaped(Protocol):
    """A tensor of a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""

    @property
    def size(self) -> int:
        """How many numbers it holds."""


def totals_of(entries: Iterable[Shaped]) -> WeightTotals:
    """The totals of all tensors of a checkpoint."""
    shapes = [entry.shape for entry in entries if entry.size]
    return WeightTotals(
        len(shapes),
        max((max(shape, default=1) for shape in shapes), default=0),
        max((shape[0] for shape in shapes if len(shape) > 2), default=0),
    )


def check_plain(path: Path, config: Mapping[str, Any]) -> None:
    """Check the types of the settings that every configuration has, and that every number is finite.

    Raises:
        LoadError: one is wrong; the message names file and field.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or not MODEL_TYPE.fullmatch(kind):
        raise LoadError(f"{path}: model_type is {_short(kind)}; the name of an architecture is needed")
    for key, value in _fields(config):
        _check_number(path, key, value)
    for key in ("text_config", "quantization", "quantization_config", "rope_scaling", "rope_parameters"):
        for settings in (config, _text(config)):
            if not isinstance(settings.get(key), dict | None):
                raise LoadError(f"{path}: {key} is {_short(settings[key])}; an object is needed")
    architectures = config.get("architectures")
    if not isinstance(architectures, str | None) and not _all(architectures, str):
        raise LoadError(f"{path}: architectures is {_short(architectures)}; a list of names is needed")
    check_ends(path, config)
    _check_quantization(path, config.get("quantization"))


def check_ends(path: Path, settings: Mapping[str, Any]) -> None:
    """Check that the end-of-text tokens are ids.

    Raises:
        LoadError: they are not; the message names file and field.
    """
    ends = settings.get("eos_token_id")
    if ends is not None and not _is_size(ends) and not (isinstance(ends, list) and all(map(_is_size, ends))):
        raise LoadError(
            f"{path}: eos_token_id is {_short(ends)}; the id of a token, or a list of ids, is needed"
        )


def check_settings(path: Path, settings: Mapping[str, Any], args_class: type, weights: WeightTotals) -> None:
    """Check a language model's settings against the types of mlx-lm's arguments, and their sizes against its weights.

    Raises:
        LoadError: one is wrong; the message names file, field, value and the expected type or range.
    """
    hints = _hints(args_class)
    for key, value in settings.items():
        if value is not None and key in hints and not _fits(value, hints[key]):
            raise LoadError(f"{path}: {key} is {_short(value)}; {_called(hints[key])} is needed")
    for key in AT_LEAST_ONE:
        if key in settings and (value := settings[key]) is not None and not isinstance(value, list):
            if not _is_size(value) or value < 1:
                raise LoadError(f"{path}: {key} is {_short(value)}; a whole number of at least 1 is needed")
        elif key in settings and settings[key] is None and hints.get(key) is int:
            raise LoadError(f"{path}: {key} is null; a whole number of at least 1 is needed")
    for key, value in _fields(settings):
        if isinstance(value, int | float) and SIZE.fullmatch(key) and not OTHER_SIZE.fullmatch(key):
            if hints.get(key) is int and type(value) is not int:
                raise LoadError(f"{path}: {key} is {_short(value)}; a whole number is needed")
            _check_size(path, key, value, weights)
    for key, value in settings.items():
        if isinstance(value, list) and "layer" in key and len(value) > MOST_LAYERS:
            raise LoadError(
                f"{path}: {key} is of {len(value)} layers; at most {MOST_LAYERS:,} layers are loaded"
            )
    layers = next((settings[key] for key in LAYERS if _is_size(settings.get(key))), 1)
    experts = max((v for k, v in settings.items() if EXPERTS.fullmatch(k) and _is_size(v)), default=0)
    if layers * experts > MOST_EXPERTS:
        raise LoadError(
            f"{path}: {layers} layers of {experts} experts; at most {MOST_EXPERTS:,} experts are loaded"
        )
    length = settings.get("max_position_embeddings")
    if length is not None and (not _is_size(length) or length < 1):
        raise LoadError(
            f"{path}: max_position_embeddings is {_short(length)}; a whole number of at least 1 is needed"
        )


def nulls(settings: Mapping[str, Any], args_class: type) -> list[str]:
    """The settings that are null although mlx-lm's arguments have a type: a possible cause of a failed build."""
    hints = _hints(args_class)
    return [
        key
        for key, value in settings.items()
        if value is None and key in hints and not _fits(None, hints[key])
    ]


def _check_size(path: Path, key: str, value: float, weights: WeightTotals) -> None:
    if value < 0:
        raise LoadError(f"{path}: {key} is {value}; a size cannot be negative")
    if key in LAYERS:
        most = min(weights.tensors, MOST_LAYERS)
        held = f"the weights have {weights.tensors} tensors, and at most {MOST_LAYERS:,} layers are loaded"
    elif EXPERTS.fullmatch(key):
        most = max(weights.tensors, weights.stacked)
        held = f"the weights have {weights.tensors} tensors, and stacks of {weights.stacked} at most"
    else:
        most = weights.longest * PACKED
        held = f"the longest axis of the weights is {weights.longest}"
    if value > most:
        raise LoadError(f"{path}: {key} is {value}, but {held}")


def _check_number(path: Path, key: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value) or not MAY_BE_INFINITE.fullmatch(key):
            raise LoadError(f"{path}: {key} is {value}; a finite number is needed")
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise LoadError(f"{path}: {key} is {_short(value)}; no number of that size is read")


def _check_quantization(path: Path, quantization: Any) -> None:
    if quantization is None:
        return
    parts = {"quantization": quantization, **{k: v for k, v in quantization.items() if isinstance(v, dict)}}
    for name, part in parts.items():
        for key, right in (("bits", BITS), ("group_size", GROUP)):
            if (key in part or part is quantization) and (
                type(part.get(key)) is not int or part[key] not in right
            ):
                raise LoadError(
                    f"{path}: {key} of {name} is {_short(part.get(key))}; a whole number of {right[0]} to {right[-1]} "
                    "is needed"
                )


def _fields(value: Any, key: str = "") -> Iterable[tuple[str, Any]]:
    """Every scalar value in the settings, with the name of its field."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _fields(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner, key)
    else:
        yield key, value


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    text = config.get("text_config")
    return text if isinstance(text, dict) else {}


def _hints(args_class: type) -> dict[str, Any]:
    try:
        return get_type_hints(args_class)
    except (NameError, TypeError, AttributeError):  # a name that exists for type checkers only
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of a type; types that JSON does not have accept anything."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    hint = get_origin(hint) or hint
    if hint in (float, int):
        # mlx-lm annotates int for other numbers too, and one number where some models have one per layer.
        return isinstance(value, int | float) or _all(value, int | float)
    if hint in (bool, str, dict, list, tuple):
        return isinstance(value, list if hint is tuple else hint)
    return hint is not type(None) or value is None


NAMES = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text", dict: "an object", list: "a list",
}  # fmt: skip


def _called(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_called(part) for part in get_args(hint) if part is not type(None))
    return NAMES.get(get_origin(hint) or hint, "something else")


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _all(values: Any, kind: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _short(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**19:
        return "a number of 20 digits and more"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
