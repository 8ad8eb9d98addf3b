"""A study in its folder: what it is of, where its files are, and writing them whole or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazarus_probe.experiments.classifier_emergence.arms import Run
from lazarus_probe.experiments.classifier_emergence.material import PHASE1, PHASE2, Material, Size
from lazarus_probe.files import plain_json
from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.subject.subject import Subject
from lazarus_probe.training.dual_reward_config import classifier_layer

if TYPE_CHECKING:
    from lazarus_probe.experiments.study_tasks import StudyTask

SETTINGS = "study.json"


@dataclass(frozen=True, eq=False)
class Study:
    """A study of one model on one task.

    Attributes:
        subject: the model.
        model: the name that it is loaded by.
        material: what is trained on and read.
        layer: where the class is trained and read: at 55% of the depth.
        output: the folder of everything that is written.
    """

    subject: Subject
    model: str
    material: Material
    layer: int
    output: Path

    @classmethod
    def open(cls, model: str, task: StudyTask, size: Size, output: Path) -> Study:
        """Begin a study in a folder, or go on with the one there.

        Raises:
            ValueError: the folder has a study of something else, or a class word is no token of the model.
            LoadError: the model cannot be loaded.
            OSError: the folder cannot be written to.
        """
        subject, material = Subject.load(model), Material.of(task, size)
        material.tokens(subject)
        study = cls(subject, model, material, classifier_layer(subject.num_layers), output)
        _claim_folder(output / SETTINGS, study.settings)
        return study

    @property
    def settings(self) -> dict[str, Any]:
        """What decides every number in the folder."""
        return {
            "model": self.subject.name,
            "fingerprint": self.subject.fingerprint,
            "task": self.material.task.name,
            "size": asdict(self.material.size),
            "configurations": sha256(PHASE1.read_bytes() + PHASE2.read_bytes()).hexdigest()[:16],
        }

    @property
    def data(self) -> Path:
        """The items to train on, as JSON lines."""
        return self.output / "data" / f"{self.material.task.name}_sft.jsonl"

    @property
    def held_out(self) -> Path:
        """The items that are read, as JSON lines."""
        return self.output / "data" / f"{self.material.task.name}_held_out.jsonl"

    @property
    def phase1(self) -> Path:
        """The adapter of the first phase."""
        return self.output / "checkpoints" / "phase1_classifier"

    @property
    def phase2(self) -> Path:
        """The adapter of the second phase."""
        return self.output / "checkpoints" / "phase2_routing"

    def result(self, name: str) -> Path:
        """A file of results."""
        return self.output / "results" / f"{name}.json"

    def run(self, arm: str, seed: int) -> Run:
        """A run that was kept.

        Raises:
            OSError: there is none.
            ValueError: it cannot be read.
        """
        path = self.run_path(arm, seed)
        values = read_json(path)
        try:
            return Run.from_dict(values)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a run of this study ({error}); remove it to train again"
            ) from None

    def run_path(self, arm: str, seed: int) -> Path:
        """Where a run is kept."""
        return self.result(f"arms/{arm}-{seed}")


def _claim_folder(file: Path, settings: dict[str, Any]) -> None:
    """Write what a folder is of, or check that it is the same."""
    if not file.exists():
        write_json(file, settings)
        return
    kept = read_json(file)
    for name, value in settings.items():
        if kept.get(name) != value:
            known, now = (_in_a_word(each) for each in (kept.get(name), value))
            what = f"is {known}, not {now}" if known != now else "differs"
            raise ValueError(f"{file.parent} holds a study whose {name} {what}; give another --output")


def _in_a_word(value: Any) -> str:
    return str(value["name"] if isinstance(value, dict) else value)[:12]


def write_json(path: Path, values: Any) -> None:
    """Write a file aside and put it in place whole: one that is cut short leaves what was there."""
    write_whole(path, json.dumps(values, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """What a file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON.
    """
    try:
        return plain_json.read_json(path)
    except ValueError:
        raise ValueError(f"{path} is damaged; remove it to make it again") from None
