"""`ModelHooks` and `LogitLens`: what is kept is what the model computes, under the published names."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.replay import replay
from lazarus_probe.introspection.capture.capture_report import capture_report, default_layers
from lazarus_probe.introspection.capture.evolution import LogitLens
from lazarus_probe.introspection.capture.model_hooks import CaptureConfig, ModelHooks, PositionSelection
from lazarus_probe.introspection.lens.read_out import own_embedding_scale
from lazarus_probe.subject import NotFinite, Subject
from tests.architectures.zoo import build, random_tokens
from tests.introspection.deep import save_deep
from tests.tolerance import in_order, of_logits, possible_ranks

TOKENS = mx.array([[5, 9, 3, 17, 4, 30, 8]])
EVERYTHING: dict[str, Any] = {
    "capture_hidden_states": True,
    "capture_attention_weights": True,
    "capture_attention_output": True,
    "capture_ffn_output": True,
    "capture_pre_norm": True,
}
SITES = {
    "hidden_states": "resid_post",
    "attention_weights": "pattern",
    "attention_outputs": "attn_out",
    "ffn_outputs": "mlp_out",
    "pre_norm_states": "resid_pre",
}


def test_the_published_snippet(tmp_path, capsys):
    """The published lines run on a model as `mlx_lm.load` returns it, and the lens ends in what the model says."""
    from mlx_lm import load

    model, tokenizer = load(str(save_deep(tmp_path / "deep")))

    hooks = ModelHooks(model)
    hooks.configure(
        CaptureConfig(
            layers=[0, 4, 8, 12, 16],
            capture_hidden_states=True,
            capture_attention_weights=True,
            positions=PositionSelection.LAST,
        )
    )

    input_ids = mx.array(tokenizer.encode("Hello world"))[None, :]
    logits = hooks.forward(input_ids)

    for layer_idx, hidden in hooks.state.hidden_states.items():
        print(f"Layer {layer_idx}: shape {hidden.shape}")

    lens = LogitLens(hooks, tokenizer)
    lens.print_evolution(position=-1, top_k=5)

    shown = capsys.readouterr().out
    assert "Layer 16: shape (1, 1, 16)" in shown
    assert f"=== Logit lens at position {input_ids.shape[1] - 1} ===" in shown
    assert shown.count("|") == 5 * 4
    np.testing.assert_array_equal(np.array(logits), np.array(forward(model, input_ids)))


def test_everything_asked_for_is_kept(grouped, naive):
    """Each field of the state holds, by layer, what a forward written out by hand computes there."""
    hooks = ModelHooks(grouped.model).configure(CaptureConfig([0, -1], positions="all", **EVERYTHING))
    logits = hooks.forward(TOKENS)
    expected = naive(grouped.model, TOKENS)
    for name, kind in SITES.items():
        kept = getattr(hooks.state, name)
        assert list(kept) == [0, 3]
        for layer, value in kept.items():
            np.testing.assert_allclose(np.array(value), expected[f"{kind}.{layer}"], rtol=1e-4, atol=1e-4)
    state = hooks.state
    np.testing.assert_array_equal(np.array(state.input_ids), np.array(TOKENS))
    np.testing.assert_allclose(np.array(state.embeddings), expected["embed"], rtol=1e-5)
    np.testing.assert_allclose(np.array(state.final_hidden), expected["resid_post.3"], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(np.array(state.logits), np.array(logits))


@pytest.mark.parametrize("wish", [name for name in EVERYTHING if name != "capture_hidden_states"])
def test_nothing_else_is_kept(grouped, wish):
    """A field fills one part of the state and no other."""
    config = CaptureConfig(**{name: name == wish for name in EVERYTHING})
    hooks = ModelHooks(grouped).configure(config)
    hooks.forward(TOKENS)
    filled = [name for name in SITES if getattr(hooks.state, name)]
    assert len(filled) == 1
    assert list(getattr(hooks.state, filled[0])) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("positions", "kept"),
    [("all", range(7)), (PositionSelection.LAST, [6]), ([0, -2], [0, 5]), ([3], [3])],
)
def test_positions(grouped, positions, kept):
    """Kept are the positions asked for, in every part of the state."""
    whole = ModelHooks(grouped).configure(CaptureConfig([1], positions="all", **EVERYTHING))
    part = ModelHooks(grouped).configure(CaptureConfig([1], positions=positions, **EVERYTHING))
    whole.forward(TOKENS)
    part.forward(TOKENS)
    assert part.state.positions == tuple(kept)
    for name in SITES:
        axis = 2 if name == "attention_weights" else 1
        expected = np.take(np.array(getattr(whole.state, name)[1]), list(kept), axis=axis)
        np.testing.assert_array_equal(np.array(getattr(part.state, name)[1]), expected)
    expected = np.array(whole.state.embeddings)[:, list(kept)]
    np.testing.assert_array_equal(np.array(part.state.embeddings), expected)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt_oss", "granite", "gemma3n", "llama_4bit", "mamba2"])
def test_architectures(name):
    """On any architecture looking changes nothing, and the last layer's logits are the model's to the bit."""
    model, tokens = build(name), random_tokens(length=9)
    expected = forward(model, tokens)
    hooks = ModelHooks(model).configure(CaptureConfig(positions="all"))
    np.testing.assert_array_equal(np.array(hooks.forward(tokens)), np.array(expected))
    np.testing.assert_array_equal(np.array(hooks.get_layer_logits(-1)), np.array(expected))
    embedded = hooks.subject.anatomy.embedding(tokens)
    np.testing.assert_array_equal(np.array(hooks.state.embeddings), np.array(embedded))


def test_forward_to_layer_is_exact(grouped):
    """The state after a layer is what a whole forward has there, to the bit."""
    hooks = ModelHooks(grouped).configure(CaptureConfig(positions="all"))
    hooks.forward(TOKENS)
    for layer in (0, 2, -1):
        found = np.array(hooks.forward_to_layer(TOKENS, layer))
        np.testing.assert_array_equal(found, np.array(hooks.state.hidden_states[layer % 4]))


def test_without_the_final_norm(grouped):
    """With normalize=False the states go to the unembedding as they are."""
    hooks = ModelHooks(grouped).configure(CaptureConfig([1], positions="all"))
    hooks.forward(TOKENS)
    expected = np.array(hooks.state.hidden_states[1]) @ np.array(grouped.model.lm_head.weight).T
    found = np.array(hooks.get_layer_logits(1, normalize=False))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert not np.allclose(found, np.array(hooks.get_layer_logits(1)), atol=0.1)


def test_a_cache_is_gone_on_from(grouped):
    """With a cache a second call goes on where the first ended, and positions count from the start."""
    from mlx_lm.models.cache import make_prompt_cache

    hooks = ModelHooks(grouped).configure(CaptureConfig([2], capture_attention_weights=True))
    whole = hooks.forward(TOKENS)
    expected = np.array(hooks.state.hidden_states[2])
    cache = make_prompt_cache(grouped.model)
    hooks.forward(TOKENS[:, :4], cache=cache)
    logits = hooks.forward(TOKENS[:, 4:], cache=cache)
    assert hooks.state.positions == (6,)
    assert hooks.state.attention_weights[2].shape == (1, 4, 1, 7)
    np.testing.assert_allclose(np.array(hooks.state.hidden_states[2]), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.array(logits)[:, -1], np.array(whole)[:, -1], rtol=1e-3, atol=1e-3)


def test_logits_can_be_left_out(grouped):
    """Without return_logits nothing is returned or kept, and the states are the same."""
    hooks = ModelHooks(grouped)
    hooks.forward(TOKENS)
    expected = np.array(hooks.state.hidden_states[3])
    assert hooks.forward(TOKENS, return_logits=False) is None
    assert hooks.state.logits is None
    np.testing.assert_array_equal(np.array(hooks.state.hidden_states[3]), expected)


@pytest.mark.parametrize(("detach", "flows"), [(True, False), (False, True)])
def test_detach(grouped, detach, flows):
    """Gradients flow back through what is kept exactly when it is not detached."""
    hooks = ModelHooks(grouped).configure(CaptureConfig([1], detach=detach))

    def loss(model: nn.Module) -> mx.array:
        hooks.forward(TOKENS)
        return hooks.state.hidden_states[1].sum()

    _, gradients = nn.value_and_grad(grouped.model, loss)(grouped.model)
    size = mx.abs(gradients["model"]["layers"][0]["mlp"]["down_proj"]["weight"]).max().item()
    assert (size > 0) is flows


def test_embedding_scale():
    """The model's own scale is found; given again it changes nothing, and another one is what the layers see."""
    model, tokens = build("gemma3"), random_tokens(length=6)
    own = own_embedding_scale(Subject.from_model(model))
    assert own == pytest.approx(model.language_model.args.hidden_size**0.5, rel=1e-3)
    plain = ModelHooks(model).forward(tokens)
    np.testing.assert_allclose(
        np.array(ModelHooks(model, embedding_scale=own).forward(tokens)),
        np.array(plain),
        rtol=1e-4,
        atol=1e-4,
    )
    hooks = ModelHooks(model, embedding_scale=1.0).configure(
        CaptureConfig([0], capture_pre_norm=True, positions="all")
    )
    hooks.forward(tokens)
    embedded = np.array(hooks.subject.anatomy.embedding(tokens))
    np.testing.assert_allclose(np.array(hooks.state.pre_norm_states[0]), embedded, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="more than scaled embeddings"):
        ModelHooks(build("gpt2"), embedding_scale=2.0)


