"""The units of every claim that is a rate over prompts, layers or runs, as its hypothesis draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import perfect
from perfect import (
    Builder,
    Generator,
    confirmed,
    digit_facts,
    early_mlp,
    every_slice,
    families,
    gate,
    hypothesis,
    of_facts,
    of_runs,
    pair,
    rates,
    routed,
    with_capitals,
)
from perfect_choices import CHOICES

from lazarus_probe.claims.claim import Claim
from lazarus_probe.tasks import language, prompts
from lazarus_probe.tasks.arithmetic import SYMBOLIC
from lazarus_probe.tasks.strategies import arithmetic_slices, pair_slices


def sampled(operation: str, parameter: str, keep: Any = None) -> Callable[[Claim, Generator], list[str]]:
    """The families of as many facts as the claim declares."""
    return lambda claim, rng: of_facts(
        prompts.sample_facts(operation, int(claim.parameters[parameter]), rng, keep)
    )


def digit_pairs(parameter: str) -> Callable[[Claim, Generator], list[str]]:
    """The families of pairs of digits."""
    return lambda claim, rng: [
        str(sorted(two)) for two in prompts.digit_pairs(rng, int(claim.parameters[parameter]))
    ]


def asked(parameter: str, phrasings: Sequence[str]) -> Callable[[Claim, Generator], list[str]]:
    """The families of questions in some phrasings."""
    return lambda claim, rng: families(
        prompts.questions(rng, int(claim.parameters[parameter]), phrasings=phrasings)
    )


def granted(_: Claim, rng: Generator) -> list[str]:
    """The half of the granted requests that steering is tested on."""
    return confirmed(hypothesis("steering").refusing(rng).negative_units)


def plain(claim: Claim, rng: Generator) -> list[str]:
    """The half of the plain questions that steering is tested on."""
    return confirmed(hypothesis("steering").calling(rng, int(claim.parameters["questions"])).negative_units)


def templates(claim: Claim, rng: Generator) -> list[str]:
    """The templates of mixed prompts."""
    return prompts.task_type(rng, int(claim.parameters.get("per_template", 4)))[2]


def layers(*_: Any) -> list[str]:
    """The layers of a mixture of experts."""
    return [str(layer) for layer in range(perfect.LAYERS)]


def sentences(claim: Claim, rng: Generator) -> list[str]:
    """The beginnings of sentences, as units."""
    texts = [example.response.rstrip(".") for example in language.english()]
    drawn = rng.choice(texts, int(claim.parameters["prompts"]), replace=False)
    return [" ".join(text.split()[:3]) for text in drawn]


def beyond_range(claim: Claim, rng: Generator) -> list[str]:
    """Facts with an operand beyond the range that was taught."""
    numbers = hypothesis("geometry").numbers_beyond(
        "multiply", claim.parameters["largest"], claim.parameters["questions"], rng
    )
    return [name for name, beyond in zip(numbers.groups, numbers.beyond, strict=True) if beyond]


RATES: Mapping[str, Builder] = {
    "arithmetic-in-every-form": lambda claim, _, perfect: every_slice(claim, perfect, arithmetic_slices()),
    "order-does-not-matter": lambda claim, _, perfect: every_slice(
        claim, perfect, arithmetic_slices(operations=("add", "multiply")), passes=2
    ),
    "patching-transfers-everywhere": lambda claim, _, perfect: every_slice(
        claim, perfect, pair_slices(), passes=4, fresh=64
    ),
    "no-single-layer-holds-digit-products": rates(
        lambda *_: confirmed(of_facts(digit_facts("multiply")))
    ),
    "late-attention-binds-operands": rates(sampled("multiply", "questions", lambda f: f.a > 10 and f.b > 10)),
    "early-mlp-makes-tool-calls": early_mlp,
    "difficulty-gate": gate,
    "injected-state-overrides-answer": rates(sampled("multiply", "questions", lambda f: f.a > 1 and f.b > 1), 2),
    "answer-crystallises-late": rates(lambda *_: of_facts(digit_facts("multiply", "add"))),
    "facts-in-the-lens": rates(lambda *_: of_facts(digit_facts("multiply"))),
    "facts-not-yet-on-top": rates(lambda *_: of_facts(digit_facts("multiply"))),
    "answer-probable-before-the-end": rates(sampled("multiply", "questions")),
    "lens-announces-operation": rates(asked("per_operation", ["spaced"]), 2),
    "no-vocabulary-alignment": lambda claim, rng, perfect: with_capitals(claim, rng, perfect, SYMBOLIC),
    "chat-no-vocabulary-alignment": lambda claim, rng, perfect: with_capitals(claim, rng, perfect, ["spaced"]),
    "no-vocabulary-alignment-in-mixtures": lambda claim, rng, perfect: with_capitals(
        claim, rng, perfect, ["spaced"]
    ),
    "products-answered": rates(sampled("multiply", "questions")),
    "equals-sign-asks-for-number": rates(sentences),
    "trailing-space-decides-answer": rates(sampled("subtract", "questions")),
    "patching-transfers-answer": rates(digit_pairs("pairs")),
    "patching-transfers-operation": rates(digit_pairs("pairs")),
    "steering-makes-it-refuse": rates(granted),
    "steering-makes-tool-calls": rates(plain),
    "arithmetic-apart-in-embeddings": rates(lambda claim, rng: sorted(set(templates(claim, rng)))),
    "operation-directions-apart": rates(lambda claim, _: [str(n) for n in range(int(claim.parameters["rounds"]))]),
    "product-readout-is-a-lookup": rates(beyond_range),
    "attention-writes-router-input": rates(templates),
    "cold-experts": rates(layers),
    "early-experts-predict-later": rates(templates),
    "start-trigram-expert": rates(
        lambda claim, _: confirmed([str(n) for n in range(int(claim.parameters["prompts"]))])
    ),
    "router-low-rank": rates(layers),
    "router-rows-apart": rates(layers),
    "tuning-sharpens-task-type-in-embeddings": pair(templates),
    "tuning-sharpens-operation-mid-layer": pair(lambda _, rng: families(prompts.matched_questions(rng, 40))),
    "tuning-converges-forms": pair(
        lambda claim, rng: [
            name for operation in ("multiply", "add")
            for name in of_facts(prompts.sample_facts(operation, int(claim.parameters["facts"]) // 2, rng))
        ]
    ),
    "tuned-model-loses-answer-late": pair(
        lambda claim, rng: confirmed(
            sampled("multiply", "facts", hypothesis("tuned_pair").in_small_numbers)(claim, rng)
        )
    ),
    "tuned-model-answers-less-directly": pair(sampled("add", "facts"), loss=True),
    "tuned-model-calls-calculator": pair(sampled("add", "facts")),
    "tuning-costs-worded-answers": pair(asked("per_operation", ["spaced"]), loss=True),
    "tuning-keeps-symbolic-answers": pair(asked("per_operation", ["spaced"])),
    "classifier-signal-routes-arithmetic": routed,
    "virtual-expert-answers-more": routed,
    "classifier-signal-beats-other-routers": routed,
}  # fmt: skip


def builder_of(claim: Claim) -> Builder | None:
    """What measures a claim that is no probe's."""
    return of_runs if "arm" in claim.parameters else {**RATES, **CHOICES}.get(claim.id)
