"""Which shortcuts of a sweep are exact for a model, tested against whole forwards.

| route | what a cell costs |
|---|---|
| suffix | blocks from the one that differs, positions from the first that differs |
| layers | blocks from the one that differs, all positions: for recurrent models and caches that cannot be replaced |
| full | everything: for models whose blocks pass each other more than the residual stream |
"""

# ruff: noqa: N806 - B, L and T are the names that the field gives to these sizes

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal
from weakref import WeakKeyDictionary

import mlx.core as mx
import numpy as np

from lazarus_probe.anatomy.forward_pass import forward, keeps_keys, new_cache
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import Site
from lazarus_probe.subject.control_models import architecture
from lazarus_probe.subject.last_position import TOLERANCE, relative_difference
from lazarus_probe.subject.subject import Subject
from lazarus_probe.sweep.branch import Batch, entry_of, run_branch, run_full
from lazarus_probe.sweep.edits import edits_of
from lazarus_probe.sweep.grid import Jobs
from lazarus_probe.sweep.record import Recorded, record
from lazarus_probe.sweep.sources import Donors, Values

Name = Literal["suffix", "layers", "full"]
LENGTH = 12
LONGEST = 80
WHOLE_MODEL = ("embed", "logits")
# Some models compute these in another way, and shape, where a call has a single position.
STEPS = ("queries", "keys", "values", "scores", "pattern")
PARTS_OF = {
    "attn_out": ("queries", "scores", "pattern", "head_out", "attn_out"),
    "mixer_out": ("mixer_out",),
    "mlp_out": ("router_logits", "expert_out", "neurons", "mlp_out"),
    "resid_post": ("resid_mid", "resid_post"),
}


@dataclass(frozen=True)
class Route:
    """How a model is swept, and what holds for it.

    Attributes:
        name: see the table above.
        tail: whether the last block may run for the last position only.
        adds_mlp: whether every MLP's output is added to the residual as it is.
        causal: whether no position depends on later ones.
        whole: kinds of sites that need whole forwards on any route.
        ends: kinds of sites through which the last block acts on its own position only.
        why: why the faster routes do not hold; empty for the fastest.

    Example:
        >>> from lazarus_probe.sites import embed, head_out
        >>> from lazarus_probe.sweep import route_of
        >>> route = route_of(subject)
        >>> route.causal
        True
        >>> route.of(head_out(3, 2)), route.of(embed())
        ('suffix', 'full')
    """

    name: Name
    tail: bool = False
    adds_mlp: bool = False
    causal: bool = False
    whole: frozenset[str] = frozenset(WHOLE_MODEL)
    ends: frozenset[str] = frozenset()
    why: str = ""

    @property
    def own(self) -> bool:
        """Whether the model runs on caches that can be started anywhere."""
        return self.name == "suffix"

    def of(self, site: Site) -> Name:
        """The route that cells of a site take."""
        return "full" if site.kind in self.whole else self.name


_routes: WeakKeyDictionary[Subject, Route] = WeakKeyDictionary()


def route_of(subject: Subject) -> Route:
    """The fastest route that agrees with whole forwards on trial prompts; tested once per subject.

    The largest difference allowed is 1e-5 of the largest logit, or four times the difference between running prompts
    in one batch and alone, where the arithmetic is coarser than float32.

    Example:
        >>> from lazarus_probe.sweep import route_of
        >>> route_of(subject).name
        'suffix'
    """
    if subject not in _routes:
        _routes[subject] = _fastest(subject)
    return _routes[subject]


def share_route(model: Subject, origin: Subject) -> None:
    """Let a model sweep by the route of another one with the same code and settings, such as an untrained one of it.

    A route is a matter of what the code computes, not of the weights; testing it takes longer than a short sweep.

    Raises:
        ValueError: the models differ in code or settings.
    """
    if architecture(model) != architecture(origin):
        raise ValueError(
            f"{model.name} is of another architecture than {origin.name}; its route is to be tested by itself"
        )
    _routes[model] = route_of(origin)


