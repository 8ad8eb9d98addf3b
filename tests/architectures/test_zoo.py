"""The table of tiny architectures is complete, and each of its models is a fair thing to test hooks on."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache

from tests.architectures.zoo import (
    architectures,
    build,
    cannot_run,
    config,
    every_time,
    features,
    mlx_lm_models,
    model_file,
    random_tokens,
    table,
)
from tests.cases import slow_except

EVERY_NAME = pytest.mark.parametrize("name", slow_except(architectures(), *every_time(architectures())))
CHANGED = 8  # the position whose token the test of causality changes


Check = Callable[[nn.Module, list[Any]], bool]


@cache
def logits_of(name: str) -> np.ndarray:
    """Logits (1, 12, V) of the random tokens."""
    model = build(name)
    return np.array(model(random_tokens(), cache=make_prompt_cache(model)))


def paths(model: nn.Module) -> list[str]:
    return [path for path, _ in tree_flatten(model.parameters())]


def mentions(*words: str) -> Check:
    """A check that some parameter's path holds one of the words."""
    return lambda model, _: any(word in path for path in paths(model) for word in words)


def caches(kind: str) -> Check:
    """A check that some layer's cache, or a part of it, is of this class."""

    def check(_: nn.Module, cache: list[Any]) -> bool:
        parts = [part for entry in cache for part in getattr(entry, "caches", [entry])]
        return any(type(part).__name__ == kind for part in parts)

    return check


def heads(model: nn.Module) -> int:
    """Matrices with one row for each token of the vocabulary, which is a prime so that nothing else is so wide."""
    rows = table()["common"]["vocab_size"]
    leaves = tree_flatten(model.parameters())
    tables = [path for path, value in leaves if value.ndim == 2 and value.shape[0] == rows]
    return sum(not path.endswith((".scales", ".biases")) and "per_layer" not in path for path in tables)


