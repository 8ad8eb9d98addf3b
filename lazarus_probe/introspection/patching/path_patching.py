"""Path patching: the effect of one component on another along their direct path, with all other paths frozen.

Wang et al. 2022 (arXiv:2211.00593), Goldowsky-Dill et al. 2023 (arXiv:2304.05969). Four runs: the source; the target;
the target with the sender's output from the source and all later attention outputs frozen at their values on the
target, from which the receiver's input is read; and the target with that input patched into the receiver and nothing
else frozen. MLPs in between are recomputed, so that paths through them count as direct, or are frozen too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.model_sites import kinds_at, resolve
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.patching.path_runs import Paths, place_of
from lazarus_probe.statistics.student import Estimate, mean_t_interval, signed_estimate
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.dealt import dealt
from lazarus_probe.sweep.engine import donors_of
from lazarus_probe.sweep.metrics import Metric, Reader, reader
from lazarus_probe.sweep.sources import Donors
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

SENDERS = ("embed", "head_out", "attn_out", "mixer_out", "mlp_out")
RECEIVERS = (
    "queries",
    "keys",
    "values",
    "head_out",
    "attn_out",
    "mixer_out",
    "mlp_out",
    "resid_pre",
    "resid_post",
    "logits",
)


@dataclass(frozen=True, eq=False)
class PathEffects:
    """Effects of senders on the metric through one receiver.

    Attributes:
        senders: S sites.
        receiver: the end of the path.
        metric: its name.
        values: (P, S) the metric in the last of the four runs.
        target: (P,) the metric of the unpatched targets.
        source: (P,) the metric of the sources.
        foreign: (P, S) as `values`, with the source of another pair of that length; NaN where there is none.
        mlps_held: whether MLPs between sender and receiver were frozen too.
    """

    senders: tuple[Site, ...]
    receiver: Site
    metric: str
    values: NDArray[Any]
    target: NDArray[Any]
    source: NDArray[Any]
    foreign: NDArray[Any]
    mlps_held: bool

    @property
    def effects(self) -> NDArray[Any]:
        """(P, S) value minus target."""
        return np.asarray(self.values - self.target[:, None])

    @property
    def estimate(self) -> Estimate:
        """Mean effect of each sender over pairs (S,), with its interval."""
        return mean_t_interval(self.effects)

    @property
    def control(self) -> NDArray[Any]:
        """(S,) mean effect when the sender's output comes from another pair's source; NaN without such pairs."""
        defined = np.isfinite(self.foreign).all(axis=1)
        if not defined.any():
            return np.full(len(self.senders), np.nan)
        return np.asarray((self.foreign - self.target[:, None])[defined].mean(axis=0))

    @property
    def shares(self) -> NDArray[Any]:
        """(S,) mean effect as a share of the mean difference of source and target; NaN where there is none."""
        difference = float((self.source - self.target).mean())
        return self.estimate.mean / difference if difference else np.full(len(self.senders), np.nan)

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data; the senders by the size of their effect."""
        estimate, shares, control = self.estimate, self.shares, self.control
        order = np.argsort(-np.abs(estimate.mean), kind="stable")
        return {
            "receiver": str(self.receiver),
            "metric": self.metric,
            "mlps": "frozen" if self.mlps_held else "recomputed",
            "n": len(self.target),
            "target": float(self.target.mean()),
            "source": float(self.source.mean()),
            "senders": [
                {
                    "site": str(self.senders[index]),
                    "effect": float(estimate.mean[index]),
                    "low": float(estimate.low[index]),
                    "high": float(estimate.high[index]),
                    "share": float(shares[index]),
                    "other_source": float(control[index]),
                    "effects": self.effects[:, index].tolist(),
                }
                for index in order
            ],
        }

    def table(self, top: int | None = None) -> Table:
        """The senders by the size of their effect: all of them, or the `top` largest."""
        controlled = bool(np.isfinite(self.control).all())
        other = [Column("Other source", "+.3f", 13)] if controlled else []
        columns = [Column("Sender", width=16), Column("Share", ".1%", 9), *other, Column("Effect")]
        largest = float(np.abs(self.estimate.mean).max()) or 1.0
        rows = [
            [
                sender["site"],
                sender["share"],
                *([sender["other_source"]] if controlled else []),
                Cell(
                    signed_estimate(sender["effect"], sender["low"], sender["high"]),
                    shade=sender["effect"] / largest,
                ),
            ]
            for sender in self.as_data()["senders"][:top]
        ]
        return Table(columns, rows, f"paths to {self.receiver}: effect on {self.metric}")

    def _repr_html_(self) -> str:
        return self.table().html()


