"""Train the organism from scratch: the recipe, its batches, and a resumable loop."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx import optimizers
from mlx.utils import tree_flatten

from lazarus_probe.backend import fit_threads
from lazarus_probe.files.paths import check_utf8
from lazarus_probe.organisms import corpus, tokenizer
from lazarus_probe.subject.one_run import require_one_process
from lazarus_probe.training import fast_exp
from lazarus_probe.training.forward import fast_mlps
from lazarus_probe.training.log import Log
from lazarus_probe.training.pretraining.checkpoint import save_checkpoint, save_once
from lazarus_probe.training.pretraining.recipe import RECIPE, Recipe, read_recipe, write_recipe
from lazarus_probe.training.state import load_state, save_state

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "RECIPE",
    "Batch",
    "Recipe",
    "batches",
    "build_model",
    "loss",
    "read_recipe",
    "save_checkpoint",
    "schedule",
    "train",
]


@dataclass(frozen=True)
class Batch:
    """Right-padded inputs (B, L), with targets and weights.

    Attributes:
        tokens: the inputs (B, L).
        positions: where something is learned, as indices (P,) into the flattened inputs.
        targets: the next token at each position (P,).
        weights: its weight in the loss (P,).
    """

    tokens: np.ndarray
    positions: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def batches(recipe: Recipe, vocabulary: Tokenizer, start: int = 0) -> Iterator[Batch]:
    """Batches from step `start` on; a step's batch depends on the seed and the step alone."""
    encode = _encoder(recipe, vocabulary)
    first = start // recipe.pool
    for pool in range(first, -(-recipe.steps // recipe.pool)):
        rng = random.Random(f"{recipe.seed} {pool}")  # noqa: S311 - drawing training data
        lines = corpus.sample(rng, recipe.batch_size * recipe.pool)
        rows = sorted(
            (encode(line, rng.random() < corpus.CHAT_SHARE) for line in lines), key=lambda row: len(row[0])
        )
        cut = [rows[i : i + recipe.batch_size] for i in range(0, len(rows), recipe.batch_size)]
        rng.shuffle(cut)
        skipped = start - pool * recipe.pool if pool == first else 0
        yield from map(_pad, cut[skipped:])


def _encoder(
    recipe: Recipe, vocabulary: Tokenizer
) -> Callable[[corpus.Line, bool], tuple[list[int], list[float]]]:
    cache: dict[str, list[int]] = {"": []}
    special = (tokenizer.BEGIN, tokenizer.END, tokenizer.USER, tokenizer.ASSISTANT)
    begin, end, user, assistant = (tokenizer.special_id(vocabulary, token) for token in special)

    def ids(text: str) -> list[int]:
        if text not in cache:
            cache[text] = vocabulary.encode(text, add_special_tokens=False).ids
        return cache[text]

    def encode(line: corpus.Line, chat: bool) -> tuple[list[int], list[float]]:
        if chat and line.prompt:
            prompt = [begin, user, *ids(line.prompt), end, assistant]
            response = [*ids(line.response.lstrip()), end]
        else:
            prompt, response = [begin, *ids(line.prompt)], [*ids(line.response), end]
        unread = max(0, len(prompt) - 2)
        weights = [0.0] * unread + [recipe.prompt_weight] * (len(prompt) - unread) + [1.0] * len(response)
        return prompt + response, weights

    return encode


def _pad(rows: list[tuple[list[int], list[float]]]) -> Batch:
    longest = max(len(tokens) for tokens, _ in rows)
    tokens = np.zeros((len(rows), longest), np.int32)
    weights = np.zeros((len(rows), longest), np.float32)
    for row, (ids, weight) in enumerate(rows):
        tokens[row, : len(ids)] = ids
        weights[row, : len(ids)] = weight
    following = weights[:, 1:].reshape(-1)
    positions = np.flatnonzero(following)
    return Batch(tokens[:, :-1], positions, tokens[:, 1:].reshape(-1)[positions], following[positions])


def build_model(recipe: Recipe, vocab_size: int) -> Any:
    """A new Llama with normal(0, 0.02) weights, drawn from the recipe's seed."""
    from lazarus_probe.checkpoints.checkpoint import few_files_suffice

    with few_files_suffice():
        from mlx_lm.models import llama

    args = llama.ModelArgs(**recipe.model.model_dump(), vocab_size=vocab_size)
    model = llama.Model(args)
    keys = iter(mx.random.split(mx.random.key(recipe.seed), 1000))
    weights = [
        (name, 0.02 * mx.random.normal(value.shape, key=next(keys)) if value.ndim > 1 else value)
        for name, value in tree_flatten(model.parameters())
    ]
    model.load_weights(weights)
    return model


def loss(model: Any, tokens: mx.array, positions: mx.array, targets: mx.array, weights: mx.array) -> mx.array:
    """Weighted mean of the next-token cross-entropy in nats, at the positions of a `Batch`."""
    hidden = model.model(tokens).reshape(-1, model.args.hidden_size)[positions]
    losses: Any = fast_exp.cross_entropy(model.model.embed_tokens.as_linear(hidden), targets)
    return (losses * weights).sum() / weights.sum()


def schedule(recipe: Recipe) -> Callable[[int], float]:
    """Linear warm-up, then cosine to the final rate."""

    def rate(step: int) -> float:
        if step < recipe.warmup:
            return recipe.learning_rate * (step + 1) / recipe.warmup
        progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
        span = recipe.learning_rate - recipe.final_learning_rate
        return recipe.final_learning_rate + span * 0.5 * (1 + float(np.cos(np.pi * progress)))

    return rate


def train(
    recipe: Recipe,
    folder: Path,
    on_step: Callable[[int, float], None] = lambda _step, _loss: None,
    keep: Collection[int] = (),
) -> Path:
    """Train to the last step, resuming from the newest checkpoint in `folder` if there is one.

    Writes `recipe.yaml`, `log.csv` (step, loss, learning_rate), a resumable checkpoint every
    `checkpoint_every` steps, and the two models under `folder/organism-early` and `folder/organism`.
    A resumed run ends with the same weights, bit for bit, as an uninterrupted one.

    Args:
        recipe: everything that determines the weights.
        folder: the output folder, created if missing.
        on_step: called after every step with its number, from 1, and its loss in nats.
        keep: steps whose models are kept too, as `folder/organism-step-00250`, to test claims over training.

    Returns:
        The folder of the trained model.

    Raises:
        FileExistsError: the folder holds a trained model already.
        ValueError: the folder holds a checkpoint of another recipe, or its path is not UTF-8; or a step to keep that is
            beyond the last one, or behind the checkpoint that is resumed from.
        FloatingPointError: the loss is not finite.
    """
    require_one_process("pre-training")
    check_utf8(folder, "output")
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "organism").exists():
        raise FileExistsError(f"{folder / 'organism'} exists: train into another folder, or remove it")
    fit_threads(recipe.model.hidden_size)
    vocabulary = tokenizer.build()
    model = build_model(recipe, vocabulary.get_vocab_size())
    optimizer = optimizers.AdamW(0.0, betas=list(recipe.betas), weight_decay=recipe.weight_decay)
    optimizer.init(model.trainable_parameters())
    settings = recipe.model_dump_json()
    start, _ = load_state(folder, model, optimizer, settings)
    _check_kept(keep, folder, start, recipe.steps)
    write_recipe(recipe, folder)
    rate, step_loss = schedule(recipe), nn.value_and_grad(model, loss)
    ahead = islice(batches(recipe, vocabulary, start), recipe.steps - start)
    with Log(folder / "log.csv", start) as log:
        for step, batch in enumerate(ahead, start + 1):
            optimizer.learning_rate = rate(step - 1)
            value = _update(model, optimizer, step_loss, batch, recipe.clip_norm)
            if not np.isfinite(value):
                raise FloatingPointError(f"the loss is {value} at step {step}; lower learning_rate")
            log.write({"step": step, "loss": f"{value:.5f}", "learning_rate": f"{rate(step - 1):.6g}"})
            if step == recipe.early_step:
                save_once(model, vocabulary, folder / "organism-early")
            if step in keep:
                save_once(model, vocabulary, kept_model(folder, step))
            if step % recipe.checkpoint_every == 0 or step == recipe.steps:
                log.sync()
                save_state(folder, model, optimizer, step, settings, {})
            on_step(step, value)
    save_checkpoint(model, vocabulary, folder / "organism")
    return folder / "organism"


def kept_model(folder: Path, step: int) -> Path:
    """Where the model of a step is kept; its name sorts by steps."""
    return folder / f"organism-step-{step:05d}"


def _check_kept(keep: Collection[int], folder: Path, start: int, steps: int) -> None:
    for step in sorted(keep):
        if not 0 < step <= steps:
            raise ValueError(f"step {step} cannot be kept: training has steps 1 to {steps}")
        if step <= start and not kept_model(folder, step).exists():
            raise ValueError(
                f"step {step} cannot be kept: {folder} is resumed after step {start}; leave it out, or train into "
                "another folder"
            )


def _update(
    model: Any, optimizer: Any, step_loss: Callable[..., Any], batch: Batch, clip_norm: float
) -> float:
    with fast_mlps([layer.mlp for layer in model.layers]):
        value, grads = step_loss(model, *map(mx.array, astuple(batch)))
    grads, _ = optimizers.clip_grad_norm(grads, clip_norm)
    optimizer.update(model, grads)
    mx.eval(model.parameters(), optimizer.state, value)
    return float(value.item())