@dataclass(frozen=True, eq=False)
class _Runs:
    """Two prompts (2, T), the logits (2, T, V) of whole forwards, and how far others may lie from them."""

    subject: Subject
    tokens: mx.array
    plain: mx.array
    tolerance: float


@dataclass(frozen=True, eq=False)
class _Trial:
    """Cells between the two prompts, and the logits (R, V) of whole forwards with them."""

    runs: _Runs
    sites: list[Site]
    jobs: Jobs
    patched: mx.array


def _fastest(subject: Subject) -> Route:
    runs = _runs(subject)
    trial = _trial(runs, _sites(subject, ("resid_pre", *PARTS_OF)))
    base = Route("full", causal=_is_causal(runs), ends=_ends(trial))
    obstacle = _obstacle(subject)
    if obstacle:
        return replace(base, why=obstacle)
    reasons: list[str] = []
    tries: tuple[tuple[Name, bool], ...] = (("suffix", True), ("suffix", False), ("layers", False))
    for name, tail in tries if base.causal else ():
        route, problem = _with_mlp(trial, replace(base, name=name, tail=tail))
        if problem is None:
            return replace(route, whole=_whole(runs, route), why="; ".join(dict.fromkeys(reasons)))
        reasons.append(f"{name}: {problem}")
    return replace(base, why="; ".join(dict.fromkeys(reasons)) or "positions depend on later ones")


def _with_mlp(trial: _Trial, route: Route) -> tuple[Route, str | None]:
    """The route with `adds_mlp` as it holds, and why it does not hold at all; None if it does.

    It is tried with the MLP's output added first, which most models do: where that holds, nothing else is run.
    """
    added = replace(route, adds_mlp=True)
    if _problem(trial, added) is None:
        return added, None
    return route, _problem(trial, route)


def _whole(runs: _Runs, route: Route) -> frozenset[str]:
    """Kinds of sites that need whole forwards on a route: the steps of attention all or none."""
    sites = _sites(runs.subject, STEPS)
    reached = not sites or _problem(_trial(runs, sites), route) is None
    return frozenset(WHOLE_MODEL if reached else (*WHOLE_MODEL, *STEPS))


def _runs(subject: Subject) -> _Runs:
    anatomy = subject.anatomy
    rng = np.random.default_rng(0)
    windows = [getattr(entry, "max_size", LONGEST) for entry in new_cache(anatomy.model)]
    T = max([LENGTH, *(window + 4 for window in windows if window + 4 <= LONGEST)])
    tokens = mx.array(rng.integers(0, anatomy.vocab_size, (2, T)).astype(np.int32))
    plain, alone = forward(anatomy.model, tokens), forward(anatomy.model, tokens[:1])[:, -1]
    return _Runs(subject, tokens, plain, max(TOLERANCE, 4 * relative_difference(alone, plain[:1, -1])))


def _trial(runs: _Runs, sites: list[Site]) -> _Trial:
    jobs = _cells(sites, runs.tokens.shape[1])
    anatomy = runs.subject.anatomy
    donors = record(anatomy, runs.tokens, sites, (), own=False, tail=False)
    patched, _ = run_full(anatomy, _batch(jobs, sites, donors, runs.tokens))
    return _Trial(runs, sites, jobs, patched)


