"""The phases before the comparison: training data, the untuned model's baseline, and the two published trainings.

Each writes its files into the study's folder and is skipped once they exist.
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
from lazarus_probe.statistics.clustered import proportion_interval
from lazarus_probe.statistics.controls import bag_of_tokens, majority_predictions, paired_control
from lazarus_probe.statistics.null import permutation_null
from lazarus_probe.statistics.probes.out_of_fold import out_of_fold_classification
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
PROBED = 400  # maximum number of items for the probes of every layer
DRAWS = 200


def generate(study: Study) -> bool:
    """Write the training items and the held-out ones; whether there was anything to write."""
    wanted = {study.data: study.material.trained, study.held_out: study.material.held_out}
    missing = {path: items for path, items in wanted.items() if not path.exists()}
    for path, items in missing.items():
        write_whole(path, "".join(map(_line, items)))
    return bool(missing)


def _line(item: Item) -> str:
    return json.dumps({"prompt": item.prompt, "response": item.response, "label": item.label}) + "\n"


def baseline(study: Study) -> bool:
    """Probe and lens of every layer before training, and the model's reading; whether any was computed now."""
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
    """A linear probe of the class after each layer, on held-out families, with baselines that need no trained model."""
    subject, items = study.subject, _some(study.material.held_out + study.material.trained)
    labels, families = np.array([item.label for item in items]), np.array([item.family for item in items])
    sites = [resid_post(layer) for layer in range(subject.num_layers)]
    prompts = [item.prompt for item in items]
    inside, untrained = (collect(model, prompts, sites) for model in (subject, subject.untrained(FIRST_SEED)))

    def right(features: Any) -> Any:
        predictions = out_of_fold_classification(features.reshape(len(items), -1), labels, families, k=FOLDS)
        return (predictions == labels).astype(float)

    with one_thread():
        controls = {
            "majority": (majority_predictions(labels) == labels).astype(float),
            "bag_of_tokens": right(bag_of_tokens([subject.encode(prompt) for prompt in prompts])),
        }
        layers = [
            _probed(right(inside[site]), {**controls, "untrained": right(untrained[site])}, families)
            for site in sites
        ]
        for row, site in zip(layers, sites, strict=True):
            row["p"] = permutation_null(inside[site].reshape(len(items), -1), labels, families, DRAWS).p
    return {"folds": FOLDS, "items": len(items), "families": len(set(families)), "layers": layers}


def _probed(hits: Any, hits_by_control: dict[str, Any], families: Any) -> dict[str, Any]:
    interval = proportion_interval(hits, families)
    controls = [
        paired_control(name, hits, control_hits, families) for name, control_hits in hits_by_control.items()
    ]
    row: dict[str, Any] = {"accuracy": float(hits.mean()), "low": interval.low, "high": interval.high}
    row["controls"] = {
        control.name: {"accuracy": control.score, "gain": control.gain} for control in controls
    }
    return row


def _some(items: Sequence[Item]) -> list[Item]:
    """An evenly spaced subset of the items, since items of one label are adjacent."""
    return list(items[:: -(-len(items) // PROBED)])


def lens(study: Study) -> dict[str, Any]:
    """The lens after each layer on held-out items: how often the class word is on top, and its mean probability."""
    items, tokens = study.material.held_out, study.material.tokens(study.subject)
    lens_output = logit_lens(study.subject, [item.prompt for item in items])
    own = [tokens[item.label] for item in items]
    top = lens_output.top_tokens()[..., 0] == np.array(own)[:, None]
    words = {label: _plain(lens_output.probability(token)) for label, token in tokens.items()}
    return {
        "items": len(items),
        "tokens": tokens,
        "on_top_by_layer": top.mean(axis=0).round(4).tolist(),
        "probability_by_layer": _plain(lens_output.probability(own)),
        "mean_probability_of_each_word_by_layer": words,
    }


def _plain(probabilities: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in probabilities.mean(axis=0)]


def _reading(study: Study) -> dict[str, Any]:
    return read(study.subject, study.material, study.layer).as_dict()


def reading(study: Study, name: str) -> Reading:
    """The model's stored reading: before training (`baseline`), or after a phase.

    Raises:
        ValueError: that phase has not run.
    """
    path = study.result(name)
    if not path.exists():
        raise ValueError(f"{path} is missing; run `lazarus experiment classifier-emergence {name}` first")
    return Reading.from_dict(read_json(path))


def prepare(study: Study, phase: str, on_note: Note = lambda _line: None) -> Training | None:
    """One of the two published trainings, `phase1` or `phase2`, ready to start or resume; None if it is done.

    Raises:
        ValueError: a phase that it depends on has not run.
    """
    if study.result(phase).exists():
        return None
    return sft.prepare(settings(study, phase), on_note)


def settings(study: Study, phase: str) -> SftConfig:
    """The published configuration of a phase, with the study's model and paths, and the layer at the published depth.

    A small study takes fewer steps.

    Raises:
        ValueError: a phase that it depends on has not run.
    """
    if not study.data.exists():
        raise ValueError(
            f"{study.data} is missing; run `lazarus experiment classifier-emergence generate` first"
        )
    overrides = {
        "model": study.model,
        "data": study.data,
        **(_first if phase == "phase1" else _second)(study),
    }
    config = read_settings(SftConfig, PHASE1 if phase == "phase1" else PHASE2, overrides)
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
    """Run the training that `prepare` returned, and store the model's reading after it.

    Raises:
        FloatingPointError: the training diverged.
    """
    sft.run(training, on_step)
    write_json(study.result(phase), read(training.subject, study.material, study.layer).as_dict())
