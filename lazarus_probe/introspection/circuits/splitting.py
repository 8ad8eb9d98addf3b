"""Whether a model's residual stream is a sum of what its heads and MLPs write, so that it has edges at all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.additivity import Additivity, additivity
from lazarus_probe.hooks.check import TOLERANCE, distance
from lazarus_probe.hooks.trace import Trace, trace
from lazarus_probe.introspection.circuits.edges.edge_graph import BlockNodes, EdgeGraph
from lazarus_probe.introspection.circuits.head_projections import sliceable
from lazarus_probe.introspection.circuits.split_runs import Splitting, Stream, run_split
from lazarus_probe.subject.finite import require_finite

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

CHECKED = (2, 12)  # prompts and tokens of the run on which a model is checked


def split(subject: Subject) -> Splitting:
    """The nodes and edges of a model, checked on a run of its own.

    Raises:
        UnsupportedArchitecture: its residual stream is no plain sum of what heads and MLPs write; the message says why.
        NotFinite: its logits are not finite.
    """
    anatomy = subject.anatomy
    if anatomy.stream_axis is not None:
        raise _refused(subject, "it carries several residual streams")
    blocks = tuple(_nodes(subject, layer) for layer in range(anatomy.num_layers))
    if not anatomy.skippable:
        raise _refused(subject, "its blocks hand on more than the residual stream")
    rng = np.random.default_rng(0)
    tokens = mx.array(rng.integers(0, anatomy.vocab_size, size=CHECKED))
    tolerance = TOLERANCE.get(subject.dtype, 1e-4)
    sums = additivity(subject, tokens, tolerance)
    run = trace(
        subject, tokens, [site for layer, terms in enumerate(sums) for site in _scaled_sites(layer, terms)]
    )
    factors = tuple(_factors(subject, layer, terms, run) for layer, terms in enumerate(sums))
    copies = Splitting(subject, EdgeGraph(blocks), factors, ({},) * len(blocks))
    splitting = _with_slices(copies, tokens, tolerance)
    plain = require_finite(subject, tokens, forward(anatomy.model, tokens)[:, -1])
    try:
        error = distance(run_split(splitting, tokens)[0], plain)
    except (ValueError, TypeError) as reason:
        raise _refused(subject, f"its blocks read more than the residual stream ({reason})") from reason
    if error > tolerance:
        raise _refused(
            subject,
            "something else than its queries, keys, values and MLPs reads the stream, such as a gate on its heads: "
            f"a run in which these are computed apart is off by {error:.1g} of its logits",
        )
    return splitting


def _with_slices(copies: Splitting, tokens: mx.array, tolerance: float) -> Splitting:
    """The splitting by slices of projections where these are the heads', which a run with unequal inputs shows."""
    anatomy, graph = copies.subject.anatomy, copies.graph
    slices = tuple(sliceable(anatomy, layer, nodes) for layer, nodes in enumerate(graph.blocks))
    if not any(slices):
        return copies
    sliced = replace(copies, slices=slices)
    shares = mx.array(np.random.default_rng(0).uniform(0.5, 1.5, size=(len(graph.receivers), 1, 1, 1)))

    def hear(receivers: range, stream: Stream) -> mx.array:
        return stream.total[None] * shares[receivers.start : receivers.stop].astype(mx.float32)

    try:
        runs = [run_split(splitting, tokens, hear) for splitting in (copies, sliced)]
        errors = [distance(runs[1][0], runs[0][0]), distance(runs[1][1].all, runs[0][1].all)]
    except (ValueError, TypeError):  # what is no stack of heads at all is refused where it runs plainly
        return copies
    return sliced if max(errors) <= tolerance else copies


def _nodes(subject: Subject, layer: int) -> BlockNodes:
    parts = subject.anatomy.parts[layer]
    if parts.mixer is not None:
        raise _refused(subject, f"block {layer} mixes positions with something else than attention")
    if parts.attention is None or parts.heads is None or parts.o_proj is None:
        raise _refused(subject, f"block {layer} has no attention whose heads can be told apart")
    if not parts.heads.fused:
        raise _refused(
            subject, f"block {layer} does not use the attention kernel, so its queries are out of reach"
        )
    for part, norm in (("attention", parts.attention_norm), ("MLP", parts.mlp_norm)):
        if norm is not None:
            raise _refused(subject, f"block {layer} normalises the output of its {part} before it is added")
    if parts.mlp is not None and parts.mid is None:
        raise _refused(subject, f"attention and MLP of block {layer} run in parallel")
    return BlockNodes(parts.heads.num_heads, parts.heads.num_kv_heads, parts.mlp is not None)


def _factors(subject: Subject, layer: int, terms: Additivity, run: Trace) -> tuple[float, float]:
    """What a block multiplies the outputs of its attention and of its MLP by."""
    if not terms.holds or abs(terms.terms.get("resid_pre", 0.0) - 1) > 1e-3:
        raise _refused(subject, f"what leaves block {layer} is {terms}")
    if not _scaled_sites(layer, terms):
        return terms.terms["attn_out"], 1.0
    # The terms are rounded for printing.
    before, middle, after = (
        _flat(run, f"{kind}.{layer}") for kind in ("resid_pre", "resid_mid", "resid_post")
    )
    attention, mlp = (_flat(run, f"{kind}.{layer}") for kind in ("attn_out", "mlp_out"))
    return _times(attention, middle - before), _times(mlp, after - middle)


def _flat(run: Trace, site: str) -> NDArray[np.float64]:
    return np.array(run[site].astype(mx.float32), dtype=np.float64).ravel()


def _times(part: NDArray[np.float64], added: NDArray[np.float64]) -> float:
    """How many times a part was added."""
    return float(part @ added / (part @ part))


def _scaled_sites(layer: int, terms: Additivity) -> list[str]:
    """What to look at in a block that scales its attention and its MLP."""
    if "mlp_out" not in terms.terms or all(factor == 1 for factor in terms.terms.values()):
        return []
    kinds = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
    return [f"{kind}.{layer}" for kind in kinds]


def _refused(subject: Subject, reason: str) -> UnsupportedArchitecture:
    return UnsupportedArchitecture(
        f"{subject.name} has no edges between heads and MLPs, as its residual stream is no sum of what they write: "
        f"{reason}"
    )
