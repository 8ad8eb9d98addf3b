"""Rank-one edits of facts, layer by layer: whether the new answer follows in other words, and what else changes.

ROME (Meng et al. 2022, arXiv:2202.05262). That an edit works shows that a layer can be written to, not that the fact
was stored there (Hase et al. 2023, arXiv:2301.04213). So every edit is compared with two others: the same change for a
random direction as long, and the same edit of untrained models, which store no fact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.judging import JudgedLayers, judge_layers
from lazarus_probe.introspection.editing.edited_facts import Edits, make_edits, outcomes
from lazarus_probe.introspection.editing.fact_prompts import fact_prompts, unrelated_texts
from lazarus_probe.introspection.editing.rank_one import STEPS
from lazarus_probe.introspection.generation.damage import Unrelated, damages, unrelated_prompts
from lazarus_probe.introspection.patching.spanned_prompts import SpannedPrompt, encode_spans
from lazarus_probe.introspection.patching.windows import windows_with
from lazarus_probe.statistics.cell_effects import CellEffects, mark
from lazarus_probe.statistics.controls import paired_control
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Damage, Measurement
from lazarus_probe.statistics.model_spread import FEWEST, best_layer_reach, over_best_layer
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.batches import Prompt
from lazarus_probe.subject.control_models import FIRST_SEED
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


CLAIM = "edit-writes-the-fact"


@dataclass(frozen=True, eq=False)
class RankOneEdit:
    """Edits of P facts at K layers, each made alone. Every value is the new answer's probability among the two.

    Attributes:
        layers: (K,).
        before: (P,) of the model as it is, in other wordings; in the prompt itself where there are none.
        edited: (K, P) the same with the edit.
        random_key: (K, P) with the same change for a random direction as long.
        untrained: (T, K) what the same edits add in T untrained models, on average over facts.
        prompt: (K, P) with the edit, after the prompt that it was made from.
        kept: (K, P) share of other subjects after which the likeliest token stays; NaN without other subjects.
        reworded: whether there are other wordings.
        keyless: layers whose neurons are silent at some fact's subject, so that nothing can be written there.
        units: (P,) the independent unit of each fact.
        damage: (K,) of the edits on unrelated prompts; None without a tokenizer.
        seed: of random directions, of texts and of neighbours.
    """

    layers: tuple[int, ...]
    before: NDArray[np.float64]
    edited: NDArray[np.float64]
    random_key: NDArray[np.float64]
    untrained: NDArray[np.float64]
    prompt: NDArray[np.float64]
    kept: NDArray[np.float64]
    reworded: bool
    keyless: tuple[int, ...]
    units: tuple[str, ...]
    damage: tuple[Damage, ...]
    seed: int

    @cached_property
    def effects(self) -> CellEffects:
        """What each layer's edit adds to the new answer, beside a random direction."""
        return CellEffects(self.edited - self.before, self.random_key - self.before, self.units, self.seed)

    @property
    def untrained_reach(self) -> float | None:
        """What the best layer of one more untrained model may add; None without untrained models."""
        return best_layer_reach(self.untrained)

    @property
    def why_unjudged(self) -> str | None:
        """Why it cannot be told where an edit works; None where it can."""
        if len(set(self.units)) < 2:
            return "there is one subject; give facts about several"
        return None if len(self.untrained) else "there are no untrained models to compare with"

    @cached_property
    def judged(self) -> JudgedLayers | None:
        """The verdicts on the claim `edit-writes-the-fact` by layer, together; None where `why_unjudged` says why."""
        if self.why_unjudged:
            return None
        return judge_layers(CLAIM, {layer: self._measured(row) for row, layer in enumerate(self.layers)})

    @property
    def working(self) -> tuple[int, ...]:
        """Layers at which an edit is shown to write the fact; none where it cannot be told."""
        return self.judged.supported if self.judged else ()

    def _measured(self, row: int) -> Measurement:
        """The preference for the new answer with a layer's edit, and what it gains over the controls.

        Untrained models begin elsewhere, so what is compared is what the edit adds: here, and at their best layer.
        """
        unit, random = "preference for the new answer", {"random_key": self.random_key[row]}
        measured = rate(unit, self.edited[row], self.units, random, seed=self.seed)
        added = paired_control("before", self.edited[row], self.before, self.units, self.seed)
        untrained = over_best_layer(added.gain, Interval(added.low, added.high), self.untrained)
        damage = self.damage[row] if self.damage else None
        return replace(measured, controls=(*measured.controls, untrained), damage=damage)

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "n": len(self.units),
            "units": len(set(self.units)),
            "seed": self.seed,
            "reworded": self.reworded,
            "before": self.before.tolist(),
            "working": list(self.working),
            "verdicts": self.judged.as_data() if self.judged else {},
            "keyless": list(self.keyless),
            "untrained_reach": self.untrained_reach,
            "layers": [
                {
                    "layer": layer,
                    "edited": self.edited[row].tolist(),
                    "prompt": self.prompt[row].tolist(),
                    "kept": self.kept[row].tolist(),
                    "untrained": self.untrained[:, row].tolist(),
                    "damage": asdict(self.damage[row]) if self.damage else None,
                    **self.effects.cell_data(row),
                }
                for row, layer in enumerate(self.layers)
            ],
        }

    def table(self) -> Table:
        """By layer the mean preference for the new answer, its controls, and what stays as it was."""
        columns = [Column("Layer", width=6), Column("prompt", width=8)]
        columns += [Column("reworded", width=10)] if self.reworded else []
        columns += [Column("random key", width=12)]
        columns += [Column("added untrained", width=17)] if len(self.untrained) else []
        columns += [Column("others kept", width=13)] if np.isfinite(self.kept).all() else []
        columns += [Column("damage", width=8)] if self.damage else []
        rows = []
        for row, layer in enumerate(self.layers):
            star = mark(self.effects.p[row])
            means = [f"{self.prompt[row].mean():.3f}{'' if self.reworded else star}"]
            means += [f"{self.edited[row].mean():.3f}{star}"] if self.reworded else []
            means += [f"{self.random_key[row].mean():.3f}"]
            means += [f"{self.untrained[:, row].mean():+.3f}"] if len(self.untrained) else []
            means += [f"{self.kept[row].mean():.3f}"] if np.isfinite(self.kept).all() else []
            means += [f"{self.damage[row].score:.3f}"] if self.damage else []
            rows.append((f"L{layer}", *means))
        return Table(columns, rows, "preference for the new answer")

    def _repr_html_(self) -> str:
        return self.table().html()


