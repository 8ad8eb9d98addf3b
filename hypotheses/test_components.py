"""Which answers need one component, and does anything need it more than other components?

Published results set weights to zero on one prompt at a time. Here outputs are replaced by their mean, on questions
that the unablated model answers, and compared with the same ablation of other components.
"""

import numpy as np
import pytest

from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.effects import Task, layers_ablation_effect, max_ablation_effect
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.tasks import language, prompts
from lazarus_probe.tasks.arithmetic import Fact, is_answer

CALL = "<function_call>"


def arithmetic(facts, phrasing="compact"):
    """Questions about facts, scored by the number in the answer."""
    return Task(
        [fact.prompt(phrasing) for fact in facts],
        [fact.answer for fact in facts],
        [str(fact.family) for fact in facts],
        lambda i, text: is_answer(text, facts[i].answer),
    )


def language_task(examples, rng, count, right):
    """A sample of language prompts."""
    pool = list(examples)
    drawn = [pool[i] for i in rng.choice(len(pool), size=count, replace=False)]
    return Task(
        [example.prompt for example in drawn],
        [example.response for example in drawn],
        [example.subject for example in drawn],
        lambda i, text: right(drawn[i], text),
    )


def require_answers(subject, evidence, task, description):
    """Restrict the task to prompts that the unablated model answers; the claim is about those."""
    right, needed = task.answered(subject), evidence.claim.parameters["answered"]
    evidence.require(
        right.mean() >= needed, f"answers {right.mean():.2f} of {description}; {needed:.2f} needed"
    )
    return task.take(np.flatnonzero(right))


@pytest.mark.claim("no-single-layer-holds-digit-products")
def test_digit_products(subject, evidence):
    task = arithmetic([Fact("multiply", a, b) for a in range(2, 10) for b in range(2, 10)])
    task = require_answers(subject, evidence, task, "the products of two digits")
    layers = range(subject.num_layers)
    first = evidence.claim.layer_for(subject.name, subject.num_layers)
    single = [(Site(kind, layer),) for layer in layers[first:] for kind in ("attn_out", "mlp_out")]
    all_mlps = tuple(Site("mlp_out", layer) for layer in layers)
    evidence.record(max_ablation_effect(subject, task, single, all_mlps, seed=evidence.seed))


@pytest.mark.claim("late-attention-binds-operands")
def test_binding(subject, evidence, rng):
    declared, count = evidence.claim.parameters, subject.num_layers
    facts = prompts.sample_facts("multiply", declared["questions"], rng, lambda f: f.a > 10 and f.b > 10)
    task = require_answers(subject, evidence, arithmetic(facts), "the products")
    first = evidence.claim.layer_for(subject.name, count)
    wide = min(max(1, round(declared["share"] * count)), count - first)
    windows = [range(start, start + wide) for start in range(count - wide + 1)]
    others = [window for window in windows if not set(window) & set(windows[first])]
    evidence.require(bool(others), f"has {count} layers; others than the {wide} ablated are needed")
    evidence.record(
        layers_ablation_effect(subject, task, "attn_out", windows[first], others, seed=evidence.seed)
    )


@pytest.mark.claim("early-mlp-makes-tool-calls")
def test_tool_calls(subject, evidence, rng):
    declared, count = evidence.claim.parameters, subject.num_layers
    calls = language_task(
        language.tool_calls(), rng, declared["calls"], lambda _, text: text.lstrip().startswith(CALL)
    )
    capitals = language_task(
        language.capitals(), rng, declared["calls"], lambda example, text: text.startswith(example.response)
    )
    calls = require_answers(subject, evidence, calls, "the requests by a tool call")
    capitals = require_answers(subject, evidence, capitals, "the questions about capitals")
    layer = evidence.claim.layer_for(subject.name, count)
    low, high = (int(share * count) for share in declared["follow"])
    follow = [[other_layer] for other_layer in range(low, high) if other_layer != layer]
    evidence.require(
        bool(follow), f"has {count} layers; some between {low} and {high} other than {layer} needed"
    )
    unrelated = unrelated_prompts(("tool",), evidence.seed)
    evidence.record(
        layers_ablation_effect(
            subject,
            calls,
            "mlp_out",
            [layer],
            follow,
            unaffected=capitals,
            seed=evidence.seed,
            unrelated=unrelated,
        )
    )
