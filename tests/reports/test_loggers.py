"""Runs as rows, as metrics of a tracker, and as metadata of a model card."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import yaml

from lazarus_probe.cli.lazarus import main
from lazarus_probe.reports.hub_metadata import front_matter, model_index
from lazarus_probe.reports.loggers import TRACKERS, log_run, metrics_of, rows_of, tracker
from lazarus_probe.reports.write import write_run


@pytest.fixture(scope="module")
def run(make_full_run):
    return make_full_run()


def measured(run):
    return [record for record in run.claims if record.measurement]


def test_every_verdict_is_a_row_of_jsonl(run, tmp_path, capsys):
    """Each line is JSON with claim, verdict and numbers; a second run is appended, and the first stays."""
    folder, rows = write_run(run, tmp_path / "reports"), tmp_path / "rows.jsonl"
    for count in (1, 2):
        assert main(["report", "log", str(folder), "-o", str(rows)]) == 0
        lines = [json.loads(line) for line in rows.read_text().splitlines()]
        assert len(lines) == count * len(run.claims)
    for line, record in zip(lines[-len(run.claims) :], run.claims, strict=True):
        assert (line["claim"], line["parameters"]) == (record.claim.id, record.parameters)
        assert line["verdict"] == record.outcome
        assert line.get("score") == (record.measurement.score if record.measurement else None)
    capsys.readouterr()
    assert main(["report", "log", str(folder)]) == 0
    assert capsys.readouterr().out == "".join(rows.read_text().splitlines(keepends=True)[: len(run.claims)])


def test_metrics_are_numbers_under_names_that_trackers_take(run):
    """A score, its interval and its least gain for each measurement; names have no character that one refuses."""
    metrics = metrics_of(run)
    record = measured(run)[0]
    path = f"tiny/{record.claim.id}/{record.parameters}"
    assert metrics[f"{path}/score"] == record.measurement.score
    assert metrics[f"{path}/least_gain"] == min(control.gain for control in record.measurement.controls)
    assert sum(value for name, value in metrics.items() if name.startswith("verdicts/")) == len(run.claims)
    assert all(isinstance(value, float) for value in metrics.values())
    assert set("".join(metrics)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./")


class Recorded:
    """Stands for a tracker's module: writes down what is called on it."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*arguments, **options):
            self.calls.append((name, arguments, options))
            return self

        return call

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.calls.append(("end", (), {}))


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_gets_the_metrics_in_a_run_of_its_own(run, name, monkeypatch):
    """Each is called as its documentation says: a run begins under the name, all metrics come once, the run ends."""
    module = Recorded()
    monkeypatch.setitem(sys.modules, name, module)
    with tracker(name, "findings", run.run) as logger:
        log_run(run, logger)
    calls = {call[0]: call[1:] for call in module.calls}
    if name == "mlflow":
        assert list(calls) == ["set_experiment", "start_run", "log_metrics", "end"]
        assert calls["set_experiment"] == (("findings",), {})
        assert calls["start_run"] == ((), {"run_name": run.run})
        assert calls["log_metrics"] == ((metrics_of(run),), {})
    else:
        assert list(calls) == ["init", "log", "finish"]
        assert calls["init"] == ((), {"project": "findings", "name": run.run})
        assert calls["log"] == ((metrics_of(run),), {})


def test_a_tracker_that_is_not_there_is_named(run, tmp_path, capsys, monkeypatch):
    """An unknown one, and one that is not installed, are an error of one line; a failure still ends the run."""
    folder = str(write_run(run, tmp_path))
    assert main(["report", "log", folder, "--to", "clearml"]) == 2
    assert (
        capsys.readouterr().err
        == "error: no tracker is called 'clearml'; give one of wandb, trackio, mlflow\n"
    )
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main(["report", "log", folder, "--to", "wandb"]) == 2
    assert capsys.readouterr().err == "error: wandb is not installed: pip install wandb\n"
    ended = []
    module = SimpleNamespace(init=lambda **_: None, log=lambda _: 1 / 0, finish=lambda: ended.append(True))
    monkeypatch.setitem(sys.modules, "wandb", module)
    with pytest.raises(ZeroDivisionError), tracker("wandb", "p", "r") as logger:
        log_run(run, logger)
    assert ended == [True]


def test_the_model_index_is_what_the_hub_reads(run):
    """The Hub's own library reads the front matter, and finds each measurement with its claim, unit and value."""
    from huggingface_hub.repocard_data import model_index_to_eval_results

    text = front_matter(run)
    assert text.startswith("---\n")
    assert text.endswith("\n---\n")
    data = yaml.safe_load(text.strip("-\n"))
    assert data == model_index(run)
    name, results = model_index_to_eval_results(data["model-index"])
    assert name == "tiny"
    assert [
        (each.dataset_name, each.dataset_config or "", each.metric_type, each.metric_value)
        for each in results
    ] == [
        (record.claim.id, record.parameters, record.measurement.unit, record.measurement.score)
        for record in measured(run)
    ]
    assert all(each.metric_args["verdict"] in each.metric_name for each in results)


def test_the_card_begins_with_its_metadata(make_full_run, hostile, tmp_path, capsys):
    """--metadata puts the front matter before the section; no text of a claim ends it early or is read as YAML."""
    run = make_full_run(3, text=hostile)
    folder = str(write_run(run, tmp_path))
    assert main(["report", "card", folder, "--metadata"]) == 0
    _, matter, section = capsys.readouterr().out.split("---\n", 2)
    index = yaml.safe_load(matter)["model-index"]
    assert len(index[0]["results"]) == len(measured(run))
    assert section.lstrip().startswith("## Verified findings")
    assert main(["report", "card", folder, "--metadata", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model-index"] == index


def test_rows_are_plain(run):
    """A row holds nothing that JSON lacks."""
    assert json.loads(json.dumps(rows_of(run))) == rows_of(run)
