"""The settings of an adapter that the peft library saved: what it is, and whether it is one that can be loaded.

Importing this module imports neither mlx nor transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

from lazarus_probe.checkpoints.errors import LoadError

MERGE = "merge it into its base with peft (merge_and_unload), save that with save_pretrained, and load it as a model"
# Initialisations that change the base's weights too, so that the two matrices alone are not the adapter.
CHANGES_BASE = ("pissa", "olora", "loftq", "corda", "lora_ga")
# What decides nothing about the loaded model: how it was trained, by what, and how the base keeps its weights.
WITHOUT_EFFECT = frozenset(
    {
        *("alpha_pattern", "exclude_modules", "layers_pattern", "layers_to_transform", "lora_alpha", "r"),
        *("rank_pattern", "target_modules", "use_rslora", "peft_type"),  # read below
        *("auto_mapping", "base_model_name_or_path", "fan_in_fan_out", "inference_mode", "peft_version"),
        *(
            "revision",
            "task_type",
            "runtime_config",
            "megatron_config",
            "megatron_core",
            "ensure_weight_tying",
        ),
        *(
            "lora_dropout",
            "init_lora_weights",
            "loftq_config",
            "eva_config",
            "corda_config",
            "lora_ga_config",
        ),
        *("velora_config", "qalora_group_size"),
    }
)
NOTHING: tuple[Any, ...] = (None, False, 0, "", "none", [], {})
MOST_REPEATS = 3  # repeats in a pattern: a stranger's may take time that grows with the power of their number


@dataclass(frozen=True)
class PeftSettings:
    """What an adapter's configuration says of its matrices.

    Attributes:
        path: the configuration.
        rank: of those that no pattern names.
        alpha: of those that no pattern names.
        rslora: whether the product is divided by the root of the rank (Kalajdzievski 2023) and not by the rank.
        targets: the last names of the modules that have matrices; None where a pattern names them.
        layers: the blocks that have them; None for all.
        excluded: the last names of modules that have none after all.
        ranks: other ranks, by pattern.
        alphas: other alphas, by pattern.
        base: the name of the model that it was trained on.
    """

    path: Path
    rank: int
    alpha: float
    rslora: bool
    targets: tuple[str, ...] | None
    layers: tuple[int, ...] | None
    excluded: tuple[str, ...]
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    base: str

    def rank_of(self, module: str) -> int:
        """The rank of a module's matrices."""
        return self.ranks.get(_pattern_of(self.ranks, module), self.rank)

    def scale_of(self, module: str) -> float:
        """What the product of a module's matrices is multiplied by."""
        rank = self.rank_of(module)
        alpha = self.alphas.get(_pattern_of(self.alphas, module), self.alpha)
        return alpha / (sqrt(rank) if self.rslora else rank)

    def names(self, module: str) -> bool:
        """Whether the module is one of the targets; always so where a pattern names them, which is not run."""
        if self.targets is None:
            return True
        if self.layers is not None and _number(module) not in self.layers:
            return False
        return _ends(module, self.targets) and not _ends(module, self.excluded)


def peft_settings(path: Path, settings: Mapping[str, Any]) -> PeftSettings:
    """The settings in an `adapter_config.json` of peft.

    Raises:
        LoadError: it is no plain LoRA, or a value is none that peft would take; the message names file and setting.
    """
    kind = settings.get("peft_type", "LORA")
    if kind != "LORA":
        raise LoadError(f"{path}: peft_type is {kind!r}, and only LORA is loaded; {MERGE}")
    _check_plain(path, settings)
    targets, layers = settings.get("target_modules"), settings.get("layers_to_transform")
    excluded = settings.get("exclude_modules") or []
    # A pattern of modules is not run: what has matrices stands in the weights.
    listed = isinstance(targets, list) and isinstance(excluded, list)
    return PeftSettings(
        path,
        _rank(path, "r", settings.get("r", 8)),
        _alpha(path, "lora_alpha", settings.get("lora_alpha", 8)),
        _flag(path, "use_rslora", settings.get("use_rslora", False)),
        tuple(map(str, targets or [])) if listed else None,
        None if layers in (None, []) else tuple(_layers(path, layers)),
        tuple(map(str, excluded)) if listed else (),
        {key: _rank(path, f"rank_pattern.{key}", v) for key, v in _patterns(path, settings, "rank_pattern")},
        {
            key: _alpha(path, f"alpha_pattern.{key}", v)
            for key, v in _patterns(path, settings, "alpha_pattern")
        },
        str(settings.get("base_model_name_or_path") or "another model"),
    )


def _check_plain(path: Path, settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if key not in WITHOUT_EFFECT and value not in NOTHING:
            raise LoadError(f"{path}: {key} is {_short(value)}, and only plain LoRA is loaded; {MERGE}")
    start = settings.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(CHANGES_BASE):
        raise LoadError(
            f"{path}: init_lora_weights is {start!r}, which changed the weights of the base as well; save it as plain "
            "LoRA (path_initial_model_for_weight_conversion), or " + MERGE
        )


def _rank(path: Path, key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise LoadError(f"{path}: {key} is {_short(value)}; a whole number of at least 1 is needed")
    return value


def _alpha(path: Path, key: str, value: Any) -> float:
    return finite_number(path, key, value)


def finite_number(path: Path, key: str, value: Any) -> float:
    """A finite number of an adapter's settings.

    Raises:
        LoadError: it is none.
    """
    try:
        right = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        right = False
    if not right:
        raise LoadError(f"{path}: {key} is {_short(value)}; a finite number is needed")
    return float(value)


def _flag(path: Path, key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise LoadError(f"{path}: {key} is {_short(value)}; true or false is needed")
    return value


def _layers(path: Path, value: Any) -> list[int]:
    layers = value if isinstance(value, list) else [value]
    if not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in layers):
        raise LoadError(f"{path}: layers_to_transform is {_short(value)}; whole numbers are needed")
    return layers


def _patterns(path: Path, settings: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    patterns = settings.get(key) or {}
    if not isinstance(patterns, dict):
        raise LoadError(f"{path}: {key} is {_short(patterns)}; values by name are needed")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise LoadError(f"{path}: {key}: {pattern!r} is no pattern: {error}") from None
        if len(re.findall(r"[*+?{]", pattern)) > MOST_REPEATS or re.search(r"\)[*+?{]|\\[1-9]", pattern):
            raise LoadError(f"{path}: {key}: {pattern!r} repeats too much to be tried; name the modules")
    return list(patterns.items())


def _pattern_of(patterns: Mapping[str, Any], module: str) -> str:
    """The first pattern that a module's last names match, as peft picks it."""
    return next((key for key in patterns if re.match(rf"(.*\.)?({key})$", module)), module)


def _number(module: str) -> int | None:
    return next((int(part) for part in module.split(".") if part.isdecimal()), None)


def _ends(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.endswith(f".{name}") for name in names)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
