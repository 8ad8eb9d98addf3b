"""The readers of files that come from elsewhere, each with a small file that it takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np

# What a command turns into one line and exit code 2.
from lazarus_probe.cli.run import USER_ERRORS

import mlx.core as mx  # isort: skip


@dataclass(frozen=True)
class Reader:
    """A reader of one kind of file.

    Attributes:
        name: of the file that it reads; its suffix says the format.
        write: puts a file that it takes there.
        read: reads it.
    """

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]

    def holds(self, path: Path) -> bool:
        """Whether a file is read, or refused as a user's error is: in words, without a traceback."""
        try:
            self.read(path)
        except USER_ERRORS as error:
            return bool(str(error).strip())
        return True


def _direction(path: Path) -> None:
    from lazarus_probe.introspection.directions.direction_file import Direction, write_direction

    vector = np.linspace(-1, 1, 8, dtype=np.float32)
    write_direction(
        path, Direction(vector, 2, "times", "a", "b", "organism", "mean", 0.9, 1.5, {"norm": 2.0})
    )


def _read_direction(path: Path) -> object:
    from lazarus_probe.introspection.directions.direction_file import read_direction

    return read_direction(path)


def _read_prompts(path: Path) -> object:
    from lazarus_probe.circuit.dataset import read_prompts

    return read_prompts(path)


def _read_settings(path: Path) -> object:
    from lazarus_probe.training.settings import read_settings
    from lazarus_probe.training.sft.config import SftConfig

    return read_settings(SftConfig, path)


def _read_jsonl(path: Path) -> object:
    from lazarus_probe.training.sft.jsonl import read_jsonl

    return read_jsonl(path)


def _read_expectations(path: Path) -> object:
    from lazarus_probe.claims.expectations import read_claims

    return read_claims(path.parent)


def _sweep(path: Path) -> None:
    from lazarus_probe.sites import Site
    from lazarus_probe.sweep import Sweep

    ones = np.ones((1, 1, 1, 1), np.float32)
    Sweep(("a",), ("zero",), (Site("resid_post", 0),), ("last",), {"kl": ones}, {"kl": ones[0, 0, 0]}).save(
        path
    )


def _read_sweep(path: Path) -> object:
    from lazarus_probe.sweep import Sweep

    return Sweep.load(path)


def _activations(path: Path) -> None:
    from safetensors.numpy import save_file

    states = np.arange(16, dtype=np.float32).reshape(4, 4)
    save_file({"hidden_states.layer_0": states}, path)
    texts = ["a", "b", "c", "d"]
    description: dict[str, Any] = {
        "model_id": "m", "fingerprint": "f", "hidden_size": 4, "num_layers": 1, "num_samples": 4,
        "captured_layers": [0], "at": "last", "prompts": texts, "labels": [0, 1, 0, 1], "categories": texts,
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(description))


def _read_activations(path: Path) -> object:
    from lazarus_probe.circuit.activations import read_activations

    return read_activations(path)


def _adapter(path: Path) -> None:
    folder = path.parent
    arrays = {f"layer_7_{name}": np.zeros(shape, np.float32) for name, shape in _SHAPES.items()}
    np.savez(folder / "lora_weights.npz", **arrays)
    (folder / "config.json").write_text(json.dumps({"model": "organism", "lora_rank": 2}))


_SHAPES = {"v_A": (128, 2), "v_B": (2, 64), "o_A": (128, 2), "o_B": (2, 128)}


def _read_adapter(path: Path) -> object:
    from lazarus_probe.subject.subject import Subject

    return Subject.load("organism", adapter=path.parent)


