"""Which of several words a model finds the likeliest, where prompts that differ in one thing make none of them right.

The behaviours that circuits were published for: the indirect object among two names (Wang et al. 2023), the pronoun of
a name, the next argument of a docstring, the later year of a span (Hanna et al. 2023). That a model chooses right is
no more than what its circuit is for; a claim about the circuit applies where it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.asking.choice import spellings_of
from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.generation.continuation import joined
from lazarus_probe.introspection.lens.readings import Target, read_sets
from lazarus_probe.statistics.bounded import Units
from lazarus_probe.statistics.measurement import Measurement, some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.control_models import ControlModel, ControlModels, faced

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject


class ContinuationError(ValueError):
    """A tokenizer that joins an option with its prompt, so that no token of its own can be read."""


def preference(
    subject: Subject,
    untrained: ControlModels,
    prompts: Sequence[str],
    options: Sequence[Sequence[str]],
    units: Units,
    controls: Mapping[str, Sequence[str]],
    *,
    contrasts: Sequence[str] | None = None,
    store: ActivationStore | None = None,
    seed: int = 0,
    claim: Claim | None = None,
) -> Measurement:
    """How often the first of some options is the likeliest, over all of their spellings.

    Of prompts that make a contrast all must be right: then a model that likes one of the options, whatever the prompt
    says, is right of none, and one that guesses is of a quarter of pairs.

    Controls: how often it is after each set of control prompts; and `untrained`, `new_blocks` and `permuted_blocks`,
    the same in several models of each kind.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture.
        prompts: N texts.
        options: (N, K) words, the right one first.
        units: (N,) the independent unit of each prompt, or several kinds of them by name; of a contrast it is one.
        controls: by name N prompts, after which the first option is no more right than the others.
        contrasts: (N,) which prompts count together; by default each alone.
        store: activations shared with other claims.
        seed: of the intervals.
        claim: what the measurement is judged by; where its outcome is settled without the control models, they are not
            run.

    Raises:
        ContinuationError: as `option_targets`.
        ValueError: as `checked_models`, lengths that differ, or a contrast of several units.
    """
    store = ActivationStore() if store is None else store
    contrasts = [str(row) for row in range(len(prompts))] if contrasts is None else contrasts
    units = of_contrasts(units, contrasts)
    own = option_probabilities(subject, prompts, options, store)
    right = first_is_likeliest(own)

    def chosen(model: Subject | ControlModel, texts: Sequence[str]) -> NDArray[np.bool_]:
        read = first_is_likeliest(option_probabilities(model, texts, options, store))
        return right_together(read, contrasts)

    by_contrast = {name: chosen(subject, texts) for name, texts in controls.items()}

    def measure(reached: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        return rate(
            "share of contrasts with the right option on top in every prompt",
            right_together(right, contrasts),
            units,
            reached,
            seed=seed,
            details={
                "mean_log_odds": float(np.log(own[:, 0] / own[:, 1:].max(axis=1)).mean()),
                "prompts_right": float(right.mean()),
            },
            examples=some_examples(
                prompts,
                [option[0] for option in options],
                [option[best] for option, best in zip(options, own.argmax(axis=1), strict=True)],
                right,
            ),
            unmeasured=left_out,
        )

    def in_models(models: Sequence[ControlModel | Subject]) -> NDArray[np.bool_]:
        return np.stack([chosen(model, prompts) for model in models])

    costly = {kind: partial(in_models, models) for kind, models in faced(subject, untrained).items()}
    return as_needed(claim, measure, costly, by_contrast)


def right_together(right: NDArray[np.bool_], contrasts: Sequence[str]) -> NDArray[np.bool_]:
    """(C,) whether all prompts of each contrast are right, from (N,) prompts; in order of first appearance."""
    number = {name: index for index, name in enumerate(dict.fromkeys(contrasts))}
    together = np.ones(len(number), dtype=bool)
    np.logical_and.at(together, [number[name] for name in contrasts], right)
    return together


def of_contrasts(units: Units, contrasts: Sequence[str]) -> Units:
    """The unit of each contrast (C,), from those of its prompts (N,), by kind where there are several.

    Raises:
        ValueError: prompts of one contrast are of several units.
    """
    if isinstance(units, Mapping):
        return {kind: _units_of(values, contrasts) for kind, values in units.items()}
    return _units_of(units, contrasts)


def _units_of(units: ArrayLike, contrasts: Sequence[str]) -> NDArray[np.str_]:
    unit_of: dict[str, str] = {}
    for contrast, unit in zip(contrasts, np.asarray(units).tolist(), strict=True):
        if unit_of.setdefault(contrast, unit) != unit:
            raise ValueError(
                f"prompts of the contrast {contrast!r} are of the units {unit_of[contrast]!r} and {unit!r}"
            )
    return np.array(list(unit_of.values()))


def first_is_likeliest(probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) whether the first of (N, K) probabilities is above all others; a tie is not."""
    return np.asarray(probabilities[:, 0] > probabilities[:, 1:].max(axis=1))


