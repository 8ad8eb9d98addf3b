"""`lazarus introspect hooks`: what is captured is shown, and every option changes it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.hooks import trace
from lazarus_probe.introspection.lens.logit_lens import logit_lens
from tests.tolerance import in_order, of_logits

PROMPT = ["-m", "organism", "-p", "7 * 8 = "]


def shown(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["introspect", "hooks", *options]) == 0
    return capsys.readouterr().out


def data_of(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown(capsys, *options, "--json"))
    return found


def test_what_is_shown_is_what_is_captured(capsys, organism):
    """Norms, attention and the lens are those of a trace of the same prompt."""
    data = data_of(capsys, *PROMPT, "--layers", "0,-1", "--capture-attention")
    assert data["layers"] == [0, 7]
    result = data["results"][0]
    run = trace(organism, "7 * 8 = ", ["resid_post.7", "pattern.7"])
    last = np.array(run["resid_post.7"])[0, -1]
    assert result["layers"][1]["norm"] == pytest.approx(np.linalg.norm(last), rel=1e-5)
    weights = np.array(run["pattern.7"])[0, :, -1]
    entropies = -(weights * np.log(weights)).sum(axis=-1)
    np.testing.assert_allclose(result["layers"][1]["attention"]["entropies"], entropies, rtol=1e-4)
    lens = logit_lens(organism, ["7 * 8 = "], [0, 7])
    for read, expected in zip(result["lens"], lens.log_probs[0], strict=True):
        assert in_order(read["top_ids"], expected, of_logits(organism, expected))


def test_default_layers_lie_within_the_model(capsys):
    """Without --layers they are evenly spaced, the last among them, and the text names them."""
    text = shown(capsys, *PROMPT)
    assert "Captured layers: [0, 2, 4, 6, 7]" in text
    assert "Tokens (7): ['<|begin|>', '7'" in text
    assert "=== Logit lens at position 6 ===" in text
    assert "  Layer  7: '56' (0.99" in text


@pytest.mark.parametrize(
    ("options", "here", "gone"),
    [
        (["--last-only"], "shape (1, 1, 128)", "shape (1, 7, 128)"),
        (["--no-logit-lens"], "=== Hidden states ===", "Logit lens"),
        (["--capture-attention"], "=== Attention from the last position ===", "no such"),
        (["--capture-attention", "--last-only"], "shape (1, 4, 1, 7)", "shape (1, 4, 7, 7)"),
        (["--layers", "3"], "Captured layers: [3]", "Layer  0"),
        (["--top-k", "1"], "  Layer  7: '56' (0.99", "|"),
    ],
)
def test_options(capsys, options, here, gone):
    """Each option changes what is captured or shown."""
    text = shown(capsys, *PROMPT, *options).replace("<|begin|>", "")
    assert here in text
    assert gone not in text


def test_a_file_of_prompts_and_a_file_of_results(capsys, tmp_path):
    """`-p @FILE` captures each prompt, and -o keeps the data that --json prints."""
    file, output = tmp_path / "prompts.txt", tmp_path / "found.json"
    file.write_text("7 * 8 = \nThe capital of France is\n")
    data = data_of(capsys, "-m", "organism", "-p", f"@{file}", "-o", str(output), "--layers", "7")
    assert [each["lens"][0]["top_tokens"][0] for each in data["results"]] == ["56", " Paris"]
    assert json.loads(output.read_text()) == data


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-p", ""], "--prompt is empty"),
        (["-p", "a", "--layers", "9"], "there is no layer 9; the model has 0 to 7"),
        (["-p", "a", "--top-k", "0"], "top-k"),
        (["-p", "a", "-o", f"{__file__}/f.json"], "is a file; give another place"),
        (["-p", "a", "-a", "no_such_folder"], "no_such_folder"),
    ],
)
def test_errors(capsys, options, message):
    """What is wrong is one line."""
    assert main(["introspect", "hooks", "-m", "organism", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
