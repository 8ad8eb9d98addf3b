"""The effect of each coefficient, compared with random directions: `lazarus introspect steer --dose`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lazarus_probe.cli.output import about, columns, deliver
from lazarus_probe.cli.steering.steering import Push, asked, heading, load, signed, vector_of
from lazarus_probe.cli.watching import watched

if TYPE_CHECKING:
    from lazarus_probe.introspection.steering.dose_response import DoseResponse

CLAIM = "steers"


@dataclass(frozen=True)
class Dose:
    """What the effect of a push is measured by: a target, random directions, and the picture to draw."""

    target: str | None
    random: int
    plot: Path | None


def measure(
    model: str, adapter: Path | None, push: Push, dose: Dose, output: Path | None, as_json: bool
) -> None:
    """Measure and show a dose-response curve."""
    subject = load(push, model, adapter)
    from lazarus_probe.introspection.generation.damage import unrelated_prompts
    from lazarus_probe.introspection.steering.dose_response import dose_response

    unrelated = unrelated_prompts()
    with watched("measure") as check:
        found = dose_response(
            subject,
            asked(subject, push.prompts, push.chat),
            vector_of(push, subject),
            push.layer,
            push.coefficients,
            target=dose.target,
            position=push.position,
            random=dose.random,
            max_tokens=push.max_tokens,
            seed=push.seed,
            check=check,
            unrelated=replace(unrelated, prompts=tuple(asked(subject, list(unrelated.prompts), push.chat))),
        )
    if dose.plot is not None:
        found.draw(dose.plot)
    steers, reason = verdict_of(found)
    data = found.as_data() | {
        "verdict": {"claim": CLAIM, "steers": steers, "reason": reason},
        "plot": dose.plot,
        "about": about(subject, push.seed),
    }
    lines = [*heading(push, found.norm), *_table(found), "", _sentence(found, steers, reason)]
    lines += [] if dose.plot is None else [f"Drawn to: {dose.plot}"]
    deliver(data, "\n".join(lines), as_json=as_json, output=output)


def verdict_of(found: DoseResponse) -> tuple[bool, str]:
    """Whether a direction steers to its target, as the claim `steers` declares it; and why or why not."""
    if found.target is None:
        return False, "there is no --target to be steered to"
    from lazarus_probe.claims.declared import declared
    from lazarus_probe.claims.judging import judge_declared
    from lazarus_probe.claims.verdict import Outcome

    measurement = found.measurement()
    if measurement is None:
        missing = "one prompt" if len(set(found.prompts)) < 2 else "no random directions"
        least = declared(CLAIM).minimum_groups
        return False, f"{missing} cannot show it; give at least {least} prompts and 19 random directions"
    verdict = judge_declared(CLAIM, measurement)
    return verdict.outcome is Outcome.SUPPORTED, str(verdict)


def _table(found: DoseResponse) -> list[str]:
    rows = found.rows()
    lines = []
    for name in found.effects:
        cells: list[tuple[object, ...]] = [("Coef", "mean", "95% interval", "random", "range", "p")]
        for row in rows:
            one = row[name]
            cells.append(
                (
                    signed(row["coefficient"]),
                    f"{one['mean']:.4f}",
                    _span(one["low"], one["high"]),
                    "-" if one["random_mean"] is None else f"{one['random_mean']:.4f}",
                    _span(one["random_low"], one["random_high"]),
                    "-" if one["p"] is None else f"{one['p']:.3f}",
                )
            )
        lines += ["", f"{TITLES[name]} (n = {len(found.prompts)})", columns(cells, (8, 10, 20, 10, 20))]
    return lines


TITLES = {
    "kl": "KL from unsteered, nats",
    "changed": "Share of prompts answered otherwise",
    "target_probability": "Probability of the target",
    "target_logit_diff": "Logit of the target minus its likeliest rival's",
    "target_answered": "Share of prompts that answer the target",
}


def _span(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"[{low:.4f}, {high:.4f}]"


def _sentence(found: DoseResponse, steers: bool, reason: str) -> str:
    if steers:
        return f"The direction STEERS to {found.target!r} ({reason})"
    from lazarus_probe.claims.declared import declared

    lines = [f"That the direction steers is not shown: {reason}"]
    if found.target is not None:
        lines.append(f"  What is claimed ({CLAIM}): {declared(CLAIM).statement}")
    return "\n".join(lines)
