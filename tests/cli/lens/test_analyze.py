"""`lazarus introspect analyze`: what it prints and saves, that each option changes it, and what it refuses."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazarus_probe.cli import lazarus
from lazarus_probe.introspection.directions.direction_file import Direction, write_direction

PARIS = ["-p", "The capital of France is"]
SUM = ["-p", "2 + 2 = "]


@pytest.fixture(scope="module")
def analyze() -> Any:
    """The text of a run on the organism that must succeed, with nothing on standard error; each is made once."""

    @cache
    def run(*arguments: str, model: str = "organism") -> str:
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            code = lazarus.main(["introspect", "analyze", "-m", model, *arguments])
        assert (code, err.getvalue()) == (0, "")
        return out.getvalue()

    return run


@pytest.fixture(scope="module")
def analysed(analyze: Any) -> Any:
    """The data of such a run."""
    return lambda *arguments, **named: json.loads(analyze(*arguments, "--json", **named))


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Any:
    """The one line on standard error of a run that must be refused with exit code 2, and print nothing."""

    def run(*arguments: str, model: str = "organism") -> str:
        code = lazarus.main(["introspect", "analyze", "-m", model, *arguments])
        out, err = capsys.readouterr()
        assert (code, out, err.count("\n")) == (2, "", 1)
        return err

    return run


def probabilities(data: dict[str, Any]) -> list[float]:
    """Of the top token after each captured layer."""
    return [each["top_probability"] for each in data["layer_predictions"]]


# --- what is printed and saved --------------------------------------------------------------------------------------


def test_text_is_laid_out_as_published(analyze: Any):
    """Model, prompt, tokens, layers, final prediction, lens and evolution stand in the published order and form."""
    lines = analyze(*PARIS, "-t", " Paris", "--top-k", "2").splitlines()
    assert lines[:13] == [
        "Model: organism",
        "  Family: llama",
        "  Layers: 8",
        "  Hidden size: 128",
        "  Vocab size: 2003",
        "  Tied embeddings: True",
        "",
        "Analyzing: 'The capital of France is'",
        "",
        "Tokens (6): ['<|begin|>', 'The', ' capital', ' of', ' France', ' is']",
        "Captured layers: [0, 4, 7]",
        "",
        "=== Final Prediction ===",
    ]
    text = "\n".join(lines)
    assert "\n  0.9996 " + 49 * "#" + " ' Paris'\n  0.0000 " in text
    assert "=== Logit Lens (top prediction at each layer) ===\n  Layer  0: ' Paris' (0.4259)" in text
    assert "=== Token Evolution ===\nToken ' Paris':\n  Layer  0: 0.4259 " + 42 * "#" + " (rank 1)\n" in text
    assert "  --> Becomes top-1 at layer 0\n" in text
    assert "  Layer  4 ->  7: KL 0." in text


def test_data_has_the_published_keys(analysed: Any, analyze: Any, tmp_path: Path):
    """JSON has the published keys first, what made it last, and the saved file is the same."""
    data, saved = analysed(*PARIS), tmp_path / "new" / "analysis.json"
    text = analyze(*PARIS, "-o", str(saved))
    assert text.endswith(f"Saved to: {saved}\n")
    assert json.loads(saved.read_text()) == data
    assert list(data)[:9] == [
        "prompt", "tokens", "num_layers", "captured_layers", "final_prediction",
        "layer_predictions", "layer_transitions", "token_evolutions", "residual_contributions",
    ]  # fmt: skip
    assert data["about"]["model"] == "organism"
    assert data["model_info"]["embedding_scale"] == 1


def test_pieces_of_a_tracked_text_are_told(analyze: Any):
    """The published line that tracks ' 4', which is two tokens here, says which of them it follows."""
    text = analyze("-p", "2 + 2 =", "-t", " 4", "-t", "4")
    assert "Token ' 4':\n  2 tokens (' ', '4'); followed is the first, ' '\n  Layer  0: " in text
    assert "  --> ' ' becomes top-1 at layer 0\nToken '4':\n  Layer  0: 0.0000  (rank " in text
    assert text.count("(rank ") == 6


def test_a_token_is_injected_in_its_likeliest_spelling(analyze: Any):
    """A word without its space is injected as the token that the model has for it."""
    options = [*PARIS, "--inject-layer", "2", "--inject-token"]
    with_space, without = (analyze(*options, word) for word in (" Oslo", "Oslo"))
    assert without.replace("of 'Oslo'", "of ' Oslo'") == with_space


def test_a_file_of_prompts_gives_results(analysed: Any, analyze: Any, tmp_path: Path):
    """Each prompt of a file is read as it is alone, its spaces kept."""
    file = tmp_path / "prompts.txt"
    file.write_text("2 + 2 = \nThe capital of France is\n")
    results = analysed("-p", f"@{file}")["results"]
    assert [each["prompt"] for each in results] == ["2 + 2 = ", "The capital of France is"]
    assert [each["predicted_token"] for each in results] == ["4", " Paris"]
    assert probabilities(results[1]) == pytest.approx(probabilities(analysed(*PARIS)), abs=1e-5)
    assert analyze("-p", f"@{file}").count("Analyzing: ") == 2


def test_any_text_is_a_prompt(analysed: Any, tmp_path: Path):
    """Right-to-left, emoji, NUL, spaces, bars, line breaks and 500 tokens are read as they stand."""
    prompts = ["\u200f\u05e9\u05dc\u05d5\u05dd", "\U0001f600", "a\0b", " ", "a|b", "x\ny", "7 " * 250]
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    results = analysed("-p", f"@{tmp_path}/prompts.json", "--layers", "7")["results"]
    assert [each["prompt"] for each in results] == prompts
    assert analysed("-p", "a|b")["prompt"] == "a|b"


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        (["-s", "3"], [0, 3, 6, 7]),
        (["--layer-strategy", "all"], [*range(8)]),
        (["--layer-strategy", "first_last"], [0, 7]),
        (["-l", "0"], [0]),
        (["--layers", "-1,2-3"], [2, 3, 7]),
        (["--layer-strategy", "custom", "--layers", "2"], [2]),
    ],
)
def test_layers_are_those_asked_for(analysed: Any, options: list[str], layers: list[int]):
    """Every way to choose layers reads those and no others."""
    data = analysed(*PARIS, *options)
    assert data["captured_layers"] == [each["layer_idx"] for each in data["layer_predictions"]] == layers


def test_reading_options_change_what_is_read(analysed: Any):
    """`--top-k`, `--track` and `--residual` add what they say."""
    plain = analysed(*PARIS)
    data = analysed(*PARIS, "--top-k", "3", "--track", " Oslo", "--residual")
    assert [len(each["final_prediction"]) for each in (plain, data)] == [5, 3]
    assert [len(each["token_evolutions"]) for each in (plain, data)] == [0, 1]
    assert data["token_evolutions"][0]["emergence_layer"] is None
    assert [len(each["residual_contributions"]) for each in (plain, data)] == [0, 3]
    assert len({each["attention_fraction"] for each in data["residual_contributions"]}) == 3


def test_input_options_change_what_the_model_meets(analysed: Any):
    """`--chat` puts the prompt into the template, `--raw` is the default, `--prefix` comes after all of it."""
    assert analysed(*SUM, "--raw")["prompt"] == analysed(*SUM)["prompt"] == "2 + 2 = "
    chat = analysed(*SUM, "--chat", "--prefix", "The answer is ")
    assert chat["prompt"] == "<|begin|><|user|>2 + 2 = <|end|><|assistant|>The answer is "
    assert chat["tokens"].count("<|begin|>") == 1
    assert analysed(*SUM, "--prefix", "4")["prompt"] == "2 + 2 = 4"


@pytest.mark.slow
def test_embedding_scale_and_adapter_change_the_model(analysed: Any, tmp_path: Path, organism: Any):
    """Another scale, and an adapter, give other probabilities; the model's own scale gives the same."""
    from lazarus_probe.training.lora.adapter import save_adapter
    from lazarus_probe.training.lora.lora import attached

    plain = probabilities(analysed(*PARIS))
    assert probabilities(analysed(*PARIS, "--embedding-scale", "1")) == pytest.approx(plain, abs=1e-6)
    scaled = analysed(*PARIS, "--embedding-scale", "3")
    assert scaled["model_info"]["embedding_scale"] == 3
    assert probabilities(scaled) != pytest.approx(plain, abs=1e-2)
    with attached(organism, ["v_proj"], rank=2, scale=40.0, layers=range(8), seed=0):
        for block in organism.model.layers:
            block.self_attn.v_proj.lora_b = block.self_attn.v_proj.lora_b + 0.1
        save_adapter(organism, tmp_path / "adapter", base="organism")
    adapted = analysed(*PARIS, "--adapter", str(tmp_path / "adapter"))
    assert probabilities(adapted) != pytest.approx(plain, abs=1e-2)


