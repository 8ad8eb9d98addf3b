"""`lazarus introspect neurons`: maps, discovery and steering, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.hooks import collect
from lazarus_probe.introspection.directions.direction_file import Direction, write_direction
from lazarus_probe.sites import neurons, resid_post
from lazarus_probe.subject import Subject
from lazarus_probe.training.lora.adapter import save_lora_weights
from lazarus_probe.training.lora.lora import attached

PROMPTS = ["7 * 8 = ", "12 * 5 = ", "3 * 4 = ", "23 + 45 = ", "17 + 38 = ", "2 + 2 = "]
LABELS = "times|times|times|plus|plus|plus"


def command(*more: str, prompts: str = "|".join(PROMPTS), model: str = "organism") -> list[str]:
    """The command line for these prompts."""
    return ["introspect", "neurons", "-m", model, "-p", prompts, *more]


def data_of(capsys: pytest.CaptureFixture[str], *more: str, **options: str) -> dict[str, Any]:
    """What a command prints with --json."""
    assert main(command(*more, "--json", **options)) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """A direction at layer 4 of which neuron 9 has the largest weight."""
    vector = np.zeros(128, np.float32)
    vector[[3, 9, 5]] = [1.0, -2.0, 0.5]
    write_direction(tmp_path / "d.npz", Direction(vector, 4, "push"))
    return f"{tmp_path}/d.npz"


def test_the_map_has_a_row_a_prompt(organism: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    """The text has each prompt's activations under the neurons' names, as the plain forward has them."""
    assert main(command("--layer", "5", "-n", "3,17-18", "--neuron-names", "a|b|c")) == 0
    lines = capsys.readouterr().out.splitlines()
    values = collect(organism, PROMPTS, [resid_post(5)])[resid_post(5)][:, [3, 17, 18]]
    assert "Prompt                     a          b          c" in lines
    for prompt, row in zip(PROMPTS, values, strict=True):
        line = next(each for each in lines if each.startswith(repr(prompt)))
        assert line.split()[-3:] == [f"{value:+.3f}" for value in row]


def test_the_data_has_the_published_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The published keys come first; the activations are (prompts, neurons) a layer."""
    data = data_of(capsys, "--layers", "2,5", "-n", "3,17", "-o", f"{tmp_path}/n.json")
    assert json.loads((tmp_path / "n.json").read_text()) == data
    assert list(data)[:9] == [
        "model_id",
        "layers",
        "neurons",
        "neuron_names",
        "prompts",
        "labels",
        "by_layer",
        "neuron_weights",
        "auto_discovered",
    ]
    assert set(data["by_layer"]["2"][0]) >= {
        "neuron_idx",
        "min_val",
        "max_val",
        "mean_val",
        "std_val",
        "weight",
    }
    assert np.shape(data["activations"]["5"]) == (6, 2)
    assert data["verdict"] is None


