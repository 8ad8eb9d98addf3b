"""The scaling of the rotary embedding, from metadata and from tensors of factors."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.gguf.settings import Settings
from lazarus_probe.checkpoints.gguf.tensor_types import read_tensor

FREQUENCIES = "rope_freqs.weight"
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
CLOSE = 1e-3  # factors are float32, and those of Llama 3 a function with kinks


def rope_scaling(settings: Settings, dims: int, base: float) -> dict[str, Any] | None:
    """The scaling as a Hugging Face configuration spells it; None where there is none.

    Args:
        settings: of the architecture.
        dims: how many dimensions of a head are rotated.
        base: of the frequencies.

    Raises:
        LoadError: it is of an unknown kind, or its factors are none.
    """
    if LONG in settings.file.tensors:
        return _long(settings, dims)
    kind = settings.text("rope.scaling.type", "none")
    factor = settings.number("rope.scaling.factor", settings.number("rope.scale_linear", 0.0))
    original = settings.integer("rope.scaling.original_context_length", 0, least=0)
    if FREQUENCIES in settings.file.tensors:
        factors = _factors(settings, FREQUENCIES, dims)
        return None if np.allclose(factors, 1) else _llama3(settings, factors, base)
    if kind == "yarn" and factor > 0:
        betas = {
            name: settings.number(f"rope.scaling.yarn_{name}")
            for name in ("beta_fast", "beta_slow")
            if settings.has(f"rope.scaling.yarn_{name}")
        }
        original = original or settings.integer("context_length")
        if (attention := settings.number("rope.scaling.attn_factor", 1.0)) != 1:
            betas["attention_factor"] = attention * (1 + 0.1 * log(factor))
        return {**_named("yarn"), "factor": factor, "original_max_position_embeddings": original, **betas}
    if kind not in ("none", "linear", "yarn"):
        raise LoadError(
            f"{settings.file.path}: {settings.prefix}rope.scaling.type is {kind[:60]!r}, which is not loaded without "
            f"the tensor {LONG}; none, linear and yarn are"
        )
    return {**_named("linear"), "factor": factor} if factor not in (0.0, 1.0) else None


def _named(kind: str) -> dict[str, Any]:
    # Some models of mlx-lm ask for the older of the two names, some for the newer.
    return {"type": kind, "rope_type": kind}


def _long(settings: Settings, dims: int) -> dict[str, Any]:
    long = _factors(settings, LONG, dims)
    short = _factors(settings, SHORT, dims) if SHORT in settings.file.tensors else long
    original = settings.integer("rope.scaling.original_context_length", settings.integer("context_length"))
    scaling = {
        **_named("longrope"),
        "long_factor": [float(factor) for factor in long],
        "short_factor": [float(factor) for factor in short],
        "original_max_position_embeddings": original,
    }
    if settings.has("rope.scaling.attn_factor"):
        scaling["attention_factor"] = settings.number("rope.scaling.attn_factor")
    return scaling


def _factors(settings: Settings, name: str, dims: int) -> NDArray[np.float32]:
    entry = settings.file.tensors[name]
    if entry.size != dims // 2:
        raise LoadError(
            f"{settings.file.path}: the tensor {name} holds {entry.size} factors, and {dims} rotated dimensions need "
            f"{dims // 2}"
        )
    factors = read_tensor(entry).reshape(-1)
    if not (np.isfinite(factors) & (factors > 0)).all():
        raise LoadError(f"{settings.file.path}: the tensor {name} holds factors that are no positive numbers")
    return factors


def _llama3(settings: Settings, factors: NDArray[np.float32], base: float) -> dict[str, Any]:
    """Llama 3's scaling, of which a file has only the factors: high frequencies stay, low ones are divided."""
    largest = float(factors.max())
    frequencies = 1 / (2 * np.pi * base ** (np.arange(len(factors)) / len(factors)))  # turns a position
    for fitted in (LLAMA3, _fitted(factors, frequencies, largest)):
        if np.allclose(_llama3_factors(frequencies, largest, **fitted), factors, rtol=CLOSE):
            return {**_named("llama3"), "factor": largest, **fitted}
    raise LoadError(
        f"{settings.file.path}: the factors of the tensor {FREQUENCIES} are not those of Llama 3's scaling, "
        "which alone is loaded"
    )


def _llama3_factors(
    frequencies: NDArray[np.float64],
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_max_position_embeddings: float,
) -> NDArray[np.float64]:
    """What wavelengths are multiplied by: between the two limits, frequencies are interpolated."""
    turns = original_max_position_embeddings * frequencies
    smooth = np.clip((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0, 1)
    return 1 / ((1 - smooth) / factor + smooth)


def _fitted(
    factors: NDArray[np.float32], frequencies: NDArray[np.float64], factor: float
) -> dict[str, float]:
    """Settings under which the factors are these, as far as they determine them.

    The share of the frequency that stays is a line in the frequency, cut off at 0 and 1; its place and slope are what
    the settings say, up to a common factor.
    """
    if factor <= 1:
        return LLAMA3
    share = (1 / factors - 1 / factor) / (1 - 1 / factor)
    between = (share > 1e-4) & (share < 1 - 1e-4)
    low = frequencies[share <= 1e-4].max(initial=0.0)
    high = frequencies[share >= 1 - 1e-4].min(initial=np.inf)
    if between.sum() >= 2:
        slope, start = np.polyfit(frequencies[between], share[between], 1)
        low, high = -start / slope, (1 - start) / slope
    elif between.any():
        middle, at = frequencies[between][0], share[between][0]
        # Any line through the one point that is at 0 and 1 before its neighbours.
        slope = 1.01 * max(at / (middle - low), (1 - at) / (high - middle))
        low, high = middle - at / slope, middle + (1 - at) / slope
    else:
        # Both between two neighbours, on neither of which rounding could then fall to the wrong side.
        step = (min(high, 8 * low) / low) ** (1 / 3) if low else 1.0
        low, high = low * step, low * step**2
    if not 0 < low < high < np.inf:
        return LLAMA3
    return {
        "low_freq_factor": 1.0,
        "high_freq_factor": float(high / low),
        "original_max_position_embeddings": float(1 / low),
    }