def test_model_config(grouped):
    """A configuration that is given is the subject's."""
    assert ModelHooks(grouped.model, model_config={"eos_token_id": 7}).subject.eos_token_ids == {7}


def test_capture_layers(grouped):
    """`capture_layers` is `configure` in short."""
    hooks = ModelHooks(grouped).capture_layers([2], capture_ffn_output=True)
    hooks.forward(TOKENS)
    assert list(hooks.state.ffn_outputs) == hooks.state.captured_layers == [2]


def test_layers_without_attention():
    """Where all layers are asked for, those without attention have no weights; asked for by name they are refused."""
    hooks = ModelHooks(build("mamba2"))
    hooks.configure(CaptureConfig(capture_attention_weights=True))
    hooks.forward(random_tokens(length=5))
    assert hooks.state.hidden_states
    assert not hooks.state.attention_weights
    with pytest.raises(ValueError, match="capture_attention_weights: layer 0 has no pattern"):
        hooks.configure(CaptureConfig([0], capture_attention_weights=True))


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"layers": [4]}, IndexError, "layer 4 is out of range: the model has layers 0 to 3"),
        ({"layers": [-5]}, IndexError, "layers 0 to 3"),
        ({"layers": []}, ValueError, "nothing to capture"),
        ({"capture_hidden_states": False}, ValueError, "nothing to capture"),
        ({"positions": "first"}, ValueError, "'first' is unknown"),
        ({"positions": []}, ValueError, "positions is empty"),
    ],
)
def test_what_cannot_be_captured(grouped, config, error, message):
    """What cannot be captured is refused when it is configured."""
    with pytest.raises(error, match=message):
        ModelHooks(grouped).configure(CaptureConfig(**config))


