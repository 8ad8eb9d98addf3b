"""A study in its folder: its settings, the paths of its files, and writing them atomically."""

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
        material: the training and held-out items.
        layer: where the class is trained and read, at 55% of the depth.
        output: the folder for all files.
    """

    subject: Subject
    model: str
    material: Material
    layer: int
    output: Path

    @classmethod
    def open(cls, model: str, task: StudyTask, size: Size, output: Path) -> Study:
        """Begin a study in a folder, or resume the one there.

        Raises:
            ValueError: the folder holds a study with other settings, or a class word is not a single token.
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
        """The settings that determine every number in the folder."""
        return {
            "model": self.subject.name,
            "fingerprint": self.subject.fingerprint,
            "task": self.material.task.name,
            "size": asdict(self.material.size),
            "configurations": sha256(PHASE1.read_bytes() + PHASE2.read_bytes()).hexdigest()[:16],
        }

    @property
    def data(self) -> Path:
        """The training items, as JSON lines."""
        return self.output / "data" / f"{self.material.task.name}_sft.jsonl"

    @property
    def held_out(self) -> Path:
        """The held-out items, as JSON lines."""
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
        """The path of a results file."""
        return self.output / "results" / f"{name}.json"

    def run(self, arm: str, seed: int) -> Run:
        """A stored run.

        Raises:
            OSError: it does not exist.
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
        """The path of a stored run."""
        return self.result(f"arms/{arm}-{seed}")


def _claim_folder(file: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a folder's study, or check that they are the same."""
    if not file.exists():
        write_json(file, settings)
        return
    stored = read_json(file)
    for name, value in settings.items():
        if stored.get(name) != value:
            before, now = (_in_a_word(setting) for setting in (stored.get(name), value))
            difference = f"is {before}, not {now}" if before != now else "differs"
            raise ValueError(f"{file.parent} holds a study whose {name} {difference}; give another --output")


def _in_a_word(value: Any) -> str:
    return str(value["name"] if isinstance(value, dict) else value)[:12]


def write_json(path: Path, values: Any) -> None:
    """Write a file atomically: an interrupted write leaves the previous content."""
    write_whole(path, json.dumps(values, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON.
    """
    try:
        return plain_json.read_json(path)
    except ValueError:
        raise ValueError(f"{path} is damaged; remove it to make it again") from None
