"""What one of several processes does to compare models split over them with the same models whole.

Called as `python -m tests.hooks.split_models FOLDER PARALLEL NAME...`: for each architecture of
`tests/architectures/zoo.py` it writes what differs, and by how much, to a file of this process in the folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from tests.architectures import zoo

import mlx.core as mx  # isort: skip
import numpy as np  # isort: skip

from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.hooks import hooked, self_check, trace
from lazarus_probe.hooks.check import all_sites
from lazarus_probe.hooks.interventions import (
    Intervention,
    mean,
    noise,
    patch,
    resample,
    scale,
    steer,
    zero,
)
from lazarus_probe.hooks.sites import HEAD_AXIS, Site
from lazarus_probe.subject import Subject, UnsupportedArchitecture
from lazarus_probe.subject.one_run import Parallel
from lazarus_probe.sweep import Donors, Zero, attribution, kl, logit_diff, sweep

TOKENS = (2, 7)
# Of the table's 4 heads and 2 of keys, which three processes cannot share.
THREE_WAYS = {"num_attention_heads": 6, "num_key_value_heads": 3}
EDITED = ("resid_post", "head_out", "pattern", "values", "queries", "neurons", "attn_out", "expert_out")


def differences(name: str, parallel: Parallel) -> dict[str, Any]:
    """By what was done, the largest difference of a split model from the whole one, relative to the largest value."""

    def model() -> Any:
        return zoo.fresh(name, **(_changes(name) if parallel == "tensor" else {}))

    try:
        whole = Subject.from_model(model(), name=name)
        split = Subject.from_model(model(), name=name).split(model, parallel)
    except UnsupportedArchitecture as error:
        return {"refused": str(error)}
    tokens = zoo.random_tokens(*TOKENS)
    sites = all_sites(whole)
    runs = [trace(subject, tokens, sites) for subject in (whole, split)]
    result = {"logits": apart(*(run.logits for run in runs))}
    result |= {site: apart(*(run[site] for run in runs)) for site in sites}
    for edits in _edits(whole, runs[0]):
        edited = [trace(subject, tokens, (), edits).logits for subject in (whole, split)]
        result[f"under {', '.join(map(str, edits))}"] = apart(*edited)
        if not apart(edited[0], runs[0].logits):
            result[f"no effect of {edits[0]}"] = float("inf")
    result |= _swept(whole, split) | _generated(whole, split)
    twins = [subject.untrained(3) for subject in (whole, split)]
    result["untrained"] = apart(*(trace(twin, tokens).logits for twin in twins))
    result["fingerprint"] = 0.0 if whole.fingerprint == split.fingerprint else float("inf")
    checks = [self_check(subject) for subject in (whole, split)]
    other = [check.name for check in checks[0].checks if checks[1][check.name].holds != check.holds]
    return {**result, "checks": other}


def _changes(name: str) -> dict[str, Any]:
    """What the table's model needs to be divisible."""
    if mx.distributed.init().size() == 3:
        return THREE_WAYS
    text = zoo.config(name).get("text_config")
    # qwen3_5 and its kin divide the vocabulary too, which has 67 words in the table.
    return {"text_config": {**text, "vocab_size": 68}} if text and zoo.model_file(name) == "qwen3_5" else {}


def _edits(whole: Subject, run: Any) -> Iterator[list[Intervention]]:
    """Edits of each kind at several places at once: of the last head, which only its global number finds."""
    places = {}
    for kind in EDITED:
        if sites := [site for site in all_sites(whole) if site.split(".")[0] == kind]:
            site = sites[len(places) % len(sites)]
            last = run[site].shape[HEAD_AXIS[kind]] - 1 if kind in HEAD_AXIS else None
            value = run[site] if last is None else mx.take(run[site], last, axis=HEAD_AXIS[kind])
            places[site if last is None else f"{site}.{last}"] = value
    rng = np.random.default_rng(0)
    directions = {
        site: mx.array(rng.normal(size=value.shape[-1]).astype(np.float32)) for site, value in places.items()
    }
    yield [zero(site, positions="last") for site in places]
    yield [scale(site, 0.5) for site in places]
    yield [mean(site, value.mean(axis=0)) for site, value in places.items()]
    yield [resample(site, value[::-1]) for site, value in places.items()]
    yield [patch(site, value[:, -1:], positions=[1]) for site, value in places.items()]
    yield [steer(site, directions[site], 0.3) for site in places]
    yield [noise(site, 0.1) for site in places]
    yield from [[zero(site)] for site in places if site.startswith(("head_out", "expert_out"))][:1]


