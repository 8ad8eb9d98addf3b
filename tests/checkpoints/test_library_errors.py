"""Errors of mlx-lm about a checkpoint are told in the words of its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lazarus_probe.checkpoints.library_errors import in_words
from lazarus_probe.subject import LoadError, Subject

CHANGES = {
    "a setting less": ({"hidden_size": None}, "config.json lacks hidden_size"),
    "a misspelt type": ({"model_type": "llma"}, "mlx-lm has no model_type 'llma'; did you mean llama?"),
    "another width": ({"intermediate_size": 40}, r"is \(48, 32\), and by config.json it would be \(40, 32\)"),
    "weights less": ({"tie_word_embeddings": False}, "the weights lack 1 that config.json asks for: lm_head.weight"),
    "weights more": (
        {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3},
        "the weights hold 9 that mlx-lm's model has no place for: model.layers.3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_what_does_not_fit_is_said_of_the_files(tmp_path, make_llama, save_checkpoint, kind):
    """No class and no function of a library is named, and the message is one line."""
    changes, message = CHANGES[kind]
    folder = Path(save_checkpoint(tmp_path / "tiny", make_llama(tie_word_embeddings=True)))
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    with pytest.raises(LoadError, match=message) as raised:
        Subject.load(folder)
    assert "\n" not in str(raised.value)
    assert "__init__" not in str(raised.value)


def test_what_is_not_known_stands_as_it_is():
    """Other errors are passed on word for word, and long lists of tensors are cut."""
    assert in_words("something else") == "something else"
    assert in_words(f"Missing 9 parameters: {', '.join('abcdefghi')}.").endswith(": a, b, c, ...")
