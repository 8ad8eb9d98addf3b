"""`circuit collect`: what it writes is what the model computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from lazarus_probe.cli import circuit
from lazarus_probe.hooks.trace import trace
from lazarus_probe.organisms import tokenizer
from lazarus_probe.subject.generate import greedy
from lazarus_probe.subject.subject import Subject
from lazarus_probe.training.pretraining import pretrain
from lazarus_probe.training.pretraining.checkpoint import save_checkpoint
from lazarus_probe.training.pretraining.recipe import Recipe

PROMPTS = ["7 * 8 = ", " the capital of France is", "7 * 8 =", "Once upon a time there was a king. "]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random checkpoint."""
    settings: dict[str, Any] = pretrain.read_recipe().model_dump()
    settings["model"] |= {"hidden_size": 32, "num_hidden_layers": 4, "intermediate_size": 48}
    vocabulary = tokenizer.build()
    random = pretrain.build_model(Recipe.model_validate(settings), vocabulary.get_vocab_size())
    folder = tmp_path_factory.mktemp("models") / "small"
    save_checkpoint(random, vocabulary, folder)
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    items: list[dict[str, Any]] = [
        {"text": text, "label": i % 2, "category": f"c{i}", "group": f"g{i % 2}"}
        for i, text in enumerate(PROMPTS)
    ]
    items[1]["expected_output"] = " 1"
    file = tmp_path / "prompts.json"
    names = {"0": "no", "1": "yes"}
    file.write_text(json.dumps({"name": "four", "label_names": names, "prompts": items}))
    return file