def _swept(whole: Subject, split: Subject) -> dict[str, Any]:
    """A sweep over heads, neurons and the residual stream, and its estimate by gradients."""
    rows = [[int(token) for token in row] for row in np.array(zoo.random_tokens(2, 6, seed=1))]
    kinds = ("resid_post", "head_out", "neurons", "mlp_out")
    by_kind = {site.split(".")[0]: site for site in all_sites(whole)}
    sites = [by_kind[kind] for kind in kinds if kind in by_kind]
    if "head_out" in by_kind:
        head = Site.parse(by_kind["head_out"])
        heads = whole.anatomy.parts[head.layer or 0].heads
        sites += [f"{head}.{number}" for number in range(heads.num_heads if heads else 0)]
    metrics = [kl(), logit_diff(3, 5)]
    results = [
        sweep(subject, rows[:1], sites, sources={"zero": Zero(), "donor": Donors(rows[1:])}, metrics=metrics)
        for subject in (whole, split)
    ]
    compared: dict[str, Any] = {
        f"sweep {each.name}": apart(*(result.values[each.name] for result in results)) for each in metrics
    }
    routers = [site for site in all_sites(whole) if site.startswith("router_logits")][:1]
    for what, places in (("attribution", sites), ("attribution of a router", routers)):
        if not places or (expected := _estimate(whole, rows, places)) is None:
            continue  # nothing to estimate, or a model that cannot be differentiated at all
        try:
            compared[what] = apart(_estimate(split, rows, places), expected)
        except UnsupportedArchitecture as error:
            compared[what] = str(error)
    return compared


def _estimate(subject: Subject, rows: list[list[int]], sites: list[str]) -> Any:
    """The effects of donors by gradients; None of a model that has none, whole or split."""
    metric = logit_diff(3, 5)
    try:
        return attribution(subject, rows[:1], rows[1:], sites, metric).values[metric.name]
    except UnsupportedArchitecture:
        raise
    except ValueError as error:
        if "VJP" not in str(error):
            raise
        return None


def _generated(whole: Subject, split: Subject) -> dict[str, float]:
    """Whether the most likely tokens are the same, also under an edit of one head or of the residual stream."""
    heads = [site for site in all_sites(whole) if site.startswith("head_out")]
    edit = zero(f"{heads[-1]}.1") if heads else scale("resid_post.0", 0.5)
    same = True
    for edits in ((), (edit,)):
        texts = [_greedy(subject, edits) for subject in (whole, split)]
        same = same and texts[0] == texts[1]
    return {"generation": 0.0 if same else float("inf")}


def _greedy(subject: Subject, edits: tuple[Intervention, ...]) -> list[int]:
    cache, tokens, text = new_cache(subject.model), zoo.random_tokens(1, 5), list[int]()
    with hooked(subject, interventions=edits):
        for _ in range(4):
            best: Any = subject.model(tokens, cache=cache)[0, -1].argmax().item()
            text.append(best)
            tokens = mx.array([[best]])
    return text


def apart(actual: Any, expected: Any) -> float:
    """The largest difference of two arrays, relative to the largest value; infinite for other shapes."""
    left, right = (np.array(value, dtype=np.float64) for value in (actual, expected))
    if left.shape != right.shape or not (np.isfinite(left) == np.isfinite(right)).all():
        return float("inf")
    unmasked = np.isfinite(left) & (np.abs(left) < 1e30)  # masks are as large as float32 goes
    size = float(np.abs(left[unmasked]).max(initial=0)) or 1.0
    return float(np.abs(left[unmasked] - right[unmasked]).max(initial=0)) / size


def main(folder: Path, parallel: Parallel, names: list[str]) -> None:
    """Write what differs of each architecture to a file of this process."""
    rank = mx.distributed.init(strict=True).rank()
    by_name = {name: differences(name, parallel) for name in names}
    (folder / f"differences.{rank}.json").write_text(json.dumps(by_name))


if __name__ == "__main__":
    main(Path(sys.argv[1]), cast(Parallel, sys.argv[2]), sys.argv[3:])