def test_what_cannot_be_run(grouped):
    """Tokens that are none, positions that are not there and layers that were not kept are named."""
    hooks = ModelHooks(grouped).configure(CaptureConfig([0], positions=[9]))
    with pytest.raises(IndexError, match="position 9 is out of range"):
        hooks.forward(TOKENS)
    with pytest.raises(ValueError, match="token id 64 is outside the vocabulary, 0 to 63"):
        hooks.forward(mx.array([[64]]))
    with pytest.raises(ValueError, match=r"shape \(7,\)"):
        hooks.forward(TOKENS[0])
    with pytest.raises(KeyError, match="layer 0 was not captured; captured: none"):
        hooks.get_layer_logits(0)
    with pytest.raises(IndexError, match="layers 0 to 3"):
        hooks.forward_to_layer(TOKENS, 4)


@pytest.fixture(scope="module")
def hooks(organism: Subject) -> ModelHooks:
    found = ModelHooks(organism).configure(CaptureConfig(positions="all"))
    found.forward(mx.array([organism.encode("7 * 8 = ")]))
    return found


def test_the_lens_is_the_plain_forward_at_the_end(organism, hooks):
    """After the last layer the lens gives the model's own probabilities, ranks and tokens."""
    lens = LogitLens(hooks, organism.tokenizer)
    logits = np.array(hooks.state.logits)[0, -1].astype(np.float64)
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    last = lens.get_layer_predictions(top_k=3)[-1]
    assert in_order(last.top_ids, logits, of_logits(organism, logits))
    assert last.top_token == "56"
    np.testing.assert_allclose(last.top_probs, expected[list(last.top_ids)], rtol=1e-3)
    evolution = lens.track_token("56")
    assert evolution.ranks[-1] == 1
    assert evolution.layers == tuple(range(8))
    token = organism.single_token("56")
    early = np.array(replay(organism, hooks.state.hidden_states[0])[0, -1])
    assert evolution.ranks[0] in possible_ranks(early, token, of_logits(organism, early))


