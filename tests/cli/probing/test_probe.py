"""`lazarus introspect probe`: layers, direction and tests of two classes, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.hooks import collect
from lazarus_probe.introspection.directions.direction_file import read_direction
from lazarus_probe.sites import resid_post
from lazarus_probe.subject import Subject

A = [f"{a} * {a + 2} = " for a in range(3, 9)]
B = [f"{a} + {a + 2} = " for a in range(13, 19)]


def command(*more: str, model: str = "organism") -> list[str]:
    """The command line for products against sums."""
    return ["introspect", "probe", "-m", model, "--class-a", "|".join(A), "--class-b", "|".join(B), *more]


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One call with a direction and a file."""
    folder = tmp_path_factory.mktemp("probe")
    more = ("--label-a", "times", "--label-b", "plus", "--layers", "1,4", "-t", "11 * 12 = |25 + 17 = ")
    assert main(command(*more, "--save-direction", f"{folder}/d.npz", "-o", f"{folder}/p.json")) == 0
    return folder, json.loads((folder / "p.json").read_text())


def test_the_data_has_the_published_keys(probed: tuple[Path, dict[str, Any]]) -> None:
    """The published keys come first, then n, interval, controls and seed."""
    _, data = probed
    assert list(data)[:12] == [
        "model_id",
        "class_a_label",
        "class_b_label",
        "num_class_a",
        "num_class_b",
        "best_layer",
        "best_accuracy",
        "layer_results",
        "direction_norm",
        "top_neurons",
        "method",
        "separation",
    ]
    assert (data["class_a_label"], data["class_b_label"], data["num_class_a"]) == ("times", "plus", 6)
    assert {each["layer"] for each in data["layer_results"]} == {1, 4}
    assert {"majority", "bag_of_tokens", "untrained", "shuffled_labels"} <= {
        each["name"] for each in data["measurement"]["controls"]
    }
    assert len(data["top_neurons"]) == 10
    assert [each["prompt"] for each in data["test_predictions"]] == ["11 * 12 = ", "25 + 17 = "]


def test_the_direction_points_from_b_to_a(probed: tuple[Path, dict[str, Any]], organism: Subject) -> None:
    """The saved direction is of the best layer and takes the mean of class b to that of class a, seen along it."""
    folder, data = probed
    saved = read_direction(folder / "d.npz")
    assert (saved.layer, saved.label_positive, saved.label_negative) == (data["best_layer"], "times", "plus")
    assert (saved.accuracy, saved.separation) == (data["direction_accuracy"], data["separation"])
    site = resid_post(saved.layer)
    means = [collect(organism, prompts, [site])[site].mean(0) for prompts in (A, B)]
    assert (means[0] - means[1]) @ saved.unit == pytest.approx(data["direction_norm"], rel=1e-3)
    assert saved.extra["class_a_mean_projection"] == pytest.approx(float(means[0] @ saved.unit), rel=1e-3)


def test_method_and_layer_change_the_direction(
    tmp_path: Path, organism: Subject, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--method difference --layer 3` saves the difference of means there, and the text says so."""
    path = tmp_path / "new" / "d.json"
    assert (
        main(
            command("--layer", "3", "--layers", "3", "--method", "difference", "--save-direction", str(path))
        )
        == 0
    )
    shown = capsys.readouterr().out
    saved = read_direction(path)
    site = resid_post(3)
    means = [collect(organism, prompts, [site])[site].mean(0) for prompts in (A, B)]
    assert np.allclose(saved.vector, means[0] - means[1], atol=1e-3)
    assert "Direction at L3 (difference_of_means), from class_b to class_a" in shown
    assert "Held-out accuracy, at L3" in shown
    assert f"Direction saved to: {path}" in shown


@pytest.mark.slow
def test_labels_without_meaning_show_nothing_in_an_untrained_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Sums dealt to two classes by chance are not found in a model that learned nothing."""
    rng = np.random.default_rng(5)
    texts = [f"{a} + {b} = " for a, b in rng.permutation(40)[:32].reshape(16, 2)]
    given = ["--class-a", "|".join(texts[:8]), "--class-b", "|".join(texts[8:])]
    assert main(["introspect", "probe", "-m", "organism-untrained", *given, "--layers", "0,5", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["verdict"]["outcome"] != "supported"
    assert data["measurement"]["p"] > 0.05


BAD: dict[str, tuple[list[str], str]] = {
    "one prompt": (
        ["introspect", "probe", "-m", "organism", "--class-a", "x", "--class-b", "y|z"],
        "class 'class_a' has 1 distinct prompt; each needs at least 2",
    ),
    "a label": (command("--label-a", "same", "--label-b", "same"), "both 'same'"),
    "method": (command("--method", "pca"), "'pca'"),
    "suffix": (command("--save-direction", "d.txt"), "ends in .npz or .json"),
    "folder": (command("--save-direction", f"{__file__}/d.npz"), "test_probe.py is a file"),
    "layer": (command("--layer", "8"), "--layer 8: there is no layer 8"),
    "both": (
        ["introspect", "probe", "-m", "organism", "--class-a", "x|y", "--class-b", "y|z"],
        "prompt 'y' is in class 'class_a' and 'class_b'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_input_is_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong, and what would be right, in one line and exit code 2."""
    arguments, reason = BAD[case]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert reason in captured.err
    assert captured.err.count("\n") == 1
