"""Which answers need one component, and does anything need it more than other components?

Published results set weights to zero on one prompt at a time. Here outputs are replaced by their mean, on questions
that the unablated model answers, and compared with the same ablation of other components.
"""

import numpy as np
import pytest

from lazarus_probe.asking.behaviours import calls_tool
from lazarus_probe.asking.exams import Exam, question_exam
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.effects import Task, layers_ablation_effect, max_ablation_effect
from lazarus_probe.introspection.generation.answer_onset import onset
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.tasks import language, prompts
from lazarus_probe.tasks.arithmetic import SYMBOLIC, Fact

CALL_TOKENS = 12  # of a tool call, up to where it is one in any format


def arithmetic(facts, phrasing="compact"):
    """Questions about facts, scored by the number in the answer."""
    return question_exam([prompts.Question(fact.prompt(phrasing), fact, phrasing) for fact in facts])


def language_exam(examples, rng, count, right, max_tokens=0):
    """A sample of language prompts."""
    pool = list(examples)
    drawn = [pool[i] for i in rng.choice(len(pool), size=count, replace=False)]
    return Exam(
        [example.prompt for example in drawn],
        [example.response for example in drawn],
        [example.subject for example in drawn],
        lambda i, text: right(drawn[i], text),
        max_tokens=max_tokens,
    )


def answered(ability, exam, description):
    """The prompts that the unablated model answers, in the form in which it does so best; the claim is about those."""
    answers = ability(exam, description)
    exam, rows = answers.exam, answers.rows.tolist()
    task = Task(
        answers.prompts,
        [exam.answers[row].strip() for row in rows],
        [exam.families[row] for row in rows],
        lambda i, text: exam.is_right(rows[i], text),
        answers.max_tokens,
    )
    return answers, task.take(np.flatnonzero(answers.right))


@pytest.mark.claim("no-single-layer-holds-digit-products")
def test_digit_products(subject, evidence, ability):
    facts = [Fact("multiply", a, b) for a in range(2, 10) for b in range(2, 10)]
    exams = [arithmetic(facts, phrasing) for phrasing in SYMBOLIC[::-1]]
    answers, task = answered(ability, exams, "the products of two digits")
    layers = range(subject.num_layers)
    first = evidence.claim.layer_for(subject.name, subject.num_layers)
    single = [(Site(kind, layer),) for layer in layers[first:] for kind in ("attn_out", "mlp_out")]
    all_mlps = tuple(Site("mlp_out", layer) for layer in layers)
    measurement = max_ablation_effect(subject, task, single, all_mlps, seed=evidence.seed)
    evidence.record(answers.noted(measurement))


@pytest.mark.claim("late-attention-binds-operands")
def test_binding(subject, evidence, rng, ability):
    declared, count = evidence.claim.parameters, subject.num_layers
    facts = prompts.sample_facts("multiply", declared["questions"], rng, lambda f: f.a > 10 and f.b > 10)
    exams = [arithmetic(facts, phrasing) for phrasing in SYMBOLIC[::-1]]
    answers, task = answered(ability, exams, "the products")
    first = evidence.claim.layer_for(subject.name, count)
    wide = min(max(1, round(declared["share"] * count)), count - first)
    windows = [range(start, start + wide) for start in range(count - wide + 1)]
    others = [window for window in windows if not set(window) & set(windows[first])]
    evidence.require(bool(others), f"has {count} layers; others than the {wide} ablated are needed")
    measurement = layers_ablation_effect(
        subject, task, "attn_out", windows[first], others, seed=evidence.seed
    )
    evidence.record(answers.noted(measurement))


@pytest.mark.claim("early-mlp-makes-tool-calls")
def test_tool_calls(subject, evidence, rng, ability):
    declared, count = evidence.claim.parameters, subject.num_layers
    calls = language_exam(
        language.tool_calls(), rng, declared["calls"], lambda _, text: calls_tool(text), CALL_TOKENS
    )
    capitals = language_exam(
        language.capitals(),
        rng,
        declared["calls"],
        lambda example, text: onset(text, example.response) is not None,
    )
    answers, calls = answered(ability, calls, "the requests by a tool call")
    _, capitals = answered(ability, capitals, "the questions about capitals")
    layer = evidence.claim.layer_for(subject.name, count)
    low, high = (int(share * count) for share in declared["follow"])
    follow = [[other_layer] for other_layer in range(low, high) if other_layer != layer]
    evidence.require(
        bool(follow), f"has {count} layers; some between {low} and {high} other than {layer} needed"
    )
    measurement = layers_ablation_effect(
        subject,
        calls,
        "mlp_out",
        [layer],
        follow,
        unaffected=capitals,
        seed=evidence.seed,
        unrelated=unrelated_prompts(("tool",), evidence.seed),
    )
    evidence.record(answers.noted(measurement))
