"""The pipeline of `circuit`, command by command, on the organism and on an untrained model."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from lazarus_probe.cli import circuit
from lazarus_probe.cli.lazarus import main as lazarus
from lazarus_probe.introspection.directions.direction_file import read_direction

Capsys = pytest.CaptureFixture[str]
LENS = ["visualize", "-a", "{}/a", "-o", "{}/x", "--logits", "-m", "organism"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, and what the organism and an untrained model compute on it."""
    at = tmp_path_factory.mktemp("circuit")
    create = ["dataset", "create", "-o", str(at / "prompts.json"), "--per-tool", "12", "--no-tool", "24"]
    assert circuit.main(create) == 0
    for model, name, more in (("organism", "a", ["--attention"]), ("organism-untrained", "u", [])):
        options = ["-d", str(at / "prompts.json"), "-o", str(at / name), "--layers", "0,5", *more]
        assert circuit.main(["collect", "-m", model, *options]) == 0
    return at


def run(capsys: Capsys, *arguments: str | Path) -> str:
    capsys.readouterr()
    assert circuit.main([str(each) for each in arguments]) == 0
    return capsys.readouterr().out


def data(capsys: Capsys, *arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(capsys, *arguments, "--json"))
    return found


def test_pipeline(folder: Path, tmp_path: Path, capsys: Capsys):
    """The published pipeline runs as written, and one can steer along what it found."""
    activations = folder / "a.safetensors"
    text = run(capsys, "analyze", "-a", activations, "--layer", "5")
    assert "Label probe (2 classes, 60 prompts" in text
    assert "bag_of_words" in text
    run(capsys, "directions", "-a", activations, "--layer", "5", "-o", tmp_path / "directions")
    assert read_direction(tmp_path / "directions.npz").layer == 5
    text = run(capsys, "visualize", "-a", activations, "--all", "--layer", "5", "-o", f"{tmp_path}/plots/")
    for name in ("pca_layer5.png", "probe_accuracy.png", "attention_heatmap_layer5.png"):
        assert imread(tmp_path / "plots" / name)[..., :3].std() > 0.02
    assert "left out: logits: the lens reads a run of the model" in text
    steer = [
        "introspect",
        "steer",
        "-m",
        "organism",
        "-p",
        "7 * 8 = ",
        "-d",
        str(tmp_path / "directions.npz"),
    ]
    assert lazarus([*steer, "-n", "2"]) == 0


def test_show(folder: Path, tmp_path: Path, capsys: Capsys):
    """`dataset show` counts labels, categories, templates and duplicates, and shows as many samples as asked."""
    found = data(capsys, "dataset", "show", folder / "prompts.json", "--samples", "3")
    assert found["labels"] == {"tool": 36, "no_tool": 24}
    assert found["categories"] == {"weather": 12, "time": 12, "flights": 12, "none": 24}
    assert sum(found["templates"].values()) == 60
    assert (len(found["samples"]), found["duplicates"]) == (3, {})
    (tmp_path / "p.txt").write_text("a\nb\na\n")
    assert data(capsys, "dataset", "show", tmp_path / "p.txt")["duplicates"] == {"a": 2}
    assert "Duplicates: 1" in run(capsys, "dataset", "show", tmp_path / "p.txt")
    assert "By category" in run(capsys, "dataset", "show", folder / "prompts.json")


def test_create(tmp_path: Path, capsys: Capsys):
    """Each option of `dataset create` changes the set."""
    made = {}
    for name, more in {
        "default": [],
        "tools": ["--per-tool", "7"],
        "none": ["--no-tool", "12"],
        "edges": ["--no-edge-cases"],
        "seed": ["--seed", "1"],
    }.items():
        run(capsys, "dataset", "create", "-o", tmp_path / "p.json", *more)
        made[name] = json.loads((tmp_path / "p.json").read_text())
    assert set(made["default"]) == {
        "name", "version", "label_names", "metadata", "prompts", "contrastive_pairs"
    }  # fmt: skip
    assert [len(each["prompts"]) for each in made.values()] == [175, 121, 87, 175, 175]
    texts = [{each["text"] for each in one["prompts"]} for one in made.values()]
    assert len({frozenset(each) for each in texts}) == 5


def test_analyze(folder: Path, tmp_path: Path, capsys: Capsys):
    """`analyze` takes one layer, several or all, and saves the published keys."""
    activations = folder / "a.safetensors"
    found = data(capsys, "analyze", "-a", activations, "-o", tmp_path / "f.json", "--seed", "3")
    assert list(found["layers"]) == ["0", "5"]
    assert json.loads((tmp_path / "f.json").read_text()) == found
    assert found["about"]["seed"] == 3
    assert list(data(capsys, "analyze", "-a", activations, "--layers", "0")["layers"]) == ["0"]