def test_positions_are_those_of_the_prompt(organism, hooks):
    """A position is read where it is in the prompt, whatever was captured around it."""
    ids = mx.array([organism.encode("7 * 8 = ")])
    part = ModelHooks(organism).configure(CaptureConfig(positions=[2, 4]))
    part.forward(ids)
    for position in (4, -3):
        few = LogitLens(part, organism.tokenizer).get_layer_predictions(position, top_k=4)
        all_of_them = LogitLens(hooks, organism.tokenizer).get_layer_predictions(4, top_k=4)
        assert [each.position for each in few] == [4] * 8
        for one, other in zip(few, all_of_them, strict=True):
            resid = hooks.state.hidden_states[one.layer_idx]
            logits = np.array(replay(organism, resid)[0, 4])
            for read in (one, other):
                assert in_order(read.top_ids, logits, of_logits(organism, logits))
    with pytest.raises(IndexError, match="position -1 was not captured; captured: 2, 4"):
        LogitLens(part, organism.tokenizer).track_token("56")


def test_a_word_is_tracked_in_all_its_spellings(organism, hooks):
    """Probabilities of the spellings add up and the best rank counts; a word in quotes is itself alone."""
    lens = LogitLens(hooks, organism.tokenizer)
    word = lens.track_token("multiply")
    alone = [lens.track_token(token) for token in word.spellings.values()]
    assert list(word.spellings) == ["multiply", " multiply", "Multiply", " Multiply"]
    sums = np.sum([each.probabilities for each in alone], axis=0)
    np.testing.assert_allclose(word.probabilities, sums, rtol=1e-5)
    assert word.ranks == tuple(np.min([each.ranks for each in alone], axis=0).tolist())
    assert word.token_id == max(alone, key=lambda each: each.probabilities[-1]).token_id
    assert lens.track_token("'multiply'").probabilities == alone[0].probabilities
    assert lens.track_token(" multiply").probabilities == alone[1].probabilities


def test_emergence(organism, hooks):
    """The emergence point is the first layer whose probability reaches the threshold; a higher one comes later."""
    lens = LogitLens(hooks, organism.tokenizer)
    probabilities = lens.track_token("56").probabilities
    expected = next(i for i, p in enumerate(probabilities) if p >= 0.5)
    assert lens.find_emergence_point("56") == expected
    assert lens.find_emergence_point("56", threshold=0.99) > expected
    assert lens.find_emergence_point("57") is None
    both = lens.compare_tokens(["56", 519])
    assert both["56"].emergence_layer == expected
    assert len(both) == 2


