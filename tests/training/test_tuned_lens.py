"""The tuned lens: its loss against NumPy, what training gains on held-out text, its files, and what it refuses."""

from __future__ import annotations

import json
import random
from functools import cache

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.hooks import replay, trace
from lazarus_probe.introspection.lens import tail_divergence
from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.introspection.lens.tuned_lens import (
    CONFIG,
    WEIGHTS,
    TunedLens,
    divergences,
    read_lens,
    residuals,
    tuned_lens,
    write_lens,
)
from lazarus_probe.organisms.corpus import sample
from lazarus_probe.subject import Subject
from lazarus_probe.training import lens_start
from lazarus_probe.training import tuned_lens as module
from lazarus_probe.training.lens_start import least_squares_start
from lazarus_probe.training.own_texts import own_texts
from lazarus_probe.training.tuned_lens import LensTraining, split_texts, train_lens

SHORT = LensTraining(steps=25, batch_size=16)


@cache
def texts() -> list[str]:
    """Sixty lines of the organism's corpus."""
    return [line.prompt + line.response for line in sample(random.Random(0), 60)]


@pytest.fixture(scope="module")
def trained(organism):
    """A lens of the organism after a few steps, and the fingerprint before."""
    before = organism.fingerprint
    return train_lens(organism, texts(), SHORT), before


def test_training_lowers_the_held_out_divergence(organism, trained):
    """After a few steps every layer but the last is closer to the final distribution than by the plain lens."""
    held_out = trained[0].held_out
    for layer in range(7):
        assert held_out.gain_interval[layer].low > 0
        assert held_out.tuned[layer] < 0.85 * held_out.plain[layer]
        assert held_out.tuned[layer] < held_out.constant
        assert held_out.gain[layer] == pytest.approx(held_out.plain[layer] - held_out.tuned[layer])
    assert held_out.plain[7] == held_out.tuned[7] == pytest.approx(0, abs=1e-6)
    assert organism.fingerprint == trained[1]
    assert "L6" in trained[0]._repr_html_()
    layers = held_out.as_data()["layers"]
    assert layers[3]["plain_low"] < layers[3]["plain_kl"] < layers[3]["plain_high"]


def test_no_text_is_on_both_sides(organism):
    """Held-out texts are not trained on, equal ones count once, and the seed draws others."""
    ours, kept = split_texts(organism, texts() + texts(), SHORT)
    assert not {tuple(one) for one in ours} & {tuple(one) for one in kept}
    assert len(ours) + len(kept) == len({tuple(organism.encode(text)) for text in texts()})
    assert split_texts(organism, texts(), LensTraining(seed=1))[1] != kept
    assert len(split_texts(organism, texts(), LensTraining(held_out=0.5))[1]) > len(kept)


def test_texts_that_do_not_fit_into_memory_are_run_in_parts(organism, monkeypatch):
    """Each part has its share of the texts, all are used, and batches have the size asked for."""
    ours = split_texts(organism, texts(), SHORT)[0]
    monkeypatch.setattr(module, "POOL_BYTES", 100 * module.bytes_of(organism))
    pools = module._pools(organism, ours)
    assert len(pools) > 2
    assert [text for pool in pools for text in pool] == ours
    assert max(sum(map(len, pool)) for pool in pools) < 100 + max(map(len, ours))
    batches = module._batches(organism, ours, 16, 0)
    shapes = {next(batches).shape for _ in range(12)}
    assert shapes == {(16, 8, 128)}


