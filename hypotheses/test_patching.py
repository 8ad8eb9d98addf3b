"""Does the state at one position of `7*8=` carry its answer, or its operation, into `7+8=`?

Patching the last position after the last layer replaces the output itself and always transfers; so the layer is fixed
in advance at the published relative depth. The report contains the full table of layers and positions.

Whether this generalises beyond patching products of digits into sums is measured in every slice: each pair of
operations, in both formats and all sizes of numbers, 72 in total.
"""

import re
from functools import partial

import numpy as np
import pytest

from lazarus_probe.claims.falsify import Rows, falsify
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.generation.damage import damage_of_patch
from lazarus_probe.introspection.patching.encoded_pairs import encode_pairs
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.introspection.patching.transfer import patch_pairs, transfer
from lazarus_probe.subject.generate import greedy
from lazarus_probe.subject.spans import spans
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import is_answer
from lazarus_probe.tasks.strategies import pair_slices

PASSES = 4  # sources answered, targets answered, sources read, targets patched
BEFORE_LAST = (-2, -3, -4)  # the operands and the operator, in every format


def answered_pairs(subject, evidence, rng):
    """Pairs of `a*b=` and `a+b=` that the model answers both, and their operand families.

    A tokenizer may merge characters differently in the two, so only pairs whose prompts have the usual length are kept.
    """
    declared = evidence.claim.parameters
    digits = prompts.digit_pairs(rng, declared["pairs"])
    pairs = [PromptPair(f"{a}*{b}=", f"{a}+{b}=", a * b, a + b) for a, b in digits]
    lengths = np.array([[len(subject.encode(text)) for text in (pair.source, pair.target)] for pair in pairs])
    products, sums = (
        greedy(subject, [getattr(pair, side) for pair in pairs], 4) for side in ("source", "target")
    )
    answered = (lengths == np.median(lengths)).all(axis=1) & [
        is_answer(product, pair.source_answer) and is_answer(total, pair.target_answer)
        for product, total, pair in zip(products, sums, pairs, strict=True)
    ]
    evidence.require(
        answered.mean() >= declared["answered"],
        f"answers both sides of {answered.mean():.2f} of the pairs; {declared['answered']:.2f} needed",
    )
    chosen = np.flatnonzero(answered)
    return [pairs[i] for i in chosen], [str(sorted(digits[i])) for i in chosen]


def operand_positions(subject, evidence, pair):
    """The positions of operands, operator and `=` of a pair; an operand may be several tokens.

    In both prompts, none of them may share a token with another, and all must be at the same positions.
    """
    parts = [match.span() for match in re.finditer(r"\d+|\D", pair.target)]
    try:
        source, target = (spans(subject, text, parts) for text in (pair.source, pair.target))
    except ValueError:
        source, target = [], []
    apart = source == target != [] and len(target[1]) == len(target[3]) == 1
    evidence.require(apart, f"operands, operator and = are {'' if apart else 'not '}tokens of their own")
    first, operator, second, last = target
    return [*first.positions, *second.positions], operator.last, last.last


@pytest.mark.claim("patching-transfers-answer")
def test_answer_at_last_position(subject, evidence, rng):
    pairs, families = answered_pairs(subject, evidence, rng)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    operands, operator, last = operand_positions(subject, evidence, pairs[0])
    parts = {"operands": operands, "operator": [operator]}
    evidence.record(transfer(subject, pairs, layer, last, families, parts=parts, seed=evidence.seed))


@pytest.mark.claim("patching-transfers-operation")
def test_operation_at_its_token(subject, evidence, rng):
    pairs, families = answered_pairs(subject, evidence, rng)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    operands, operator, _ = operand_positions(subject, evidence, pairs[0])
    parts = {"operands": operands}
    evidence.record(transfer(subject, pairs, layer, operator, families, parts=parts, seed=evidence.seed))


def prompt_pair(questions):
    """A source and a target question as a prompt pair for patching."""
    source, target = questions
    return PromptPair(source.text, target.text, source.fact.answer, target.fact.answer)


def kind(questions):
    """The slice of a source and a target question."""
    source, target = questions
    sizes = sorted(len(str(number)) for number in (source.fact.a, source.fact.b))
    return source.fact.operation, target.fact.operation, source.phrasing, *sizes


def of_one_length(subject, drawn):
    """Whether each pair has prompts of the median length of its slice."""
    lengths = np.array([[len(subject.encode(question.text)) for question in pair] for pair in drawn])
    kinds = [kind(questions) for questions in drawn]
    usual = {
        slice_kind: np.median(lengths[[other == slice_kind for other in kinds]]) for slice_kind in set(kinds)
    }
    return [(pair == usual[slice_kind]).all() for pair, slice_kind in zip(lengths, kinds, strict=True)]


def moved(subject, layer, drawn):
    """Whether the source's answer is produced, for pairs of equal length of which the model answers both sides."""
    pairs = [prompt_pair(questions) for questions in drawn]
    completions = [
        greedy(subject, [getattr(pair, side) for pair in pairs], 4) for side in ("source", "target")
    ]
    answered = [
        i
        for i, fits in enumerate(of_one_length(subject, drawn))
        if fits
        and is_answer(completions[0][i], pairs[i].source_answer)
        and is_answer(completions[1][i], pairs[i].target_answer)
    ]
    patched = [pairs[i] for i in answered]
    transfers = patch_pairs(subject, encode_pairs(subject, patched), [layer], [-1]) if patched else None
    return Rows(
        items=[drawn[i] for i in answered],
        scores=transfers.transferred(layer, -1).astype(float).tolist() if transfers else [],
        clusters=[drawn[i][0].family for i in answered],
        prompts=[f"{pair.target} (with {pair.source})" for pair in patched],
        expected=[f"{pair.source_answer}" for pair in patched],
        said=transfers.completions_at(layer, -1) if transfers else [],
        tokens=sum(len(subject.encode(question.text)) for questions in drawn for question in questions),
    )


def elsewhere(subject, layer, pairs, rng):
    """Whether it is produced when another position is patched, drawn for each pair."""
    transfers = patch_pairs(subject, pairs, [layer], BEFORE_LAST)
    positions = rng.choice(BEFORE_LAST, size=len(pairs))
    return [float(transfers.transferred(layer, int(position))[i]) for i, position in enumerate(positions)]


def from_others(subject, layer, pairs, rng):
    """Whether it is produced when the patch is taken from another pair's source."""
    donors = np.roll(rng.permutation(len(pairs)), 1).tolist()
    return patch_pairs(subject, pairs, [layer], [-1], donors=donors).transferred(layer, -1).astype(float)


@pytest.mark.claim("patching-transfers-everywhere")
def test_answer_in_every_slice(subject, evidence, rng):
    answered_pairs(subject, evidence, rng)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    cost = {"budget": evidence.claim.parameters["budget"], "passes": PASSES, "fresh": 64}
    measure = partial(moved, subject, layer)
    search = falsify(evidence.claim, measure, pair_slices(), seed=evidence.seed, **cost)
    pairs = encode_pairs(subject, [prompt_pair(questions) for questions in search.rows.items])
    controls = {
        "random_position": elsewhere(subject, layer, pairs, rng),
        "other_pair": from_others(subject, layer, pairs, rng),
    }
    damage = damage_of_patch(
        subject, [pair.source.ids for pair in pairs], resid_post(layer), seed=evidence.seed
    )
    evidence.record(search.measurement("rate of full transfer", damage=damage, **controls))
