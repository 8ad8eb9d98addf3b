"""A byte order mark at the start of a file, as editors on Windows write it, is no part of what the file says."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lazarus_probe.adapters.adapter_files import read_settings as read_adapter
from lazarus_probe.checkpoints.names import read_config
from lazarus_probe.circuit.activations import read_activations
from lazarus_probe.circuit.dataset import read_prompts
from lazarus_probe.circuit.sets import read_sets
from lazarus_probe.claims.baseline import read_baseline
from lazarus_probe.claims.expectations import read_list
from lazarus_probe.cli import lazarus
from lazarus_probe.cli.parsing import parse_prompts
from lazarus_probe.introspection.patching.prompt_pairs import read_pairs
from lazarus_probe.organisms import bundled
from lazarus_probe.training.grpo.prompts import read_prompts as read_rewarded
from lazarus_probe.training.pretraining.recipe import read_recipe
from lazarus_probe.training.settings import read_settings as read_training
from lazarus_probe.training.sft.config import SftConfig
from lazarus_probe.training.sft.jsonl import read_jsonl

ROOT = Path(__file__).parents[1]
SETS = {"mine": {"groups": {f"g{i}": {"a": [f"a {i}"], "b": [f"b {i}"]} for i in range(4)}}}
# By reader: a file's name, what it holds, and what reads it.
READERS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "prompts": ("p.txt", "7 * 8 = \n 12 + 30 =\n", lambda path: read_prompts(path).texts),
    "prompts of an option": ("p.txt", "7 * 8 = \n12 + 30 =\n", lambda path: parse_prompts(f"@{path}")),
    "prompts in JSON": ("p.json", '["7 * 8 = "]', lambda path: read_prompts(path).texts),
    "pairs": ("p.txt", "7 * 8 =  => 3 * 8 = \na => b\n", read_pairs),
    "pairs in JSON": ("p.json", '[{"source": "a ", "target": "b"}]', read_pairs),
    "pairs in JSON lines": ("p.jsonl", '{"source": "a ", "target": "b"}\n', read_pairs),
    "probe sets": ("s.yaml", json.dumps(SETS), lambda path: read_sets(path)[0].texts),
    "probe sets in JSON": ("s.json", json.dumps(SETS), lambda path: read_sets(path)[0].texts),
    "examples": ("d.jsonl", '{"prompt": "a ", "response": "b"}\n', lambda path: read_jsonl(path)[0].prompt),
    "rewarded prompts": ("d.jsonl", '{"prompt": "a "}\n{"prompt": "b"}\n', read_rewarded),
    "settings of a training": (
        "sft.yaml",
        "model: organism\ndata: d.jsonl\n",
        lambda path: read_training(SftConfig, path).model,
    ),
    "a recipe": ("r.yaml", (bundled.FOLDER / "recipe.yaml").read_text(), read_recipe),
    "claims": ("c.yaml", "- id: c\n  statement: s\n", lambda path: [row.values for row in read_list(path)]),
    "an adapter's settings": ("adapter_config.json", '{"r": 4}', read_adapter),
    "a model's configuration": (
        "config.json",
        '{"model_type": "llama"}',
        lambda path: read_config(path.parent),
    ),
    "a baseline": ("organism.json", (ROOT / "reports/baselines/organism.json").read_text(), read_baseline),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_mark_changes_nothing_that_is_read(tmp_path, reader, ends):
    """Every reader gives of a file with a mark, and with the line ends of Windows, what it gives of one without."""
    name, content, read = READERS[reader]
    path = tmp_path / name
    path.write_bytes(content.encode())
    plain = read(path)
    path.write_bytes(codecs.BOM_UTF8 + content.replace("\n", ends).encode())
    assert read(path) == plain
    assert "\ufeff" not in repr(plain)


def test_a_description_of_activations(tmp_path):
    """The JSON beside collected activations is read so, too."""
    about = {"model_id": "m", "hidden_size": 2, "num_layers": 1, "prompts": ["a"]}
    save_file({"hidden_states.layer_0": np.zeros((1, 2), np.float32)}, tmp_path / "x.safetensors")
    (tmp_path / "x.json").write_bytes(codecs.BOM_UTF8 + json.dumps(about).encode())
    assert read_activations(tmp_path / "x.safetensors").prompts.texts == ("a",)


def test_what_is_asked_has_no_mark(tmp_path, capsys):
    """The question of a file with a mark is answered as the question itself."""
    (tmp_path / "p.txt").write_bytes(codecs.BOM_UTF8 + b"7 * 8 = \r\n")
    said = []
    for prompt in ("7 * 8 = ", f"@{tmp_path / 'p.txt'}"):
        assert (
            lazarus.main(["introspect", "generate", "-m", "organism", "-p", prompt, "--raw", "--json"]) == 0
        )
        said.append(json.loads(capsys.readouterr().out))
    for each in said:
        each.pop("about", None)
    assert said[0] == said[1]