def test_divergences_and_slopes_are_those_of_a_plain_gradient(organism, monkeypatch):
    """KL(final || tail) and its slope by each state are those of mlx's own gradient, whatever fits into memory."""
    resid = residuals(organism, [organism.encode(text) for text in texts()[:2]])[0][:9]
    states = mx.swapaxes(resid, 0, 1)

    def kl(below):
        final, logits = (replay(organism, value[..., None, :])[..., 0, :] for value in (states[-1], below))
        p = mx.softmax(final, axis=-1)
        q = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        return (p * (mx.log(p) - q)).sum()

    for most in (2**24, 3 * organism.anatomy.vocab_size, 1):
        monkeypatch.setattr(tail_divergence, "LOGITS_AT_ONCE", most)
        final = tail_divergence.final_distributions(organism, states[-1])
        values, slopes = tail_divergence.divergences_and_slopes(final, organism, states[2:4])
        np.testing.assert_allclose(values, tail_divergence.divergences_from(final, organism, states[2:4]))
        for row, layer in enumerate((2, 3)):
            expected, slope = mx.value_and_grad(kl)(states[layer])
            assert values[row].sum() == pytest.approx(expected.item(), rel=1e-4)
            np.testing.assert_allclose(slopes[row], np.array(slope), atol=1e-5)
        np.testing.assert_allclose(final.weight.sum(axis=1), 1, rtol=1e-5)


def test_the_loss_has_the_slope_of_a_plain_loss(organism):
    """The gradient by the maps' weights is that of the mean divergence, summed over layers, written out."""
    resid = residuals(organism, [organism.encode(text) for text in texts()[:1]])[0][:5]
    rng = np.random.default_rng(0)
    maps = module._Maps(
        *(0.05 * rng.normal(size=shape).astype(np.float32) for shape in ((7, 128, 128), (7, 128)))
    )
    [(below, kl, slopes)] = next(module._sloped(organism, maps, iter([resid])))
    _, gradient = nn.value_and_grad(maps, module._loss(maps))(below, kl, slopes)

    def plain(weights):
        moved = below + below @ mx.swapaxes(weights, 1, 2) + maps.biases[:, None]
        final, logits = replay(organism, resid[:, -1:])[:, 0], replay(organism, moved)
        p = mx.softmax(final, axis=-1)
        q = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        return (p * (mx.log(p) - q)).sum(axis=-1).mean(axis=1).sum()

    value, expected = mx.value_and_grad(plain)(maps.weights)
    assert kl.mean(axis=1).sum().item() == pytest.approx(value.item(), rel=1e-4)
    np.testing.assert_allclose(np.array(gradient["weights"]), np.array(expected), atol=2e-4)


def test_a_map_begins_at_least_squares_where_that_reads_better(organism):
    """The fit is that of NumPy's weighted least squares; where it reads worse than the plain lens, the map is zero."""
    ours, theirs = split_texts(organism, texts(), SHORT)
    resid = residuals(organism, ours)[0]
    pools = [resid[:50], resid[50:]]
    weights, biases = least_squares_start(organism, pools, theirs)
    assert weights.any(axis=(1, 2)).all()
    sums = lens_start._Sums.of(np.array(pools[0])).joined(lens_start._Sums.of(np.array(pools[1])))
    values = np.array(resid, dtype=np.float64)
    x, y = values[:, 3], values[:, -1] - values[:, 3]
    root = 1 / np.sqrt(np.square(values[:, -1]).mean(axis=1, keepdims=True))
    center = (root**2 * x).sum(0) / (root**2).sum()
    scale = np.sqrt((root**2 * (x - center) ** 2).sum(0) / (root**2).sum())
    design = root * np.hstack([(x - center) / scale, np.ones((len(x), 1))])
    penalty = np.hstack([np.eye(128) * np.sqrt(0.1 * (root**2).sum()), np.zeros((128, 1))])
    solved = np.linalg.lstsq(
        np.vstack([design, penalty]), np.vstack([root * y, np.zeros((128, 128))]), rcond=None
    )
    expected = (solved[0][:-1] / scale[:, None]).T
    np.testing.assert_allclose(sums.maps(0.1)[0][3], expected, atol=1e-4)
    # Fitted to what is not there, it reads worse than the plain lens, which the map then begins as.
    wrong = mx.concatenate([resid[:, :-1], -resid[:, -1:]], axis=1)
    weights, biases = least_squares_start(organism, [wrong], theirs)
    assert not weights.any()
    assert not biases.any()