def test_the_site_may_be_the_mlp(organism: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    """`--site neurons` reads MLP activations instead of residual coordinates."""
    data = data_of(capsys, "--layer", "2", "-n", "7", "--site", "neurons")
    values = collect(organism, PROMPTS, [neurons(2)])[neurons(2)][:, [7]]
    assert np.allclose(data["activations"]["2"], values, atol=1e-4)


def test_a_direction_names_its_largest_weights(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--from-direction` takes the neurons of the largest weights, at its layer, as many as --top-k."""
    data = data_of(capsys, "--from-direction", saved, "--top-k", "2")
    assert (data["neurons"], data["layers"]) == ([9, 3], [4])
    assert data["neuron_weights"] == {"9": -2.0, "3": 1.0}
    assert data["by_layer"]["4"][0]["weight"] == -2


def test_steering_moves_the_map(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--steer FILE:c` and `--strength c` add c times the direction; both maps are in the data."""
    for more in (("--steer", f"{saved}:3"), ("--steer", saved, "--strength", "3")):
        data = data_of(capsys, "--layer", "4", "-n", "9", *more)
        moved = np.subtract(data["activations"]["4"], data["unsteered"]["4"])
        assert np.allclose(moved, -6, atol=1e-3)
        assert data["steer"] == {"direction": "push", "layer": 4, "coefficient": 3.0}
    assert main(command("--layer", "4", "-n", "9", "--steer", saved)) == 0
    assert "Steered: 1 times 'push' added after layer 4" in capsys.readouterr().out


def test_discovery_says_how_little_six_prompts_tell(capsys: pytest.CaptureFixture[str]) -> None:
    """The best of all neurons are listed with corrected p, and with six prompts nothing is found."""
    assert main(command("--layers", "2,5", "--auto-discover", "--labels", LABELS, "--top-k", "3")) == 0
    shown = capsys.readouterr().out
    assert "the best of 256 reaches" in shown
    assert "p cannot fall below 0.1: nothing can be found" in shown
    assert "Verdict: inconclusive" in shown


@pytest.mark.slow
def test_arbitrary_labels_show_nothing_in_an_untrained_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Labels dealt by chance are no finding; the search and its null are in the data, and groups count."""
    texts = "|".join(f"{a} + {a * 7 % 40} = " for a in range(2, 22))
    labels = "|".join(np.random.default_rng(2).permutation(["x", "y"] * 10))
    found = data_of(
        capsys, "-l", "3", "--auto-discover", "--labels", labels, prompts=texts, model="organism-untrained"
    )
    assert found["verdict"]["outcome"] != "supported"
    assert found["null"]["held_out"]["p"] > 0.05
    assert (len(found["neurons"]), found["auto_discovered"]) == (10, True)
    groups = "|".join(f"g{a // 2}" for a in range(20))
    more = ("-l", "3", "-n", "3", "--labels", labels, "--groups", groups)
    grouped = data_of(capsys, *more, prompts=texts, model="organism-untrained")
    assert grouped["null"]["searched"] == 1
    assert grouped["null"]["held_out"]["groups"] == 10


@pytest.fixture(scope="module")
def adapter(organism: Subject, tmp_path_factory: pytest.TempPathFactory) -> str:
    """LoRA that changes what every layer's attention says."""
    folder = tmp_path_factory.mktemp("adapters") / "trained"
    with attached(organism, ["o_proj"], rank=2) as model:
        for layer in model.layers:
            layer.self_attn.o_proj.lora_b = layer.self_attn.o_proj.lora_b + 0.05
        save_lora_weights(organism, folder, {"model": "organism"})
    return str(folder)


@pytest.mark.slow
def test_an_adapter_is_looked_at(adapter: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --adapter the map, and the probes of both commands, are of the adapted model."""
    plain, adapted = (data_of(capsys, "-l", "4", "-n", "9", *more) for more in ((), ("-a", adapter)))
    assert np.abs(np.subtract(plain["activations"]["4"], adapted["activations"]["4"])).max() > 1e-3
    classes = ["--class-a", "|".join(PROMPTS[:3]), "--class-b", "|".join(PROMPTS[3:])]
    of_probe = ["introspect", "probe", "-m", "organism", *classes, "--layers", "4", "--json"]
    of_classes = [f"--classes=a:{classes[1]}", f"--classes=b:{classes[3]}", "--layers", "4", "--json"]
    of_classifier = ["introspect", "classifier", "-m", "organism", *of_classes]
    for arguments in (of_probe, of_classifier):
        assert main([*arguments, "-a", adapter]) == 0
        assert json.loads(capsys.readouterr().out)["about"]["model"] == "organism+trained"


def test_wrong_input_is_one_line(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Options that contradict each other or fit nothing are one line and exit code 2."""
    cases: dict[tuple[str, ...], str] = {
        ("-l", "2"): "give --neurons, --from-direction or --auto-discover",
        ("-n", "3"): "give --layer N",
        ("-n", "3", "-l", "2", "--layers", "3"): "drop one",
        ("-n", "3", "-l", "8"): "there is no layer 8",
        ("-n", "128", "-l", "2"): "there is no neuron 128; there are 0 to 127",
        ("-n", "3,x", "-l", "2"): "'x' is not a neuron",
        ("-n", "5-3", "-l", "2"): "'5-3' is not a neuron",
        ("-n", "3,3", "-l", "2"): "given twice",
        ("-n", "3", "-l", "2", "--neuron-names", "a|b"): "2 names for 1 neurons",
        ("-n", "3", "-l", "2", "--top-k", "3"): "--top-k applies to",
        ("-n", "3", "-l", "2", "--groups", "a"): "--groups applies to --labels",
        ("-n", "3", "-l", "2", "--labels", "a|b"): "2 labels given for 6 prompts",
        ("-n", "3", "-l", "2", "--strength", "2"): "--strength applies to --steer",
        ("-n", "3", "-l", "2", "--steer", saved): "added after layer 4, and layer 2 lies before it",
        ("-n", "3", "-l", "4", "--steer", f"{saved}:2", "--strength", "2"): "both give a coefficient",
        ("--auto-discover", "-l", "2"): "needs --labels",
        ("--auto-discover", "-l", "2", "--labels", LABELS, "-n", "3"): "drop it or --neurons",
        ("--from-direction", saved, "--site", "neurons"): "has dimension 128",
    }
    for arguments, reason in cases.items():
        assert main(command(*arguments)) == 2, arguments
        error = capsys.readouterr().err
        assert reason in error
        assert error.count("\n") == 1
