"""What heads say at the end of prompts that show a task, and which of them bring the task to prompts that do not.

Todd et al. 2024 (arXiv:2310.15213). A head's causal indirect effect is what the right answer gains where the head's
output, in a prompt whose examples are shuffled, is its mean over prompts whose examples are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.hooks.additivity import additivity
from lazarus_probe.hooks.check import TOLERANCE
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.ablation.effects import head_sites
from lazarus_probe.introspection.attribution.head_terms import projected_heads
from lazarus_probe.introspection.attribution.shown_tasks import TaskPrompts
from lazarus_probe.sweep.engine import sweep
from lazarus_probe.sweep.metrics import probability
from lazarus_probe.sweep.sources import Mean

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

LENGTH = 12
Floats = NDArray[np.float64]
Outputs = Mapping[Site, Floats]


def attention_factors(subject: Subject) -> dict[int, float]:
    """By layer what its heads are multiplied by on their way to the residual stream, where they add up.

    Raises:
        UnsupportedArchitecture: several residual streams, or no block that adds its heads as they are.
    """
    if subject.anatomy.stream_axis is not None:
        raise UnsupportedArchitecture(
            f"{subject.name} carries several residual streams; one is needed to add up heads"
        )
    tokens = np.random.default_rng(0).integers(0, subject.anatomy.vocab_size, size=(2, LENGTH))
    sums = additivity(subject, mx.array(tokens), max(1e-3, TOLERANCE.get(subject.dtype, 1e-3)))
    factors = {
        layer: sum_.terms["attn_out"]
        for layer, sum_ in enumerate(sums)
        if sum_.holds
        and "attn_out" in sum_.terms
        and subject.anatomy.parts[layer].o_proj
        and "head_out" in kinds_at(subject.anatomy, layer)
    }
    if not factors:
        raise UnsupportedArchitecture(
            f"{subject.name} has no block that adds its attention heads to the residual stream as they are"
        )
    return factors


def last_outputs(
    subject: Subject, prompts: TaskPrompts, layers: Sequence[int]
) -> tuple[dict[Site, Floats], NDArray[np.bool_]]:
    """By layer the mean output of its heads (H, Dh) at the last token, and whether each prompt (P,) is answered."""
    sites = [Site("head_out", layer) for layer in layers]
    run = trace(subject, [list(ids) for ids in prompts.ids], sites, positions="last")
    means = {
        site: np.array(run[site][:, 0].astype(mx.float32), dtype=np.float64).mean(axis=0) for site in sites
    }
    tops = [np.array(logits[-1].argmax()) for logits in run.logits_of()]
    return means, np.array(tops) == np.array(prompts.answers)


def head_effects(
    subject: Subject, shuffled: TaskPrompts, means: Outputs, sites: Sequence[Site]
) -> tuple[Floats, Floats]:
    """The causal indirect effect (P, K) of K heads, and the answer's probability (P,) without any.

    Args:
        subject: the model.
        shuffled: prompts whose examples have outputs in another order.
        means: by layer the mean output of its heads on prompts with right examples.
        sites: of single heads.
    """
    result = sweep(
        subject,
        [list(ids) for ids in shuffled.ids],
        sites,
        sources={"mean": Mean({str(site): value.astype(np.float32) for site, value in means.items()})},
        metrics=[probability(list(shuffled.answers))],
        positions="last",
    )
    plain = np.asarray(result.baseline["probability"], dtype=np.float64)
    patched = np.asarray(result.values["probability"], dtype=np.float64)[:, 0, :, 0]
    return patched - plain[:, None], plain


def head_sum(subject: Subject, heads: Sequence[Site], means: Outputs, factors: Mapping[int, float]) -> Floats:
    """(D,) what some heads add to the residual stream together, each by its mean output."""
    total: Any = np.zeros(subject.anatomy.hidden_size)
    for layer in sorted({site.layer or 0 for site in heads}):
        added = projected_heads(subject, layer, means[Site("head_out", layer)][None])[0][0]
        chosen = [site.head for site in heads if (site.layer or 0) == layer]
        total = total + factors[layer] * added[chosen].sum(axis=0)
    return np.asarray(total)


def heads_of(subject: Subject, layers: Sequence[int]) -> list[Site]:
    """Every head of some layers."""
    return [site for site in head_sites(subject) if site.layer in layers]
