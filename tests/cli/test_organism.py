"""`lazarus`: training that can be interrupted, scores, and errors in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lazarus_probe.cli import lazarus
from lazarus_probe.training.pretraining.recipe import RECIPE, read_recipe
from lazarus_probe.training.state import state_step

TINY = {"steps": 6, "early_step": 2, "batch_size": 4, "pool": 2, "warmup": 2, "checkpoint_every": 2}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}


def write_recipe(file: Path, **changes: object) -> Path:
    settings = yaml.safe_load(RECIPE.read_text())
    settings["model"] |= SMALL
    file.write_text(yaml.safe_dump(settings | TINY | changes))
    return file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished `lazarus organism train`."""
    folder = tmp_path_factory.mktemp("cli")
    recipe = write_recipe(folder / "tiny.yaml")
    assert lazarus.main(["organism", "train", "--recipe", str(recipe), "--output", str(folder / "run")]) == 0
    return folder / "run"


def one_line_error(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    assert lazarus.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_train_leaves_models_log_and_curve(trained: Path):
    """A run leaves both models, its log with a row a step, its recipe and the loss curve."""
    assert (trained / "organism" / "model.safetensors").is_file()
    assert (trained / "organism-early" / "model.safetensors").is_file()
    assert len((trained / "log.csv").read_text().splitlines()) == 1 + TINY["steps"]
    assert (trained / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_interrupted_run_goes_on(tmp_path: Path):
    """A run stopped by an interrupt says where it goes on, goes on there, and ends with the same weights."""
    recipe = write_recipe(tmp_path / "tiny.yaml", steps=150, checkpoint_every=10)
    output, unbroken = tmp_path / "run", tmp_path / "unbroken"
    command = [sys.executable, "-m", "lazarus_probe.cli.lazarus", "organism", "train"]
    command += ["--recipe", str(recipe), "--output"]
    step = interrupted([*command, str(output)], output)
    second = subprocess.run([*command, str(output)], capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert f"resuming after step {step} of 150" in second.stdout
    subprocess.run([*command, str(unbroken)], capture_output=True, check=True)
    weights = [(folder / "organism" / "model.safetensors").read_bytes() for folder in (output, unbroken)]
    assert weights[0] == weights[1]


def test_an_interrupt_between_two_steps_loses_nothing(trained: Path, tmp_path: Path, interrupt_after, capsys):
    """Interrupted at a step, the command names the last checkpoint, goes on there and ends as an unbroken run does."""
    recipe, output = write_recipe(tmp_path / "tiny.yaml"), tmp_path / "run"
    command = ["organism", "train", "--recipe", str(recipe), "--output", str(output)]
    with interrupt_after(3):
        assert lazarus.main(command) == 130
    assert capsys.readouterr().err.endswith("interrupted: the same command resumes after step 2\n")
    assert lazarus.main(command) == 0
    assert "resuming after step 2 of 6" in capsys.readouterr().out
    weights = [(folder / "organism" / "model.safetensors").read_bytes() for folder in (output, trained)]
    assert weights[0] == weights[1]


def interrupted(command: list[str], output: Path) -> int:
    """Run a training until it has a checkpoint, interrupt it, and return the step it says it goes on after."""
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (output / "state.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    step = state_step(output)
    assert 0 < step < 150
    assert said.endswith(f"interrupted: the same command resumes after step {step}\n")
    return step


@pytest.mark.slow
def test_steps_replace_the_recipes(tmp_path: Path):
    """`--steps` trains so many steps, and the recipe that is kept says so."""
    recipe = write_recipe(tmp_path / "tiny.yaml")
    arguments = [
        "organism",
        "train",
        "--recipe",
        str(recipe),
        "--output",
        str(tmp_path / "run"),
        "--steps",
        "3",
    ]
    assert lazarus.main(arguments) == 0
    assert read_recipe(tmp_path / "run" / "recipe.yaml").steps == 3
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 4


def test_evaluate_writes_scores_and_card(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Scores are printed, written as JSON, and put on a card that names the recipe's own steps."""
    model, output = trained / "organism", tmp_path / "scores.json"
    assert (
        lazarus.main(["organism", "evaluate", str(model), "--limit", "3", "--output", str(output), "--card"])
        == 0
    )
    written = json.loads(output.read_text())
    assert {row["n"] for row in written["scores"]} == {3}
    assert {row["correct"] for row in written["scores"]} == {0}
    card = (model / "README.md").read_text()
    assert card.count("| 0 / 3 | 0.000 |") == len(written["scores"])
    assert "\n6 steps of AdamW at batch 4" in card
    assert "2 layers of width 32" in card
    assert "0 / 3" in capsys.readouterr().out
    (model / "README.md").unlink()


def test_card_needs_the_recipe(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A model whose recipe is not beside it, or is another's, gets no card."""
    (tmp_path / "alone").symlink_to(trained / "organism")
    (tmp_path / "copy").mkdir()
    for file in (trained / "organism").iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    evaluate = ["organism", "evaluate", "--card", "--limit", "1"]
    assert "recipe.yaml is missing" in one_line_error(capsys, [*evaluate, str(tmp_path / "copy")])
    (tmp_path / "recipe.yaml").write_text(RECIPE.read_text())
    assert "its hidden_size is 32, not 128" in one_line_error(capsys, [*evaluate, str(tmp_path / "copy")])
    assert "has no folder" in one_line_error(capsys, [*evaluate, "organism-untrained"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["organism", "tran"], "No such command 'tran'"),
        (["organism", "train", "--step", "3"], "--step"),
        (["organism", "train", "--steps", "0"], "--steps"),
        (["organism", "train", "--recipe", "/no/such.yaml"], "/no/such.yaml: No such file"),
        (["organism", "evaluate", "golem"], "no model named 'golem': bundled are"),
        (["organism", "evaluate", "--output", "/dev/null/scores.json"], "/dev/null is a file"),
    ],
)
def test_errors_are_one_line(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]):
    """What was wrong is named in one line, with exit code 2."""
    assert named in one_line_error(capsys, arguments)


def test_bad_recipe_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A setting that no recipe has is named, with those that it has."""
    recipe = write_recipe(tmp_path / "tiny.yaml", optimiser="lion")
    error = one_line_error(
        capsys, ["organism", "train", "--recipe", str(recipe), "--output", str(tmp_path / "run")]
    )
    assert "optimiser is not a setting of a recipe; give one of seed, model, steps" in error
    assert not (tmp_path / "run").exists()


def test_finished_run_is_refused(trained: Path, capsys: pytest.CaptureFixture[str]):
    """Training into a finished run is refused, and its models stay."""
    recipe = trained.parent / "tiny.yaml"
    before = (trained / "organism" / "model.safetensors").read_bytes()
    error = one_line_error(capsys, ["organism", "train", "--recipe", str(recipe), "--output", str(trained)])
    assert "exists: train into another folder" in error
    assert (trained / "organism" / "model.safetensors").read_bytes() == before


def test_version(capsys: pytest.CaptureFixture[str]):
    """`--version` prints the package's name and version."""
    assert lazarus.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lazarus_probe ")


def test_backend(capsys: pytest.CaptureFixture[str]):
    """`backend` says the device, the BLAS, both speeds and their ratio."""
    assert lazarus.main(["backend"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["device", "BLAS", "mlx", "NumPy", "ratio"]
    ours, numpys, ratio = (float(line.split()[1]) for line in lines[2:])
    assert ratio == pytest.approx(ours / numpys, abs=0.02 + 0.2 / numpys)


@pytest.mark.parametrize("module", ["lazarus", "circuit"])
def test_help_imports_nothing_heavy(module: str):
    """Help answers without importing what models need, so that it answers at once."""
    code = (
        f"import sys; from lazarus_probe.cli.{module} import main; code = main(['--help']); "
        "heavy = {'mlx', 'transformers', 'sklearn', 'scipy', 'numpy', 'matplotlib'} & set(sys.modules); "
        "sys.exit(code or ', '.join(heavy) or None)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert found.returncode == 0, found.stderr
    assert "Usage" in found.stdout
