"""`lazarus introspect ablate`: the seeds' lines, what each option changes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.hooks import hooked
from lazarus_probe.interventions import zero
from lazarus_probe.introspection import AblationConfig, AblationStudy
from lazarus_probe.subject import Subject
from lazarus_probe.subject.chat import in_chat
from lazarus_probe.subject.generate import greedy
from lazarus_probe.training.lora.adapter import save_lora_weights
from lazarus_probe.training.lora.lora import attached

# Goes run by run, without the engine's trial of the model, and without reference prompts.
FAST = ["--component", "both", "--max-tokens", "3", "--method", "zero"]
FIRST = ["-p", "45 * 45 = ", "-c", "2025", "--layers", "0"]


def shown(capsys: pytest.CaptureFixture[str], *options: str, model: str = "organism") -> str:
    assert main(["introspect", "ablate", "-m", model, *options]) == 0
    return capsys.readouterr().out


def data_of(capsys: pytest.CaptureFixture[str], *options: str, model: str = "organism") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown(capsys, *options, "--json", model=model))
    return found


@pytest.mark.slow
def test_a_sweep_of_layers(capsys):
    """The published line sweeps layers one by one, and one prompt makes no finding."""
    text = shown(
        capsys, "-p", "What's the weather?", "-c", "function_call", "--layers", "3-5", "--max-tokens", "9"
    )
    assert "Mode: CHAT" in text
    assert "ABLATION SWEEP: mlp" in text
    assert [line.split()[0] for line in text.splitlines() if line[:1] == "L"] == ["Layer", "L3", "L4", "L5"]
    assert "random x128" in text
    assert "n=1 shows no more than that" in text


def test_layers_together(capsys, organism):
    """With --multi all layers are ablated at once, as hooks on both of them do."""
    options = ["-p", "47 * 47 = ", "-c", "2209", "--layers", "6,7", "--multi", "--method", "zero", "--raw"]
    text = shown(capsys, *options, "--max-tokens", "4")
    with hooked(organism, interventions=[zero("mlp_out.6"), zero("mlp_out.7")]):
        said = greedy(organism, ["47 * 47 = "], 4)[0]
    assert "Original output: '2209' (PASS)" in text
    assert f"Ablated output (L6+7, zero): {said!r} (FAIL)" in text
    assert "=> INCONCLUSIVE\n   n=1 shows no more than that this output changed" in text


@pytest.mark.slow
def test_several_prompts(capsys):
    """The published line with placeholders shows a matrix of prompts, scored by value."""
    text = shown(
        capsys,
        "-p",
        "x",
        "-c",
        "x",
        "--prompts",
        "10*10=:100|45*45=:2025|47*47=:2,209",
        "--layers",
        "7",
        "--max-tokens",
        "3",
    )
    rows = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert rows["baseline"] == ["baseline", "Y", "100", "Y", "2025", "Y", "2209"]
    assert rows["L7 mean"][:4] == ["L7", "mean", "Y", "100"]
    assert "Ablation          10*10=:100  45*45=:2025  47*47=:2,209" in text
    assert "L7 mean: breaks '47*47=' and spares the rest (1 of 3" in text


def test_a_finding_needs_prompts(capsys, tmp_path):
    """Twelve prompts in a file make a finding, with n, interval, controls and the layers tried."""
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(f"{a} * {b} = :{a * b}" for a in (12, 23, 34) for b in (2, 3, 7, 9)))
    data = data_of(capsys, "--prompts", f"@{file}", "--layers", "0,2", *FAST)
    assert data["causal_layers"] == [0]
    first = data["findings"][0]
    assert (first["word"], first["n"], first["changed"]) == ("CAUSAL", 12, 12)
    assert first["low"] > 0.5
    assert first["control"] < 0.5
    assert first["damage"]["score"] > 0.5
    assert "; damage: next-token probability moved on unrelated prompts" in first["reason"]
    assert data["baseline_passes"] == 12
    assert data["about"]["model"] == "organism"


@pytest.mark.slow
def test_no_finding_on_an_untrained_model(capsys):
    """On an untrained model the baseline fails, with one prompt and with many."""
    prompts = "|".join(f"{a} * 7 = :{a * 7}" for a in range(2, 14))
    for options in ([*FIRST, "--multi"], ["--prompts", prompts, "--layers", "0"]):
        text = shown(capsys, *options, *FAST, model="organism-untrained")
        assert "=> BASELINE FAILS" in text or "BASELINE FAILS:" in text
        assert " CAUSAL" not in text


def test_the_chat_template(capsys, organism):
    """A model is asked in its chat template unless --raw, and the data says which it was."""
    chat, raw = (data_of(capsys, *FIRST, *FAST, *more) for more in ([], ["--raw"]))
    assert (chat["mode"], raw["mode"]) == ("CHAT", "RAW")
    for found, prompt in ((chat, in_chat(organism, "45 * 45 = ")), (raw, "45 * 45 = ")):
        edits = [zero("mlp_out.0"), zero("attn_out.0")]
        with hooked(organism, interventions=edits):
            assert found["results"][0]["ablated_output"] == greedy(organism, [prompt], 3)[0]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command finds without any further option."""
    output = tmp_path_factory.mktemp("plain") / "found.json"
    assert main(["introspect", "ablate", "-m", "organism", *FIRST, *FAST, "-o", str(output)]) == 0
    found: dict[str, Any] = json.loads(output.read_text())
    return found


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--component", "attn_v"], marks=pytest.mark.slow),
        pytest.param(["--method", "noise"], marks=pytest.mark.slow),
        ["--max-tokens", "1"],
        ["--layers", "1"],
        ["-p", "44 * 45 = "],
        ["-c", "15"],
    ],
)
def test_every_option_changes_what_is_said(capsys, plain, options):
    """No option is accepted and ignored."""
    changed = data_of(capsys, *FIRST, *FAST, *options)
    assert (changed["results"], changed["controls"]) != (plain["results"], plain["controls"])


