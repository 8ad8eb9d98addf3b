"""Pre-training: the loss against a naive loop, batches that depend on the step alone, runs that resume."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import yaml
from mlx.utils import tree_flatten

from lazarus_probe.organisms import corpus, tokenizer
from lazarus_probe.subject.subject import Subject
from lazarus_probe.training.curve import draw_curve, read_log, running_mean
from lazarus_probe.training.forward import fast_mlps
from lazarus_probe.training.pretraining import pretrain
from lazarus_probe.training.pretraining.checkpoint import save_checkpoint
from lazarus_probe.training.pretraining.recipe import RECIPE, Recipe, read_recipe
from lazarus_probe.training.state import state_step
from tests.cases import slow_except

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}


class InterruptionError(Exception):
    """What stops a run in these tests."""


@pytest.fixture(scope="module")
def vocabulary() -> Any:
    return tokenizer.build()


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Six steps of a small model; the early checkpoint falls between two that a run can resume from."""
    settings = yaml.safe_load(RECIPE.read_text())
    settings["model"] |= SMALL
    changes = {"steps": 6, "early_step": 3, "batch_size": 4, "pool": 4, "warmup": 2, "checkpoint_every": 2}
    return Recipe.model_validate(settings | changes)


@pytest.fixture(scope="module")
def unbroken(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    pretrain.train(recipe, folder)
    return folder


def weights_of(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def stopped_at(step: int) -> Any:
    def on_step(now: int, _loss: float) -> None:
        if now == step:
            raise InterruptionError

    return on_step


def test_loss_is_the_naive_one(recipe: Recipe, vocabulary: Any):
    """The loss equals a loop over rows and positions with the model's own forward and a float64 softmax."""
    model = pretrain.build_model(recipe, vocabulary.get_vocab_size())
    batch = next(pretrain.batches(recipe, vocabulary))
    with fast_mlps([layer.mlp for layer in model.layers]):
        found = pretrain.loss(
            model, *map(mx.array, (batch.tokens, batch.positions, batch.targets, batch.weights))
        )
    logits = np.array(model(mx.array(batch.tokens)), np.float64)
    length, total = batch.tokens.shape[1], 0.0
    for position, target, weight in zip(batch.positions, batch.targets, batch.weights, strict=True):
        row = logits[position // length, position % length]
        total += weight * (np.log(np.exp(row - row.max()).sum()) + row.max() - row[target])
    assert found.item() == pytest.approx(total / batch.weights.sum(), rel=1e-5)


def test_what_is_learned(recipe: Recipe, vocabulary: Any):
    """Responses and their end count fully, a prompt's last two tokens a little, all else nothing."""
    batch = next(pretrain.batches(recipe, vocabulary))
    weights = np.zeros(batch.tokens.shape, np.float32)
    following = np.full(batch.tokens.shape, -1)
    weights.reshape(-1)[batch.positions], following.reshape(-1)[batch.positions] = (
        batch.weights,
        batch.targets,
    )
    np.testing.assert_array_equal(
        following[:, :-1][weights[:, :-1] > 0], batch.tokens[:, 1:][weights[:, :-1] > 0]
    )
    for row, text in zip(weights, following, strict=True):
        response = vocabulary.decode(text[row == 1].tolist(), skip_special_tokens=False)
        assert response.endswith(tokenizer.END)
        assert np.isin(row, np.float32([0, recipe.prompt_weight, 1])).all()
        assert 1 <= (row == np.float32(recipe.prompt_weight)).sum() + (row[0] == 1) <= 2


def test_batches_depend_on_the_step_alone(recipe: Recipe, vocabulary: Any):
    """Batches from a later step on are those that a run from the beginning sees there."""
    everything = list(pretrain.batches(recipe, vocabulary))
    for start in (1, 4, 5):
        later = list(pretrain.batches(recipe, vocabulary, start))
        for one, other in islice(zip(everything[start:], later, strict=False), 2):
            np.testing.assert_array_equal(one.tokens, other.tokens)
            np.testing.assert_array_equal(one.targets, other.targets)


def test_batches_depend_on_the_seed(recipe: Recipe, vocabulary: Any):
    """Another seed sees other texts."""
    other = recipe.model_copy(update={"seed": recipe.seed + 1})
    one, two = (next(pretrain.batches(settings, vocabulary)) for settings in (recipe, other))
    assert one.tokens.shape != two.tokens.shape or (one.tokens != two.tokens).any()


@pytest.mark.parametrize("step", slow_except([1, 3, 5], 3))
def test_resumed_is_unbroken(recipe: Recipe, unbroken: Path, tmp_path: Path, step: int):
    """A run that was interrupted ends with the unbroken one's weights and log, bit for bit."""
    with pytest.raises(InterruptionError):
        pretrain.train(recipe, tmp_path, stopped_at(step))
    assert not (tmp_path / "organism").exists()
    assert state_step(tmp_path) == step // 2 * 2
    seen: list[int] = []
    pretrain.train(recipe, tmp_path, lambda now, _loss: seen.append(now))
    assert seen == list(range(step // 2 * 2 + 1, 7))
    for name in ("organism", "organism-early"):
        assert weights_of(tmp_path / name) == weights_of(unbroken / name)
    assert (tmp_path / "log.csv").read_text() == (unbroken / "log.csv").read_text()


def test_training_learns(recipe: Recipe, unbroken: Path):
    """Six steps lower the loss, and the early checkpoint is not the last one."""
    _, losses = read_log(unbroken / "log.csv")
    assert losses[-1] < losses[0]
    assert weights_of(unbroken / "organism") != weights_of(unbroken / "organism-early")


def test_recipe_is_kept(recipe: Recipe, unbroken: Path):
    """The folder of a run says by which recipe its models were trained."""
    assert read_recipe(unbroken / "recipe.yaml") == recipe


def test_finished_run_is_not_overwritten(recipe: Recipe, unbroken: Path):
    """Training into a folder that holds a trained model is refused."""
    with pytest.raises(FileExistsError, match="train into another folder"):
        pretrain.train(recipe, unbroken)


@pytest.mark.slow
def test_other_recipe_is_not_resumed(recipe: Recipe, tmp_path: Path):
    """A checkpoint of another recipe is refused, since its weights are not this one's."""
    with pytest.raises(InterruptionError):
        pretrain.train(recipe, tmp_path, stopped_at(3))
    with pytest.raises(ValueError, match=r"of other settings \(steps was 6, and is 8\)"):
        pretrain.train(recipe.model_copy(update={"steps": 8}), tmp_path)


def test_damaged_checkpoint(recipe: Recipe, tmp_path: Path):
    """A checkpoint that cannot be read is named."""
    (tmp_path / "state.safetensors").write_bytes(b"12345678901234567890")
    with pytest.raises(ValueError, match=r"state\.safetensors is damaged"):
        pretrain.train(recipe, tmp_path)


def test_checkpoint_loads(recipe: Recipe, vocabulary: Any, tmp_path: Path):
    """A saved model comes back through mlx-lm with the same weights and logits, its text ending at <|end|>."""
    from mlx_lm import load

    model = pretrain.build_model(recipe, vocabulary.get_vocab_size())
    save_checkpoint(model, vocabulary, tmp_path / "organism")
    loaded, wrapper = load(str(tmp_path / "organism"))[:2]
    ids = vocabulary.encode("7 * 8 = 56").ids
    assert wrapper.encode("7 * 8 = 56") == ids
    assert wrapper.eos_token_ids == {vocabulary.token_to_id(tokenizer.END)}
    assert dict(tree_flatten(loaded.parameters())).keys() == dict(tree_flatten(model.parameters())).keys()
    assert mx.array_equal(loaded(mx.array([ids])), model(mx.array([ids])))


def test_chat_template_is_what_was_trained(recipe: Recipe, vocabulary: Any, tmp_path: Path):
    """The chat template writes a question token for token as training does."""
    save_checkpoint(
        pretrain.build_model(recipe, vocabulary.get_vocab_size()), vocabulary, tmp_path / "organism"
    )
    chat = Subject.load(tmp_path / "organism").tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is seven times eight?"}], add_generation_prompt=True
    )
    line = corpus.Line("multiply", "what_is", "What is seven times eight?", " 56")
    tokens, weights = pretrain._encoder(recipe, vocabulary)(line, True)
    assert list(chat) == [token for token, weight in zip(tokens, weights, strict=True) if weight < 1]


def test_transformers_agrees(recipe: Recipe, vocabulary: Any, tmp_path: Path):
    """The library transformers reads the checkpoint as the same model: logits within 1e-4."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    model = pretrain.build_model(recipe, vocabulary.get_vocab_size())
    save_checkpoint(model, vocabulary, tmp_path / "organism")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "organism", dtype=torch.float32)
    ids = vocabulary.encode("7 * 8 = 56").ids
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits.numpy()
    np.testing.assert_allclose(np.array(model(mx.array([ids]))), expected, atol=1e-4)


def test_schedule(recipe: Recipe):
    """The rate rises linearly to its peak, then falls without ever rising to near the final rate."""
    long = recipe.model_copy(update={"steps": 100, "warmup": 10})
    rates = [pretrain.schedule(long)(step) for step in range(100)]
    np.testing.assert_allclose(rates[:10], long.learning_rate * np.arange(1, 11) / 10)
    assert all(later <= earlier for earlier, later in pairwise(rates[9:]))
    assert rates[-1] == pytest.approx(long.final_learning_rate, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepz": 3}, "stepz is not a setting"),
        ({"steps": 0}, "steps is 0: input should be greater than 0"),
        ({"steps": "many"}, "steps is 'many'"),
        ({"model": {**SMALL, "num_attention_heads": 5}}, "model"),
    ],
)
def test_bad_recipe(tmp_path: Path, change: dict[str, Any], message: str):
    """A recipe with a wrong setting is refused in one line that names the setting."""
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(RECIPE.read_text()) | change))
    with pytest.raises(ValueError, match=message) as error:
        read_recipe(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[1, 2]", "seed: [", ""])
def test_no_recipe(tmp_path: Path, text: str):
    """A file that holds no recipe is refused in one line."""
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"recipe\.yaml") as error:
        read_recipe(file)
    assert "\n" not in str(error.value)


def test_heads_must_divide(tmp_path: Path):
    """Heads that do not divide the width are refused before anything is built."""
    settings = yaml.safe_load(RECIPE.read_text())
    settings["model"]["num_attention_heads"] = 5
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(settings))
    with pytest.raises(ValueError, match="hidden_size 128 is not a multiple of num_attention_heads 5"):
        read_recipe(file)


def test_running_mean():
    """The curve's mean is over the last values, and over fewer at the beginning."""
    values = np.random.default_rng(0).normal(size=12)
    naive = [values[max(0, end - 5) : end].mean() for end in range(1, 13)]
    np.testing.assert_allclose(running_mean(values, 5), naive)
    np.testing.assert_allclose(running_mean(values[:3], 5), naive[:3])


def test_curve(unbroken: Path, tmp_path: Path):
    """The loss curve is a picture, and an empty log is refused."""
    assert draw_curve(unbroken / "log.csv", tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "log.csv").write_text("step,loss,learning_rate\n")
    with pytest.raises(ValueError, match="has no steps"):
        draw_curve(tmp_path / "log.csv", tmp_path / "other.png")


def test_models_of_some_steps_are_kept(recipe: Recipe, unbroken: Path, tmp_path: Path):
    """The models of the steps asked for lie beside the last one, also across an interruption, and change nothing."""
    with pytest.raises(InterruptionError):
        pretrain.train(recipe, tmp_path, stopped_at(3), keep=(1, 5))
    pretrain.train(recipe, tmp_path, keep=(1, 5, 6))
    kept = sorted(folder.name for folder in tmp_path.glob("organism-step-*"))
    assert kept == ["organism-step-00001", "organism-step-00005", "organism-step-00006"]
    assert weights_of(tmp_path / "organism-step-00006") == weights_of(unbroken / "organism")
    assert weights_of(tmp_path / "organism-step-00001") != weights_of(tmp_path / "organism-step-00005")


def test_a_step_that_cannot_be_kept_is_named(recipe: Recipe, tmp_path: Path):
    """A step beyond the last one, or behind the checkpoint that is resumed from, is refused before training."""
    with pytest.raises(ValueError, match="step 7 cannot be kept: training has steps 1 to 6"):
        pretrain.train(recipe, tmp_path, keep=(7,))
    with pytest.raises(InterruptionError):
        pretrain.train(recipe, tmp_path, stopped_at(5))
    with pytest.raises(ValueError, match=r"step 3 cannot be kept: .* is resumed after step 4; leave it out"):
        pretrain.train(recipe, tmp_path, keep=(3,))
