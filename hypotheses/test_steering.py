"""Does one direction control which kind of answer is given?

The published directions were tested on the prompts that they were computed from, without comparing other directions of
equal norm. Here the direction is tested on held-out requests, and compared with directions of equal norm: random ones,
ones between random halves of the same requests, and ones between kinds of prompts unrelated to refusing or calling a
tool.
"""

import numpy as np
import pytest

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.introspection.steering.steer import Behaviour, steering
from lazarus_probe.tasks import language, prompts

CALL = "<function_call>"
OF_EACH = 24  # prompts per kind for the directions between unrelated kinds


def unlike(rng, *pairs):
    """Pairs of unrelated kinds of prompts, by name: tasks, kinds of review, or operations."""
    pools = {
        "tool": [call.prompt for call in language.tool_calls()],
        "capital": [capital.prompt for capital in language.capitals()],
    }
    for example in (*language.requests(), *language.sentiment()):
        pools.setdefault(
            example.task if example.task != "sentiment" else example.response.strip(), []
        ).append(example.prompt)
    for question in prompts.questions(rng, OF_EACH, phrasings=["compact"]):
        pools.setdefault(question.fact.operation, []).append(question.text)
    drawn = {
        name: rng.choice(pools[name], OF_EACH, replace=False).tolist() for pair in pairs for name in pair
    }
    return tuple((drawn[first], drawn[second]) for first, second in pairs)


def refusing(rng):
    """Requests that are refused, and requests in the same phrasings that are granted."""
    requests = {
        kind: [request for request in language.requests() if request.task == kind]
        for kind in ("refusal", "help")
    }
    texts, units = (
        {kind: [getattr(request, of) for request in requests[kind]] for kind in requests}
        for of in ("prompt", "subject")
    )
    return Behaviour(
        texts["refusal"],
        texts["help"],
        units["refusal"],
        units["help"],
        lambda text: text.lstrip().startswith("Sorry"),
        max_tokens=3,
        others=unlike(
            rng, ("positive", "negative"), ("tool", "capital"), ("multiply", "add"), ("subtract", "divide")
        ),
    )


def calling(rng, count):
    """Requests for which a tool is called, and questions about capitals, which are answered."""
    pools = [list(language.tool_calls()), list(language.capitals())]
    drawn = [[pool[i] for i in rng.choice(len(pool), size=count, replace=False)] for pool in pools]
    texts, units = (
        [[getattr(example, of) for example in side] for side in drawn] for of in ("prompt", "subject")
    )
    others = unlike(
        rng, ("positive", "negative"), ("refusal", "help"), ("multiply", "add"), ("subtract", "divide")
    )
    return Behaviour(*texts, *units, lambda text: text.lstrip().startswith(CALL), others=others)


def require_behaviour(subject, evidence, behaviour, verb):
    """The model must show the behaviour for one kind of prompt and not for the other."""
    shown, plain = behaviour.rates(subject)
    needed = evidence.claim.parameters["answered"]
    evidence.require(
        shown >= needed and 1 - plain >= needed,
        f"it {verb} in {shown:.2f} of the cases it should and in {plain:.2f} of those it should not; "
        f"at least {needed:.2f} and at most {1 - needed:.2f} needed",
    )


@pytest.mark.claim("refusal-readable-early")
def test_refusal_readable(subject, untrained_models, activations, evidence, rng):
    behaviour = refusing(rng)
    require_behaviour(subject, evidence, behaviour, "refuses")
    labels = ["refused"] * len(behaviour.positive) + ["granted"] * len(behaviour.negative)
    units = np.array([*behaviour.positive_units, *behaviour.negative_units])
    labelled = ProbeDataset([*behaviour.positive, *behaviour.negative], labels, groups=units)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    evidence.record(
        probe(subject, untrained_models, labelled, resid_post(layer), store=activations, seed=evidence.seed)
    )


def steer(subject, evidence, behaviour, tasks):
    """Steering at the claim's layer; the damage is measured on prompts of unrelated tasks."""
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    unrelated = unrelated_prompts(tasks, evidence.seed)
    strength = evidence.claim.parameters["strength"]
    evidence.record(steering(subject, behaviour, layer, strength, evidence.seed, unrelated))


@pytest.mark.claim("steering-makes-it-refuse")
def test_refusal(subject, evidence, rng):
    behaviour = refusing(rng)
    require_behaviour(subject, evidence, behaviour, "refuses")
    steer(subject, evidence, behaviour, ("refusal", "help"))


@pytest.mark.claim("steering-makes-tool-calls")
def test_tool_calls(subject, evidence, rng):
    behaviour = calling(rng, evidence.claim.parameters["questions"])
    require_behaviour(subject, evidence, behaviour, "calls a tool")
    steer(subject, evidence, behaviour, ("tool", "capital"))