def rank_one_edit(
    subject: Subject,
    facts: Sequence[SpannedPrompt],
    *,
    layers: Sequence[int] | None = None,
    wordings: Sequence[str] = (),
    neighbours: Sequence[str] | None = None,
    texts: Sequence[Prompt] | None = None,
    steps: int = STEPS,
    untrained: int = 3,
    unrelated: Unrelated | None = None,
    seed: int = 0,
) -> RankOneEdit:
    """Give facts another answer by a rank-one change of one MLP at a time, and measure what that changes.

    The change is W + u v^T of the down projection (ROME): v = C^-1 k / (k^T C^-1 k) reads the subject's key k, and u is
    fitted so that the new answer follows. No weight is touched: u (v . x) is added where the projection is called.

    Args:
        subject: a model with a tokenizer.
        facts: P prompts with their subject as `part`, the new answer as `other`, and optionally the answer that follows
            now; by default the model's own next token.
        layers: the blocks that are edited, one at a time; by default all that have neurons.
        wordings: the facts in other words, with {} for the subject: an edit is a fact's where it holds there too.
        neighbours: other subjects, whose next tokens should stay; by default up to four of the other facts'.
        texts: of which the second moment C of keys is taken; by default sentences, reviews, requests, questions and
            code.
        steps: of the gradient at most.
        untrained: models in which the same edits are made as a control, at least 3; 0 for none.
        unrelated: prompts for the damage; by default those of all language tasks but capitals.
        seed: of random directions, texts and neighbours.

    Raises:
        UnsupportedArchitecture: no block has neurons, as in mixtures of experts.
        ValueError: no facts, one without a new answer, and as `fact_prompts` and `encode_spans`. NotFinite: logits are
            not finite.

    Example:
        >>> from lazarus_probe.introspection import SpannedPrompt, rank_one_edit
        >>> facts = [SpannedPrompt("The capital of France is", "France", other="Rome")]
        >>> result = rank_one_edit(subject, facts, layers=[0], untrained=0)
        >>> result.edited.shape, bool(result.edited[0, 0] > 1000 * result.before[0])  # layers by facts
        ((1, 1), True)
    """
    if lacking := [fact.prompt for fact in facts if not fact.other]:
        raise ValueError(f"the fact {lacking[0][:60]!r} has no new answer; give one as `other`")
    if steps < 1:
        raise ValueError(f"steps is {steps}; give at least 1")
    if untrained and untrained < FEWEST:
        raise ValueError(
            f"untrained is {untrained}; give at least {FEWEST} for their spread to be known, or 0"
        )
    chosen = [layer for (layer,) in windows_with(subject, "neurons", layers, 1)]
    encoded = encode_spans(subject, facts)
    prompts = fact_prompts(
        subject,
        [fact.prompt for fact in facts],
        [fact.part for fact in facts],
        encoded.answers,
        encoded.others or (),
        wordings=wordings,
        neighbours=neighbours,
        units=encoded.units,
        seed=seed,
    )
    texts = unrelated_texts(seed) if texts is None else texts

    def added(model: Subject) -> NDArray[np.float64]:
        then = outcomes(model, prompts)
        now = outcomes(model, prompts, make_edits(model, prompts, chosen, texts, steps=steps))
        gains = now.wordings - then.wordings if wordings else now.prompt - then.prompt
        return np.asarray(gains.mean(axis=1))

    edits = make_edits(subject, prompts, chosen, texts, steps=steps)
    before, after = outcomes(subject, prompts), outcomes(subject, prompts, edits)
    random = outcomes(subject, prompts, edits.randomly(seed))
    twins = [added(subject.untrained(FIRST_SEED + number)) for number in range(untrained)]
    return RankOneEdit(
        tuple(chosen),
        (before.wordings if wordings else before.prompt)[0],
        after.wordings if wordings else after.prompt,
        random.wordings if wordings else random.prompt,
        np.array(twins).reshape(untrained, len(chosen)),
        after.prompt,
        after.kept(before),
        bool(wordings),
        tuple(layer for layer, v in zip(chosen, edits.directions, strict=True) if not v.any(axis=-1).all()),
        prompts.units,
        _damage(subject, edits, unrelated, seed),
        seed,
    )


def _damage(subject: Subject, edits: Edits, unrelated: Unrelated | None, seed: int) -> tuple[Damage, ...]:
    """(K,) what the edits do to unrelated prompts, which get one fact's edit each, in turn."""
    count = edits.changes.shape[1]

    def edited(number: int) -> Callable[[Sequence[int], int], AbstractContextManager[None]]:
        return lambda rows, _length: edits.made(subject, number, np.asarray(rows) % count)

    prompts = unrelated_prompts(without=["capital"]) if unrelated is None else unrelated
    return tuple(damages(subject, [edited(i) for i in range(len(edits.layers))], prompts, seed=seed))
