"""Fine-tuning end to end on a tiny checkpoint: what is learned, what stays, and what is kept when it stops."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.subject import Subject
from lazarus_probe.training.settings import read_settings
from lazarus_probe.training.sft import train as training_module
from lazarus_probe.training.sft.config import SftConfig
from lazarus_probe.training.sft.jsonl import Example
from lazarus_probe.training.sft.setup import split
from lazarus_probe.training.sft.train import prepare, run, train_sft
from lazarus_probe.training.state import state_step

ANSWERS = {f"{a} + {b} = ": str((a * 3 + b) % 10) for a in range(6) for b in range(5)}
FILES = {"adapters.safetensors", "adapter_config.json", "lora_weights.npz", "config.json", "sft.yaml"}


@pytest.fixture(scope="module")
def base(tmp_path_factory, make_llama, save_checkpoint) -> Path:
    """A tiny model as a folder."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    return save_checkpoint(folder, make_llama(num_key_value_heads=2, tie_word_embeddings=False))


@pytest.fixture
def drawn() -> None:
    """Has the loss curve drawn, which takes as long as the short trainings here."""


@pytest.fixture(autouse=True)
def _undrawn(request, monkeypatch) -> None:
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(training_module, "draw_curve", lambda _log, image: image)


@pytest.fixture
def settings(base, tmp_path):
    """Settings of a short training in the test's folder; keyword arguments change them."""
    write(tmp_path / "data.jsonl", ANSWERS)

    def make(**changes: Any) -> SftConfig:
        given = {
            "model": str(base), "data": tmp_path / "data.jsonl", "output": tmp_path / "out",
            "learning_rate": 1e-2, "batch_size": 10, "epochs": 100, "max_steps": 12,
            "lora_rank": 4, "checkpoint_interval": 5,
        }  # fmt: skip
        return read_settings(SftConfig, None, {**given, **changes})

    return make


def write(file: Path, answers: dict[str, str], **fields: str) -> Path:
    lines = (json.dumps({"prompt": prompt, "response": text, **fields}) for prompt, text in answers.items())
    file.write_text("\n".join(lines) + "\n")
    return file


def answer_loss(subject: Subject, answers: dict[str, str] = ANSWERS) -> float:
    """The mean loss of the first token of the answers alone, by a plain forward."""
    losses = []
    for prompt, answer in answers.items():
        logits = np.array(forward(subject.model, mx.array([subject.encode(prompt)]))[0, -1], np.float64)
        token = subject.single_token(answer)
        losses.append(np.log(np.exp(logits - logits.max()).sum()) - (logits[token] - logits.max()))
    return float(np.mean(losses))