def test_options_of_the_lens(organism, hooks):
    """Ranks beyond the limit are None, the norm can be left out, and rows of a batch are read one by one."""
    lens = LogitLens(hooks, organism.tokenizer)
    ranks = lens.track_token("56").ranks
    limited = lens.track_token("56", top_k_for_rank=10).ranks
    assert limited == tuple(rank if rank <= 10 else None for rank in ranks)
    assert None in limited
    assert lens.track_token("56", normalize=False).probabilities != lens.track_token("56").probabilities
    data = lens.to_dict(top_k=2)
    assert len(data["layers"][0]["top_tokens"]) == 2
    assert "56" in lens.track_token("56")._repr_html_()
    batch = ModelHooks(organism)
    batch.forward(mx.array([organism.encode("7 * 8 = "), organism.encode("9 * 7 = ")]))
    tops = [LogitLens(batch, organism.tokenizer, row).get_layer_predictions()[-1].top_token for row in (0, 1)]
    assert tops == ["56", "63"]
    with pytest.raises(IndexError, match="row 2 is out of range"):
        LogitLens(batch, organism.tokenizer, 2).print_evolution()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lens: lens.track_token("banana"), "'banana' is not one token"),
        (lambda lens: lens.track_token(99999), "token id 99999 is outside"),
        (lambda lens: lens.get_layer_predictions(top_k=0), "top_k is 0"),
        (lambda lens: LogitLens(ModelHooks(lens.subject), None).print_evolution(), "run hooks.forward"),
    ],
)
def test_what_the_lens_cannot_read(organism, hooks, call, message):
    """What cannot be read is one line that names it."""
    with pytest.raises(ValueError, match=message):
        call(LogitLens(hooks, organism.tokenizer))


@pytest.mark.parametrize(("normalize", "weight"), [(True, "model.norm"), (False, "model.embed_tokens")])
def test_what_the_tail_makes_no_numbers_of_is_refused(make_llama, tokenizer, normalize, weight):
    """A lens of a NaN weight is none, with the final norm and without: the weight is named."""
    subject = Subject.from_model(make_llama(), tokenizer, name="broken")
    read = ModelHooks(subject).capture_layers("all")
    read.forward(TOKENS)
    for name, module in subject.model.named_modules():
        if name == weight:
            module.weight[3] = mx.nan
    with pytest.raises(NotFinite, match=f"of broken .*not finite: the weight {weight}.weight"):
        LogitLens(read, tokenizer).track_token(5, normalize=normalize)


def test_the_report_is_what_was_captured(organism, hooks):
    """Norms, entropies and the tokens attended to are those of the captured arrays."""
    found = capture_report(organism, "7 * 8 = ", [3], attention=True)
    kept = ModelHooks(organism).configure(CaptureConfig([3], positions="all", **EVERYTHING))
    kept.forward(mx.array([organism.encode("7 * 8 = ")]))
    hidden, weights = (
        np.array(each[3])[0] for each in (kept.state.hidden_states, kept.state.attention_weights)
    )
    layer = found.layers[0]
    assert layer.norm == pytest.approx(np.linalg.norm(hidden[-1]), rel=1e-5)
    assert layer.mean_norm == pytest.approx(np.linalg.norm(hidden, axis=-1).mean(), rel=1e-5)
    last = weights[:, -1]
    np.testing.assert_allclose(layer.attention.entropies, -(last * np.log(last)).sum(-1), rtol=1e-4)
    assert in_order(layer.attention.positions, last.mean(0), of_logits(organism, last))
    assert layer.attention.tokens[0] == found.tokens[layer.attention.positions[0]]
    assert found.lens[0].layer_idx == 3
    assert "norm" in found._repr_html_()


@pytest.mark.parametrize(
    ("count", "layers"), [(1, [0]), (3, [0, 1, 2]), (8, [0, 2, 4, 6, 7]), (22, [0, 4, 8, 12, 16, 20, 21])]
)
def test_default_layers(count, layers):
    """Default layers lie within the model, and the last is among them."""
    assert default_layers(count) == layers