def fields_of(value: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []


def layers_differ(model: nn.Module, _: list[Any]) -> bool:
    """Layers hold differently named parameters: two kinds of mixer, or dense and sparse MLPs."""
    return len({tuple(sorted(paths(layer))) for layer in model.layers}) > 1


# What a feature must leave behind in the model; features that show in no structure are left out.
SIGNS: dict[str, Check] = {
    "chunked_attention": caches("ChunkedKVCache"),
    "convolution": caches("ArraysCache"),
    "dense_first": layers_differ,
    "hybrid": lambda model, cache: (
        layers_differ(model, cache) or len({type(part) for part in getattr(cache[0], "caches", [])}) > 1
    ),
    "learned_positions": mentions("wpe"),
    "linear_attention": caches("ArraysCache"),
    "looped": lambda model, cache: len(cache) > len(model.layers),
    "mla": mentions("kv_a_proj", "q_a_proj", "q_proj_a"),
    "moe": mentions("experts", "switch", "moe", "ffn.router"),
    "per_layer_inputs": mentions("per_layer_input"),
    "quantized_2bit": mentions(".scales"),
    "quantized_4bit": mentions(".scales"),
    "quantized_8bit": mentions(".scales"),
    "shared_expert": mentions("share"),
    "sinks": mentions("sink"),
    "ssm": caches("ArraysCache"),
    "tied": lambda model, _: heads(model) == 1,
}

# Features whose signs nothing else leaves: where they show, they must be listed.
VISIBLE = {"chunked_attention", "learned_positions", "mla", "moe", "per_layer_inputs", "sinks", "tied"}


def test_every_model_file_has_a_place() -> None:
    """Each model file of the installed mlx-lm is in the table, as something to run or with why it cannot run."""
    files = set(table()["architectures"])
    missing = sorted(set(mlx_lm_models()) - files - set(cannot_run()))
    gone = sorted((files | set(cannot_run())) - set(mlx_lm_models()))
    assert not missing, f"table.yaml needs a tiny configuration, or the reason why not, for {missing}"
    assert not gone, f"mlx-lm no longer has {gone}: take them out of table.yaml"
    assert not files & set(cannot_run())


def test_every_variant_belongs_to_an_architecture() -> None:
    """A variant is of a model file that can run, and takes no architecture's name."""
    variants = table()["variants"]
    assert {model_file(name) for name in variants} <= set(table()["architectures"])
    assert not set(variants) & set(mlx_lm_models())


def test_every_key_is_one_that_mlx_lm_reads() -> None:
    """No key is misspelt: mlx-lm drops those that it does not know without a word."""
    modules = [importlib.import_module(f"mlx_lm.models.{name}") for name in table()["architectures"]]
    known = {field for module in modules for value in vars(module).values() for field in fields_of(value)}
    for name in architectures():
        settings = config(name)
        keys = {*settings, *settings.get("text_config", {})} - {"model_type", "text_config"}
        assert keys <= known, f"{name} has keys that no model of mlx-lm reads: {sorted(keys - known)}"


@EVERY_NAME
def test_the_model_computes(name: str) -> None:
    """Logits are finite, of moderate size, and different for each position and token."""
    logits = logits_of(name)
    assert logits.shape == (1, 12, config(name)["vocab_size"])
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert 0.1 < np.abs(logits).max() < 100
    assert logits.std(axis=1).min() > 1e-3
    assert logits.std(axis=2).min() > 1e-2


@EVERY_NAME
def test_a_token_acts_on_what_comes_after_it_only(name: str) -> None:
    """Another token at position 8 changes the logits from there on, and none before."""
    model, tokens, before = build(name), random_tokens(), logits_of(name)
    other = mx.where(mx.arange(12) == CHANGED, (tokens + 1) % config(name)["vocab_size"], tokens)
    after = np.array(model(other, cache=make_prompt_cache(model)))
    change = np.abs(after - before).max(axis=-1)[0] / np.abs(before).max()
    assert change[:CHANGED].max() < 1e-5
    assert change[CHANGED] > 1e-2
    assert change[CHANGED + 1 :].min() > 1e-4


@EVERY_NAME
def test_the_features_are_there(name: str) -> None:
    """What the table says is special about a model can be seen in its parameters and caches, and vice versa."""
    model = build(name)
    cache = make_prompt_cache(model)
    listed = features(name)
    assert listed
    assert len(set(listed)) == len(listed)
    for feature in set(listed) & set(SIGNS):
        assert SIGNS[feature](model, cache), f"{name} shows no sign of {feature}"
    for feature in sorted(VISIBLE - set(listed)):
        assert not SIGNS[feature](model, cache), f"{name} shows {feature}, which is not listed"


@EVERY_NAME
def test_windows_are_shorter_than_the_prompt(name: str) -> None:
    """A model is said to have a sliding window exactly where the cache that it makes rotates within the 12 tokens."""
    cache = make_prompt_cache(build(name))
    parts = [part for entry in cache for part in getattr(entry, "caches", [entry])]
    windows = [getattr(part, "max_size", None) or getattr(part, "window_size", None) for part in parts]
    listed = "sliding_window" in features(name)
    assert listed or not any(windows)
    # mlx-lm's mistral3 makes whole caches for a model that slides, and leaves the window to the mask.
    assert any(windows) or not listed or model_file(name) == "mistral3"
    assert all(window < 12 for window in windows if window)


@EVERY_NAME
def test_no_parameter_is_left_as_it_was_initialised(name: str) -> None:
    """Every parameter varies, so that a norm, a bias or a router that is forgotten changes the result."""
    for path, value in tree_flatten(build(name).parameters()):
        floating = mx.issubdtype(value.dtype, mx.floating)
        assert not floating or value.dtype == mx.float32, f"{path} is {value.dtype}"
        assert value.size == 1 or np.unique(np.array(value)).size > 1, f"{path} is constant"


@pytest.mark.parametrize("name", [name for name, entry in table()["variants"].items() if "bits" in entry])
def test_a_quantised_variant_is_quantised(name: str) -> None:
    """Its linear layers and embeddings hold packed weights of the stated bits, few layers excepted."""
    bits = table()["variants"][name]["bits"]
    modules = [module for _, module in build(name).named_modules()]
    packed = [module for module in modules if hasattr(module, "bits")]
    plain = [module for module in modules if isinstance(module, nn.Linear)]
    assert len(packed) > 2 * len(plain)
    assert sum(module.bits == bits for module in packed) >= 0.8 * len(packed)


def test_a_model_is_made_once_and_again_the_same() -> None:
    """The same name and seed give the same object, a rebuild the same weights, and another seed other weights."""
    first = build("llama")
    assert build("llama") is first
    again, other = build.__wrapped__("llama"), build.__wrapped__("llama", seed=1)
    tokens = random_tokens()
    assert mx.array_equal(first(tokens), again(tokens))
    assert not mx.allclose(first(tokens), other(tokens), atol=1e-2)
    assert not first.training


def test_a_name_that_cannot_be_built_is_refused_with_the_reason() -> None:
    """The error gives the reason from the table, or says that the name is not in it and which names are."""
    with pytest.raises(KeyError, match="bitnet cannot be built: its BitLinear layers"):
        build("bitnet")
    with pytest.raises(KeyError, match=r"lama cannot be built: it is not in table.yaml.*llama"):
        build("lama")


def test_random_tokens_are_of_the_vocabulary() -> None:
    """Token ids have the shape asked for, stay within every model's vocabulary, and depend on the seed alone."""
    tokens = random_tokens(3, 50)
    assert tokens.shape == (3, 50)
    assert mx.max(tokens) < table()["common"]["vocab_size"]
    assert mx.array_equal(tokens, random_tokens(3, 50))
    assert not mx.array_equal(tokens, random_tokens(3, 50, seed=1))
