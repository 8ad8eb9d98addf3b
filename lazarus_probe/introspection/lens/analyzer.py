"""One object around a model that analyses prompts by the logit lens: `ModelAnalyzer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from numpy.typing import NDArray

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.lens.analysis import AnalysisResult
from lazarus_probe.introspection.lens.analysis_config import AnalysisConfig
from lazarus_probe.introspection.lens.lens_analysis import described, token_text, tracked_token
from lazarus_probe.introspection.lens.logit_lens import read_states
from lazarus_probe.introspection.lens.read_out import own_scale, scale_in_place
from lazarus_probe.introspection.lens.residual_contributions import decomposition
from lazarus_probe.subject.batches import Prompt, encode_all
from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class ModelInfo:
    """What a model is: its name, its family (mlx-lm's `model_type`), and its sizes."""

    model_id: str
    family: str
    num_layers: int
    hidden_size: int
    vocab_size: int
    has_tied_embeddings: bool


@dataclass(frozen=True)
class ModelConfig:
    """A model's configuration, read like a mapping, with its family and embedding scale.

    Attributes:
        family: mlx-lm's `model_type`.
        embedding_scale: what embeddings are multiplied by: the factor given, or the model's own as measured; None
            where there is no one factor.
        values: the configuration as the model was built from it.
    """

    family: str
    embedding_scale: float | None
    values: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]


