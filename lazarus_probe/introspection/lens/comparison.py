"""Two models on one prompt, layer by layer, and how far apart their predictions are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.lens.analysis import AnalysisResult
from lazarus_probe.introspection.lens.analysis_config import AnalysisConfig
from lazarus_probe.introspection.lens.analyzer import ModelAnalyzer
from lazarus_probe.introspection.lens.divergence import js_divergence, kl_divergence
from lazarus_probe.introspection.lens.lens_analysis import predictions
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

MATCHED_BY_TEXT = 100  # tokens of each model


@dataclass(frozen=True)
class LayerDivergence:
    """How far two models' next-token distributions are apart, in nats.

    Attributes:
        layer_idx: read after this layer of both.
        kl_divergence: KL(model 1 || model 2).
        js_divergence: Jensen-Shannon divergence, at most log 2.
    """

    layer_idx: int
    kl_divergence: float
    js_divergence: float


@dataclass(frozen=True)
class ComparisonResult:
    """Two models on one prompt.

    Attributes:
        prompt: the text.
        results: the analysis of each model.
        same_tokens: whether both have the same vocabulary, so that their distributions can be compared token by token.
        layer_divergences: by layer; empty where the tokens or the numbers of layers differ.
        final_kl: KL(model 1 || model 2) of their own predictions in nats; None where the tokens differ.
        final_js: the same as Jensen-Shannon divergence. Where the tokens differ they are matched by their text: the 100
            most probable of each, and all others as one; that can only bring the two closer.
    """

    prompt: str
    results: tuple[AnalysisResult, AnalysisResult]
    same_tokens: bool
    layer_divergences: list[LayerDivergence]
    final_kl: float | None
    final_js: float

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "prompt": self.prompt,
            "models": [{"model": result.model_id, **result.as_data()} for result in self.results],
            "same_tokens": self.same_tokens,
            "same_top_token": self.same_top_token,
            "layer_divergences": [asdict(divergence) for divergence in self.layer_divergences],
            "final_kl": self.final_kl,
            "final_js": self.final_js,
        }

    @property
    def same_top_token(self) -> bool:
        """Whether both predict the same text next."""
        first, second = (result.predicted_token for result in self.results)
        return first == second if self.same_tokens else first.strip() == second.strip()

    def table(self, top: int | None = None) -> Table:
        """The next-token predictions of each model, the `top` most probable; all that were read by default."""
        rows = [
            (result.model_id if not rank else "", repr(prediction.token), prediction.probability)
            for result in self.results
            for rank, prediction in enumerate(result.final_prediction[:top])
        ]
        columns = ("Model", "Top token", Column("Prob", ".4f"))
        return Table(columns, rows, f"{self.prompt!r}: JS {self.final_js:.4f} nats")

    def _repr_html_(self) -> str:
        return self.table(1).html()


def compare_models(
    first: ModelAnalyzer, second: ModelAnalyzer, prompts: Sequence[str], config: AnalysisConfig
) -> list[ComparisonResult]:
    """Compare two models on prompts, each read at its last position.

    Args:
        first: one model.
        second: the other; of any size, with any tokenizer.
        prompts: N texts.
        config: what to read of each; custom layers must exist in both.

    Raises:
        ValueError: as `ModelAnalyzer.run_batch`.
        IndexError: a layer that one of them does not have.
    """
    same = _same_tokens(first.subject, second.subject)
    same_depth = first.subject.num_layers == second.subject.num_layers
    pairs = zip(first.readings(prompts, config), second.readings(prompts, config), strict=True)
    comparisons = []
    for (result, log_p), (other_result, log_q) in pairs:
        layers = result.captured_layers if same and same_depth else []
        by_layer = [LayerDivergence(layer, *_both(log_p[layer], log_q[layer])) for layer in layers]
        last_p, last_q = log_p[first.subject.num_layers - 1], log_q[second.subject.num_layers - 1]
        if same:
            final_kl, final_js = _both(last_p, last_q)
        else:
            final_kl, final_js = None, js_divergence(*_by_text(first.subject, second.subject, last_p, last_q))
        results = (result, other_result)
        comparisons.append(ComparisonResult(result.prompt, results, same, by_layer, final_kl, final_js))
    return comparisons


def _both(log_p: NDArray[Any], log_q: NDArray[Any]) -> tuple[float, float]:
    return kl_divergence(log_p, log_q), js_divergence(log_p, log_q)


def _same_tokens(first: Subject, second: Subject) -> bool:
    """Whether a token id means the same to both."""
    if first.anatomy.vocab_size != second.anatomy.vocab_size:
        return False
    return bool(first.tokenizer.get_vocab() == second.tokenizer.get_vocab())


def _by_text(
    first: Subject, second: Subject, log_p: NDArray[Any], log_q: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log probabilities of the same texts under both: those most probable under either, and all others as one."""
    tops = [_texts(first, log_p), _texts(second, log_q)]
    texts = sorted({*tops[0], *tops[1]})
    log_probs = []
    for top in tops:
        probabilities = np.array([top.get(text, 0.0) for text in texts])
        with np.errstate(divide="ignore"):
            log_probs.append(np.log(np.append(probabilities, max(0.0, 1 - probabilities.sum()))))
    return log_probs[0], log_probs[1]


def _texts(subject: Subject, log_probs: NDArray[Any]) -> dict[str, float]:
    """The probability of the most probable tokens, by text; spaces around it differ between tokenizers."""
    probabilities: dict[str, float] = {}
    for prediction in predictions(subject, log_probs, MATCHED_BY_TEXT):
        text = prediction.token.strip() or prediction.token
        probabilities[text] = probabilities.get(text, 0.0) + prediction.probability
    return probabilities
