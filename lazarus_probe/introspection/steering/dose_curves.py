"""What a direction does at each of its doses: what is claimed of it, as tables, and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.files.whole_files import whole_file
from lazarus_probe.introspection.steering.dose_effect import Effect
from lazarus_probe.introspection.steering.log_odds import gained
from lazarus_probe.introspection.steering.vectors import Position, signed
from lazarus_probe.statistics.measurement import Curve, Damage, Measurement, some_examples
from lazarus_probe.statistics.model_spread import FEWEST
from lazarus_probe.statistics.rates import rate
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "kl": "KL from unsteered, nats",
    "changed": "Share of prompts answered otherwise",
    "target_log_odds": "Log-odds of the target, nats",
    "target_probability": "Probability of the target",
    "target_logit_diff": "Logit of the target minus its likeliest rival's",
    "target_answered": "Share of prompts that answer the target",
}
SHARES = ("changed", "target_probability", "target_answered")  # drawn from 0 to 1, however small they are
ACROSS = 2  # panels of a plot: of three, the text is too small where a page shows it


@dataclass(frozen=True, eq=False)
class DoseResponse:
    """The effect of a direction at K doses on P prompts, compared with R random ones.

    Attributes:
        prompts: P texts.
        doses: in lengths of the direction.
        layer: steered after the block.
        position: see `SteeringVectors`.
        norm: of the direction.
        target: the answer to steer to; None without one.
        target_tokens: the texts of all tokens that count as the target; none where it is a number.
        effects: by name; see `dose_response`.
        answers: (K, P) the steered model's completions.
        seed: of the random directions and of intervals.
        damage: the effect of the best dose on unrelated prompts; None where nothing can be claimed.
    """

    prompts: tuple[str, ...]
    doses: tuple[float, ...]
    layer: int
    position: Position
    norm: float
    target: str | None
    effects: Mapping[str, Effect]
    answers: tuple[tuple[str, ...], ...]
    seed: int
    damage: Damage | None = None
    target_tokens: tuple[str, ...] = ()

    @property
    def primary(self) -> str:
        """The effect that is judged: the completion, if the target is a number; else its log-odds."""
        names = ("target_answered", "target_log_odds", "kl")
        return next(name for name in names if name in self.effects)

    @property
    def can_be_claimed(self) -> bool:
        """Whether there are a target, several prompts (one has no interval), and controls."""
        several = len(set(self.prompts)) > 1
        return self.target is not None and several and len(self.effects[self.primary].random) > 0

    @property
    def best(self) -> int:
        """The index of the dose with the largest primary effect."""
        return int(np.argmax(self.effects[self.primary].means))

    def measurement(self, *, level: bool = False) -> Measurement | None:
        """The primary effect at its best dose with its controls; p accounts for the choice of the dose.

        Of log-odds it is what they gain, in nats, over the same prompts unsteered.

        Args:
            level: of a target that is a word, measure its probability instead, which a threshold can be put on.

        Returns:
            None where nothing can be claimed.
        """
        if not self.can_be_claimed:
            return None
        name = "target_probability" if level and self.primary == "target_log_odds" else self.primary
        effect, best = self.effects[name], self.best
        p = self.effects[self.primary].p()
        kept: dict[str, Any] = {
            "seed": self.seed,
            "p": 1.0 if p[best] is None else p[best],
            "details": {
                "coefficient": self.doses[best],
                "layer": self.layer,
                "norm": self.norm,
                "target_tokens": list(self.target_tokens),
            },
            "examples": some_examples(
                self.prompts, [self.target] * len(self.prompts), self.answers[best], self._counted(best)
            ),
            "curves": self.curves(name),
            "damage": self.damage,
        }
        if name == "target_log_odds":
            unit = f"log-odds of {self.target!r} gained, in nats"
            gains = effect.values[best] - effect.unsteered
            random = effect.random[:, best] - effect.unsteered
            return gained(unit, gains, self.prompts, random, **kept)
        controls = {"random_direction": effect.random[:, best], "unsteered": effect.unsteered}
        if len(effect.random) < FEWEST:  # of so few the spread is not known
            controls["random_direction"] = effect.random[:, best].mean(axis=0)
        return rate(
            f"{name.replace('_', ' ')} of {self.target!r}",
            effect.values[best],
            self.prompts,
            controls,
            **kept,
        )

    def _counted(self, dose: int) -> NDArray[np.bool_]:
        """(P,) whether a prompt is steered to the target, rather than not, at a dose."""
        effect = self.effects[self.primary]
        return np.asarray(
            effect.values[dose] > (0.5 if self.primary == "target_answered" else effect.unsteered)
        )

    def curves(self, name: str) -> tuple[Curve, ...]:
        """An effect's means along the doses, and those of the random directions with their range."""
        effect, order = self.effects[name], np.argsort(self.doses, kind="stable")
        doses = tuple(float(self.doses[i]) for i in order)
        curves = [Curve("score", doses, tuple(effect.means[order].tolist()), axis="coefficient")]
        if len(effect.random):
            random = effect.random_means[:, order]
            ends = random.min(axis=0), random.max(axis=0)
            middle = random.mean(axis=0).clip(*ends)  # of equal numbers it may be off by rounding
            middle, low, high = (tuple(part.tolist()) for part in (middle, *ends))
            curves.append(Curve("random_direction", doses, middle, low, high, "coefficient"))
        return tuple(curves)

    def rows(self) -> list[dict[str, Any]]:
        """By dose and effect: mean, interval, n, the random directions' mean and range, and p."""
        tests = {name: effect.p() for name, effect in self.effects.items()}
        return [
            {"coefficient": dose}
            | {name: effect.row(i, tests[name][i]) for name, effect in self.effects.items()}
            for i, dose in enumerate(self.doses)
        ]

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "layer": self.layer,
            "position": self.position,
            "norm": self.norm,
            "target": self.target,
            "target_tokens": list(self.target_tokens),
            "prompts": list(self.prompts),
            "n": len(self.prompts),
            "random_directions": len(self.effects["kl"].random),
            "doses": self.rows(),
            "answers": [list(row) for row in self.answers],
            "damage": None if self.damage is None else asdict(self.damage),
        }

    def tables(self) -> list[Table]:
        """A table per effect: by dose its mean and interval, the random directions' mean and range, and p."""
        columns = (
            Column("Coef", width=8),
            Column("mean", ".4f", 10),
            Column("95% interval", width=20),
            Column("random", ".4f", 10),
            Column("range", width=20),
            Column("p", ".3f"),
        )
        rows = self.rows()
        return [
            Table(
                columns,
                [
                    (
                        signed(row["coefficient"]),
                        row[name]["mean"],
                        _span(row[name]["low"], row[name]["high"]),
                        row[name]["random_mean"],
                        _span(row[name]["random_low"], row[name]["random_high"]),
                        row[name]["p"],
                    )
                    for row in rows
                ],
                f"{TITLES[name]} (n = {len(self.prompts)})",
            )
            for name in self.effects
        ]

    def _repr_html_(self) -> str:
        return "".join(table.html() for table in self.tables())

    def draw(self, image: Path) -> Path:
        """Plot each effect against the dose, with the range of the random directions; the suffix sets the format."""
        figure = self.figure()
        with whole_file(image) as aside:
            figure.savefig(aside, dpi=120)
        return image

    def figure(self) -> Figure:
        """The plot that `draw` writes: a panel for each effect, in which 0 is no push."""
        from matplotlib.figure import Figure

        across = min(len(self.effects), ACROSS)
        down = -(-len(self.effects) // across)
        figure = Figure(figsize=(4.6 * across, 3.1 * down + 0.5), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False).flatten()
        for axes in panels[len(self.effects) :]:
            axes.remove()
        for axes, name in zip(panels, self.effects, strict=False):
            self._draw(axes, name)
        figure.suptitle(f"Steered after layer {self.layer}, {len(self.prompts)} prompts", fontsize=11)
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9.5
        )
        return figure

    def _draw(self, axes: Any, name: str) -> None:
        curve, *others = self.curves(name)
        for other in others:
            axes.fill_between(other.x, other.low, other.high, color="0.85", label="random directions, range")
            axes.plot(other.x, other.y, color="0.5", linestyle="--", label="random directions, mean")
        known = [row for row in self.rows() if row[name]["low"] is not None and row[name]["high"] is not None]
        places = [row["coefficient"] for row in known]
        ends = [[row[name][end] for row in known] for end in ("low", "high")]
        axes.axvline(0, color="0.7", linewidth=0.8)
        axes.vlines(places, *ends, color="C0", linewidth=1.4)
        for end in ends:
            axes.plot(places, end, "_", color="C0", markersize=7)
        axes.plot(curve.x, curve.y, color="C0", marker="o", markersize=5, label="direction, 95% interval")
        if name in SHARES:
            axes.set_ylim(-0.03, 1.03)
        axes.set_title(TITLES[name], fontsize=11)
        axes.set_xlabel("dose, in lengths of the direction", fontsize=10)
        axes.tick_params(labelsize=9)
        axes.grid(alpha=0.3)


def _span(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"[{low:.4f}, {high:.4f}]"