def test_own_texts_are_sampled_from_the_model(organism, make_llama, tokenizer):
    """They begin with BOS where the tokenizer puts one, depend on the seed, and are as many as are wanted."""
    drawn = own_texts(organism, 12, seed=3)
    assert len(drawn.ids) == 12
    assert {ids[0] for ids in drawn.ids} == {organism.tokenizer.bos_token_id}
    assert drawn == own_texts(organism, 12, seed=3) != own_texts(organism, 12, seed=4)
    assert max(map(len, drawn.ids)) <= 33
    assert drawn.as_data()["count"] == 12
    assert "12 sampled from the model at temperature 1" in str(drawn)
    # The organism's own distribution: its samples are likelier than texts in another order.
    shuffled = [[ids[0], *reversed(ids[1:])] for ids in drawn.ids]
    assert _loss_of(organism, drawn.ids) < _loss_of(organism, shuffled) - 1
    monkey = Subject.from_model(make_llama(vocab_size=64), _WithoutStart(tokenizer))
    drawn = own_texts(monkey, 40, seed=0)
    assert len({ids[0] for ids in drawn.ids}) > 10
    assert drawn.start == "one token drawn from its vocabulary"


def _loss_of(subject, texts):
    losses = []
    for ids in texts:
        logits = trace(subject, mx.array([list(ids)])).logits[0, :-1]
        picked = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        losses.append(-picked[mx.arange(len(ids) - 1), mx.array(list(ids[1:]))].mean().item())
    return np.mean(losses)


class _WithoutStart:
    """A tokenizer that puts nothing before a text."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __getattr__(self, name):
        return None if name == "bos_token_id" else getattr(self.tokenizer, name)

    def __call__(self, *arguments, **options):
        return self.tokenizer(*arguments, **options)


def test_a_lens_that_was_not_trained_is_the_plain_lens(organism):
    """The identity: readings of all layers are those of the logit lens, and so are the divergences."""
    blank = TunedLens(
        np.zeros((7, 128, 128), np.float32),
        np.zeros((7, 128), np.float32),
        {"base": organism.fingerprint, "model": "organism"},
    )
    prompts = ["12 * 7 = ", "The capital of France is"]
    plain, found = logit_lens(organism, prompts), tuned_lens(organism, prompts, blank)
    np.testing.assert_allclose(found.log_probs, plain.log_probs, atol=1e-4)
    encoded = [organism.encode(prompt) for prompt in prompts]
    resid, owners = residuals(organism, encoded)
    assert owners.tolist() == sorted(owners.tolist(), key=lambda owner: len(encoded[owner]))
    assert len(resid) == sum(len(ids) - 1 for ids in encoded)  # without the beginning of sequence
    np.testing.assert_allclose(divergences(organism, resid, blank), divergences(organism, resid), atol=1e-5)
    logits = np.array(trace(organism, prompts[0]).logits[0, -1], dtype=np.float64)
    final = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
    row = np.flatnonzero(owners == 0)[-1]
    wanted = (np.exp(final) * (final - plain.log_probs[0, 3])).sum()
    assert divergences(organism, resid)[row, 3] == pytest.approx(wanted, rel=1e-3)


def test_a_lens_reads_what_its_maps_say(organism, trained):
    """The reading of a layer is the model's tail on `h + A h + b`; at other positions and layers too."""
    lens = trained[0].lens
    found = tuned_lens(organism, ["12 * 7 = "], lens, layers=[2, -1], position=3)
    run = trace(organism, "12 * 7 = ", ["resid_post.2", "resid_post.7"])
    end = np.array(run["resid_post.2"][0, 3], dtype=np.float64)
    moved = end + lens.weights[2] @ end + lens.biases[2]
    normed = moved / np.sqrt((moved**2).mean() + 1e-5) * np.array(organism.model.model.norm.weight)
    logits = np.array(organism.model.model.embed_tokens.weight) @ normed
    assert found.layers == (2, 7)
    gaps = found.log_probs[0, 0] - logits
    assert np.ptp(gaps) < 1e-3
    last = np.array(run.logits[0, 3])
    assert np.ptp(found.log_probs[0, 1] - last) < 1e-3


