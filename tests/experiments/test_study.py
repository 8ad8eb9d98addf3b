"""The study in its folder: every phase once, nothing mixed, and nothing claimed of a model that knows nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from lazarus_probe.claims.record import ClaimRecord
from lazarus_probe.experiments.classifier_emergence import material, phases, verdicts
from lazarus_probe.experiments.classifier_emergence.comparison import compare, missing, wanted
from lazarus_probe.experiments.classifier_emergence.measures import claims
from lazarus_probe.experiments.classifier_emergence.study import Study, read_json, write_json
from lazarus_probe.experiments.classifier_emergence.verdicts import precondition, verify
from lazarus_probe.experiments.study_tasks import TASKS
from lazarus_probe.statistics.bounded import bounded_mean_interval
from lazarus_probe.statistics.intervals import estimate
from lazarus_probe.training.sft.jsonl import read_jsonl

ARITHMETIC = TASKS["arithmetic"]


@pytest.fixture(scope="module")
def begun(study: Study) -> Study:
    """A study with its data and its baseline."""
    assert phases.generate(study)
    assert phases.baseline(study)
    return study


def test_generated_data_can_be_trained_on(begun: Study):
    """Data are JSON lines with the class of each prompt; held-out ones lie apart; written once."""
    examples = read_jsonl(begun.data)
    assert [(e.prompt, e.response, e.label) for e in examples] == [
        (item.prompt, item.response, item.label) for item in begun.material.trained
    ]
    assert len(read_jsonl(begun.held_out)) == len(begun.material.held_out)
    assert not phases.generate(begun)
    assert not list(begun.output.rglob("*.partial"))


def test_baseline_probes_every_layer_with_controls(begun: Study):
    """Each layer has an accuracy within its interval, a p, and what needs no model beside it; taken once."""
    found = read_json(begun.result("baseline_classifier"))
    assert found["folds"] == 4
    assert len(found["layers"]) == begun.subject.num_layers
    for row in found["layers"]:
        assert row["low"] <= row["accuracy"] <= row["high"]
        assert 0 < row["p"] <= 1
        assert set(row["controls"]) == {"majority", "bag_of_tokens", "untrained"}
    lens = read_json(begun.result("baseline_logit_lens"))
    assert len(lens["on_top_by_layer"]) == begun.subject.num_layers
    assert lens["on_top_by_layer"][begun.layer] == 0
    assert set(lens["mean_probability_of_each_word_by_layer"]) == set(ARITHMETIC.words)
    assert not phases.baseline(begun)


@pytest.mark.parametrize(("phase", "file"), [("phase1", material.PHASE1), ("phase2", material.PHASE2)])
def test_published_configurations_are_used_as_they_are(begun: Study, phase: str, file: Path):
    """Of the shipped files only the model, the paths, the layer and, in a small study, the steps are replaced."""
    published = yaml.safe_load(file.read_text())
    write_json(begun.result("phase1"), read_json(begun.result("baseline")))
    used = phases.settings(begun, phase).model_dump(mode="json")
    begun.result("phase1").unlink()
    replaced = {
        "model",
        "data",
        "output",
        "adapter",
        "max_steps",
        "freeze_layers",
        "intermediate_loss",
        "lora_targets",
    }
    assert {name: used[name] for name in published if name not in replaced} == {
        name: value for name, value in published.items() if name not in replaced
    }
    assert used["max_steps"] == begun.material.size.steps < published["max_steps"]
    assert used["lora_targets"] == published["lora_targets"].split(",")
    if phase == "phase1":
        assert used["intermediate_loss"] == {**published["intermediate_loss"], "layer": begun.layer}
    else:
        assert used["freeze_layers"] == f"0-{begun.layer}"
        assert Path(used["adapter"]) == begun.phase1


def test_phases_need_those_before_them(tmp_path: Path, tiny: material.Material):
    """A phase whose predecessor did not run says which command is missing."""
    fresh = Study.open("organism", ARITHMETIC, tiny.size, tmp_path / "fresh")
    with pytest.raises(ValueError, match="classifier-emergence generate` first"):
        phases.prepare(fresh, "phase1")
    phases.generate(fresh)
    with pytest.raises(ValueError, match="classifier-emergence phase1` first"):
        phases.prepare(fresh, "phase2")
    with pytest.raises(ValueError, match="classifier-emergence baseline` first"):
        precondition(fresh)


def test_a_folder_is_of_one_study(begun: Study, tmp_path: Path):
    """Another model, task or size in the same folder is refused by name."""
    size = begun.material.size
    others = {
        "model is organism, not organism-ear": ("organism-early", ARITHMETIC, size),
        "task is arithmetic, not sentiment": ("organism", TASKS["sentiment"], size),
        "size is tiny, not smoke": ("organism", ARITHMETIC, material.SMOKE),
    }
    for message, given in others.items():
        with pytest.raises(ValueError, match=f"{message}.*; give another --output"):
            Study.open(*given, begun.output)


def test_damaged_files_are_named(begun: Study, tmp_path: Path):
    """A result that is no JSON, or no run, is an error that says which file to remove."""
    broken = begun.run_path("vo", 99)
    for text in ("{", "{}"):
        broken.parent.mkdir(parents=True, exist_ok=True)
        broken.write_text(text)
        with pytest.raises(ValueError, match=r"vo-99\.json .*remove it"):
            begun.run("vo", 99)
    broken.unlink()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where a file cannot be written whole, the one before it stays, and nothing half written."""
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_an_interrupted_comparison_goes_on(begun: Study):
    """Stopped within the second training, the first is kept; the next call begins with the second."""
    done: list[str] = []

    def stop(_step: int, _loss: float) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(begun, [0], 1, lambda run: done.append(run.arm), stop)
    first = wanted([0])[0]
    assert done == [first[0]]
    assert missing(begun, [0]) == wanted([0])[1:]


