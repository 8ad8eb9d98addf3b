"""Does causal tracing tell where an edit works? By fact, over layers, beyond what the layer's number tells.

Hase et al. 2023 (arXiv:2301.04213): the layers whose clean states bring a fact back are not those where it is best
edited; which layer is edited tells far more. Both effects differ from layer to layer for every fact alike, so what all
facts share at a layer is taken away first, from both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.editing.edited_facts import Edits, key_directions, outcomes, value_changes
from lazarus_probe.introspection.editing.fact_prompts import fact_prompts, unrelated_texts
from lazarus_probe.introspection.patching.corrupted_runs import corruptions
from lazarus_probe.introspection.patching.fact_measures import shares_restored
from lazarus_probe.introspection.patching.windows import windows_with
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.batches import Prompt
from lazarus_probe.subject.relative_depth import spaced_layers
from lazarus_probe.subject.spans import span

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

LAYERS, FEWEST_LAYERS = 6, 4
DRAWS = 3  # corrupted runs of a prompt
CONSTANT = 1e-9  # a spread that is rounding alone


def tracing_tells_editing(
    subject: Subject,
    prompts: Sequence[str],
    parts: Sequence[str],
    answers: Sequence[int],
    new_answers: Sequence[Sequence[int]],
    wordings: Sequence[str],
    *,
    share: float = 0.2,
    steps: int = 5,
    texts: Sequence[Prompt] | None = None,
    seed: int = 0,
) -> Measurement:
    """By fact the correlation over layers of traced effect and success of a rank-one edit, beyond the layer's own.

    The traced effect is the share of the answer's lost probability that clean MLP outputs of a window around a layer
    bring back at the subject's last token, where the subject was replaced by others (`causal_trace`). The success is
    the logit of a new answer less that of the old after other wordings, with the MLP of that layer edited
    (`rank_one_edit`). The score is an absence; its positive controls show that there is something to detect:
    `other_answer`, how well the success of another new answer tells that of the first, beyond the layer too; and
    `layer_alone`, how well the other facts' mean success at a layer does.

    Args:
        subject: a model with a tokenizer.
        prompts: P texts whose answers the model gives.
        parts: (P,) the subject in each.
        answers: (P,) the token that follows.
        new_answers: two lists (P,) of tokens that are to follow.
        wordings: the facts in other words, with {} for the subject.
        share: of the layers, in a window.
        steps: of the gradient at most.
        texts: of which the second moment of keys is taken; by default `unrelated_texts`.
        seed: of other subjects and texts.

    Raises:
        UnsupportedArchitecture: no block has neurons, or an MLP's output.
        ValueError: fewer than 4 layers to compare, no other wordings, as `corruptions` and `fact_prompts`.
    """
    if subject.num_layers <= FEWEST_LAYERS:
        raise ValueError(
            f"{subject.num_layers} layers; at least {FEWEST_LAYERS + 1} are needed to compare layers"
        )
    if not wordings:
        raise ValueError("no other wordings; give at least one, which the edit was not fitted to")
    # In the last block nothing reads a token before the last any more.
    spaced = spaced_layers(subject.num_layers - 1, LAYERS)
    layers = [layer for (layer,) in windows_with(subject, "neurons", spaced, 1)]
    windows = windows_with(subject, "mlp_out", layers, max(1, round(share * subject.num_layers)))
    encoded = [subject.encode(prompt) for prompt in prompts]
    spans = [span(subject, prompt, part) for prompt, part in zip(prompts, parts, strict=True)]
    corrupted = corruptions(subject, encoded, spans, "resample", 0.0, DRAWS, seed)
    traced, _ = shares_restored(subject, encoded, spans, list(answers), "mlp_out", windows, corrupted)
    texts = unrelated_texts(seed) if texts is None else texts
    facts = [
        fact_prompts(subject, prompts, parts, answers, new, wordings=wordings, neighbours=())
        for new in new_answers
    ]
    directions = key_directions(subject, facts[0], layers, texts)
    gaps = []
    for of_answer in facts:
        changes = value_changes(subject, of_answer, layers, steps=steps)
        gaps.append(outcomes(subject, of_answer, Edits(tuple(layers), changes, directions)).gap)
    success = np.mean(gaps, axis=0)
    others = (success.sum(axis=1, keepdims=True) - success) / (success.shape[1] - 1)
    return rate(
        "correlation of traced effect and edit success over layers, beyond the layer's own",
        correlations(beyond_layer(traced), beyond_layer(success)),
        list(parts),
        {
            "other_answer": correlations(beyond_layer(gaps[0]), beyond_layer(gaps[1])),
            "layer_alone": correlations(others, success),
        },
        positive=("other_answer", "layer_alone"),
        bound=2,
        seed=seed,
        details={
            "layers": layers,
            "traced": traced.mean(axis=1).tolist(),
            "success": success.mean(axis=1).tolist(),
            "edited": [float((gap > 0).mean()) for gap in success],
        },
    )


def beyond_layer(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (K, P) of K layers less what all P facts have at a layer, on average."""
    return np.asarray(values - values.mean(axis=1, keepdims=True))


def correlations(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) the correlation over K layers of two values (K, P) of each fact; 0 where one of them is constant."""
    one, two = (values - values.mean(axis=0) for values in (first, second))
    norms = np.linalg.norm(one, axis=0) * np.linalg.norm(two, axis=0)
    product = (one * two).sum(axis=0)
    return np.clip(np.divide(product, norms, out=np.zeros_like(product), where=norms > CONSTANT), -1, 1)
