"""What a pre-training run keeps: a state it can go on from, and ordinary model folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from lazarus_probe.organisms import tokenizer
from lazarus_probe.training.recipe import Architecture, Recipe

if TYPE_CHECKING:
    from tokenizers import Tokenizer

RESUME = "resume.safetensors"


def save_once(model: Any, vocabulary: Tokenizer, folder: Path) -> None:
    """`save_checkpoint`, unless the run passed here before: it then arrives at the same weights again."""
    if not folder.exists():
        save_checkpoint(model, vocabulary, folder)


def resumes_from(folder: Path) -> int:
    """The step that `train` would go on from in a folder; 0 where it would begin.

    Raises:
        ValueError: the checkpoint there cannot be read.
    """
    path = folder / RESUME
    return int(_read(path)[1]["step"]) if path.exists() else 0


def _read(path: Path) -> tuple[dict[str, mx.array], dict[str, str]]:
    try:
        loaded: Any = mx.load(str(path), return_metadata=True)
    except RuntimeError:
        raise ValueError(f"{path} is damaged; remove it to begin again") from None
    arrays, metadata = loaded
    if not {"step", "recipe"} <= metadata.keys():
        raise ValueError(f"{path} is no checkpoint of a training run; train into another folder")
    return arrays, metadata


def write_state(folder: Path, recipe: Recipe, model: Any, optimizer: Any, step: int) -> None:
    """Keep weights and optimizer state; a write that is cut short leaves the older state whole."""
    arrays = {f"model.{k}": v for k, v in tree_flatten(model.parameters())}
    arrays |= {f"optimizer.{k}": v for k, v in tree_flatten(optimizer.state)}
    aside = folder / "resume.partial.safetensors"
    mx.save_safetensors(str(aside), arrays, {"step": str(step), "recipe": recipe.model_dump_json()})
    aside.replace(folder / RESUME)


def resume(folder: Path, recipe: Recipe, model: Any, optimizer: Any) -> int:
    """Put the state kept in a folder, if there is one, on model and optimizer, and return its step.

    Raises:
        ValueError: it is of another recipe, or cannot be read.
    """
    path = folder / RESUME
    if not path.exists():
        return 0
    arrays, metadata = _read(path)
    if metadata["recipe"] != recipe.model_dump_json():
        raise ValueError(f"{path} is of another recipe; train into another folder, or remove it")
    model.load_weights([(k.removeprefix("model."), v) for k, v in arrays.items() if k.startswith("model.")])
    state = [(k.removeprefix("optimizer."), v) for k, v in arrays.items() if k.startswith("optimizer.")]
    optimizer.state = tree_unflatten(state)
    return int(metadata["step"])


def save_checkpoint(model: Any, vocabulary: Tokenizer, folder: Path) -> None:
    """Write an ordinary Hugging Face Llama checkpoint that mlx-lm and transformers load."""
    aside = folder.with_name(folder.name + ".partial")
    aside.mkdir(parents=True, exist_ok=True)
    ids = {
        name: tokenizer.special_id(vocabulary, getattr(tokenizer, name)) for name in ("BEGIN", "END", "PAD")
    }
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "float32",
        "vocab_size": vocabulary.get_vocab_size(),
        **{name: getattr(model.args, name) for name in Architecture.model_fields},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": ids["BEGIN"],
        "eos_token_id": ids["END"],
        "pad_token_id": ids["PAD"],
    }
    (aside / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(aside / "model.safetensors"), weights, {"format": "pt"})
    vocabulary.save(str(aside / "tokenizer.json"))
    settings = {**tokenizer.CONFIG, "chat_template": tokenizer.CHAT_TEMPLATE}
    (aside / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    aside.rename(folder)
