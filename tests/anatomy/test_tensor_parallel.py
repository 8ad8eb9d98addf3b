"""A model of which one process holds a part."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from lazarus_probe.subject import Subject, UnsupportedArchitecture


class Ranks:
    """What slicing needs of a group of processes; there is only one here."""

    def __init__(self, size: int, rank: int = 0) -> None:
        self._size, self._rank = size, rank

    def size(self) -> int:
        return self._size

    def rank(self) -> int:
        return self._rank


def test_a_part_of_a_model_is_refused(make_llama: Any) -> None:
    """A model that mlx-lm's own `shard` cut is refused by the name of a module of which a part is there."""
    model = make_llama()
    model.shard(Ranks(2, 1))
    with pytest.raises(
        UnsupportedArchitecture, match=r"layers\.\d\.mlp\.\w+ \(\w+Linear\) is split over 2 processes"
    ):
        Subject.from_model(model)


def test_some_layers_of_a_model_are_refused() -> None:
    """A model whose other layers are in other processes is refused, since its layers are numbered from its first."""
    from mlx_lm.models.qwen2 import Model, ModelArgs

    settings = {"hidden_size": 32, "num_hidden_layers": 4, "intermediate_size": 48, "num_attention_heads": 4}
    more = {"num_key_value_heads": 2, "rms_norm_eps": 1e-5, "vocab_size": 64, "tie_word_embeddings": True}
    model = Model(ModelArgs(model_type="qwen2", **settings, **more))
    model.model.pipeline(Ranks(2, 1))
    with pytest.raises(UnsupportedArchitecture, match="its layers on 2 processes"):
        Subject.from_model(model)


def test_one_process_holds_all(make_llama: Any) -> None:
    """A model that was cut for one process alone is a whole one."""
    model = make_llama()
    model.shard(mx.distributed.init())
    assert Subject.from_model(model).anatomy.parts[0].heads.num_heads == 4