def test_answers_are_found_by_parsing(analysed: Any, analyze: Any):
    """The answer's first digits are found behind a space, with the layer at which the lens has them there."""
    answer = analysed("-p", "45 * 45 =", "--find-answer")["answer"]
    assert (answer["expected"], answer["generated"], answer["onset"]) == ("2025", " 2025", 1)
    assert answer["evolution"]["token"] == "202"
    assert answer["evolution"]["layer_ranks"]["7"] == 1
    assert answer["evolution"]["emergence_layer"] == min(
        int(layer) for layer, rank in answer["evolution"]["layer_ranks"].items() if rank == 1
    )
    text = analyze("-p", "45 * 45 = ", "--find-answer")
    assert (
        "  Expected 2025: begins in generated token 0, '202'\n"
        "  All of its 2 tokens are read, each after the ones before: '202', '5'\n"
        f"  --> There it becomes top-1 at layer {answer['whole']['emergence_layer']}"
    ) in text
    assert answer["whole"]["emergence_layer"] == min(
        int(layer) for layer, rank in answer["whole"]["layer_ranks"].items() if rank == 1
    )


@pytest.mark.slow
def test_answer_options_change_what_is_found(analysed: Any):
    """Another answer, fewer tokens and a prefix with its beginning are each taken into account."""
    assert "answer" not in analysed(*PARIS)
    found = analysed(*PARIS, "--expected", "Paris")["answer"]
    assert (found["found"], found["onset"], found["evolution"]["emergence_layer"]) == (True, 0, 0)
    assert not analysed(*PARIS, "--expected", "Oslo")["answer"]["found"]
    # 202 of 2025 is no answer of its own
    cut = analysed("-p", "45 * 45 = ", "--expected", "202", "-n", "1")["answer"]
    assert cut["cut"]
    whole = analysed("-p", "45 * 45 = ", "--expected", "202", "-n", "5")["answer"]
    assert not whole["found"]
    begun = analysed("-p", "45 * 45 = ", "--find-answer", "--prefix", "2025")["answer"]
    assert (begun["in_prefix"], begun["evolution"]) == (True, None)


