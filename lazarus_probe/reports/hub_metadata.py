"""`model-index`: the results of a run as the metadata of a model card on the Hugging Face Hub.

Its format is that of https://github.com/huggingface/hub-docs/blob/main/modelcard.md: a task, a dataset and metrics for
each result. A claim is the dataset, since its prompts are generated; its verdict stands with the metric.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from lazarus_probe.reports.card import records_of
from lazarus_probe.untrusted import visible

if TYPE_CHECKING:
    from lazarus_probe.claims.record import ClaimRecord, MeasurementRecord
    from lazarus_probe.reports.run import Run

TASK = "text-generation"
DATASET = "lazarus_probe"


def model_index(run: Run, model: str | None = None) -> dict[str, Any]:
    """What was measured on a model, as the Hub reads it from the top of its card.

    Claims that do not apply, or measured nothing, are left out; refuted ones are not.

    Args:
        run: what was tested.
        model: that the card is of; may be left out where the run is of one.

    Raises:
        ValueError: the run is not of that model, or of several and none is given.

    Example:
        >>> from lazarus_probe.reports import find_run, model_index
        >>> folder, run = find_run("after")
        >>> (entry,) = model_index(run)["model-index"]
        >>> entry["name"], entry["results"][0]["metrics"][0]["type"]
        ('organism', 'accuracy')
    """
    records = records_of(run, model)
    results = [_result(record, record.measurement) for record in records if record.measurement]
    return {"model-index": [{"name": visible(records[0].model.name), "results": results}]}


def front_matter(run: Run, model: str | None = None) -> str:
    """`model_index` as YAML between two lines of dashes, to stand at the top of a card."""
    text = yaml.safe_dump(model_index(run, model), sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{text}---\n"


def _result(record: ClaimRecord, measurement: MeasurementRecord) -> dict[str, Any]:
    claim = record.claim
    dataset = {"type": DATASET, "name": visible(claim.id), "args": {"hash": record.claim_hash}}
    if record.parameters:
        dataset["config"] = visible(record.parameters)
    args = {
        "verdict": str(record.outcome),
        "low": measurement.low,
        "high": measurement.high,
        "threshold": claim.threshold,
        "prompts": measurement.n,
        "groups": measurement.groups,
        "controls": {visible(control.name): control.score for control in measurement.controls},
    }
    metric = {
        "type": visible(measurement.unit),
        "value": measurement.score,
        "name": f"{visible(measurement.counted)} ({record.outcome})",
        "args": args,
    }
    return {
        "task": {"type": TASK, "name": visible(claim.statement)},
        "dataset": dataset,
        "metrics": [metric],
    }