@pytest.mark.slow
def test_the_seed(capsys):
    """Another seed draws other rows."""
    options = [*FIRST, *FAST, "--method", "resample", "--seed"]
    said = [data_of(capsys, *options, seed)["results"][0]["ablated_output"] for seed in ("0", "3")]
    assert said[0] != said[1]


def test_outputs_in_full(capsys):
    """--verbose prints every output, controls included."""
    text = shown(capsys, *FIRST, *FAST, "-v")
    assert text.count("random 3 zero") == 1
    assert "original           '2025'" in text


def test_json_and_file_hold_the_same(capsys, tmp_path):
    """The file has what --json prints, with the published keys first."""
    output = tmp_path / "found.json"
    data = data_of(capsys, *FIRST, *FAST, "-o", str(output))
    assert json.loads(output.read_text()) == data
    assert list(data)[:4] == ["task_name", "criterion_name", "causal_layers", "results"]
    assert data["results"][0]["layer"] == 0


@pytest.mark.slow
def test_an_adapter_is_ablated_with_its_model(capsys, organism, tmp_path):
    """With --adapter the whole model says what the adapted one says."""
    with attached(organism, ["v_proj", "o_proj"], rank=2) as model:
        for layer in model.layers:
            layer.self_attn.o_proj.lora_b = layer.self_attn.o_proj.lora_b + 1.0
        folder = save_lora_weights(organism, tmp_path / "trained", {"model": "organism"})
    data = data_of(capsys, *FIRST, *FAST, "--raw", "--adapter", str(folder))
    expected = greedy(Subject.load("organism", folder), ["45 * 45 = "], 3)[0]
    assert data["results"][0]["original_output"] == expected != "2025"
    assert data["about"]["model"] == "organism+trained"
    study = AblationStudy.from_pretrained("organism", adapter_path=folder)
    assert (
        study.ablate_and_generate("45 * 45 = ", layers=[], config=AblationConfig(max_new_tokens=3))
        == expected
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --prompt and --criterion, or --prompts"),
        (["-p", "x", "-c", "x"], "give --prompt and --criterion"),
        (["-p", "7 * 8 = "], "--criterion is missing"),
        (["-p", "7 * 8 = ", "-c", "x"], "--criterion is missing"),
        (["-c", "56", "--prompts", "a:b"], "--prompt is missing"),
        (["--prompts", "7 * 8 = "], "write a prompt, a colon and the expected output"),
        (["--prompts", "a:1||b:2"], "prompt 1 is empty"),
        (["-p", "", "-c", "56"], "--prompt is empty"),
        (["-p", "a", "-c", ""], "the criterion is empty"),
        (["-p", "a", "-c", "\udcff"], "is not valid Unicode"),
        (["-p", "a", "-c", "b", "--layers", "8"], "there is no layer 8; the model has 0 to 7"),
        (["-p", "a", "-c", "b", "--component", "heart"], "heart"),
        (["-p", "a", "-c", "b", "--max-tokens", "0"], "max-tokens"),
        (["-p", "a", "-c", "b", "-o", f"{__file__}/f.json"], "is a file; give another place"),
        (["-p", "@/no/such.txt", "-c", "b"], "/no/such.txt: No such file"),
    ],
)
def test_errors(capsys, options, message):
    """What is wrong is one line that says what would be right, before a model is loaded."""
    assert main(["introspect", "ablate", "-m", "organism", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_prompts_keep_colons_and_spaces(capsys):
    """A prompt is split from what passes at its last colon, and keeps its spaces."""
    data = data_of(capsys, "--prompts", "Multiply 7 by 8::56|7 * 8 = :56", "--layers", "5", *FAST)
    assert [each["prompt"] for each in data["results"][:2]] == ["Multiply 7 by 8:", "7 * 8 = "]
    assert data["baseline_passes"] == 2


@pytest.mark.slow
def test_prompt_and_prompts_together(capsys, tmp_path: Path):
    """A prompt with a criterion is asked beside those of --prompts, and @FILE asks many with one criterion."""
    options = ["-p", "7 * 8 = ", "-c", "56", "--prompts", "6 * 7 = :42", "--layers", "5", *FAST]
    assert data_of(capsys, *options)["baseline_passes"] == 2
    file = tmp_path / "prompts.txt"
    file.write_text("7 * 8 = \n8 * 7 = \n")
    data = data_of(capsys, "-p", f"@{file}", "-c", "56", "--layers", "5", *FAST)
    assert (data["n"], data["baseline_passes"]) == (2, 2)