def test_a_number_after_a_prefix_is_read_with_it(analysed: Any):
    """Digits that a prefix begins with belong to the number: 2025 after 20 is 202025, and no answer."""
    options = ["-p", "45 * 45 = ", "--prefix", "20", "--find-answer"]
    found = analysed(*options, "--compute-override", "arithmetic", "--compute-layer", "3")["answer"]
    assert found["generated"].startswith("2025")
    assert not found["found"]


# --- edits ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def direction(tmp_path: Path, organism: Any) -> Path:
    """From the unembedding of Paris to that of Oslo, large, at layer 5."""
    weight = np.array(organism.model.model.embed_tokens.weight)
    ids = [organism.single_token(word) for word in (" Oslo", " Paris")]
    file = tmp_path / "oslo.npz"
    write_direction(file, Direction(30 * (weight[ids[0]] - weight[ids[1]]), 5, model_id="organism"))
    return file


@pytest.mark.slow
def test_steering_with_a_file_turns_the_prediction(analysed: Any, analyze: Any, direction: Path):
    """The direction acts after its layer and not before, in proportion to its coefficient, given either way."""
    run = [*PARIS, "--all-layers", "-t", " Oslo"]
    chances = {}
    for spec in ("", ":0", ":0.5", ":-1"):
        data = analysed(*run, "--steer", f"{direction}{spec}")
        chances[spec] = data["token_evolutions"][0]["layer_probabilities"]
        assert data["unedited"]["token"] == " Paris"
    plain = analysed(*run)["token_evolutions"][0]["layer_probabilities"]
    assert chances[":0"] == pytest.approx(plain, abs=1e-6)
    for layer in map(str, range(5)):
        assert chances[""][layer] == pytest.approx(plain[layer], abs=1e-6)
    assert chances[""]["5"] > chances[":0.5"]["5"] > plain["5"] > chances[":-1"]["5"]
    by_strength = analysed(*run, "--steer", str(direction), "--strength", "0.5")
    assert by_strength["token_evolutions"][0]["layer_probabilities"] == pytest.approx(
        chances[":0.5"], abs=1e-6
    )
    moved = analysed(*run, "--steer", str(direction), "--steer-layer", "0")
    assert moved["token_evolutions"][0]["layer_probabilities"]["0"] != pytest.approx(plain["0"], abs=1e-4)
    assert f"  Edit: 0.5 times {direction} added after layer 5\n" in analyze(
        *run, "--steer", f"{direction}:0.5"
    )


