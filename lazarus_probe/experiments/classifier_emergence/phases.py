"""The phases before the comparison: training data, what the model shows at first, and the two published trainings.

Each leaves its files in the study's folder and is passed over once they are there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lazarus_probe.experiments.classifier_emergence.material import PHASE1, PHASE2
from lazarus_probe.experiments.classifier_emergence.readings import FOLDS, Reading, read
from lazarus_probe.experiments.classifier_emergence.study import read_json, write_json
from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.hooks import collect
from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.sites import resid_post
from lazarus_probe.statistics import (
    bag_of_tokens,
    majority_predictions,
    out_of_fold_classification,
    paired_control,
    permutation_null,
    proportion_interval,
)
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.control_models import FIRST_SEED
from lazarus_probe.training.settings import read_settings
from lazarus_probe.training.sft import train as sft
from lazarus_probe.training.sft.config import SftConfig

if TYPE_CHECKING:
    from lazarus_probe.experiments.classifier_emergence.study import Study
    from lazarus_probe.experiments.study_tasks import Item
    from lazarus_probe.training.sft.train import OnStep, Training

Note = Callable[[str], None]
PROBED = 400  # items that the probes of every layer are fitted on, at most
DRAWS = 200


def generate(study: Study) -> bool:
    """Write the items to train on, and the held-out ones; whether there was anything to write."""
    wanted = {study.data: study.material.trained, study.held_out: study.material.held_out}
    missing = {path: items for path, items in wanted.items() if not path.exists()}
    for path, items in missing.items():
        write_whole(path, "".join(map(_line, items)))
    return bool(missing)


def _line(item: Item) -> str:
    return json.dumps({"prompt": item.prompt, "response": item.response, "label": item.label}) + "\n"


def baseline(study: Study) -> bool:
    """Probe and lens of every layer before training, and the reading of the model; whether they were taken now."""
    made = False
    parts: dict[str, Callable[[Study], Any]] = {
        "baseline_classifier": probes,
        "baseline_logit_lens": lens,
        "baseline": _reading,
    }
    for name, make in parts.items():
        if not study.result(name).exists():
            write_json(study.result(name), make(study))
            made = True
    return made


def probes(study: Study) -> dict[str, Any]:
    """A linear probe of the class after each layer, on families it has not met, with what needs no model beside it."""
    subject, items = study.subject, _some(study.material.held_out + study.material.trained)
    labels, families = np.array([item.label for item in items]), np.array([item.family for item in items])
    sites = [resid_post(layer) for layer in range(subject.num_layers)]
    prompts = [item.prompt for item in items]
    inside, twin = (collect(model, prompts, sites) for model in (subject, subject.untrained(FIRST_SEED)))

    def right(features: Any) -> Any:
        found = out_of_fold_classification(features.reshape(len(items), -1), labels, families, k=FOLDS)
        return (found == labels).astype(float)

    with one_thread():
        known = {
            "majority": (majority_predictions(labels) == labels).astype(float),
            "bag_of_tokens": right(bag_of_tokens([subject.encode(prompt) for prompt in prompts])),
        }
        layers = [
            _probed(right(inside[site]), {**known, "untrained": right(twin[site])}, families)
            for site in sites
        ]
        for row, site in zip(layers, sites, strict=True):
            row["p"] = permutation_null(inside[site].reshape(len(items), -1), labels, families, DRAWS).p
    return {"folds": FOLDS, "items": len(items), "families": len(set(families)), "layers": layers}


def _probed(hits: Any, known: dict[str, Any], families: Any) -> dict[str, Any]:
    interval = proportion_interval(hits, families)
    controls = [paired_control(name, hits, other, families) for name, other in known.items()]
    row = {"accuracy": float(hits.mean()), "low": interval.low, "high": interval.high}
    return {**row, "controls": {each.name: {"accuracy": each.score, "gain": each.gain} for each in controls}}


def _some(items: Sequence[Item]) -> list[Item]:
    """Of many items some, evenly: those of one label stand together."""
    return list(items[:: -(-len(items) // PROBED)])


def lens(study: Study) -> dict[str, Any]:
    """The class words by the lens after each layer, on held-out items: on top, and their mean probability."""
    items, tokens = study.material.held_out, study.material.tokens(study.subject)
    found = logit_lens(study.subject, [item.prompt for item in items])
    own = [tokens[item.label] for item in items]
    top = found.top_tokens()[..., 0] == np.array(own)[:, None]
    words = {label: _plain(found.probability(token)) for label, token in tokens.items()}
    return {
        "items": len(items),
        "tokens": tokens,
        "on_top_by_layer": top.mean(axis=0).round(4).tolist(),
        "probability_by_layer": _plain(found.probability(own)),
        "mean_probability_of_each_word_by_layer": words,
    }


def _plain(probabilities: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in probabilities.mean(axis=0)]


def _reading(study: Study) -> dict[str, Any]:
    return read(study.subject, study.material, study.layer).as_dict()


def reading(study: Study, name: str) -> Reading:
    """What was read of the model before training (`baseline`), or after a phase.

    Raises:
        ValueError: that phase did not run.
    """
    path = study.result(name)
    if not path.exists():
        raise ValueError(f"{path} is missing; run `lazarus experiment classifier-emergence {name}` first")
    return Reading.from_dict(read_json(path))


def prepare(study: Study, phase: str, on_note: Note = lambda _line: None) -> Training | None:
    """One of the two published trainings, `phase1` or `phase2`, ready to begin or go on; None if it is done.

    Raises:
        ValueError: a phase that it needs did not run.
    """
    if study.result(phase).exists():
        return None
    return sft.prepare(settings(study, phase), on_note)


def settings(study: Study, phase: str) -> SftConfig:
    """The published configuration of a phase: with the study's model, its paths, and the layer at the published depth.

    A small study takes fewer steps.

    Raises:
        ValueError: a phase that it needs did not run.
    """
    if not study.data.exists():
        raise ValueError(
            f"{study.data} is missing; run `lazarus experiment classifier-emergence generate` first"
        )
    given = {"model": study.model, "data": study.data, **(_first if phase == "phase1" else _second)(study)}
    config = read_settings(SftConfig, PHASE1 if phase == "phase1" else PHASE2, given)
    most = min(config.max_steps or study.material.size.steps, study.material.size.steps)
    return config.model_copy(update={"max_steps": most})


def _first(study: Study) -> dict[str, Any]:
    return {
        "output": study.phase1,
        "intermediate_loss.layer": study.layer,
        "intermediate_loss.targets": dict(study.material.task.words),
    }


def _second(study: Study) -> dict[str, Any]:
    reading(study, "phase1")
    return {"adapter": study.phase1, "output": study.phase2, "freeze_layers": f"0-{study.layer}"}


def train(
    study: Study, phase: str, training: Training, on_step: OnStep = lambda _step, _validation: None
) -> None:
    """Train what `prepare` made ready, and read the model after it.

    Raises:
        FloatingPointError: the training diverged.
    """
    sft.run(training, on_step)
    write_json(study.result(phase), read(training.subject, study.material, study.layer).as_dict())
