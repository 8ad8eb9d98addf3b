"""Does the state at one place of `7*8=` carry its answer, or its operation, into `7+8=`?

Patching the last position after the last layer replaces the output itself and always transfers; so the layer is fixed
beforehand at the published relative depth. The report keeps the whole table of layers and positions.

Whether it holds beyond products of digits put into sums is measured in every slice: each pair of operations, in both
formats and in all sizes of numbers, 72 in all.
"""

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
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import is_answer
from lazarus_probe.tasks.strategies import pair_slices

PASSES = 4  # sources answered, targets answered, sources read, targets patched
BEFORE_LAST = (-2, -3, -4)  # the operands and the operator, in every format


def answered_pairs(subject, evidence, rng):
    """`a*b=` into `a+b=` where the model answers both, and their operand families.

    A tokenizer may join characters differently in the two; pairs are kept if all their prompts have one length.
    """
    declared = evidence.claim.parameters
    digits = prompts.digit_pairs(rng, declared["pairs"])
    pairs = [PromptPair(f"{a}*{b}=", f"{a}+{b}=", a * b, a + b) for a, b in digits]
    lengths = np.array([[len(subject.encode(text)) for text in (pair.source, pair.target)] for pair in pairs])
    products, sums = (
        greedy(subject, [getattr(pair, side) for pair in pairs], 4) for side in ("source", "target")
    )
    known = (lengths == np.median(lengths)).all(axis=1) & [
        is_answer(product, pair.source_answer) and is_answer(total, pair.target_answer)
        for product, total, pair in zip(products, sums, pairs, strict=True)
    ]
    evidence.require(
        known.mean() >= declared["answered"],
        f"answers both sides of {known.mean():.2f} of the pairs; {declared['answered']:.2f} needed",
    )
    kept = np.flatnonzero(known)
    return [pairs[i] for i in kept], [str(sorted(digits[i])) for i in kept]


def places(subject, evidence, pair):
    """The positions of the operands, the operator and the `=` of a pair, each a token of its own, in either prompt."""
    ends = [
        [len(subject.encode(text[:count])) - 1 for count in range(1, len(text) + 1)]
        for text in (pair.source, pair.target)
    ]
    apart = ends[0] == ends[1] and len(set(ends[0])) == 4
    evidence.require(apart, f"operands, operator and = are {'' if apart else 'not '}tokens of their own")
    first, operator, second, last = ends[0]
    return [first, second], operator, last


@pytest.mark.claim("patching-transfers-answer")
def test_answer_at_last_position(subject, evidence, rng):
    pairs, families = answered_pairs(subject, evidence, rng)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    operands, operator, last = places(subject, evidence, pairs[0])
    parts = {"operands": operands, "operator": [operator]}
    evidence.record(transfer(subject, pairs, layer, last, families, parts=parts, seed=evidence.seed))


@pytest.mark.claim("patching-transfers-operation")
def test_operation_at_its_token(subject, evidence, rng):
    pairs, families = answered_pairs(subject, evidence, rng)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    operands, operator, _ = places(subject, evidence, pairs[0])
    parts = {"operands": operands}
    evidence.record(transfer(subject, pairs, layer, operator, families, parts=parts, seed=evidence.seed))


def prompt_pair(questions):
    """A source and a target question as a pair to patch between."""
    source, target = questions
    return PromptPair(source.text, target.text, source.fact.answer, target.fact.answer)


def kind(questions):
    """The slice that a source and a target question are of."""
    source, target = questions
    sizes = sorted(len(str(number)) for number in (source.fact.a, source.fact.b))
    return source.fact.operation, target.fact.operation, source.phrasing, *sizes


def of_one_length(subject, drawn):
    """Which pairs have prompts of the length that is usual in their slice."""
    lengths = np.array([[len(subject.encode(question.text)) for question in pair] for pair in drawn])
    kinds = [kind(questions) for questions in drawn]
    usual = {one: np.median(lengths[[other == one for other in kinds]]) for one in set(kinds)}
    return [(pair == usual[one]).all() for pair, one in zip(lengths, kinds, strict=True)]


def moved(subject, layer, drawn):
    """Whether the source's answer comes out, for pairs of one length of which the model answers both sides."""
    pairs = [prompt_pair(questions) for questions in drawn]
    said = [greedy(subject, [getattr(pair, side) for pair in pairs], 4) for side in ("source", "target")]
    known = [
        i
        for i, fits in enumerate(of_one_length(subject, drawn))
        if fits
        and is_answer(said[0][i], pairs[i].source_answer)
        and is_answer(said[1][i], pairs[i].target_answer)
    ]
    kept = [pairs[i] for i in known]
    found = patch_pairs(subject, encode_pairs(subject, kept), [layer], [-1]) if kept else None
    return Rows(
        items=[drawn[i] for i in known],
        scores=found.transferred(layer, -1).astype(float).tolist() if found else [],
        clusters=[drawn[i][0].family for i in known],
        prompts=[f"{pair.target} (with {pair.source})" for pair in kept],
        expected=[f"{pair.source_answer}" for pair in kept],
        said=found.completions_at(layer, -1) if found else [],
        tokens=sum(len(subject.encode(question.text)) for questions in drawn for question in questions),
    )


def elsewhere(subject, layer, pairs, rng):
    """Whether it comes out when another position is patched, drawn for each pair."""
    found = patch_pairs(subject, pairs, [layer], BEFORE_LAST)
    places = rng.choice(BEFORE_LAST, size=len(pairs))
    return [float(found.transferred(layer, int(place))[i]) for i, place in enumerate(places)]


def from_others(subject, layer, pairs, rng):
    """Whether it comes out when the patch is taken from another pair's source."""
    donors = np.roll(rng.permutation(len(pairs)), 1).tolist()
    return patch_pairs(subject, pairs, [layer], [-1], donors=donors).transferred(layer, -1).astype(float)


@pytest.mark.claim("patching-transfers-everywhere")
def test_answer_in_every_slice(subject, evidence, rng):
    answered_pairs(subject, evidence, rng)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    cost = {"budget": evidence.claim.parameters["budget"], "passes": PASSES, "fresh": 64}
    measure = partial(moved, subject, layer)
    found = falsify(evidence.claim, measure, pair_slices(), seed=evidence.seed, **cost)
    pairs = encode_pairs(subject, [prompt_pair(questions) for questions in found.rows.items])
    controls = {
        "random_position": elsewhere(subject, layer, pairs, rng),
        "other_pair": from_others(subject, layer, pairs, rng),
    }
    damage = damage_of_patch(
        subject, [pair.source.ids for pair in pairs], resid_post(layer), seed=evidence.seed
    )
    evidence.record(found.measurement("rate of full transfer", damage=damage, **controls))
