"""Does the state at one position of `7*8=` carry its answer, or its operation, into `7+8=`?

Patching the last position after the last layer replaces the output itself and always transfers; so the layer is fixed
in advance at the published relative depth. The report contains the full table of layers and positions.

Whether this generalises beyond patching products of digits into sums is measured in every slice: each pair of
operations, in both formats and all sizes of numbers, 72 in total.
"""

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from lazarus_probe.asking.exams import question_exam, shots_of, worked_facts
from lazarus_probe.claims.falsify import Rows, falsify
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.generation.damage import damage_of_patch
from lazarus_probe.introspection.patching.encoded_pairs import encode_pairs
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.introspection.patching.transfer import patch_pairs, transfer
from lazarus_probe.subject.generate import greedy
from lazarus_probe.subject.spans import spans
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS, Fact, answers_at_once
from lazarus_probe.tasks.strategies import pair_slices

LENGTH = 4  # characters of `7*8=`
LONGER = 2  # tokens that answers of other sizes may have more
PASSES = 4  # sources answered, targets answered, sources read, targets patched
BEFORE_LAST = (-2, -3, -4)  # the operands and the operator, in every format


def answered_pairs(subject, evidence, rng, ability):
    """Pairs of `a*b=` and `a+b=` that the model answers both, in the form in which it does so best, and their families.

    A tokenizer may merge characters differently in the two, so only pairs whose prompts have the usual length are kept.
    """
    declared = evidence.claim.parameters
    facts = [
        Fact(operation, *digits)
        for digits in prompts.digit_pairs(rng, declared["pairs"])
        for operation in ("multiply", "add")
    ]
    exam = question_exam(
        [prompts.Question(fact.prompt("compact"), fact, "compact") for fact in facts],
        at_once=True,
        together=2,
    )
    answers = ability(exam, "the pairs, both sides")
    facts = [facts[row] for row in answers.rows]
    pairs = [
        PromptPair(*answers.prompts[i : i + 2], facts[i].answer, facts[i + 1].answer)
        for i in range(0, len(facts), 2)
    ]
    lengths = np.array([[len(subject.encode(text)) for text in (pair.source, pair.target)] for pair in pairs])
    both = (lengths == np.median(lengths)).all(axis=1) & answers.right.reshape(-1, 2).all(axis=1)
    evidence.require(
        both.mean() >= declared["answered"],
        f"answers both sides of {both.mean():.2f} of the pairs, in prompts of one length; "
        f"{declared['answered']:.2f} needed",
    )
    chosen = np.flatnonzero(both)
    return (
        answers,
        [pairs[i] for i in chosen],
        [str(sorted((facts[2 * i].a, facts[2 * i].b))) for i in chosen],
    )


def positions_in_form(subject, evidence, pair):
    """`operand_positions` of a pair in the form that it is asked in: behind what that puts before both prompts."""
    plain = PromptPair(pair.source[-LENGTH:], pair.target[-LENGTH:])
    operands, operator, last = operand_positions(subject, evidence, plain)
    longer, bare = subject.encode(pair.target), subject.encode(plain.target)
    before = len(longer) - len(bare)
    alike = longer[before + operands[0] :] == bare[operands[0] :]
    evidence.require(
        alike, f"a question has {'' if alike else 'not '}the same tokens behind what its form puts before"
    )
    return [before + operand for operand in operands], before + operator, before + last


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
def test_answer_at_last_position(subject, evidence, rng, ability):
    answers, pairs, families = answered_pairs(subject, evidence, rng, ability)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    operands, operator, last = positions_in_form(subject, evidence, pairs[0])
    parts = {"operands": operands, "operator": [operator]}
    options = {"parts": parts, "seed": evidence.seed, "max_tokens": answers.max_tokens}
    evidence.record(answers.noted(transfer(subject, pairs, layer, last, families, **options)))


@pytest.mark.claim("patching-transfers-operation")
def test_operation_at_its_token(subject, evidence, rng, ability):
    answers, pairs, families = answered_pairs(subject, evidence, rng, ability)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    operands, operator, _ = positions_in_form(subject, evidence, pairs[0])
    parts = {"operands": operands}
    options = {"parts": parts, "seed": evidence.seed, "max_tokens": answers.max_tokens}
    evidence.record(answers.noted(transfer(subject, pairs, layer, operator, families, **options)))


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