def collected(model: Path, dataset: Path, *options: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    output = dataset.with_name("found.safetensors")
    arguments = ["collect", "-m", str(model), "-d", str(dataset), "-o", str(output), *options]
    assert circuit.main(arguments) == 0
    return load_file(output), json.loads(output.with_suffix(".json").read_text())


def error_of(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    assert circuit.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.slow
def test_every_layer_at_the_last_position(model: Path, dataset: Path):
    """Each vector is the residual stream after its block at the prompt's last token, as `trace` has it."""
    found, _ = collected(model, dataset)
    subject = Subject.load(model)
    assert set(found) == {f"hidden_states.layer_{layer}" for layer in range(4)}
    for layer in range(4):
        values = found[f"hidden_states.layer_{layer}"]
        assert values.shape == (4, 32)
        assert values.dtype == np.float32
        for text, value in zip(PROMPTS, values, strict=True):
            expected = np.array(trace(subject, text, f"resid_post.{layer}")[f"resid_post.{layer}"])[0, -1]
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


def test_description(model: Path, dataset: Path):
    """The description holds the model's identity and each prompt with its label, unstripped and in order."""
    _, description = collected(model, dataset, "--layers", "0,2-3")
    subject = Subject.load(model)
    assert description == {
        "model_id": "small",
        "fingerprint": subject.fingerprint,
        "hidden_size": 32,
        "num_layers": 4,
        "num_samples": 4,
        "captured_layers": [0, 2, 3],
        "at": "last",
        "prompts": PROMPTS,
        "labels": [0, 1, 0, 1],
        "label_names": ["no", "yes", "no", "yes"],
        "categories": ["c0", "c1", "c2", "c3"],
        "expected_outputs": [None, " 1", None, None],
        "groups": ["g0", "g1", "g0", "g1"],
        "dataset_name": "four",
        "dataset_label_names": {"0": "no", "1": "yes"},
    }


@pytest.mark.parametrize(
    ("at", "pick"), [("mean", slice(1, None)), ("0", slice(0, 1)), ("-2", slice(-2, -1))]
)
def test_positions(model: Path, dataset: Path, at: str, pick: slice):
    """`--at` picks a position, or the mean over all but the beginning token."""
    found, description = collected(model, dataset, "--layers", "1", "--at", at)
    assert description["at"] == (at if at == "mean" else int(at))
    subject = Subject.load(model)
    for text, value in zip(PROMPTS, found["hidden_states.layer_1"], strict=True):
        whole = np.array(trace(subject, text, "resid_post.1")["resid_post.1"])[0]
        np.testing.assert_allclose(value, whole[pick].mean(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["prompts.txt", "list.json"])
def test_other_forms(model: Path, dataset: Path, name: str):
    """A list of texts and a text file with one a line give the same vectors, and no labels."""
    other = dataset.with_name(name)
    other.write_text(json.dumps(PROMPTS) if name.endswith(".json") else "\n".join(PROMPTS) + "\n")
    expected, _ = collected(model, dataset)
    found, description = collected(model, other)
    assert description["prompts"] == PROMPTS
    assert description["labels"] == [None] * 4
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)


def test_decision_layers(model: Path, dataset: Path):
    """`--layers decision` is half to three quarters of the depth, and -1 is the last."""
    assert collected(model, dataset, "--layers", "decision")[1]["captured_layers"] == [2, 3]
    assert collected(model, dataset, "--layers", "-1")[1]["captured_layers"] == [3]


def test_attention_and_generation(model: Path, dataset: Path):
    """`--attention` keeps what attention and MLP put out and patterns, `--generate` what the model says."""
    found, description = collected(model, dataset, "--layers", "1", "--attention", "--generate", "3")
    assert set(found) == {f"{kind}.layer_1" for kind in ("hidden_states", "attention", "mlp", "pattern")}
    assert found["attention.layer_1"].shape == found["mlp.layer_1"].shape == (4, 32)
    np.testing.assert_allclose(found["pattern.layer_1"].sum(axis=-1), 1.0, atol=1e-5)
    assert [len(tokens) > 2 for tokens in description["tokens"]] == [True] * 4
    subject = Subject.load(model)
    assert description["model_outputs"] == greedy(subject, PROMPTS, 3)


def test_collect_as_json(model: Path, dataset: Path, capsys: pytest.CaptureFixture[str]):
    """With `--json` standard output is JSON and nothing else."""
    collected(model, dataset, "--layers", "0", "--json")
    assert json.loads(capsys.readouterr().out)["captured_layers"] == [0]


def test_nothing_half_written(model: Path, dataset: Path, capsys: pytest.CaptureFixture[str]):
    """A collection that fails leaves no file, and one that succeeds leaves only its two."""
    output = dataset.with_name("found.safetensors")
    arguments = ["collect", "-m", str(model), "-d", str(dataset), "-o", str(output.with_suffix(""))]
    assert "position 50" in error_of(capsys, [*arguments, "--at", "50"])
    assert [path.name for path in dataset.parent.iterdir()] == ["prompts.json"]
    assert circuit.main(arguments) == 0
    names = sorted(path.name for path in dataset.parent.iterdir())
    assert names == ["found.json", "found.safetensors", "prompts.json"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--layers", "4"], "there is no layer 4; the model has 0 to 3"),
        (["--layers", "3-1"], "'3-1' is not a layer or range"),
        (["--layers", ""], "'' is not a layer or range"),
        (["--attention", "--at", "mean"], "give --at last or a number, not mean"),
        (["--at", "middle"], "--at middle is unknown; give last, mean or a number"),
        (["-o", "found.npz"], "ends in .npz"),
        (["-o", "/dev/null/found"], "/dev/null is a file; give another place"),
        (["-d", "/no/such.json"], "/no/such.json: No such file"),
        (["-m", "golem"], "no model named 'golem'"),
    ],
)
def test_errors(
    model: Path, dataset: Path, options: list[str], named: str, capsys: pytest.CaptureFixture[str]
):
    """What was wrong is named in one line, with exit code 2."""
    output = str(dataset.with_name("found"))
    assert named in error_of(
        capsys, ["collect", "-m", str(model), "-d", str(dataset), "-o", output, *options]
    )


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("p.json", "{", "is not JSON"),
        ("p.json", '{"texts": ["a"]}', "has no list of prompts"),
        ("p.json", '{"prompts": []}', "holds no prompts"),
        ("p.json", '["a", ""]', "prompt 1 has the text ''"),
        ("p.json", '[{"prompt": "a"}]', "prompt 0 has the text None"),
        ("p.json", '[{"text": "a", "label": [1]}]', "prompt 0 has the label [1]"),
        ("p.json", '[{"text": "a", "group": {}}]', "prompt 0 has the group {}"),
        ("p.json", '["\\ud800"]', "a lone surrogate, as in"),
        ("p.txt", "", "holds no prompts"),
        ("p.txt", "a\n\nb\n", "prompt 1 has the text ''"),
    ],
)
def test_bad_datasets(
    model: Path, tmp_path: Path, name: str, text: str, named: str, capsys: pytest.CaptureFixture[str]
):
    """A file that holds no usable prompts is refused before a model is loaded."""
    (tmp_path / name).write_text(text)
    arguments = ["collect", "-m", str(model), "-d", str(tmp_path / name), "-o", str(tmp_path / "found")]
    assert named in error_of(capsys, arguments)