def option_probabilities(
    subject: Subject | ControlModel,
    prompts: Sequence[str],
    options: Sequence[Sequence[str]],
    store: ActivationStore | None = None,
) -> NDArray[np.float64]:
    """(N, K) the probability of each of K options after each of N prompts, summed over spellings.

    Raises:
        ContinuationError: as `option_targets`.
        ValueError: no prompts, or numbers of options that differ.
    """
    origin = subject.origin if isinstance(subject, ControlModel) else subject
    counts = {len(some) for some in options}
    if len(counts) != 1 or min(counts) < 2:
        raise ValueError(
            f"numbers of options are {sorted(counts)}; give the same number, at least 2, of each prompt"
        )
    targets = [
        [option_targets(origin, prompt, option) for option in some]
        for prompt, some in zip(prompts, options, strict=True)
    ]
    sets = [[row[number] for row in targets] for number in range(counts.pop())]
    readings = read_sets(subject, prompts, sets, [origin.num_layers - 1], store=store)
    return np.stack([reading.probability[:, 0] for reading in readings], axis=1)


def option_targets(subject: Subject, prompt: str, option: str) -> list[Target]:
    """The tokens of every spelling of an option that continues a prompt with tokens of its own.

    Where some spelling is one token, those that are count, as in `subject.word_of`; else all do, each of its tokens
    given the ones before it, which takes a run of the model for each.

    Raises:
        ContinuationError: none does.
    """
    before, targets = len(subject.encode(prompt)), []
    for spelling in spellings_of(option):
        try:
            tokens, start = joined(subject, prompt, spelling)
        except ValueError:
            continue
        if start == before and tuple(tokens[start:]) not in targets:
            targets.append(tuple(tokens[start:]))
    if not targets:
        raise ContinuationError(f"{option!r} does not continue {prompt!r} in any spelling")
    single = [target for target in targets if len(target) == 1]
    return list(single or targets)


def later_years(
    subject: Subject,
    untrained: ControlModels,
    prompts: Sequence[str],
    starts: Sequence[int],
    units: Units,
    *,
    store: ActivationStore | None = None,
    seed: int = 0,
    claim: Claim | None = None,
) -> Measurement:
    """P(later) - P(earlier) of the year that a span ends in, as Hanna et al. 2023 (arXiv:2305.00586) measure it.

    Of the years 00 to 99 the first token counts: of a tokenizer that splits digits, that of the tens. One that both
    earlier and later years begin with counts for neither.

    Controls: `other_start`, the same by the first year of another prompt, which is what a model reaches that has
    learnt which years are common; and `untrained`, `new_blocks`, `permuted_blocks`.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture.
        prompts: N texts that end in the first digits of a year.
        starts: (N,) the two last digits of the span's first year.
        units: (N,) independent units, or several kinds of them by name.
        store: activations shared with other claims.
        seed: of the intervals and of the other prompts.
        claim: what the measurement is judged by.

    Raises:
        ContinuationError: as `year_tokens`.
        ValueError: as `checked_models`.
    """
    store = ActivationStore() if store is None else store
    others = np.random.default_rng(seed).permutation(np.asarray(starts))
    sides = [year_tokens(subject, prompt, start) for prompt, start in zip(prompts, starts, strict=True)]
    other_sides = [year_tokens(subject, prompt, start) for prompt, start in zip(prompts, others, strict=True)]

    def gap(model: Subject | ControlModel, of: Sequence[tuple[list[int], list[int]]]) -> NDArray[np.float64]:
        later, earlier = (
            reading.probability[:, 0]
            for reading in read_sets(
                model,
                prompts,
                [[row[side] for row in of] for side in (0, 1)],
                [subject.num_layers - 1],
                store=store,
            )
        )
        return np.asarray(later - earlier)

    score, reached = gap(subject, sides), {"other_start": gap(subject, other_sides)}

    def measure(controls: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        return rate(
            "P(later) - P(earlier)", score, units, controls, bound=2.0, seed=seed, unmeasured=left_out
        )

    def in_models(models: Sequence[ControlModel | Subject]) -> NDArray[np.float64]:
        return np.stack([gap(model, sides) for model in models])

    costly = {kind: partial(in_models, models) for kind, models in faced(subject, untrained).items()}
    return as_needed(claim, measure, costly, reached)


def year_tokens(subject: Subject, prompt: str, start: int) -> tuple[list[int], list[int]]:
    """The first tokens of later and of earlier years than a start, from 00 to 99, after a prompt.

    Raises:
        ContinuationError: the tokenizer joins years with the digits before them, or no token tells a side.
    """
    before = subject.encode(prompt)
    years: dict[int, list[int]] = {}
    for year in range(100):
        tokens, at = subject.encode(f"{prompt}{year:02}"), len(before)
        if tokens[:at] != before or len(tokens) == at:
            raise ContinuationError(f"the tokenizer joins {prompt!r} with the year {year:02}")
        years.setdefault(tokens[at], []).append(year)
    later = [token for token, of_token in years.items() if min(of_token) > start]
    earlier = [token for token, of_token in years.items() if max(of_token) < start]
    if not later or not earlier:
        raise ValueError(
            f"no first token tells years after {start:02} from years before it, after {prompt!r}"
        )
    return later, earlier
