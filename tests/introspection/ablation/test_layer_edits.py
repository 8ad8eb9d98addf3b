"""Blocks deleted and swapped: planted ones are found, plain models compute the same, and nulls stay within controls."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.introspection.ablation.layer_edits import layer_edits
from lazarus_probe.organisms import planted
from lazarus_probe.statistics.student import next_above
from lazarus_probe.subject import Subject
from tests.architectures import zoo
from tests.cases import slow_except

IDS = [[0, 5, 9, 11, 7], [0, 6, 8, 22, 17], [0, 9, 3]]


def log_probs(logits):
    logits = np.array(logits, dtype=np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def expected(before, after):
    """Divergence and share of equal predictions over positions, in NumPy."""
    kl = (np.exp(before) * (before - after)).sum(axis=-1).mean()
    return kl, (before.argmax(axis=-1) == after.argmax(axis=-1)).mean()


@pytest.mark.parametrize(
    ("edit", "broken"), [("delete", {(1,), (2,)}), ("swap", {(1, 2)})], ids=["delete", "swap"]
)
def test_the_planted_blocks_cannot_go(edit, broken):
    """A fact stored in block 1 and read in 2 is lost without either, and in the other order; other blocks can go."""
    circuit = planted.stored(1, 2)
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    drawn = np.random.default_rng(0).choice(planted.NUMBERS, size=(6, 2)).tolist()
    result = layer_edits(subject, [planted.prompt(a, b) for a, b in drawn], edit, at="last")
    for blocks, kept, kl in zip(result.blocks, result.kept, result.kl, strict=True):
        assert (kept == (0 if blocks in broken else 1)).all(), blocks
        assert ((kl > 1) if blocks in broken else (kl < 0.01)).all(), blocks
    assert (result.predictions.p > 0.05).all(), "no block is missed less than a small push"


@pytest.mark.parametrize("seed", slow_except(range(3), 0))
@pytest.mark.parametrize("edit", ["delete", "swap"])
def test_untrained_models_keep_no_more_than_others_of_their_kind(organism, edit, seed):
    """The null: the best edit of an untrained model lies within reach of the best ones of untrained models."""
    result = layer_edits(
        organism.untrained(seed), [f"{a}*{b}=" for a in (3, 14, 59) for b in (2, 65)], edit, untrained=3
    )
    assert set(result.models) == {"untrained", "new_blocks", "permuted_blocks"}
    assert result.predictions.gain.mean.max() <= max(next_above(best) for best in result.models.values())


@pytest.mark.parametrize("count", [1, 2])
def test_deleted_blocks_hand_on_what_they_are_given(subject, naive, count):
    """Divergence, predictions and size are those of a forward in NumPy that leaves the blocks out."""
    result = layer_edits(subject, IDS, count=count)
    assert result.blocks == tuple(tuple(range(start, start + count)) for start in range(5 - count))
    for row, ids in enumerate(IDS):
        plain = naive(subject.model, [ids])
        for number, blocks in enumerate(result.blocks):
            entered = {}

            def edit(name, value, blocks=blocks, entered=entered):
                if name == f"resid_pre.{blocks[0]}":
                    entered["value"] = value
                return entered["value"] if name == f"resid_post.{blocks[-1]}" else value

            edited = naive(subject.model, [ids], edit)
            kl, kept = expected(log_probs(plain["logits"][0]), log_probs(edited["logits"][0]))
            assert result.kl[number, row] == pytest.approx(kl, abs=1e-4)
            assert result.kept[number, row] == pytest.approx(kept)
            states, moved = (run[f"resid_post.{blocks[-1]}"][0] for run in (plain, edited))
            share = np.linalg.norm(moved - states, axis=-1) / np.linalg.norm(states, axis=-1)
            assert result.size[number, row] == pytest.approx(np.median(share), rel=1e-3)


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "mamba2", "deepseek_v3", "qwen3_moe"])
def test_what_is_below_an_edit_is_not_run_again(name, holds, monkeypatch):
    """The numbers are those of whole runs to the last bit; a model that would go on otherwise is run whole."""
    from lazarus_probe.introspection.ablation import edited_runs as module

    subject = Subject.from_model(zoo.build(name), name=name)
    monkeypatch.setattr(module, "_goes_on_as_it_did", lambda *_: False)
    whole = layer_edits(subject, IDS)
    monkeypatch.undo()
    starts, rest = [], module._rest

    def run(model, rows, resid, layer):
        starts.append(layer)
        return rest(model, rows, resid if holds else resid * 1.01, layer)

    monkeypatch.setattr(module, "_rest", run)
    resumed = layer_edits(subject, IDS)
    for numbers in ("kl", "kl_control", "kept", "kept_control", "size"):
        np.testing.assert_array_equal(getattr(resumed, numbers), getattr(whole, numbers))
    assert (len(starts) > 2) == holds


def test_swapped_blocks_are_those_of_a_model_with_its_blocks_swapped(make_llama, tokenizer):
    """The same numbers come of a model whose list of blocks is in the other order; it is left as it was."""
    settings = {"num_key_value_heads": 2}
    subject, other = (Subject.from_model(make_llama(3, **settings), tokenizer) for _ in range(2))
    result = layer_edits(subject, IDS, "swap", layers=[1])
    tokens = mx.array(IDS[:2])
    before = log_probs(forward(other.model, tokens))
    blocks = other.model.model.layers
    blocks[1], blocks[2] = blocks[2], blocks[1]
    after = log_probs(forward(other.model, tokens))
    for row in range(2):
        kl, kept = expected(before[row], after[row])
        assert result.kl[0, row] == pytest.approx(kl, abs=1e-4)
        assert result.kept[0, row] == pytest.approx(kept)
    np.testing.assert_allclose(log_probs(forward(subject.model, tokens)), before, atol=1e-5)


def test_a_push_moves_every_state_as_far_as_the_edit(grouped):
    """The control adds to each state a vector as long as the block's own contribution, in a random direction."""
    from lazarus_probe.introspection.ablation import layer_edits as module

    change = mx.array(np.random.default_rng(0).uniform(1, 5, size=(2, 3, 1)).astype(np.float32))
    value = mx.ones((2, 3, 8))
    pushed = np.array(module._push(change, value.shape, (0, 1, 2))(value) - value)
    np.testing.assert_allclose(np.linalg.norm(pushed, axis=-1), np.array(change)[..., 0], rtol=1e-5)
    assert (
        np.abs(
            pushed[0, 0] / np.linalg.norm(pushed[0, 0]) - pushed[1, 1] / np.linalg.norm(pushed[1, 1])
        ).max()
        > 0.1
    )
    assert np.isfinite(layer_edits(grouped, IDS, layers=[0]).kl_control).all()