def _sites(subject: Subject, kinds: Sequence[str]) -> list[Site]:
    """Sites of some kinds in the middle and at the end, and every MLP."""
    last = subject.num_layers - 1
    layers = {kind: range(last + 1) if kind == "mlp_out" else sorted({last // 2, last}) for kind in kinds}
    sites = [Site(kind, layer) for kind in kinds for layer in layers[kind]]
    return [site for site in sites if site.kind in kinds_at(subject.anatomy, site.layer or 0)]


def _cells(sites: list[Site], T: int) -> Jobs:  # noqa: N803
    """Each site at a middle position, at the last but one, and at the last, of the two prompts in turn."""
    site = np.repeat(np.arange(len(sites)), 3)
    at = np.tile([T // 2, T - 2, T - 1], len(sites))
    zero = np.zeros_like(site)
    return Jobs(np.arange(len(site)) % 2, zero, site, zero, at, at, at, zero)


def _batch(jobs: Jobs, sites: list[Site], run: Recorded, tokens: mx.array, adds_mlp: bool = False) -> Batch:
    # Patching a prompt with its own values changes nothing, so each of the two is the other's donor.
    donors = {site: replace(value, values=value.values[::-1]) for site, value in run.values.items()}
    values = Values(Donors(()), {}, np.arange(2), tokens.shape[1], donors)
    return Batch(jobs, edits_of(jobs, sites, [values]), tokens, adds_mlp)


def _is_causal(runs: _Runs) -> bool:
    tokens = runs.tokens
    changed = mx.concatenate([tokens[:, :-1], tokens[::-1, -1:]], axis=1)
    after = forward(runs.subject.model, changed)[:, :-1]
    return relative_difference(after, runs.plain[:, :-1]) <= runs.tolerance


def _ends(trial: _Trial) -> frozenset[str]:
    last, T = trial.runs.subject.num_layers - 1, trial.runs.tokens.shape[1]
    plain = trial.runs.plain[:, -1]
    ends: set[str] = set()
    for kind, parts in PARTS_OF.items():
        rows = [
            row
            for row, site in enumerate(trial.jobs.site)
            if trial.sites[site] == Site(kind, last) and trial.jobs.at[row] < T - 1
        ]
        errors = [relative_difference(trial.patched[row], plain[int(trial.jobs.prompt[row])]) for row in rows]
        if errors and max(errors) <= trial.runs.tolerance:
            ends.update(parts)
    return frozenset(ends)


def _obstacle(subject: Subject) -> str | None:
    """Why only whole forwards are possible, if so."""
    if not subject.anatomy.skippable:
        return "its blocks hand each other more than the residual"
    if subject.anatomy.stream_axis == 0:
        return "its residual streams come before the batch"
    return None


def _problem(trial: _Trial, route: Route) -> str | None:
    """Why a route does not hold; None if it agrees with whole forwards."""
    entries = new_cache(trial.runs.subject.model)
    unknown = [type(entry).__name__ for entry in entries if not keeps_keys(entry)]
    if route.own and unknown:
        return f"the model keeps a {unknown[0]}"
    try:
        error = _error(trial, route)
    except Exception as problem:  # noqa: BLE001, RUF100 - a model's own code may fail in any way on foreign caches
        return f"{type(problem).__name__}: {next(iter(str(problem).splitlines()), '')}"
    return None if error <= trial.runs.tolerance else f"logits differ by {error:.1e}"


def _error(trial: _Trial, route: Route) -> float:
    """The largest difference between a route's logits and those of whole forwards."""
    runs, anatomy, layers = trial.runs, trial.runs.subject.anatomy, trial.runs.subject.num_layers
    base = record(anatomy, runs.tokens, trial.sites, range(layers), own=route.own, tail=route.tail)
    if layers not in base.entering:
        raise TypeError("its blocks return more than the residual")
    # The trial's cells that a sweep would compute; with a tail, the others have no values.
    ended = np.array([site.kind in route.ends and site.layer == layers - 1 for site in trial.sites])
    rows = np.flatnonzero(~ended[trial.jobs.site] | (trial.jobs.at == runs.tokens.shape[1] - 1))
    entries = np.array([entry_of(site, layers, route.adds_mlp) for site in trial.sites])[trial.jobs.site]
    rows = rows[np.argsort(entries[rows], kind="stable")]
    jobs = replace(trial.jobs, entry=entries).chosen(rows)
    batch = _batch(jobs, trial.sites, base, runs.tokens, route.adds_mlp)
    patched, _ = run_branch(anatomy, base, batch, own=route.own, tail=route.tail)
    wanted = mx.take(trial.patched, mx.array(rows.astype(np.int32)), axis=0)
    return max(relative_difference(base.logits, runs.plain[:, -1]), relative_difference(patched, wanted))