@pytest.mark.slow
def test_the_whole_study(begun: Study):
    """Two processes train what is missing, once; the verdicts are all there and can be read again."""
    seeds, made = [0, 1], []
    before = len(missing(begun, seeds))
    compare(begun, seeds, 2, made.append)
    assert len(made) == before
    compare(begun, seeds, 2, made.append)
    assert len(made) == before
    alone = [run for run in made if (run.arm, run.seed) == ("vo", 1)]
    begun.run_path("vo", 1).unlink()
    compare(begun, seeds, 1, made.append)
    # In this process and by itself as in another and side by side, up to rounding.
    np.testing.assert_allclose(
        made[-1].reading.probability, alone[0].reading.probability, rtol=1e-2, atol=1e-4
    )
    found = verify(begun, seeds)
    kept = read_json(begun.result("verify"))
    assert [ClaimRecord.model_validate(each).claim.id for each in kept["verdicts"]] == list(claims())
    assert {str(record.outcome) for record in found.records} == {"inconclusive"}
    assert len({run.trainable for run in made if run.arm != "none"}) == 1
    assert kept["schema_version"] == 1
    page = begun.result("verify").with_suffix(".md").read_text()
    assert all(f"| `{name}` | inconclusive |" in page for name in claims())
    assert kept["seeds"] == seeds


def test_a_mean_probability_lies_between_0_and_1():
    """The table's interval of five runs of .9 is that of numbers from 0 to 1, no wider."""
    expected = bounded_mean_interval(np.full(5, 0.9), np.arange(5), 0.0, 1.0)
    assert verdicts._cell(np.full((5, 8), 0.9)) == estimate(0.9, expected.low, expected.high)
    assert expected.low > 0.4


def test_an_untrained_model_supports_nothing(tmp_path: Path, tiny: material.Material):
    """A model that answers nothing is not trained at all, and every claim says why it does not apply."""
    null = Study.open("organism-untrained", ARITHMETIC, tiny.size, tmp_path / "null")
    phases.generate(null)
    phases.baseline(null)
    assert not precondition(null)[0]
    found = verify(null, range(5))
    assert {str(record.outcome) for record in found.records} == {"not applicable"}
    assert all("of the held-out items" in record.reason for record in found.records)
    for row in read_json(null.result("baseline_classifier"))["layers"]:
        assert row["controls"]["untrained"]["gain"] < 0.3  # no more than another model of chance weights