def in_form(answers, shown, questions):
    """A pair's questions in the form of the model's best answers; none if their numbers are in its examples."""
    if answers.form.shots and {fact.family for fact in shown} & {
        question.fact.family for question in questions
    }:
        return None
    return tuple(
        replace(question, text=answers.written(question.text, shots_of(shown, question.phrasing)))
        for question in questions
    )


def moved(answers, shown, layer, drawn):
    """Whether the source's answer is produced, for pairs of equal length of which the model answers both sides."""
    subject, max_tokens = answers.subject, answers.max_tokens + LONGER
    drawn = [questions for questions in drawn if in_form(answers, shown, questions)]
    written = [in_form(answers, shown, questions) for questions in drawn]
    pairs = [prompt_pair(questions) for questions in written]
    completions = [
        greedy(subject, [getattr(pair, side) for pair in pairs], max_tokens, answers.form.stops)
        if pairs
        else []
        for side in ("source", "target")
    ]
    answered = [
        i
        for i, fits in enumerate(of_one_length(subject, written))
        if fits
        and answers_at_once(completions[0][i], pairs[i].source_answer)
        and answers_at_once(completions[1][i], pairs[i].target_answer)
    ]
    patched = [pairs[i] for i in answered]
    encoded = encode_pairs(subject, patched)
    transfers = patch_pairs(subject, encoded, [layer], [-1], max_tokens=max_tokens) if patched else None
    return Rows(
        items=[drawn[i] for i in answered],
        scores=transfers.transferred(layer, -1).astype(float).tolist() if transfers else [],
        clusters=[drawn[i][0].family for i in answered],
        prompts=[f"{pair.target} (with {pair.source})" for pair in patched],
        expected=[f"{pair.source_answer}" for pair in patched],
        said=transfers.completions_at(layer, -1) if transfers else [],
        tokens=sum(len(subject.encode(question.text)) for questions in drawn for question in questions),
    )


def elsewhere(subject, layer, pairs, rng, max_tokens):
    """Whether it is produced when another position is patched, drawn for each pair."""
    transfers = patch_pairs(subject, pairs, [layer], BEFORE_LAST, max_tokens=max_tokens)
    positions = rng.choice(BEFORE_LAST, size=len(pairs))
    return [float(transfers.transferred(layer, int(position))[i]) for i, position in enumerate(positions)]


def from_others(subject, layer, pairs, rng, max_tokens):
    """Whether it is produced when the patch is taken from another pair's source."""
    donors = np.roll(rng.permutation(len(pairs)), 1).tolist()
    transfers = patch_pairs(subject, pairs, [layer], [-1], donors=donors, max_tokens=max_tokens)
    return transfers.transferred(layer, -1).astype(float)


@pytest.mark.claim("patching-transfers-everywhere")
def test_answer_in_every_slice(subject, evidence, rng, ability):
    answers, _, _ = answered_pairs(subject, evidence, rng, ability)
    shown = worked_facts(OPERATIONS, ())
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    cost = {"budget": evidence.claim.parameters["budget"], "passes": PASSES, "fresh": 64}
    measure = partial(moved, answers, shown, layer)
    search = falsify(evidence.claim, measure, pair_slices(), seed=evidence.seed, **cost)
    written = [in_form(answers, shown, questions) for questions in search.rows.items]
    pairs = encode_pairs(subject, [prompt_pair(questions) for questions in written])
    max_tokens = answers.max_tokens + LONGER
    controls = {
        "random_position": elsewhere(subject, layer, pairs, rng, max_tokens),
        "other_pair": from_others(subject, layer, pairs, rng, max_tokens),
    }
    damage = damage_of_patch(
        subject, [pair.source.ids for pair in pairs], resid_post(layer), seed=evidence.seed
    )
    measurement = search.measurement("rate of full transfer", damage=damage, **controls)
    evidence.record(answers.noted(measurement))
