"""How a mixture of experts uses its experts: which are chosen, what predicts that, and what it shows.

The published numbers had no baselines: the most frequent expert, prediction from the token or the position alone, an
untrained router, a random matrix of equal shape. Here each number is compared with its baseline.
"""

from itertools import chain

import pytest

from lazarus_probe.introspection.experts.router_input import attention_share, is_plain_sum
from lazarus_probe.introspection.experts.router_rows import router_geometry
from lazarus_probe.introspection.experts.routing import routed_layers, routes
from lazarus_probe.introspection.experts.usage import cold_experts, predicted_experts, specialised_expert
from lazarus_probe.introspection.vocabulary.alignment import vocabulary_scan
from lazarus_probe.introspection.vocabulary.positive_controls import capitals
from lazarus_probe.subject.control_models import untrained_models
from lazarus_probe.subject.relative_depth import layer_at
from lazarus_probe.subject.spellings import spellings
from lazarus_probe.tasks import language, prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS


def mixture(subject, evidence):
    """The layers with experts; the claim does not apply to a model without any."""
    layers = routed_layers(subject)
    evidence.require(
        len(layers) > 1, f"{len(layers)} layers with experts; the claim is about mixtures of experts"
    )
    return layers


def nearest(layers, wanted):
    """The layer with experts that is closest to `wanted`."""
    return min(layers, key=lambda layer: abs(layer - wanted))


def mixed(rng, per_template):
    """Arithmetic and language in many templates, and the template of each prompt."""
    texts, _, templates = prompts.task_type(rng, per_template)
    return texts, templates


@pytest.mark.claim("no-vocabulary-alignment-in-mixtures")
def test_no_class_word(subject, evidence, rng):
    mixture(subject, evidence)
    words = {name: spellings(subject, name) for name in OPERATIONS}
    missing = [name for name, tokens in words.items() if not tokens]
    evidence.require(not missing, f"{len(words) - len(missing)} of 4 class words are single tokens")
    declared = evidence.claim.parameters
    questions = prompts.questions(rng, declared["per_operation"], phrasings=["spaced"])
    evidence.record(
        vocabulary_scan(
            subject,
            questions,
            words,
            capitals(subject),
            strength=declared["word_strength"],
            seed=evidence.seed,
        )
    )


@pytest.mark.claim("attention-writes-router-input")
def test_router_input(subject, activations, evidence, rng):
    layers = mixture(subject, evidence)
    texts, templates = mixed(rng, per_template=3)
    plain = is_plain_sum(subject, texts[0])
    evidence.require(
        plain, f"its blocks {'' if plain else 'do not '}add attention and MLP to the stream as they are"
    )
    layer = nearest(layers, evidence.claim.layer_for(subject.name, subject.num_layers))
    evidence.record(
        attention_share(
            subject, untrained_models(subject), texts, templates, layer, store=activations, seed=evidence.seed
        )
    )


@pytest.mark.claim("cold-experts")
def test_cold_experts(subject, evidence, rng):
    mixture(subject, evidence)
    declared = evidence.claim.parameters
    texts, _ = mixed(rng, declared["per_template"])
    trained, *untrained = (routes(model, texts) for model in chain([subject], untrained_models(subject)))
    evidence.record(cold_experts(subject, trained, untrained, declared["least"], evidence.seed))


@pytest.mark.claim("early-experts-predict-later")
def test_later_experts(subject, evidence, rng):
    layers, declared = mixture(subject, evidence), evidence.claim.parameters
    texts, templates = mixed(rng, declared["per_template"])
    early = nearest(layers, evidence.claim.layer_for(subject.name, subject.num_layers))
    late = nearest(layers, max(layer_at(declared["late"], subject.num_layers), early + 1))
    evidence.require(early < late, f"experts at layer {early} to predict those at layer {late} from")
    models = chain([subject], untrained_models(subject))
    trained, *untrained = (routes(model, texts, [early, late]) for model in models)
    evidence.record(predicted_experts(subject, trained, untrained, templates, early, late, evidence.seed))


def turned(ids, begin, rng):
    """The tokens in random order, with a leading begin token kept in place."""
    prefix = int(ids[0] == begin)
    return [*ids[:prefix], *rng.permutation(ids[prefix:]).tolist()]


@pytest.mark.claim("start-trigram-expert")
def test_start_expert(subject, evidence, rng):
    layers, declared = mixture(subject, evidence), evidence.claim.parameters
    sentences = [example.response for example in language.english()]
    drawn = rng.choice(sentences, size=(declared["prompts"], declared["sentences"]))
    encoded = [subject.encode(" ".join(text)) for text in drawn]
    shuffled = [turned(ids, subject.tokenizer.bos_token_id, rng) for ids in encoded]
    layer = nearest(layers, evidence.claim.layer_for(subject.name, subject.num_layers))
    models = chain([subject], untrained_models(subject))
    trained, *untrained = (routes(model, encoded, [layer]) for model in models)
    on_shuffled = routes(subject, shuffled, [layer])
    evidence.record(specialised_expert(subject, trained, on_shuffled, untrained, layer, seed=evidence.seed))


def geometry(subject, evidence, trait):
    """A trait of the routers' rows; a router that is not linear has none."""
    mixture(subject, evidence)
    try:
        evidence.record(router_geometry(subject, trait, evidence.seed))
    except ValueError as error:
        evidence.require(False, str(error))


@pytest.mark.claim("router-low-rank")
def test_router_rank(subject, evidence):
    geometry(subject, evidence, "spared_rank")


@pytest.mark.claim("router-rows-apart")
def test_router_rows(subject, evidence):
    geometry(subject, evidence, "cosine")