def path_patch(
    subject: Subject,
    targets: Sequence[Prompt],
    sources: Sequence[Prompt],
    senders: Sequence[Site | str],
    receiver: Site | str,
    metric: Metric,
    *,
    hold_mlps: bool = False,
    position: int | None = None,
) -> PathEffects:
    """The effect of each sender on a metric along its direct path to one receiver.

    Args:
        subject: the model.
        targets: P prompts.
        sources: one per target, with as many tokens.
        senders: outputs that are taken from the source, one at a time: `embed`, `head_out.L.H`, `attn_out.L`,
            `mixer_out.L`, `mlp_out.L`.
        receiver: the end of the path: `queries.L.H`, `keys.L.G` or `values.L.G` (a head's input; grouped heads share
            keys and values), `head_out.L.H` (all three inputs of a head), `attn_out.L`, `mlp_out.L`, `resid_pre.L`,
            `resid_post.L`, or `logits` for the direct effect.
        metric: measured at the last position, such as `logit_diff`.
        hold_mlps: freeze the MLPs between sender and receiver as well, which leaves only the residual stream.
        position: where the sender is patched, negative from each prompt's end; everywhere by default.

    Raises:
        ValueError: no prompts or senders, sources of other lengths, a site that cannot send or receive, or a sender
            that does not come before the receiver.
        IndexError: a layer, head or position that does not exist.

    Example:
        >>> from lazarus_probe import path_patch
        >>> from lazarus_probe.sites import head_out, logits
        >>> from lazarus_probe.sweep import logit_diff
        >>> heads = [head_out(0, head) for head in range(4)]
        >>> metric = logit_diff(["56", "54"], ["15", "15"])
        >>> result = path_patch(subject, ["7+8=", "6+9="], ["7*8=", "6*9="], heads, logits(), metric)
        >>> result.effects.shape  # (pairs, senders)
        (2, 4)
    """
    starts = [resolve(site, subject.anatomy) for site in senders]
    end = resolve(receiver, subject.anatomy)
    check_path(starts, end)
    encoded = encode_all(subject, targets)
    if not encoded:
        raise ValueError("no targets; give at least one prompt")
    donors = donors_of(subject, "source", Donors(sources), encoded)
    read = reader(subject, [metric], len(encoded))
    values, foreign = (np.full((len(encoded), len(starts)), np.nan) for _ in range(2))
    target, source = np.full(len(encoded), np.nan), np.full(len(encoded), np.nan)
    batches = list(by_length(encoded))

    def run(batch: tuple[list[int], mx.array]) -> tuple[NDArray[Any], ...]:
        indices, tokens = batch
        prompts = mx.array([donors[index] for index in indices])
        paths = Paths(subject, tokens, prompts, end, hold_mlps, position)
        numbers = _numbers(read, np.array(indices))
        own, others = (np.full((len(indices), len(starts)), np.nan) for _ in range(2))
        for column, logits in paths.patched(starts, prompts):
            own[:, column] = numbers(logits)
        if len(indices) > 1:
            for column, logits in paths.patched(starts, mx.concatenate([prompts[-1:], prompts[:-1]])):
                others[:, column] = numbers(logits)
        return numbers(paths.logits), numbers(paths.source_logits), own, others

    for (indices, _), results in zip(batches, dealt(subject, batches, run), strict=True):
        target[indices], source[indices], values[indices], foreign[indices] = results
    return PathEffects(tuple(starts), end, metric.name, values, target, source, foreign, hold_mlps)


def check_path(senders: Sequence[Site], receiver: Site) -> None:
    """Refuse sites that cannot be senders, or a receiver of them.

    Raises:
        ValueError: there is one; the message names sites that can be.
    """
    if receiver.kind not in RECEIVERS:
        raise ValueError(f"{receiver} cannot receive; these can: {', '.join(RECEIVERS)}")
    if not senders:
        raise ValueError(
            f"no senders: give some that come before {receiver}, such as head_out.0.1 before logits"
        )
    for sender in senders:
        if sender.kind not in SENDERS:
            raise ValueError(f"{sender} cannot send; these can: {', '.join(SENDERS)}")
        if place_of(sender) >= place_of(receiver):
            raise ValueError(f"{sender} does not come before {receiver}; give a sender below the receiver")


def senders_below(subject: Subject, receiver: Site | str, heads: bool = True) -> list[Site]:
    """Every head (or every attention) and every MLP that comes before a receiver."""
    end, sites = resolve(receiver, subject.anatomy), list[Site]()
    for layer, parts in enumerate(subject.anatomy.parts):
        kinds = kinds_at(subject.anatomy, layer)
        if heads and "head_out" in kinds and parts.heads:
            sites += [Site("head_out", layer, head) for head in range(parts.heads.num_heads)]
        else:
            sites += [Site("attn_out", layer)] if "attn_out" in kinds else []
        sites += [Site(kind, layer) for kind in ("mixer_out", "mlp_out") if kind in kinds]
    return [site for site in sites if place_of(site) < place_of(end)]


def _numbers(read: Reader, prompts: NDArray[np.intp]) -> Callable[[mx.array], NDArray[Any]]:
    def numbers(logits: mx.array) -> NDArray[Any]:
        return np.array(read.read(logits, logits, prompts)[read.metrics[0].name])

    return numbers
