"""Ablation studies: completions of a model with outputs of some of its components replaced."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.nn as nn

from lazarus_probe.files.whole_files import write_aside
from lazarus_probe.introspection.ablation.components import Output
from lazarus_probe.introspection.ablation.config import AblationConfig, AblationType, ComponentType
from lazarus_probe.introspection.ablation.criteria import Criterion, criterion_of
from lazarus_probe.introspection.ablation.results import Ablations
from lazarus_probe.introspection.ablation.runs import AblationRuns, reference_prompts
from lazarus_probe.introspection.ablation.text import sweep_text, tasks_text
from lazarus_probe.subject.relative_depth import layer_number
from lazarus_probe.subject.subject import Subject

__all__ = ["AblationConfig", "AblationStudy", "AblationType", "Ablations", "ComponentType"]

Condition = str | Callable[[str], bool]


class AblationStudy:
    """Ablations of one model.

    Means, rows and noise come from reference prompts: one of every template of arithmetic and language in
    `lazarus_probe.tasks` (`reference_prompts`), not the prompt's own positions, of which there are too few.

    Args:
        subject: the model, with its tokenizer.
        reference: other prompts that replacements come from.

    Example:
        >>> from lazarus_probe.introspection import AblationConfig, AblationStudy
        >>> config = AblationConfig(component="attention", max_new_tokens=4)
        >>> study = AblationStudy(subject)
        >>> sweep = study.run_layer_sweep("7*8=", "56", layers=[0, 1], config=config)
        >>> sweep.original
        ('56',)
        >>> [row.name for row in sweep.rows]
        ['L0', 'L1']
    """

    def __init__(self, subject: Subject, reference: Sequence[str] | None = None) -> None:
        self.subject = subject
        self.reference = list(reference) if reference is not None else reference_prompts()
        self._rows: dict[Output, Any] = {}

    @classmethod
    def from_pretrained(cls, model_id: str | Path, adapter_path: str | Path | None = None) -> AblationStudy:
        """Load a bundled model, a folder or a Hub id, optionally with an adapter.

        Raises:
            LoadError: as `Subject.load`.
        """
        return cls(Subject.load(model_id, adapter_path))

    @classmethod
    def from_model(
        cls, model: nn.Module | Subject, tokenizer: Any = None, model_id: str = "model"
    ) -> AblationStudy:
        """Study a loaded model, with the tokenizer that `mlx_lm.load` returns with it."""
        subject = model if isinstance(model, Subject) else Subject.from_model(model, tokenizer, model_id)
        return cls(subject)

    def ablate_and_generate(
        self,
        prompt: str,
        layers: Iterable[int],
        component: ComponentType | str | None = None,
        config: AblationConfig | None = None,
    ) -> str:
        """The completion with a component of some layers ablated together; without layers, of the unablated model.

        Args:
            prompt: exactly as the model gets it; no chat template is applied.
            layers: from 0; negative ones count from the last.
            component: by default that of the configuration.
            config: see `AblationConfig`.

        Raises:
            IndexError: a layer that the model does not have.
            ValueError: a component that a layer does not have, or an empty prompt.
        """
        layers = tuple(dict.fromkeys(layer_number(layer, self.subject.num_layers) for layer in layers))
        return self._runs([prompt], [], _config(config, component)).without(layers)[0]

    def run_layer_sweep(
        self,
        prompt: str | Sequence[str],
        criterion: Condition,
        layers: Iterable[int] | None = None,
        component: ComponentType | str | None = None,
        task_name: str = "task",
        config: AblationConfig | None = None,
    ) -> Ablations:
        """Ablate one layer at a time; with several prompts, findings are compared with random controls.

        Args:
            prompt: one, or several that share a criterion.
            criterion: a function of the output, or a condition of `criterion_of`.
            layers: all by default.
            component: by default that of the configuration.
            task_name: its name in reports.
            config: see `AblationConfig`.

        Raises:
            IndexError, ValueError: as `ablate_and_generate`.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        groups = [(layer,) for layer in (range(self.subject.num_layers) if layers is None else layers)]
        criteria = [criterion_of(criterion)] * len(prompts)
        return self._runs(prompts, criteria, _config(config, component)).ablations(groups, task=task_name)

    def run_multi_task_sweep(
        self,
        tasks: Iterable[tuple[str, str | Sequence[str], Condition]],
        layers: Iterable[int] | None = None,
        component: ComponentType | str | None = None,
        config: AblationConfig | None = None,
    ) -> dict[str, Ablations]:
        """`run_layer_sweep` for several tasks, each a name, a prompt or several, and a criterion.

        Raises:
            ValueError: no tasks, two of one name, or as `run_layer_sweep`.
        """
        layers, tasks = None if layers is None else list(layers), list(tasks)
        names = [name for name, _, _ in tasks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"tasks are named {names}; give at least one, and each its own name")
        return {
            name: self.run_layer_sweep(prompt, criterion, layers, component, name, config)
            for name, prompt, criterion in tasks
        }

    def print_sweep_summary(self, result: Ablations) -> None:
        """Print a sweep as a table."""
        print(sweep_text(result))  # noqa: T201 - this is what it is for

    def print_multi_task_matrix(self, results: Mapping[str, Ablations]) -> None:
        """Print the sweeps of several tasks side by side."""
        print(tasks_text(results))  # noqa: T201 - this is what it is for

    def save_results(self, results: Ablations | Mapping[str, Ablations], path: str | Path) -> None:
        """Write sweeps to a JSON file, by task; the write is atomic.

        Raises:
            OSError: it cannot be written.
        """
        by_task = {results.task: results} if isinstance(results, Ablations) else results
        data = {name: ablations.as_data() for name, ablations in by_task.items()}
        write_aside(Path(path), json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def _runs(
        self, prompts: Sequence[str], criteria: Sequence[Criterion], config: AblationConfig
    ) -> AblationRuns:
        return AblationRuns(self.subject, prompts, criteria, config, self.reference, rows=self._rows)


def _config(config: AblationConfig | None, component: ComponentType | str | None) -> AblationConfig:
    config = config or AblationConfig()
    return config if component is None else replace(config, component=ComponentType(component))