def lora(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "lora_weights.npz") as file:
        return dict(file)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class Interrupter:
    """Interrupts a training after some steps."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, step: Any, _: float | None) -> None:
        if step.step == self.after:
            raise KeyboardInterrupt


def test_the_first_token_of_the_answer_is_learned(settings, base, tmp_path, drawn):
    """Answers of one token become likelier than on the base model: their only token is learned."""
    result = train_sft(settings(max_steps=60))
    before, after = answer_loss(Subject.load(base)), answer_loss(Subject.load(base, tmp_path / "out"))
    assert after < before - 1
    assert result.steps == 60
    assert FILES | {"log.csv", "curve.png", "checkpoints"} == {path.name for path in result.folder.iterdir()}


def test_the_adapter_is_the_trained_model(settings, base, tmp_path):
    """What is loaded from the folder computes, number for number, what was trained."""
    training = prepare(settings())
    run(training)
    tokens = mx.array([[0, 5, 6, 7]])
    loaded = Subject.load(base, tmp_path / "out")
    assert mx.array_equal(forward(training.subject.model, tokens), forward(loaded.model, tokens))


def test_frozen_layers_have_no_part(settings, base, tmp_path):
    """The residual stream after frozen layers is that of the base model, bit for bit; after later ones it differs."""
    train_sft(settings(freeze_layers="0-1"))
    assert {key.split("_")[1] for key in lora(tmp_path / "out")} == {"2", "3"}
    tokens, sites = mx.array([[0, 5, 6, 7]]), [Site("resid_post", layer) for layer in (1, 2)]
    seen = []
    for subject in (Subject.load(base), Subject.load(base, tmp_path / "out")):
        with hooked(subject, capture=set(sites)) as captures:
            forward(subject.model, tokens)
        seen.append([captures[site] for site in sites])
    before, after = seen
    assert mx.array_equal(before[0], after[0])
    assert not mx.array_equal(before[1], after[1])


def test_full_fine_tuning_spares_frozen_layers(settings, base, tmp_path):
    """Without LoRA the weights themselves are trained, but for the frozen blocks and the embedding they read."""
    train_sft(settings(use_lora=False, freeze_layers="0-1", learning_rate=1e-3))
    before = dict(tree_flatten(Subject.load(base).model.parameters()))
    after = dict(tree_flatten(Subject.load(base, tmp_path / "out").model.parameters()))
    changed = {name for name in before if not mx.array_equal(before[name], after[name])}
    assert not {n for n in changed if n.startswith(("model.layers.0.", "model.layers.1.", "model.embed"))}
    assert {"model.layers.2.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"} <= changed
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["fine_tune_type"] == "full"


@pytest.mark.parametrize("changes", [{}, {"lora_dropout": 0.3, "eval_share": 0.2, "eval_interval": 3}])
def test_interrupted_is_as_unbroken(settings, tmp_path, changes, compiling):
    """A training interrupted twice ends with the matrices and the log of one that was not, bit for bit."""
    train_sft(settings(output=tmp_path / "whole", **changes))
    for after in (3, 7):
        with pytest.raises(KeyboardInterrupt):
            train_sft(settings(**changes), Interrupter(after))
    train_sft(settings(**changes))
    whole, broken = lora(tmp_path / "whole"), lora(tmp_path / "out")
    assert whole.keys() == broken.keys()
    assert all(np.array_equal(whole[key], broken[key]) for key in whole)
    assert rows(tmp_path / "whole") == rows(tmp_path / "out")
    assert [int(row["step"]) for row in rows(tmp_path / "out")] == list(range(1, 13))


def test_killed_is_as_unbroken(settings, tmp_path):
    """A training that ends without notice resumes from its last state; what the log had since is written again."""
    train_sft(settings(output=tmp_path / "whole"))

    def killed(step: Any, _: float | None) -> None:
        if step.step == 8:
            raise SystemExit

    with pytest.raises(SystemExit):
        train_sft(settings(), killed)
    assert len(rows(tmp_path / "out")) == 8
    assert state_step(tmp_path / "out" / "checkpoints") == 5
    train_sft(settings())
    assert rows(tmp_path / "whole") == rows(tmp_path / "out")
    whole = lora(tmp_path / "whole")
    assert all(np.array_equal(whole[key], value) for key, value in lora(tmp_path / "out").items())


def test_a_finished_training_is_not_trained_again(settings, tmp_path):
    """The same command once more leaves the adapter as it is, and says that nothing is left."""
    train_sft(settings())
    before = lora(tmp_path / "out")
    result = train_sft(settings(), Interrupter(1))
    assert (result.finished, result.steps) == ("all steps are done", 12)
    assert all(np.array_equal(before[key], value) for key, value in lora(tmp_path / "out").items())


def test_other_settings_do_not_go_on(settings, tmp_path):
    """A state is not gone on from with settings that would have led elsewhere, nor with other data of that name."""
    train_sft(settings(max_steps=6))
    for change in ({"learning_rate": 1e-3}, {"seed": 1}, {"freeze_layers": "0"}):
        with pytest.raises(ValueError, match="other settings"):
            train_sft(settings(max_steps=6, **change))
    write(tmp_path / "data.jsonl", {"1 + 1 = ": "3"})
    with pytest.raises(ValueError, match="other settings"):
        train_sft(settings(max_steps=6))


def test_the_next_phase_holds_the_one_before(settings, base, tmp_path):
    """Going on from an adapter with frozen layers keeps its matrices there, and trains its own elsewhere."""
    train_sft(settings(output=tmp_path / "first"))
    train_sft(settings(adapter=tmp_path / "first", freeze_layers="0-1", output=tmp_path / "second"))
    first, second = lora(tmp_path / "first"), lora(tmp_path / "second")
    assert first.keys() == second.keys()
    frozen = {key for key in first if key.startswith(("layer_0", "layer_1"))}
    assert all(np.array_equal(first[key], second[key]) == (key in frozen) for key in first)


def test_the_next_phase_may_train_other_projections(settings, base, tmp_path):
    """New targets join those of the adapter, which stay as they are: the output holds both phases."""
    train_sft(settings(output=tmp_path / "first"))
    later = settings(
        adapter=tmp_path / "first", lora_targets="q_proj", freeze_layers="0-1", output=tmp_path / "second"
    )
    training = prepare(later)
    run(training)
    first, second = lora(tmp_path / "first"), lora(tmp_path / "second")
    assert all(np.array_equal(first[key], second[key]) for key in first)
    new = second.keys() - first.keys()
    assert new == {f"layer_{layer}_q_{matrix}" for layer in (2, 3) for matrix in "AB"}
    tokens, loaded = mx.array([[0, 5, 6, 7]]), Subject.load(base, tmp_path / "second")
    assert mx.array_equal(forward(training.subject.model, tokens), forward(loaded.model, tokens))


def test_rank_and_scale_come_from_the_adapter(settings, tmp_path):
    """Not given, they are the adapter's; given, they must be the adapter's."""
    train_sft(settings(output=tmp_path / "first", lora_rank=3, lora_scale=1.5))
    later = settings(adapter=tmp_path / "first").model_dump(exclude_unset=True)
    del later["lora_rank"]
    train_sft(read_settings(SftConfig, None, later))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["scale"] == 1.5
    with pytest.raises(ValueError, match="lora_rank is 4 and the adapter's is 3"):
        prepare(settings(adapter=tmp_path / "first", output=tmp_path / "third"))


def test_validation_is_the_loss_of_what_is_held_out(settings, tmp_path, base):
    """The validation loss is that of the held-out answers and their ends, over all their tokens."""
    kept = dict(list(ANSWERS.items())[:7])
    config = settings(eval_data=write(tmp_path / "eval.jsonl", kept), eval_interval=4, batch_size=3)
    found = {}
    result = train_sft(config, lambda step, value: found.update({step.step: value}))
    assert {step for step, value in found.items() if value is not None} == {4, 8, 12}
    subject = Subject.load(base, tmp_path / "out")
    losses = []
    for prompt, answer in kept.items():
        ids = [*subject.encode(prompt + answer), min(subject.eos_token_ids)]
        logits = forward(subject.model, mx.array([ids]))[0].astype(mx.float32)
        start = len(subject.encode(prompt))
        found_here = logits[start - 1 : -1] - mx.logsumexp(logits[start - 1 : -1], axis=-1, keepdims=True)
        losses += [-found_here[i, token].item() for i, token in enumerate(ids[start:])]
    assert result.best == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_best_weights_are_the_result(settings, tmp_path):
    """What was learned after the lowest validation loss is not in the adapter, and training stops early."""
    wrong = {prompt: str((int(answer) + 5) % 10) for prompt, answer in ANSWERS.items()}
    config = settings(
        eval_data=write(tmp_path / "eval.jsonl", wrong), eval_interval=2, patience=2, max_steps=100
    )
    result = train_sft(config)
    assert result.finished.startswith("stopped early: no lower validation loss since step")
    assert result.steps == result.best_step + 4 < 100
    best = lora(tmp_path / "out" / "checkpoints" / "best")
    assert all(np.array_equal(best[key], value) for key, value in lora(tmp_path / "out").items())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["steps"] == result.best_step


def test_held_out_prompts_are_not_learned():
    """Equal prompts stay on one side, whatever their responses."""
    examples = [Example(str(i % 9), str(i)) for i in range(40)]
    kept, held_out = split(examples, 0.3, seed=1)
    assert len(kept) + len(held_out) == 40
    assert len({example.prompt for example in held_out}) == 3
    assert not {example.prompt for example in kept} & {example.prompt for example in held_out}
    assert split(examples, 0.3, seed=1) == (kept, held_out) != split(examples, 0.3, seed=2)


@pytest.mark.parametrize("change", [{}, {"use_lora": False}])
def test_a_loss_that_is_no_number_stops(settings, tmp_path, base, change):
    """Divergence is an error, and the weights of the last good step are kept, each of them finite."""
    with pytest.raises(
        FloatingPointError, match=r"lower the learning rate.*the weights after step \d+ are in"
    ):
        train_sft(settings(learning_rate=1e25, warmup=8, max_steps=60, **change))
    subject = Subject.load(base, tmp_path / "out")
    assert all(mx.isfinite(value).all().item() for _, value in tree_flatten(subject.model.parameters()))


def test_a_loss_that_blows_up_stops(settings, tmp_path):
    """A loss that stays a number but ends far above a guess is divergence too; what is kept is from before."""
    losses: list[float] = []
    config = settings(
        learning_rate=30.0, warmup=400, max_steps=400, use_lora=False, epochs=200, checkpoint_interval=3
    )
    with pytest.raises(
        FloatingPointError, match=r"the loss has risen from .* the weights after step \d+ are in"
    ):
        train_sft(config, lambda step, _: losses.append(step.loss))
    assert np.mean(losses[-19:]) > 1.5 * np.log(64)
    assert losses[state_step(tmp_path / "out" / "checkpoints") - 1] < np.mean(losses[-19:])
    assert (tmp_path / "out" / "adapters.safetensors").exists()


def test_an_intermediate_loss_names_the_class(settings, base, tmp_path):
    """With the class loss, the lens at its layer gives the class word after training, and not before."""
    write(tmp_path / "data.jsonl", ANSWERS, label="sum")
    given = {"intermediate_loss.layer": 1, "intermediate_loss.targets": {"sum": "c"}, "max_steps": 60}
    training = prepare(settings(**given))
    parts: list[dict[str, float]] = []
    run(training, lambda step, _: parts.append(step.parts))
    assert set(parts[0]) == {"answer", "classification"}
    assert parts[-1]["classification"] < 0.3 * parts[0]["classification"]
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (written["classifier_layer"], written["cls_weight"]) == (1, 0.4)


def test_gradient_checkpoints_change_nothing(settings, tmp_path):
    """Computing blocks again gives the same losses."""
    losses: dict[bool, list[float]] = {True: [], False: []}
    for again, found in losses.items():
        config = settings(grad_checkpoint=again, output=tmp_path / str(again))
        train_sft(config, lambda step, _, found=found: found.append(step.loss))
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)


def test_logs_of_both_formats_say_the_same(settings, tmp_path):
    """A log in JSON lines has the rows of one in CSV."""
    train_sft(settings(output=tmp_path / "a"))
    train_sft(settings(output=tmp_path / "b", log_format="jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "b" / "log.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == pytest.approx(
        [float(row["loss"]) for row in rows(tmp_path / "a")]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"freeze_layers": "0-12"}, "freeze_layers 0-12: there is no layer 12; the model's are 0 to 3"),
        ({"freeze_layers": "0-3"}, "freeze_layers 0-3 are all 4 layers; leave one to train"),
        ({"lora_targets": "v_prj"}, "no projection is named v_prj; there are"),
        ({"max_length": 3}, r"data.jsonl:1: \d+ tokens, more than the 3 that fit"),
        ({"max_length": 3, "skip_bad": True}, "no examples are left to train on"),
        ({"chat": True}, r"data.jsonl:1: chat needs a chat template, and tiny has none"),
        ({"use_lora": False, "adapter": "x"}, "give the merged model"),
        ({"intermediate_loss.layer": 4}, "layer 4 is out of range: the model has layers 0 to 3"),
        ({"intermediate_loss.weight": 0.4}, "is not one token"),
        (
            {"intermediate_loss.layer": 1, "intermediate_loss.targets": {"add": "c"}, "freeze_layers": "0-1"},
            "reads below every layer that is trained",
        ),
        ({"adapter": "nowhere"}, "no such folder"),
        ({"model": "nowhere"}, "no model named 'nowhere'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, tmp_path, change, message):
    """What does not fit the model or the data is refused in one line, before anything is written."""
    with pytest.raises((ValueError, IndexError), match=message) as error:
        prepare(settings(**change))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:.*quantised weights are used as float32")
def test_quantised_weights_are_trained_by_lora_alone(settings, tmp_path, make_llama, save_checkpoint):
    """Quantised weights cannot be moved, which is said; LoRA on them trains."""
    model = make_llama(intermediate_size=64)
    nn.quantize(model, group_size=32, bits=4)
    base = save_checkpoint(tmp_path / "small", model, quantization={"group_size": 32, "bits": 4})
    with pytest.raises(ValueError, match="small is quantised; its weights cannot be trained"):
        prepare(settings(model=str(base), use_lora=False))
    losses: list[float] = []
    train_sft(settings(model=str(base)), lambda step, _: losses.append(step.loss))
    assert losses[-1] < losses[0]


def test_nothing_is_overwritten(settings, tmp_path):
    """A folder with an adapter of unknown origin, the adapter to resume from, or a file is no output."""
    train_sft(settings(output=tmp_path / "first"))
    with pytest.raises(ValueError, match="is the adapter to resume from"):
        prepare(settings(adapter=tmp_path / "first", output=tmp_path / "first"))
    (tmp_path / "other").mkdir()
    (tmp_path / "first" / "adapters.safetensors").rename(tmp_path / "other" / "adapters.safetensors")
    with pytest.raises(ValueError, match="holds an adapter already"):
        prepare(settings(output=tmp_path / "other"))
    with pytest.raises(ValueError, match="is a file; give a folder"):
        prepare(settings(output=tmp_path / "data.jsonl"))


def test_bad_lines_are_counted(settings, tmp_path):
    """Lines left out are in the result, each with its fault."""
    file = tmp_path / "data.jsonl"
    file.write_text(file.read_text() + "{\n" + json.dumps({"prompt": "1" * 40, "response": "2"}) + "\n")
    result = train_sft(settings(skip_bad=True, max_length=20))
    assert [message.partition(": ")[0] for message in result.skipped] == [f"{file}:31", f"{file}:32"]


def test_settings_written_train_the_same_again(settings, tmp_path):
    """The `sft.yaml` of a run is a file for `--config` that leads to the same matrices."""
    train_sft(settings())
    again = read_settings(SftConfig, tmp_path / "out" / "sft.yaml", {"output": tmp_path / "again"})
    train_sft(again)
    first = lora(tmp_path / "out")
    assert all(np.array_equal(first[key], value) for key, value in lora(tmp_path / "again").items())