class ModelAnalyzer:
    """Analyses prompts of one model.

    Use it plainly, `with ModelAnalyzer.from_pretrained(name) as analyzer: analyzer.run(prompt)`, or from a coroutine,
    `async with ... : await analyzer.analyze(prompt)`; both do the same in the thread they are called in. Leaving gives
    back mlx's unused memory; the analyzer can be used before and after.

    Example:
        >>> from lazarus_probe.introspection import ModelAnalyzer
        >>> with ModelAnalyzer(subject) as analyzer:
        ...     result = analyzer.run("7*8=")
        >>> result.predicted_token
        '56'
    """

    def __init__(
        self, subject: Subject, embedding_scale: float | None = None, config: AnalysisConfig | None = None
    ) -> None:
        """An analyzer of a subject; arguments as those of `from_pretrained`."""
        if config is not None and not isinstance(config, AnalysisConfig):
            raise TypeError(
                f"config is of type {type(config).__name__}; give an AnalysisConfig. The model's own configuration "
                "is read off the model"
            )
        self.subject = subject
        self._analysis = config or AnalysisConfig()
        self._scale = embedding_scale
        self._standing = [] if embedding_scale is None else [scale_in_place(subject, embedding_scale)]

    @classmethod
    def from_pretrained(
        cls,
        model_id: str | Path,
        embedding_scale: float | None = None,
        adapter_path: str | Path | None = None,
        config: AnalysisConfig | None = None,
    ) -> Self:
        """Load a model: a bundled name, a folder or a Hub id, quantised or not.

        Args:
            model_id: what to load.
            embedding_scale: takes the place of the factor by which the model scales its embeddings. Models scale by
                themselves; nothing needs to be given.
            adapter_path: a folder with an adapter, as for `Subject.load`.
            config: how to analyse where `analyze` is told nothing.

        Raises:
            LoadError: the model or the adapter cannot be loaded.
            ValueError: an embedding scale for a model that has no one factor.
        """
        return cls(Subject.load(model_id, adapter_path), embedding_scale, config)

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        tokenizer: Any,
        model_id: str = "model",
        embedding_scale: float | None = None,
        config: AnalysisConfig | None = None,
    ) -> Self:
        """An analyzer of a model of mlx-lm that is loaded already; other arguments as those of `from_pretrained`."""
        return cls(Subject.from_model(model, tokenizer, model_id), embedding_scale, config)

    @cached_property
    def model_info(self) -> ModelInfo:
        """What the model is."""
        anatomy = self.subject.anatomy
        return ModelInfo(
            self.subject.name,
            str(self.subject.config.get("model_type", type(self.subject.model).__module__.split(".")[-1])),
            anatomy.num_layers,
            anatomy.hidden_size,
            anatomy.vocab_size,
            not _has_own_head(self.subject),
        )

    @cached_property
    def config(self) -> ModelConfig:
        """The model's configuration, with its family and embedding scale."""
        scale = own_scale(self.subject) if self._scale is None else self._scale
        return ModelConfig(self.model_info.family, scale, self.subject.config)

    async def analyze(self, prompt: Prompt, config: AnalysisConfig | None = None) -> AnalysisResult:
        """`run`, to be awaited."""
        return self.run(prompt, config)

    async def analyze_batch(
        self, prompts: Sequence[Prompt], config: AnalysisConfig | None = None
    ) -> list[AnalysisResult]:
        """`run_batch`, to be awaited."""
        return self.run_batch(prompts, config)

    def run(
        self,
        prompt: Prompt,
        config: AnalysisConfig | None = None,
        interventions: Sequence[Intervention] = (),
    ) -> AnalysisResult:
        """Read one prompt at its last position; see `run_batch`."""
        return self.run_batch([prompt], config, interventions)[0]

    def run_batch(
        self,
        prompts: Sequence[Prompt],
        config: AnalysisConfig | None = None,
        interventions: Sequence[Intervention] = (),
    ) -> list[AnalysisResult]:
        """Read prompts at their last position, after every requested layer, from one run of the model.

        The lens is the model's own final norm and unembedding (nostalgebraist 2020), so that after the last layer it
        gives the model's own prediction.

        Args:
            prompts: N texts or token id sequences, of any lengths.
            config: what to read; what the analyzer was made with by default.
            interventions: edits that the model runs under.

        Raises:
            ValueError: no prompts, an empty one, a tracked text that the tokenizer cannot spell, or a decomposition
                requested where a block is not the sum of its parts.
            IndexError: a layer that the model does not have.
        """
        return [result for result, _ in self.readings(prompts, config, interventions)]

    def readings(
        self,
        prompts: Sequence[Prompt],
        config: AnalysisConfig | None = None,
        interventions: Sequence[Intervention] = (),
    ) -> Iterator[tuple[AnalysisResult, dict[int, NDArray[np.float32]]]]:
        """What `run_batch` returns, one by one, each with what it was made of.

        That is the log probabilities (V,) of the next token by layer: those requested, and the last, whose are the
        model's own.
        """
        config, subject = config or self._analysis, self.subject
        layers = config.layers(subject.num_layers)
        tracked = [tracked_token(subject, text) for text in config.track_tokens]
        parts = decomposition(subject, layers) if config.compute_residual_decomposition else None
        encoded = encode_all(subject, prompts)
        read = list(dict.fromkeys([*layers, subject.num_layers - 1]))
        sites = [*map(resid_post, read), *(parts.sites if parts else ())]
        with self.edited(interventions):
            activations = collect(subject, encoded, sites)
        for row, (prompt, ids) in enumerate(zip(prompts, encoded, strict=True)):
            resid = np.stack([activations[resid_post(layer)][row] for layer in read])
            log_probs = dict(zip(read, read_states(subject, resid), strict=True))
            text = prompt if isinstance(prompt, str) else token_text(subject, ids)
            added = parts.of(activations, row) if parts else []
            yield described(subject, text, ids, layers, log_probs, tracked, config, added), log_probs

    @contextmanager
    def edited(self, interventions: Sequence[Intervention] = ()) -> Iterator[None]:
        """Within, the model runs with the embedding scale that was given, and under these edits.

        Raises:
            HookError: an edit was never applied.
        """
        with hooked(self.subject, interventions=[*self._standing, *interventions]):
            yield

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        mx.clear_cache()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        mx.clear_cache()


def _has_own_head(subject: Subject) -> bool:
    """Whether another weight than the embedding, outside of the blocks, has a row for every token."""
    in_blocks = {
        id(weight) for block in subject.anatomy.blocks for _, weight in tree_flatten(block.parameters())
    }
    embedding = subject.anatomy.embedding_path
    return any(
        id(weight) not in in_blocks
        and weight.ndim == 2
        and weight.shape[0] == subject.anatomy.vocab_size
        and not name.startswith(embedding)
        for name, weight in tree_flatten(subject.model.parameters())
    )