def test_nothing_in_an_untrained_model(folder: Path, capsys: Capsys):
    """On an untrained model neither probes nor directions are beyond their controls."""
    text = run(capsys, "analyze", "-a", folder / "u.safetensors")
    assert text.count("Beyond the controls: no layer") == 2
    text = run(capsys, "directions", "-a", folder / "u.safetensors")
    assert "prompts' words: no layer" in text


@pytest.mark.slow
def test_directions(folder: Path, tmp_path: Path, capsys: Capsys):
    """Methods give other directions; `--per-tool` one a tool, each in a file to steer along."""
    out, activations = tmp_path / "d", folder / "a.safetensors"
    vectors = {}
    for method in ("diff_means", "lda"):
        run(capsys, "directions", "-a", activations, "--layer", "0", "--method", method, "-o", out)
        vectors[method] = read_direction(out.with_suffix(".npz")).unit
    assert abs(float(vectors["diff_means"] @ vectors["lda"])) < 0.99
    found = data(capsys, "directions", "-a", activations, "--layer", "5", "--per-tool", "-o", out)
    assert {"name", "model_id", "positive_label", "negative_label", "directions"} < set(found)
    published = {"name", "layer", "method", "norm", "separation_score", "accuracy"}
    assert published < set(found["directions"]["5"])
    assert set(found["per_tool"]) == {"weather", "time", "flights"}
    with np.load(out.with_suffix(".npz"), allow_pickle=False) as file:
        assert "layer_5" in file
    assert read_direction(tmp_path / "d_time.npz").label_positive == "time"
    assert json.loads(out.with_suffix(".json").read_text()) == found


@pytest.mark.slow
def test_visualize(folder: Path, tmp_path: Path, capsys: Capsys):
    """Each flag draws its pictures; a model and a prompt give the lens and whole attention patterns."""
    options = ["visualize", "-a", folder / "a.safetensors", "-o", tmp_path]
    assert [Path(each).name for each in data(capsys, *options, "--pca")["files"]] == [
        "pca_layer0.png",
        "pca_layer5.png",
    ]
    probes = data(capsys, *options, "--probes", "--layer", "5")["files"]
    assert [Path(each).name for each in probes] == ["probe_accuracy.png"]
    assert imread(tmp_path / "probe_accuracy.png")[..., :3].std() > 0.02
    run(capsys, *options, "--attention", "--layer", "0")
    first = imread(tmp_path / "attention_heatmap_layer0.png")
    other = json.loads((folder / "a.json").read_text())["prompts"][1]
    run(capsys, *options, "--attention", "--layer", "0", "-p", other)
    assert imread(tmp_path / "attention_heatmap_layer0.png").tobytes() != first.tobytes()
    run(capsys, *options, "--attention", "--logits", "--layers", "5", "-m", "organism", "-p", "7 * 8 = ")
    assert imread(tmp_path / "attention_heatmap_layer5.png").shape[1] > 800
    assert imread(tmp_path / "logit_evolution.png")[..., :3].std() > 0.02


def test_probes_without_models(tmp_path: Path, capsys: Capsys):
    """`probes run` takes the sets that `probes init` wrote; without control models it says nothing of emergence."""
    run(capsys, "probes", "init", "-o", tmp_path / "sets.json", "--datasets", "question")
    few = ["probes", "run", "-m", "organism", "--datasets", tmp_path / "sets.json", "--no-stratigraphy"]
    found = data(capsys, *few, "--layers", "0,7", "-o", tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text()) == found
    assert (found["model_id"], found["num_layers"]) == ("organism", 8)
    assert list(found["probes"]["question"]) == ["0", "7"]
    assert "emergence" not in found