def test_a_state_space_model_is_edited_too(mamba):
    """Blocks without attention can be deleted and swapped like any others."""
    for edit in ("delete", "swap"):
        result = layer_edits(mamba, IDS, edit, layers=[0])
        assert np.isfinite(result.kl).all()
        assert result.kl.min() > 0


def test_what_cannot_be_edited_is_refused_by_name(grouped, make_llama):
    """An error names the block or the value, and what would be right."""
    with pytest.raises(ValueError, match="edit 'remove' is unknown"):
        layer_edits(grouped, IDS, "remove")
    with pytest.raises(ValueError, match="at 'first' is unknown"):
        layer_edits(grouped, IDS, at="first")
    with pytest.raises(IndexError, match="block 3 is out of range: this edit begins at 0 to 2"):
        layer_edits(grouped, IDS, "swap", layers=[3])
    with pytest.raises(ValueError, match="count is 4 of 4 blocks"):
        layer_edits(grouped, IDS, count=4)
    with pytest.raises(ValueError, match="2 untrained models"):
        layer_edits(grouped, IDS, untrained=2)
    with pytest.raises(ValueError, match="1 units for 3 prompts"):
        layer_edits(grouped, IDS, units=["a"])
    shallow = Subject.from_model(make_llama(0, num_hidden_layers=1), name="shallow")
    with pytest.raises(UnsupportedArchitecture, match="shallow has one block; swapping needs two"):
        layer_edits(shallow, IDS, "swap")


def test_neighbours_of_two_kinds_are_not_swapped():
    """A block with a sliding window and one without cannot run in each other's place."""
    from mlx_lm.models.gemma3_text import Model, ModelArgs

    settings = {"hidden_size": 32, "num_hidden_layers": 4, "intermediate_size": 48, "num_attention_heads": 4}
    more = {
        "head_dim": 8,
        "num_key_value_heads": 2,
        "vocab_size": 64,
        "sliding_window": 4,
        "sliding_window_pattern": 2,
    }
    subject = Subject.from_model(Model(ModelArgs(model_type="gemma3_text", **settings, **more)), name="mixed")
    with pytest.raises(UnsupportedArchitecture, match="blocks 0 and 1 of mixed are of two kinds"):
        layer_edits(subject, IDS, "swap")
    assert np.isfinite(layer_edits(subject, IDS).kl).all()
    model = Model(ModelArgs(model_type="gemma3_text", **settings, **more | {"sliding_window_pattern": 4}))
    some = Subject.from_model(model, name="mixed")
    assert layer_edits(some, IDS, "swap").blocks == ((0, 1), (1, 2)), "the last one has no window"
    with pytest.raises(UnsupportedArchitecture, match="blocks 2 and 3 of mixed are of two kinds"):
        layer_edits(some, IDS, "swap", layers=[0, 2])
