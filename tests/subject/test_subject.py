"""Subjects: text in and out, identity, and the untrained model."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten

from lazarus_probe.subject import Subject, forward


def weights(subject):
    return dict(tree_flatten(subject.model.parameters()))


def test_encoding_keeps_the_prompt_and_adds_the_special_tokens(grouped):
    """Spaces at the ends stay, <bos> comes first, and decoding gives the text back."""
    ids = grouped.encode(" 12 + 5 = ")
    assert ids[0] == grouped.tokenizer.bos_token_id
    assert grouped.decode(ids) == "<bos> 12 + 5 = "


def test_a_prompt_with_its_own_bos_gets_no_second_one(grouped):
    """A text that starts with <bos> is encoded like the text without it."""
    assert grouped.encode("<bos>a cat") == grouped.encode("a cat")


def test_an_empty_prompt_is_refused(grouped):
    """Nothing to encode is an error."""
    with pytest.raises(ValueError, match="the prompt is empty; give at least one character"):
        grouped.encode("")


def test_a_subject_without_a_tokenizer_takes_token_ids_only(make_llama):
    """Encoding text without a tokenizer is an error that names the subject."""
    bare = Subject.from_model(make_llama(), name="bare")
    assert bare.config["hidden_size"] == 32
    with pytest.raises(ValueError, match="bare has no tokenizer; give token ids"):
        bare.encode("a")


def test_single_token_gives_the_id_of_a_word(grouped):
    """A word that is one token gives its id, without the special tokens."""
    assert grouped.decode([grouped.single_token("Paris")]) == "Paris"
    assert grouped.decode([grouped.single_token(" Paris")]) == " Paris"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("paris", r"'paris' is not one token but 5 \('p', 'a', 'r', 'i', 's'\); 'Paris' is one token"),
        ("cat", r"'cat' is not one token but 2 \('ca', 't'\); choose another word"),
        ("Q5", r"'Q5' is not one token but 1 \('5'\); choose another word"),
        ("", r"'' is not one token but 0 \(no tokens\); choose another word"),
    ],
)
def test_a_word_of_several_tokens_is_refused_with_its_pieces(grouped, word, message):
    """A word that is not one token is an error that shows its pieces, and a form that is one if there is."""
    with pytest.raises(ValueError, match=message):
        grouped.single_token(word)


def test_the_fingerprint_is_the_content(grouped, make_llama, tokenizer):
    """Equal weights, configuration and tokenizer give one fingerprint; any other of them gives another."""

    def fingerprint(*args, **kwargs):
        return Subject.from_model(*args, **kwargs).fingerprint

    base = fingerprint(make_llama(), tokenizer, name="one")
    assert base == fingerprint(make_llama(), tokenizer, name="two")
    assert len(base) == 64
    changed = make_llama()
    changed.model.norm.weight = changed.model.norm.weight + 1e-6
    half = make_llama()
    half.set_dtype(mx.bfloat16)
    others = [
        fingerprint(changed, tokenizer),
        fingerprint(half, tokenizer),
        fingerprint(make_llama(1), tokenizer),
        fingerprint(make_llama(), None),
        fingerprint(make_llama(), tokenizer, config={"rope_theta": 1.0}),
    ]
    assert len({base, *others}) == 6


def test_the_untrained_twin_has_the_same_architecture_and_other_weights(subject):
    """Names, shapes and types agree; every matrix differs; the same seed gives the same twin."""
    twin = subject.untrained()
    assert twin.name == f"{subject.name}-untrained"
    assert dataclasses.asdict(twin.model.args) == dataclasses.asdict(subject.model.args)
    ours, theirs = weights(subject), weights(twin)
    assert {name: (w.shape, w.dtype) for name, w in ours.items()} == {
        n: (w.shape, w.dtype) for n, w in theirs.items()
    }
    assert not any(np.allclose(ours[name], theirs[name]) for name in ours if "proj.weight" in name)
    again, other = weights(subject.untrained()), subject.untrained(3)
    assert all(mx.array_equal(theirs[name], again[name]) for name in theirs)
    assert other.name == f"{subject.name}-untrained-3"
    assert not mx.array_equal(
        weights(other)["model.embed_tokens.weight"], theirs["model.embed_tokens.weight"]
    )


def test_the_untrained_twin_keeps_the_type_and_runs(make_llama, tokenizer):
    """The untrained model of a 16-bit one is 16-bit."""
    model = make_llama(hidden_size=64, intermediate_size=64)
    model.set_dtype(mx.bfloat16)
    twin = Subject.from_model(model, tokenizer).untrained()
    assert forward(twin.model, mx.array([[1, 2]])).dtype == mx.bfloat16


def test_making_a_twin_leaves_the_random_state_alone(grouped):
    """The caller's random numbers are the same with and without an untrained model made in between."""
    mx.random.seed(11)
    mx.random.normal((3,))
    expected = mx.random.normal((3,))
    mx.random.seed(11)
    mx.random.normal((3,))
    grouped.untrained(5)
    assert mx.array_equal(mx.random.normal((3,)), expected)


def test_names_and_layers_are_known_without_mlx():
    """Importing the package, resolving a name and counting layers import no mlx, mlx-lm or transformers."""
    code = (
        "import sys; import lazarus_probe.subject, lazarus_probe.backend; "
        "from lazarus_probe.checkpoints.errors import LoadError\n"
        "from lazarus_probe.checkpoints.names import num_layers_of\n"
        "try: num_layers_of('no-such-model')\nexcept LoadError: pass\n"
        "print(sorted({'mlx', 'mlx.core', 'mlx_lm', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_dtype_is_that_of_the_first_weight_that_floats(make_llama, tokenizer):
    """Quantised weights, which are whole numbers, are passed over, as in the list of all parameters."""
    model = make_llama(hidden_size=64, intermediate_size=64)
    model.set_dtype(mx.bfloat16)
    nn.quantize(model, group_size=32, bits=4)
    subject = Subject.from_model(model, tokenizer, "quantised")
    first = next(w for _, w in tree_flatten(model.parameters()) if mx.issubdtype(w.dtype, mx.floating))
    assert subject.dtype == str(first.dtype).removeprefix("mlx.core.") == "bfloat16"