def test_a_saved_lens_is_the_same_and_of_its_model_alone(organism, trained, tmp_path):
    """What is read back reads the same; another model is refused by name."""
    lens = read_lens(write_lens(tmp_path / "new" / "lens", trained[0].lens))
    assert sorted(path.name for path in (tmp_path / "new" / "lens").iterdir()) == [CONFIG, WEIGHTS]
    np.testing.assert_array_equal(lens.weights, trained[0].lens.weights)
    assert lens.config["base"] == organism.fingerprint
    assert lens.config["steps"] == 25
    assert lens.config["held_out"]["layers"][0]["tuned_kl"] == pytest.approx(trained[0].held_out.tuned[0])
    ours, theirs = (tuned_lens(organism, ["12 * 7 = "], each) for each in (trained[0].lens, lens))
    np.testing.assert_array_equal(ours.log_probs, theirs.log_probs)
    with pytest.raises(LoadError, match=r"trained on organism .* this is organism-untrained"):
        tuned_lens(organism.untrained(), ["12 * 7 = "], lens)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (CONFIG, None, "is missing"),
        (WEIGHTS, None, "is missing"),
        (CONFIG, b"{", "cannot be read"),
        (CONFIG, b"[]", "not the configuration"),
        (CONFIG, b'{"format": "lazarus_probe tuned lens 1", "model": "m"}', "no usable 'base'"),
        (WEIGHTS, b"", "damaged"),
        (WEIGHTS, b"\x00" * 40, "damaged"),
    ],
)
def test_damaged_files_are_refused(trained, tmp_path, name, content, message):
    """The message names the file."""
    write_lens(tmp_path, trained[0].lens)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LoadError, match=message) as error:
        read_lens(tmp_path)
    assert name in str(error.value)


def test_maps_of_another_shape_or_not_finite_are_refused(trained, tmp_path):
    """Both shapes are named; a cut file is damaged."""
    lens = trained[0].lens
    write_lens(tmp_path, TunedLens(lens.weights[:3], lens.biases[:3], lens.config))
    with pytest.raises(LoadError, match=r"\(3, 128, 128\).*\(7, 128, 128\)"):
        read_lens(tmp_path)
    write_lens(tmp_path, TunedLens(lens.weights * np.nan, lens.biases, lens.config))
    with pytest.raises(LoadError, match="not finite"):
        read_lens(tmp_path)
    write_lens(tmp_path, lens)
    whole = (tmp_path / WEIGHTS).read_bytes()
    for damaged in (whole[:-5], whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]):
        (tmp_path / WEIGHTS).write_bytes(damaged)
        with pytest.raises(LoadError, match="damaged"):
            read_lens(tmp_path)
    settings = json.loads((tmp_path / CONFIG).read_text())
    assert settings["layers"] == list(range(7))


def test_what_cannot_be_trained_is_refused(organism, make_llama):
    """Settings out of range, too few texts, one layer: the message says what is needed."""
    for training, message in [
        (LensTraining(steps=0), "steps is 0"),
        (LensTraining(batch_size=0), "batch_size is 0"),
        (LensTraining(learning_rate=0), "learning_rate is 0"),
        (LensTraining(held_out=1.0), "held_out is 1.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            train_lens(organism, texts(), training)
    with pytest.raises(ValueError, match="1 different texts"):
        train_lens(organism, [texts()[0]] * 30)
    with pytest.raises(ValueError, match="one layer"):
        train_lens(Subject.from_model(make_llama(num_hidden_layers=1)), [[1, 2]] * 20)
    config = {"base": organism.fingerprint}
    small = TunedLens(np.zeros((3, 128, 128), np.float32), np.zeros((3, 128), np.float32), config)
    with pytest.raises(LoadError, match=r"\(3, 128, 128\), and organism needs \(7, 128, 128\)"):
        tuned_lens(organism, ["1"], small)
    blank = TunedLens(np.zeros((7, 128, 128), np.float32), np.zeros((7, 128), np.float32), config)
    with pytest.raises(ValueError, match="the lens reads one position"):
        tuned_lens(organism, ["1"], blank, position="mean")