def test_steering_a_neuron_acts_after_its_layer(analysed: Any):
    """A coordinate pushed after layer 2 changes the lens from there on, and more strength changes it otherwise."""
    run = [*PARIS, "--all-layers", "--steer-neuron", "0", "--steer-layer", "2"]
    plain, one, more = (
        probabilities(analysed(*options))
        for options in ([*PARIS, "--all-layers"], run, [*run, "--strength", "40"])
    )
    assert one[:2] == pytest.approx(plain[:2], abs=1e-6) == more[:2]
    assert abs(more[2] - plain[2]) > abs(one[2] - plain[2]) > 0


def test_injected_tokens_are_what_the_lens_says(analysed: Any):
    """With tied embeddings a token put in whole is on top after that layer; half of it changes less."""
    run = [*PARIS, "--all-layers", "-t", " Oslo", "--inject-token", " Oslo", "--inject-layer", "3"]
    whole, half, none = (
        analysed(*run, *blend)["token_evolutions"][0]
        for blend in ((), ("--inject-blend", "0.5"), ("--inject-blend", "0"))
    )
    assert whole["layer_ranks"]["3"] == 1
    plain = analysed(*PARIS, "--all-layers", "-t", " Oslo")["token_evolutions"][0]
    assert none["layer_probabilities"] == pytest.approx(plain["layer_probabilities"], abs=1e-6)
    assert none["layer_probabilities"]["3"] < half["layer_probabilities"]["3"]
    assert half["layer_probabilities"]["3"] < whole["layer_probabilities"]["3"]


@pytest.mark.slow
def test_overrides_put_the_exact_answer_in(analysed: Any):
    """The answer's first token is on top at the layer, 80% of the depth unless another is named, and not before."""
    run = ["-p", "45 * 45 = ", "--all-layers", "-t", "202"]
    plain = analysed(*run)["token_evolutions"][0]["layer_ranks"]
    assert plain["3"] > 1
    for options, layer in (([], "6"), (["--compute-layer", "3"], "3"), (["--compute-layer", "0"], "0")):
        found = analysed(*run, "--compute-override", "arithmetic", *options)
        ranks = found["token_evolutions"][0]["layer_ranks"]
        assert ranks[layer] == 1
        assert all(ranks[str(i)] == plain[str(i)] for i in range(int(layer)))
        assert found["edits"] == [f"exact answer put in after layer {layer}"]
    assert analysed(*run, "--compute-override", "none")["edits"] == []


def test_edits_of_a_file_are_of_each_prompt(analysed: Any, tmp_path: Path):
    """Prompts of different lengths each get their own answer, at their own last position."""
    file = tmp_path / "sums.txt"
    file.write_text("45 * 45 = \n7*8=\n")
    results = analysed("-p", f"@{file}", "--all-layers", "--compute-override", "arithmetic")["results"]
    assert [each["layer_predictions"][6]["top_token"] for each in results] == ["202", "56"]