def _gguf(path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    sizes = {"block_count": 1, "embedding_length": 8, "feed_forward_length": 8, "context_length": 8,
             "attention.head_count": 1}  # fmt: skip
    for key, value in sizes.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_array("tokenizer.ggml.tokens", ["A", "B", "AB"])
    writer.add_array("tokenizer.ggml.merges", ["A B"])
    inner = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes = {f"blk.0.{name}": (8, 8) for name in inner} | {"token_embd": (3, 8), "output_norm": (8,)}
    for name, shape in (shapes | {"blk.0.attn_norm": (8,), "blk.0.ffn_norm": (8,)}).items():
        writer.add_tensor(f"{name}.weight", np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _read_gguf(path: Path) -> object:
    from lazarus_probe.checkpoints.load import load_parts

    return load_parts(path)


def _run_file(path: Path) -> None:
    from lazarus_probe.reports.run import make_run

    path.write_text(make_run([], [0], ["pytest"], partial=False).model_dump_json())


def _read_run(path: Path) -> object:
    from lazarus_probe.reports.run import read_run

    return read_run(path)


def _read_baseline(path: Path) -> object:
    from lazarus_probe.claims.baseline import read_baseline

    return read_baseline(path)


def _lens(path: Path) -> None:
    from lazarus_probe.introspection.lens.tuned_lens import FORMAT, TunedLens, write_lens

    config = {"format": FORMAT, "model": "m", "base": "f", "layers": [0], "hidden_size": 4}
    write_lens(path.parent, TunedLens(np.zeros((1, 4, 4), np.float32), np.zeros((1, 4), np.float32), config))


def _read_lens(path: Path) -> object:
    from lazarus_probe.introspection.lens.tuned_lens import read_lens

    return read_lens(path.parent)


def _read_pairs(path: Path) -> object:
    from lazarus_probe.introspection.patching.prompt_pairs import read_pairs

    return read_pairs(path)


def _read_recipe(path: Path) -> object:
    from lazarus_probe.training.pretraining.recipe import read_recipe

    return read_recipe(path)


def _read_sets(path: Path) -> object:
    from lazarus_probe.circuit.sets import read_sets

    return read_sets(path)


def _read_rewarded(path: Path) -> object:
    from lazarus_probe.training.grpo.prompts import read_prompts

    return read_prompts(path)


def _compared(path: Path) -> object:
    from lazarus_probe.reports.versions.sides import read_side

    return read_side(str(path))


def _shown(path: Path) -> object:
    from lazarus_probe.reports.page import page_html
    from lazarus_probe.reports.run import read_run

    return page_html(read_run(path))


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text, encoding="utf-8")


BASELINE = Path(__file__).parents[2] / "reports" / "baselines" / "organism-rlvf.json"
RECIPE = Path(__file__).parents[2] / "lazarus_probe" / "organisms" / "recipe.yaml"
PROBE_SET = Path(__file__).parents[2] / "lazarus_probe" / "circuit" / "probe_sets" / "question.yaml"
CLAIM = """- id: a-claim
  statement: Something holds.
  source: somewhere
  kind: decodability
  threshold: 0.5
  controls: [majority]
"""

READERS = (
    Reader("direction.npz", _direction, _read_direction),
    Reader("direction.json", _direction, _read_direction),
    Reader("prompts.json", _text('{"prompts": [{"text": "a ", "label": 1}, {"text": "b"}]}'), _read_prompts),
    Reader("prompts.txt", _text("a \nb\n"), _read_prompts),
    Reader("settings.yaml", _text("model: organism\ndata: d.jsonl\noutput: o\nlora_rank: 4\n"), _read_settings),
    Reader("data.jsonl", _text('{"prompt": "7 * 8 = ", "response": "56"}\n{"text": "a b"}\n'), _read_jsonl),
    Reader("claims.yaml", _text(CLAIM), _read_expectations),
    Reader("sweep.npz", _sweep, _read_sweep),
    Reader("activations.safetensors", _activations, _read_activations),
    Reader("activations.json", lambda path: _activations(path.with_suffix(".safetensors")),
           lambda path: _read_activations(path.with_suffix(".safetensors"))),
    Reader("tuned_lens.safetensors", _lens, _read_lens),
    Reader("tuned_lens.json", _lens, _read_lens),
    Reader("pairs.txt", _text("7*8= => 7+8=\n"), _read_pairs),
    Reader("pairs.json", _text('{"pairs": [{"source": "7*8=", "target": "7+8=", "group": "a"}]}'), _read_pairs),
    Reader("run.json", _run_file, _read_run),
    Reader("baseline.json", _text(BASELINE.read_text(encoding="utf-8")), _read_baseline),
    Reader("lora_weights.npz", _adapter, _read_adapter),
    Reader("model.gguf", _gguf, _read_gguf),
    Reader("recipe.yaml", _text(RECIPE.read_text(encoding="utf-8")), _read_recipe),
    Reader("sets.yaml", _text(f"question:\n{indent(PROBE_SET.read_text(encoding='utf-8'), '  ')}"), _read_sets),
    Reader("rewarded.jsonl", _text('{"prompt": "7 * 8 = "}\n'), _read_rewarded),
    Reader("compared.json", _text(BASELINE.read_text(encoding="utf-8")), _compared),
    Reader("shown.json", _run_file, _shown),
    Reader("config.json", _adapter, _read_adapter),
)  # fmt: skip
assert mx is not None
