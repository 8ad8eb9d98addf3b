"""`lazarus introspect steer`: directions taken, pushed along and measured, as a user sees it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.directions.direction_file import read_direction

COMMAND = ["introspect", "steer", "-m", "organism"]
SUMS = "5 + 8 = |9 + 6 = |7 + 7 = |21 + 8 = |30 + 3 = |40 + 6 = "
MANY = "|".join([SUMS, *(f"{a} + {a + 3} = " for a in range(2, 16))])  # 20, for six are too few to tell


@pytest.fixture(scope="module")
def direction(tmp_path_factory):
    """The direction of the guide, taken as it takes it."""
    file = tmp_path_factory.mktemp("steer") / "direction.npz"
    sides = ["--positive", "100 - 37 = ", "--negative", "100 - 37 ="]
    assert main([*COMMAND, "--extract", *sides, "-o", str(file)]) == 0
    return file


@pytest.fixture(scope="module")
def capitals(tmp_path_factory):
    """From sums to capitals, of two prompts a side."""
    file = tmp_path_factory.mktemp("steer") / "capitals.json"
    sides = [
        "--positive",
        "The capital of France is|The capital of Italy is",
        "--negative",
        "7 + 8 = |9 + 3 = ",
    ]
    assert main([*COMMAND, "--extract", *sides, "-o", str(file), "--name", "capitals"]) == 0
    return file


def data(capsys, *arguments):
    """What the command prints with --json."""
    assert main([*COMMAND, *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_published_extraction_runs(direction, organism):
    """The file has the published keys, and holds the difference of the two states at the middle layer."""
    with np.load(direction, allow_pickle=False) as found:
        published = {
            "direction",
            "layer",
            "positive_prompt",
            "negative_prompt",
            "model_id",
            "norm",
            "cosine_similarity",
        }
        assert published <= set(found)
        assert found["direction"].dtype == np.float32
        assert (int(found["layer"]), str(found["positive_prompt"])) == (4, "100 - 37 = ")
        states = collect(organism, ["100 - 37 = ", "100 - 37 ="], [resid_post(4)])[resid_post(4)]
        np.testing.assert_allclose(found["direction"], states[0] - states[1], atol=1e-4)


def test_an_extraction_is_shown(capsys):
    """Layer, norm, cosine and separation are printed; without a file nothing is kept, and that is said."""
    sides = [
        "--positive",
        "a|b",
        "--negative",
        "c",
        "-l",
        "0",
        "--positive-label",
        "x",
        "--negative-label",
        "y",
    ]
    assert main([*COMMAND, "--extract", *sides]) == 0
    shown = capsys.readouterr().out
    for text in (
        "Positive (x): ['a', 'b']",
        "Negative (y): 'c'",
        "Layer: 0",
        "Norm: ",
        "Cosine similarity: ",
        "Separation: ",
    ):
        assert text in shown
    assert "Nothing is kept" in shown
    found = data(capsys, "--extract", *sides, "--chat")
    assert (found["layer"], len(found["direction"]), found["label_positive"]) == (0, 128, "x")
    assert found["direction"] != data(capsys, "--extract", *sides)["direction"]


def test_the_published_comparison_runs(direction, capsys, tmp_path):
    """Coefficients that begin with a minus are read, 0 is the model as it is, and the file has a row for each."""
    output = tmp_path / "out.json"
    arguments = [
        "-d",
        str(direction),
        "-p",
        "50 + 25 =",
        "--compare",
        "-2,-1,0,1,2",
        "-n",
        "6",
        "-o",
        str(output),
    ]
    assert main([*COMMAND, *arguments, "--positive-label", "spaced"]) == 0
    shown = capsys.readouterr().out
    for text in (
        "Coef -2.0 (-> negative):",
        "Coef +0.0 (no push):\n  ' 75'",
        "Coef +1.0 (-> spaced):\n  '63",
    ):
        assert text in shown
    found = json.loads(output.read_text())
    assert [row["coefficient"] for row in found["results"]] == [-2, -1, 0, 1, 2]
    assert list(found["results"][0])[:4] == ["prompt", "output", "layer", "coefficient"]
    assert found["results"][2]["output"] == found["unsteered"][0]["output"] == " 75"
    assert len({row["output"] for row in found["results"]}) > 2


def test_every_option_of_a_push_acts(direction, capsys):
    """Layer 0, positions, coefficients, neurons, limits, temperatures, seeds and the template change what is said."""
    file = ["-d", str(direction), "-p", "50 + 25 =", "-n", "3"]

    def said(*arguments):
        return [row["output"] for row in data(capsys, *arguments)["results"]]

    (one,), several = said(*file), said(*file, "--compare", "-1,0.5,1,2")
    assert several[2] == one
    assert len(set(several)) == 4
    assert said(*file, "--strength", "-1") == several[:1]
    first = data(capsys, *file, "-c", "0.5", "-l", "0")["results"][0]
    assert first["layer"] == 0
    assert first["output"] not in {*several, said(*file, "-c", "0.5", "--position", "all")[0]}
    assert said(*file, "-c", "2", "--position", "last") != several[3:]
    assert several[3].startswith(said(*file, "-c", "2", "-n", "1")[0])
    drawn = [said(*file, "--temperature", "3", "--seed", seed) for seed in "12"]
    assert drawn[0] != drawn[1]
    neuron = ["--neuron", "7", "-p", "50 + 25 =", "-n", "5"]
    low, none, high = said(*neuron, "--compare", "-300,0,300")
    assert none == " 75"
    assert low != high
    assert said(*neuron, "-c", "0", "--chat") == ["75"]


def test_a_direction_from_elsewhere_is_noted(direction, capsys):
    """A direction of another model is pushed along where its width fits, and that is said on standard error."""
    arguments = [
        "introspect",
        "steer",
        "-m",
        "organism-untrained",
        "-d",
        str(direction),
        "-p",
        "a",
        "-n",
        "1",
    ]
    assert main(arguments) == 0
    assert "note: the direction was taken in organism, and" in capsys.readouterr().err


def test_a_dose_beside_few_directions_is_no_finding(capitals, capsys):
    """Three random directions are too few to say that a direction steers, and another seed draws others."""
    dose = ["-d", str(capitals), "-p", MANY, "--dose", "0,4", "--target", " Paris", "-n", "1"]
    few, others = (data(capsys, *dose, "--random-directions", "3", "--seed", seed) for seed in "01")
    assert few["random_directions"] == 3
    assert few["verdict"]["steers"] is False
    assert [row["coefficient"] for row in few["doses"]] == [0, 4]
    assert few["doses"][0]["kl"]["mean"] == pytest.approx(0, abs=1e-6)
    assert few["doses"] != others["doses"]


@pytest.mark.slow
def test_a_dose_response_is_measured_and_judged(capitals, capsys, tmp_path):
    """Each dose has its effects beside random directions; the direction is said to steer where they do not."""
    dose = ["-d", str(capitals), "-p", MANY, "--dose", "0,4", "--target", " Paris", "-n", "1"]
    picture = tmp_path / "dose.png"
    assert main([*COMMAND, *dose, "--plot", str(picture), "-o", str(tmp_path / "dose.json")]) == 0
    shown = capsys.readouterr().out
    assert "Probability of the target (n = 20)" in shown
    assert "The direction STEERS to ' Paris' (supported: " in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"dose.png", "dose.json"}
    found = json.loads((tmp_path / "dose.json").read_text())
    assert [row["coefficient"] for row in found["doses"]] == [0, 4]
    assert found["verdict"]["steers"] is True
    assert found["verdict"]["claim"] == "steers"
    assert f"{found['damage']['unit']} {found['damage']['score']:.2f} [" in found["verdict"]["reason"]
    assert found["doses"][0]["kl"]["mean"] == pytest.approx(0, abs=1e-6)
    assert found["doses"][0]["kl"]["p"] is None
    few = data(capsys, *dose, "--random-directions", "3")
    assert few["random_directions"] == 3
    assert few["verdict"]["steers"] is False
    assert few["doses"][1]["kl"]["mean"] == pytest.approx(found["doses"][1]["kl"]["mean"])
    assert few["doses"][1]["kl"]["random_mean"] != found["doses"][1]["kl"]["random_mean"]
    assert data(capsys, *dose, "--random-directions", "3", "--seed", "1")["doses"] != few["doses"]


@pytest.mark.slow
def test_an_untrained_model_is_not_said_to_be_steered(capsys, tmp_path):
    """What random weights do along the difference of two prompts is no finding."""
    command = ["introspect", "steer", "-m", "organism-untrained"]
    file = tmp_path / "direction.npz"
    sides = ["--positive", "The capital of France is", "--negative", "7 + 8 = "]
    assert main([*command, "--extract", *sides, "-o", str(file)]) == 0
    assert (
        main([*command, "-d", str(file), "-p", SUMS, "--dose", "1,4", "--target", " Paris", "-n", "1"]) == 0
    )
    shown = capsys.readouterr().out
    assert "That the direction steers is not shown" in shown
    assert "STEERS" not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--neuron", "1"], "--prompts is missing"),
        (["-p", "a"], "nothing to steer along"),
        (["--extract"], "--positive is missing"),
        (
            ["--extract", "--positive", "a", "--negative", "b", "-p", "c"],
            "--prompts has no effect with --extract",
        ),
        (["--extract", "--positive", "a", "--negative", "b", "-o", "x.txt"], "ends in .npz or .json"),
        (["--extract", "--positive", "a", "--negative", "a"], "same mean state"),
        (["-d", "DIRECTION", "-p", "a", "--positive", "b"], "--positive has no effect without --extract"),
        (["-d", "DIRECTION", "-p", "a", "--target", "b"], "--target has no effect without --dose"),
        (["-d", "DIRECTION", "-p", "a", "--dose", "1", "--temperature", "1"], "--temperature has no effect"),
        (["--extract", "--positive", "a", "--negative", "b", "--seed", "1"], "--seed has no effect"),
        (["-d", "DIRECTION", "-p", "a", "--seed", "1"], "--seed has no effect for the most probable answers"),
        (["-d", "DIRECTION", "-p", "a", "--neuron", "1"], "--direction and --neuron exclude each other"),
        (["-d", "DIRECTION", "-p", "a", "-c", "1", "--compare", "1"], "exclude each other"),
        (["-d", "DIRECTION", "-p", "a", "--compare", "1,1"], "give different numbers"),
        (["-d", "DIRECTION", "-p", "a", "--compare", "1,inf"], "give different numbers"),
        (["-d", "DIRECTION", "-p", "a", "--dose", ""], "give different numbers"),
        (["-d", "DIRECTION", "-p", "a", "-l", "8"], "there is no layer 8"),
        (["-d", "DIRECTION", "-p", "a", "--dose", "1", "--plot", "x.gif"], "ends in .png"),
        (["-d", "DIRECTION", "-p", "a", "--dose", "1", "--target", "zugzwang"], "is not one token"),
        (["--neuron", "128", "-p", "a"], "there is no such coordinate; the model has 0 to 127"),
        (["-d", "/no/where.npz", "-p", "a"], "No such file"),
        (["-d", "WIDE", "-p", "a"], "the direction has 3 numbers and organism has a width of 128"),
        (["-d", "DEEP", "-p", "a"], "--direction: its layer 99: there is no layer 99"),
        (["-d", "BROKEN", "-p", "a"], "is not a direction"),
    ],
)
def test_bad_input_is_one_line(arguments, message, direction, capsys, tmp_path):
    """What is wrong is named in one line, and the exit code is 2."""
    (tmp_path / "wide.json").write_text('{"direction": [1, 2, 3], "layer": 1}')
    (tmp_path / "deep.json").write_text(json.dumps({"direction": [1.0] * 128, "layer": 99}))
    (tmp_path / "broken.npz").write_bytes(direction.read_bytes()[:-40])
    names = {"DIRECTION": direction, "WIDE": "wide.json", "DEEP": "deep.json", "BROKEN": "broken.npz"}
    given = [str(tmp_path / names[word]) if word in names else word for word in arguments]
    capsys.readouterr()
    assert main([*COMMAND, *given]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_saved_direction_is_read_by_others(capitals):
    """What is saved is a direction like any other, with its name and labels."""
    found = read_direction(capitals)
    assert (found.name, found.layer, found.label_positive, found.model_id) == (
        "capitals",
        4,
        "positive",
        "organism",
    )
    assert found.extra["num_positive"] == 2
