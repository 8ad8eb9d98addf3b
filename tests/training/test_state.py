"""A state is gone on from bit for bit, and one that could not be written leaves the one before."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from itertools import islice
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.training.batches import Sample, batches
from lazarus_probe.training.loop import Optimisation, optimizer_for, steps
from lazarus_probe.training.state import has_state, load_state, save_state, state_step

RATES = Optimisation(1e-2, 12, warmup=3)
SAMPLES = [Sample(tuple(range(i, i + 3 + i % 3)), 2) for i in range(1, 11)]


class Toy(nn.Module):
    """An embedding, dropout and a layer, and one layer that is not trained."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        mx.random.seed(0)
        self.embedding = nn.Embedding(32, width)
        self.frozen = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.5)
        self.layers = [{}, nn.Linear(width, 32)]
        self.frozen.freeze()

    def __call__(self, tokens: mx.array) -> mx.array:
        return self.layers[1](self.dropout(self.frozen(self.embedding(tokens))))


def loss_of(model: Toy):
    def loss(tokens, learned, _read_at, _class_tokens, learned_in_step, *_):
        losses = nn.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
        total = (losses * learned).sum() / learned_in_step
        return total, {"answer": total}

    return loss


def train(folder: Path, until: int) -> tuple[Toy, Any]:
    """Train to a step, from the state in a folder if there is one, in micro-batches and with dropout."""
    model, optimizer = Toy(), optimizer_for(RATES)
    mx.random.seed(1)
    start, _ = load_state(folder, model, optimizer, "same")
    micro_batches = batches(SAMPLES, 3, 0, start, accumulate=2)
    made = list(
        islice(steps(model, loss_of(model), micro_batches, RATES, optimizer, start), max(0, until - start))
    )
    save_state(folder, model, optimizer, until, "same", {"best": made[-1].loss})
    return model, optimizer


def flat(model: Toy, optimizer: Any) -> dict[str, np.ndarray]:
    trees = [model.parameters(), optimizer.state, {"key": mx.random.state[0]}]
    return {
        f"{i}.{name}": np.array(value) for i, tree in enumerate(trees) for name, value in tree_flatten(tree)
    }


def test_going_on_is_bit_for_bit(tmp_path):
    """Interrupted twice, once within an epoch, a run ends with the weights and moments of an unbroken one."""
    whole = flat(*train(tmp_path / "whole", 12))
    for until in (5, 6):
        train(tmp_path / "broken", until)
    broken = flat(*train(tmp_path / "broken", 12))
    assert whole.keys() == broken.keys()
    for name, value in whole.items():
        assert value.tobytes() == broken[name].tobytes(), name


def test_extra_and_step_come_back(tmp_path):
    """What was kept beside the weights is what it was, and the step is known without a model."""
    model, optimizer = Toy(), optimizer_for(RATES)
    optimizer.init(model.trainable_parameters())
    assert (has_state(tmp_path), state_step(tmp_path)) == (False, 0)
    save_state(tmp_path, model, optimizer, 7, "a", {"best": 0.5, "worse": [1, None]})
    assert load_state(tmp_path, model, optimizer, "a") == (7, {"best": 0.5, "worse": [1, None]})
    assert (has_state(tmp_path), state_step(tmp_path)) == (True, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_only_what_is_trained_is_kept(tmp_path):
    """Frozen weights are not in the state, which would make that of an adapter as large as the model."""
    train(tmp_path, 1)
    names = mx.load(str(tmp_path / "state.safetensors")).keys()
    assert "model.embedding.weight" in names
    assert not any("frozen" in name for name in names)


def test_nothing_there_is_a_beginning(tmp_path):
    """Without a state the step is 0 and nothing is changed."""
    model, optimizer = Toy(), optimizer_for(RATES)
    before = flat(model, optimizer)
    assert load_state(tmp_path, model, optimizer, "a") == (0, {})
    assert all(np.array_equal(value, before[name]) for name, value in flat(model, optimizer).items())


@pytest.mark.parametrize(
    ("settings", "width", "message"),
    [
        ('{"rank": 8}', 8, r"other settings \(rank was 4, and is 8\)"),
        ("else", 8, "other settings; train into another folder"),
        (
            '{"rank": 4}',
            16,
            r"other weights: model\.embedding\.weight is \(32, 8\) in it and \(32, 16\) here",
        ),
    ],
)
def test_another_training_is_refused(tmp_path, settings, width, message):
    """A state of other settings or weights is refused with the first that differs, and changes nothing."""
    first, optimizer = Toy(), optimizer_for(RATES)
    optimizer.init(first.trainable_parameters())
    save_state(tmp_path, first, optimizer, 3, '{"rank": 4}', {})
    model = Toy(width)
    before = flat(model, optimizer_for(RATES))
    with pytest.raises(ValueError, match=message):
        load_state(tmp_path, model, optimizer_for(RATES), settings)
    after = flat(model, optimizer_for(RATES))
    assert all(np.array_equal(value, before[name]) for name, value in after.items())


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_damage_is_named(tmp_path, content):
    """A state that cannot be read, or that is a file of another kind, is named."""
    path = tmp_path / "state.safetensors"
    if content is None:
        mx.save_safetensors(str(path), {"x": mx.zeros(1)})
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"state\.safetensors is (damaged|not the state)"):
        load_state(tmp_path, Toy(), optimizer_for(RATES), "a")


FULL = """
    import resource, signal, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_state import RATES, Toy, optimizer_for, save_state
    model, optimizer = Toy(), optimizer_for(RATES)
    optimizer.init(model.trainable_parameters())
    folder = Path({folder!r})
    save_state(folder, model, optimizer, 1, "a", {{}})
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    try:
        save_state(folder, model, optimizer, 2, "a", {{}})
    except OSError as error:
        print("refused:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on the size of a file")
@pytest.mark.parametrize("limit", [0, 100, 4096])
def test_full_disk_leaves_the_state_before(tmp_path, limit):
    """A write that meets the end of the disk is an error, and the older state is whole and alone in the folder."""
    script = textwrap.dedent(FULL).format(tests=str(Path(__file__).parent), folder=str(tmp_path), limit=limit)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "refused:" in ran.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]
    assert load_state(tmp_path, Toy(), optimizer_for(RATES), "a")[0] == 1
