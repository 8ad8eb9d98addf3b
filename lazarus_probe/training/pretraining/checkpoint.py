"""The models that a pre-training run saves: ordinary checkpoint folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx.utils import tree_flatten

from lazarus_probe.files.weight_files import write_arrays
from lazarus_probe.files.whole_files import write_aside
from lazarus_probe.organisms import tokenizer
from lazarus_probe.training.pretraining.recipe import Architecture

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def save_once(model: Any, vocabulary: Tokenizer, folder: Path) -> None:
    """`save_checkpoint`, unless it exists: a resumed run reaches the same weights again."""
    if not folder.exists():
        save_checkpoint(model, vocabulary, folder)


def save_checkpoint(model: Any, vocabulary: Tokenizer, folder: Path) -> None:
    """Write an ordinary Hugging Face Llama checkpoint that mlx-lm and transformers load, atomically.

    Raises:
        OSError: it cannot be written.
    """
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed here
    aside.mkdir(parents=True)
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
    settings = {**tokenizer.CONFIG, "chat_template": tokenizer.CHAT_TEMPLATE}
    try:
        write_aside(aside / "config.json", json.dumps(config, indent=2) + "\n")
        write_aside(aside / "tokenizer.json", vocabulary.to_str(pretty=True))
        write_aside(aside / "tokenizer_config.json", json.dumps(settings, indent=2) + "\n")
        weights = dict(tree_flatten(model.parameters()))
        write_arrays(aside / "model.safetensors", weights, {"format": "pt"})
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