@pytest.mark.slow
def test_untrained_model_states_nothing(analyze: Any):
    """On an untrained model no layer is confident and the answer is not found."""
    text = analyze("-p", "45 * 45 = ", "-t", "202", "--find-answer", model="organism-untrained")
    assert "Decision layer: none" in text
    assert "  --> Never top-1\n" in text
    assert "  Expected 2025: not found\n" in text
    assert "[confident]" not in text


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", ""], "--prompt is empty"),
        (["-p", "@nowhere.txt"], "nowhere.txt: No such file"),
        ([*SUM, "-l", "99"], "there is no layer 99; the model has 0 to 7"),
        ([*SUM, "-l", "-9"], "there is no layer -9"),
        ([*SUM, "-l", "x"], "'x' is not a layer or range"),
        ([*SUM, "-l", "1", "--all-layers"], "--all-layers and --layers choose layers in two ways"),
        (
            [*SUM, "-l", "1", "--layer-strategy", "all"],
            "--layers and --layer-strategy choose layers in two ways",
        ),
        ([*SUM, "--layer-strategy", "custom"], "--layer-strategy custom needs --layers"),
        ([*SUM, "-s", "2", "--all-layers"], "--layer-step 2 spaces layers evenly"),
        ([*SUM, "-s", "0"], "--layer-step"),
        ([*SUM, "--top-k", "101"], "--top-k"),
        ([*SUM, "-t", ""], "--track is empty"),
        ([*SUM, "--prefix", ""], "--prefix is empty"),
        ([*SUM, "--embedding-scale", "0"], "--embedding-scale 0.0 is unusable"),
        ([*SUM, "--embedding-scale", "nan"], "--embedding-scale nan is unusable"),
        ([*SUM, "-o", "/"], "--output / is a folder"),
        (
            [*PARIS, "--find-answer"],
            "--find-answer needs --expected: 'The capital of France is' does not end in",
        ),
        ([*SUM, "--no-find-answer", "--expected", "4"], "--expected 4 applies to finding the answer"),
        ([*SUM, "-n", "4"], "--gen-tokens 4 applies to finding the answer"),
        ([*SUM, "--expected", " "], "--expected is empty"),
        ([*SUM, "--steer", "nowhere.npz"], "nowhere.npz: No such file"),
        ([*SUM, "--steer", "x.npz:y"], "'y' is not a coefficient"),
        ([*SUM, "--strength", "2"], "--strength 2.0 says how to steer"),
        ([*SUM, "--steer-layer", "2"], "--steer-layer 2 says how to steer"),
        ([*SUM, "--steer-neuron", "2"], "--steer-neuron 2 needs --steer-layer"),
        ([*SUM, "--steer-neuron", "2", "--steer-layer", "8"], "there is no layer 8"),
        ([*SUM, "--steer-neuron", "128", "--steer-layer", "1"], "there is no neuron 128"),
        ([*SUM, "--steer-neuron", "2", "--steer", "x.npz"], "two ways to steer"),
        ([*SUM, "--inject-token", " Oslo"], "need each other"),
        ([*SUM, "--inject-layer", "2"], "need each other"),
        ([*SUM, "--inject-blend", "0.5"], "--inject-blend 0.5 needs --inject-token"),
        ([*SUM, "--inject-token", "'Oslo'", "--inject-layer", "2"], "' Oslo' is one token"),
        ([*SUM, "--inject-token", " Oslo", "--inject-layer", "8"], "there is no layer 8"),
        ([*SUM, "--inject-token", " Oslo", "--inject-layer", "2", "--inject-blend", "2"], "--inject-blend"),
        ([*SUM, "--compute-layer", "2"], "--compute-layer 2 needs --compute-override arithmetic"),
        ([*PARIS, "--compute-override", "arithmetic"], "does not end in arithmetic with one exact answer"),
        ([*SUM, "--compute-override", "arithmetic", "--compute-layer", "8"], "there is no layer 8"),
    ],
)
def test_wrong_input_is_one_line(refused: Any, arguments: list[str], message: str):
    """Every mistake is one line on standard error that names what is wrong, and exit code 2."""
    assert message in refused(*arguments)


def test_answers_of_files_are_not_given_by_hand(refused: Any, tmp_path: Path):
    """One expected answer for several prompts is refused; so is a file in which one prompt has none."""
    file = tmp_path / "prompts.txt"
    file.write_text("2 + 2 = \nThe capital of France is\n")
    assert "one answer for 2 prompts" in refused("-p", f"@{file}", "--expected", "4")
    assert "does not end in arithmetic" in refused("-p", f"@{file}", "--find-answer")


def test_directions_that_do_not_fit_are_refused(refused: Any, direction: Path, tmp_path: Path):
    """Another width, a layer that the model lacks, two coefficients and a damaged file are errors."""
    run = [*SUM, "--steer"]
    assert "leave out --strength" in refused(*run, f"{direction}:2", "--strength", "2")
    write_direction(tmp_path / "deep.npz", Direction(np.ones(128), 20))
    assert "belongs to layer 20; the model has 0 to 7: give --steer-layer" in refused(
        *run, str(tmp_path / "deep.npz")
    )
    write_direction(tmp_path / "narrow.npz", Direction(np.ones(64), 2))
    assert "64 numbers, and organism a width of 128" in refused(*run, str(tmp_path / "narrow.npz"))
    (tmp_path / "damaged.npz").write_bytes(direction.read_bytes()[:200])
    assert "damaged.npz is not a direction" in refused(*run, str(tmp_path / "damaged.npz"))
