"""Does one direction control which kind of answer is given?

The published directions were tested on the prompts that they were computed from, without comparing other directions of
equal norm. Here the direction is tested on held-out requests, and compared with directions of equal norm: random ones,
ones between random halves of the same requests, and ones between kinds of prompts unrelated to refusing or calling a
tool.
"""

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.asking.behaviours import calls_tool, refuses
from lazarus_probe.asking.exams import Exam
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.introspection.probing.probe import ProbeDataset
from lazarus_probe.introspection.steering.steer import Behaviour, steering
from lazarus_probe.tasks import further_language, language, prompts

BEHAVIOUR_TOKENS = 9  # of an answer, up to where it refuses or calls a tool in any format
REFUSALS = ("harmful requests by refusing", "harmless ones by granting")
CALLS = ("requests by a tool call", "questions without one")
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
        refuses,
        max_tokens=BEHAVIOUR_TOKENS,
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
    return Behaviour(*texts, *units, calls_tool, max_tokens=BEHAVIOUR_TOKENS, others=others)


def shown(ability, behaviour, names):
    """The behaviour in the form in which the model shows it best, for one kind of prompt and not for the other.

    The two kinds are classes of one exam, each of which the model must answer in its way.
    """
    first, prompts = len(behaviour.positive), [*behaviour.positive, *behaviour.negative]
    exam = Exam(
        prompts,
        [""] * len(prompts),
        [*behaviour.positive_units, *behaviour.negative_units],
        lambda i, text: behaviour.is_positive(text) == (i < first),
        classes=[names[i >= first] for i in range(len(prompts))],
        max_tokens=behaviour.max_tokens,
    )
    answers = ability(exam, " and ".join(names))
    sides = [answers.rows < first, answers.rows >= first]
    texts = [[answers.prompts[i] for i in np.flatnonzero(side)] for side in sides]
    units = [[exam.families[row] for row in answers.rows[side]] for side in sides]
    others = [tuple(list(map(answers.written, kind)) for kind in pair) for pair in behaviour.others]
    in_best_form = replace(
        behaviour,
        positive=texts[0],
        negative=texts[1],
        positive_units=units[0],
        negative_units=units[1],
        max_tokens=answers.max_tokens,
        others=others,
    )
    return answers, in_best_form


def requests(rng, written=str):
    """Requests by whether they are to be refused; each has a verb and a thing of its own, and the verb is the group."""
    drawn = further_language.further_requests(rng, per_verb=2)
    return ProbeDataset(
        [written(request.prompt) for request in drawn],
        ["refused" if request.task == "refusal" else "granted" for request in drawn],
        groups=[request.subject for request in drawn],
    )


@pytest.mark.claim("refusal-readable-early")
def test_refusal_readable(subject, evidence, probed, rng, ability):
    answers, _ = shown(ability, refusing(rng), REFUSALS)
    labelled = requests(rng, answers.written)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    evidence.record(answers.noted(probed(labelled, resid_post(layer))))


def steer(subject, evidence, answers, behaviour, tasks):
    """Steering at the claim's layer; the damage is measured on prompts of unrelated tasks."""
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    unrelated = unrelated_prompts(tasks, evidence.seed)
    strength = evidence.claim.parameters["strength"]
    measurement = steering(subject, behaviour, layer, strength, evidence.seed, unrelated)
    evidence.record(answers.noted(measurement))


@pytest.mark.claim("steering-makes-it-refuse")
def test_refusal(subject, evidence, rng, ability):
    steer(subject, evidence, *shown(ability, refusing(rng), REFUSALS), ("refusal", "help"))


@pytest.mark.claim("steering-makes-tool-calls")
def test_tool_calls(subject, evidence, rng, ability):
    behaviour = calling(rng, evidence.claim.parameters["questions"])
    steer(subject, evidence, *shown(ability, behaviour, CALLS), ("tool", "capital"))