@pytest.mark.slow
def test_probes(tmp_path: Path, capsys: Capsys):
    """`probes init` writes sets to edit and `probes run` takes them back; each option changes what comes out."""
    run(capsys, "probes", "init", "-o", tmp_path, "--category", "grammar")
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["imperative.yaml", "question.yaml"]
    run(capsys, "probes", "init", "-o", tmp_path / "sets.json", "--datasets", "question")
    few = ["probes", "run", "-m", "organism", "--datasets", tmp_path / "sets.json"]
    found = data(capsys, *few, "--layers", "6", "--threshold", "0.5", "-o", tmp_path / "s.json")
    assert (found["model_id"], found["num_layers"], found["threshold"]) == ("organism", 8, 0.5)
    assert list(found["probes"]) == list(found["emergence"]) == ["question"]
    published = {"accuracy", "cv_std", "baseline", "above_chance", "n_samples"}
    assert published < set(found["probes"]["question"]["6"])
    assert json.loads((tmp_path / "s.json").read_text()) == found
    quick = data(capsys, *few, "--no-stratigraphy", "--layers", "0,7")
    assert "emergence" not in quick
    assert list(quick["probes"]["question"]) == ["0", "7"]
    text = run(capsys, *few, "--layers", "6", "--threshold", "1")
    assert "accuracy of at least 1 (by --threshold; 0.75 is declared), beyond every control" in text
    assert "not: question: best " in text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["dataset", "create", "-o", "{}/p.txt"], "ends in .json"),
        (["dataset", "create", "-o", "{}/p.json", "--per-tool", "401"], "there are 400 different ones"),
        (["dataset", "show", "{}/none.json"], "No such file"),
        (["analyze", "-a", "{}/none"], "none.safetensors: No such file"),
        (["analyze", "-a", "."], "give the file that `circuit collect` wrote"),
        (["directions", "-a", "{}/a", "-o", "."], "give a name in it"),
        (["collect", "-m", "organism", "-d", "{}/prompts.json", "-o", "."], "give a name in it"),
        (["analyze", "-a", "{}/a", "--layer", "8"], "there is no layer 8; the model has 0 to 7"),
        (["analyze", "-a", "{}/a", "--layer", "3"], "layer 3 was not collected; the file has 0, 5"),
        (["analyze", "-a", "{}/a", "--layer", "0", "--layers", "0"], "give one of the two"),
        (["analyze", "-a", "{}/a", "-o", "{}"], "is a folder"),
        (["directions", "-a", "{}/a", "--method", "svm"], "'svm' is not one of"),
        (["directions", "-a", "{}/a", "-o", "{}/a.json/d"], "a.json is a file"),
        (["visualize", "-a", "{}/a", "-o", "{}/x"], "nothing to draw; give --all"),
        (["visualize", "-a", "{}/a", "-o", "{}/x", "--logits"], "--logits needs --model and --prompt"),
        (["visualize", "-a", "{}/a", "-o", "{}/x", "--pca", "-m", "organism"], "belong together"),
        (
            ["visualize", "-a", "{}/a", "-o", "{}/x", "--attention", "-p", "no"],
            "'no' is not one of the file's",
        ),
        (["visualize", "-a", "{}/u", "-o", "{}/x", "--attention"], "the file holds no attention"),
        (["visualize", "-a", "{}/a", "-o", "{}/x", "--pca", "--adapter", "y"], "--adapter needs --model"),
        (["visualize", "-a", "{}/a", "-o", "{}/a.json", "--pca"], "a.json"),
        ([*LENS, "-p", ""], "--prompt is empty"),
        ([*LENS, "-p", "\ud800"], "--prompt '\\ud800' is not valid Unicode"),
        ([*LENS, "--attention", "-p", "a " * 300], "tokens; attention is drawn of at most 256"),
        (["probes", "run", "-m", "organism", "--datasets", "moods"], "no probe set 'moods'"),
        (["probes", "run", "-m", "organism", "--datasets", "intent,intent"], "intent is there twice"),
        (["probes", "run", "-m", "organism", "--category", "x"], "give one of grammar, meaning, tools"),
        (["probes", "run", "-m", "organism", "--layers", "9"], "there is no layer 9"),
        (["probes", "run", "-m", "organism", "--threshold", "2"], "--threshold"),
        (["probes", "init", "-o", "{}/a.txt"], "ending in .yaml or .json"),
        (["probes", "sing"], "No such command 'sing'"),
    ],
)
def test_errors(folder: Path, arguments: list[str], named: str, capsys: Capsys):
    """What was wrong is named in one line, with exit code 2."""
    assert circuit.main([each.replace("{}", str(folder)) for each in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert named in error
    assert error.count("\n") == 1


def test_umap_left_out(folder: Path, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch):
    """Without umap-learn `--umap` is an error that names the extra, and `--all` goes on without."""
    monkeypatch.setitem(sys.modules, "umap", None)
    options = ["-a", str(folder / "u"), "--layer", "5"]
    for command in (["analyze", *options], ["visualize", *options, "-o", str(tmp_path)]):
        assert circuit.main([*command, "--umap"]) == 2
        assert "pip install 'lazarus_probe[umap]'" in capsys.readouterr().err
    found = data(capsys, "visualize", *options, "-o", tmp_path, "--all")
    assert "lazarus_probe[umap]" in found["left_out"]["umap"]


@pytest.mark.parametrize("name", list(circuit.COMMANDS))
def test_lines_of_help(name: str):
    """What the group's help says of a command is the first line of the command's own."""
    module, line = circuit.COMMANDS[name]
    found = getattr(import_module(f"lazarus_probe.cli.{module}"), name)
    assert line == (found.info.help if hasattr(found, "info") else found.__doc__).splitlines()[0]


def test_help_is_light():
    """The help of a command imports nothing that computes."""
    code = (
        "import sys; from lazarus_probe.cli.circuit import main; main(['probes', 'run', '--help']); "
        "main(['visualize', '--help']); main(['directions', '--help']); "
        "sys.exit(', '.join({'mlx', 'numpy', 'sklearn', 'scipy', 'matplotlib', 'yaml'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "--no-stratigraphy" in result.stdout
