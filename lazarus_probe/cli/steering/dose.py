"""The effect of each coefficient, compared with random directions: `lazarus introspect steer --dose`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lazarus_probe.cli.output import about, deliver
from lazarus_probe.cli.steering.steering import Steering, heading, load, vector_of
from lazarus_probe.cli.watching import watched

if TYPE_CHECKING:
    from lazarus_probe.introspection.steering.dose_curves import DoseResponse

CLAIM = "steers"


@dataclass(frozen=True)
class Dose:
    """How a dose is measured and judged: target, number of random directions, plot, and the user's threshold."""

    target: str | None
    random: int
    plot: Path | None
    threshold: float | None = None


def measure_doses(
    model: str, adapter: Path | None, steering: Steering, dose: Dose, output: Path | None, as_json: bool
) -> None:
    """Measure and show a dose-response curve."""
    subject = load(steering, model, adapter)
    from lazarus_probe.introspection.generation.damage import unrelated_prompts
    from lazarus_probe.introspection.steering.dose_response import dose_response
    from lazarus_probe.subject.chat import chat_prompts

    unrelated = unrelated_prompts()
    with watched("measure") as check:
        response = dose_response(
            subject,
            chat_prompts(subject, steering.prompts, steering.chat),
            vector_of(steering, subject),
            steering.layer,
            steering.coefficients,
            target=dose.target,
            position=steering.position,
            random=dose.random,
            max_tokens=steering.max_tokens,
            seed=steering.seed,
            check=check,
            unrelated=replace(
                unrelated, prompts=tuple(chat_prompts(subject, unrelated.prompts, steering.chat))
            ),
        )
    if dose.plot is not None:
        response.draw(dose.plot)
    steers, reason = verdict_of(response, dose.threshold)
    data = response.as_data() | {
        "verdict": {"claim": CLAIM, "steers": steers, "reason": reason, "threshold": dose.threshold},
        "plot": dose.plot,
        "about": about(subject, steering.seed),
    }
    lines = heading(steering, response.norm)
    if response.target_tokens:
        spelt = ", ".join(map(repr, response.target_tokens))
        lines.append(f"Target: {response.target!r}, counted as the tokens {spelt}")
    for table in response.tables():
        lines += ["", table.title, *table.fitted(gap=1)]
    lines += ["", _sentence(response, steers, reason)]
    lines += [] if dose.plot is None else [f"Drawn to: {dose.plot}"]
    deliver(data, "\n".join(lines), as_json=as_json, output=output)


def verdict_of(response: DoseResponse, threshold: float | None = None) -> tuple[bool, str]:
    """Whether a direction steers to its target, as the claim `steers` declares it; and why or why not.

    With a threshold, its probability, or the share of prompts that answer a number, must reach that as well.
    """
    if response.target is None:
        return False, "there is no --target to be steered to"
    from lazarus_probe.claims.declared import declared
    from lazarus_probe.claims.judging import at_threshold, judge_declared
    from lazarus_probe.claims.verdict import Outcome, judge

    measurement = response.measurement()
    if measurement is None:
        missing = "one prompt" if len(set(response.prompts)) < 2 else "no random directions"
        least = declared(CLAIM).minimum_groups
        return False, f"{missing} cannot show it; give at least {least} prompts and 19 random directions"
    verdict = judge_declared(CLAIM, measurement)
    level = response.measurement(level=True)
    if threshold is not None and level is not None and verdict.outcome is Outcome.SUPPORTED:
        verdict = judge(at_threshold(CLAIM, threshold), level)
    return verdict.outcome is Outcome.SUPPORTED, str(verdict)


def _sentence(response: DoseResponse, steers: bool, reason: str) -> str:
    if steers:
        return f"The direction STEERS to {response.target!r} ({reason})"
    from lazarus_probe.claims.declared import declared

    lines = [f"That the direction steers is not shown: {reason}"]
    if response.target is not None:
        lines.append(f"  What is claimed ({CLAIM}): {declared(CLAIM).statement}")
    return "\n".join(lines)
