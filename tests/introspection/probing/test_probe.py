"""Probes with controls: what is planted is found, what needs no model is not claimed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.probe import ProbeDataset, ProbeInputs, measure, probe
from lazarus_probe.introspection.probing.probe_scores import CONSTANT
from lazarus_probe.statistics.controls import mean_predictions
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.statistics.measurement import Growth
from lazarus_probe.statistics.probes.capped import number_errors
from lazarus_probe.statistics.probes.codelength import codelength
from lazarus_probe.statistics.probes.control_task import control_task
from lazarus_probe.statistics.probes.held_out import REPEATS, Problem, growth_of, held_out
from lazarus_probe.statistics.probes.out_of_fold import (
    out_of_fold,
    out_of_fold_classification,
    out_of_fold_regression,
)
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models, untrained_models
from tests.cases import slow_except

CLAIM = Claim(
    id="test",
    statement="a",
    source="b",
    family="c",
    kind="decodability",
    threshold=0.7,
    margin=0.05,
    controls=("majority", "bag_of_tokens", "untrained", "shuffled_labels"),
)


def letters(seed: int, count: int = 120) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Random strings, whether there is an `a` in them, and groups of one label each."""
    rng = np.random.default_rng(seed)
    texts = ["".join(rng.choice(list("abcdefgh"), size=6)) for _ in range(count)]
    labels = np.array(["a" in text for text in texts])
    return texts, labels, np.arange(count) // 8 * 2 + labels


def test_what_the_tokens_say_is_confounded(grouped):
    """A label that is a matter of tokens is read by a bag of tokens too, and so is no finding."""
    texts, labels, groups = letters(0)
    found = probe(
        grouped,
        control_models(grouped, count=3),
        ProbeDataset(texts, labels, groups, at="mean"),
        Site("embed"),
    )
    assert judge(CLAIM, found).outcome in (Outcome.CONFOUNDED, Outcome.INCONCLUSIVE)
    assert found.best_control is not None
    assert found.best_control.gain < 0.05


@pytest.mark.parametrize("seed", slow_except(range(10), 0, 1, 2))
def test_random_labels_are_never_supported(grouped, seed):
    """On labels drawn at random no claim is supported: some control does as well."""
    texts, _, groups = letters(seed)
    labels = np.random.default_rng(seed).integers(2, size=groups.max() + 1)[groups]
    found = probe(
        grouped,
        control_models(grouped, count=3),
        ProbeDataset(texts, labels, groups),
        Site("resid_post", 2),
        seed=seed,
    )
    assert judge(CLAIM, found).outcome is not Outcome.SUPPORTED
    assert min(control.low for control in found.controls) < CLAIM.margin


def test_planted_signal_is_supported(grouped):
    """A model whose embedding knows more than its tokens' identity is found, with every control below it."""
    rng = np.random.default_rng(0)
    # Each prompt is one token that no other prompt has; its label is a direction of its embedding.
    tokens = rng.permutation(np.arange(2, 58))
    labels = (tokens % 2).astype(bool)
    weights = grouped.model.model.embed_tokens.weight
    planted = np.array(weights)
    planted[tokens, 0] = np.where(labels, 6.0, -6.0)
    model = type(grouped.model)(grouped.model.args)
    model.update(grouped.model.parameters())
    model.model.embed_tokens.weight = type(weights)(planted)
    subject = type(grouped).from_model(model, grouped.tokenizer, "planted")
    prompts = [[0, int(token)] for token in tokens]
    found = probe(
        subject, control_models(grouped, count=3), ProbeDataset(prompts, labels, tokens), Site("embed")
    )
    assert judge(CLAIM, found).outcome is Outcome.SUPPORTED, judge(CLAIM, found)


def numbered(model: Subject, planted: bool) -> tuple[Subject, ProbeDataset]:
    """Prompts of one token each, whose number lies along a direction of the embeddings if it is planted there."""
    tokens = np.random.default_rng(0).permutation(np.arange(2, 58))
    weights = model.model.model.embed_tokens.weight
    table = np.array(weights)
    if planted:
        table[tokens, 0] = tokens - tokens.mean()
    numbered = type(model.model)(model.model.args)
    numbered.update(model.model.parameters())
    numbered.model.embed_tokens.weight = type(weights)(table)
    labelled = ProbeDataset([[0, int(token)] for token in tokens], tokens.astype(float), tokens)
    return Subject.from_model(numbered, model.tokenizer, "numbered"), labelled


@pytest.mark.parametrize(
    ("claim", "site", "planted", "supported"),
    [
        ("operand-in-embeddings", Site("embed"), True, True),
        ("operand-in-embeddings", Site("embed"), False, False),
        ("operand-after-layers", Site("resid_post", 2), True, False),
    ],
)
def test_a_planted_number_is_supported_where_it_is(grouped, claim, site, planted, supported):
    """A number in the embeddings is told by 56 tokens; in no embeddings, or after blocks that add none, it is not."""
    subject, labelled = numbered(grouped, planted)
    found = probe(subject, control_models(subject, count=3), labelled, site, kind="regression")
    assert (judge(declared(claim), found).outcome is Outcome.SUPPORTED) == supported


def test_score_is_the_plain_probes(grouped):
    """The score is the share of out-of-fold predictions that are right, computed by hand."""
    texts, labels, groups = letters(3)
    found = probe(
        grouped,
        control_models(grouped, count=3),
        ProbeDataset(texts, labels, groups),
        Site("resid_post", 1),
        seed=5,
    )
    features = collect(grouped, texts, [Site("resid_post", 1)])[Site("resid_post", 1)]
    assert found.score == pytest.approx(
        (out_of_fold_classification(features, labels, groups, seed=5) == labels).mean()
    )


def recurring(seed: int, told: float) -> ProbeDataset:
    """Prompts that end in one of 16 letters, which tells of the label `told` of the time; letters recur everywhere."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(24), 5)
    last = rng.integers(16, size=120)
    labels = np.where(rng.random(120) < told, last % 2, rng.integers(2, size=120))
    texts = ["".join(rng.choice(list("qrstuv"), size=5)) + "abcdefghijklmnop"[end] for end in last]
    return ProbeDataset(texts, labels, groups)


def test_memorised_types_show_in_the_control_task(grouped):
    """Where embeddings only tell tokens apart, random classes of tokens are read as well: selectivity near 0."""
    found = probe(grouped, control_models(grouped, count=3), recurring(0, told=1.0), Site("embed"))
    task = next(control for control in found.controls if control.name == "control_task")
    assert found.score > 0.95
    assert task.score > 0.9
    assert found.details["selectivity"] == task.gain == pytest.approx(found.score - task.score)
    assert judge(CLAIM, found).outcome in (Outcome.CONFOUNDED, Outcome.INCONCLUSIVE)


@pytest.mark.slow
def test_without_types_to_memorise_there_is_no_control_task(grouped):
    """Tokens that tell nothing of the label, and types that do not recur, are named instead of measured."""
    asked = recurring(1, told=0.0)
    rng = np.random.default_rng(3)
    lone = replace(asked, labels=rng.permutation(np.arange(24) % 2)[asked.groups], types=np.arange(120))
    untrained, site = control_models(grouped, count=3), Site("resid_post", 1)
    found = probe(grouped, untrained, lone, site)
    assert found.details["control_task"] == "not measured: 0 types recur across groups, 8 are needed"
    assert "control_task" not in {control.name for control in found.controls}
    constant = replace(asked, prompts=["q" * (1 + row) + "=" for row in range(120)])
    assert "no token of enough types" in probe(grouped, untrained, constant, site).details["control_task"]


def test_tokens_that_could_not_explain_the_score_are_no_types(grouped):
    """Where tokens of many types tell little of what is read, random classes of them are beside the point."""
    asked = recurring(8, told=0.2)
    # An x or a y gives the label away, two types that a control task would only rename.
    marked = [
        f"{text[:-1]}{'xy'[label]}{text[-1]}" for text, label in zip(asked.prompts, asked.labels, strict=True)
    ]
    found = probe(
        grouped, control_models(grouped, count=3), replace(asked, prompts=marked, at="mean"), Site("embed")
    )
    assert found.score > 0.85
    assert "no token of enough types" in found.details["control_task"]


def test_given_types_are_taught_to_the_same_probe(grouped):
    """With types of one's own, the control is the same probe on `control_task`'s classes, computed by hand."""
    asked = replace(recurring(2, told=0.9), types=np.tile(np.arange(10), 12))
    found = probe(grouped, control_models(grouped, count=3), asked, Site("resid_post", 1), seed=7)
    features = collect(grouped, asked.prompts, [Site("resid_post", 1)])[Site("resid_post", 1)]
    taught = control_task(asked.types, 2, 7, np.bincount(asked.labels))
    right = out_of_fold_classification(features, taught, asked.groups, seed=7) == taught
    task = next(control for control in found.controls if control.name == "control_task")
    assert task.score == pytest.approx(right.mean())


def test_the_details_have_the_code_of_site_and_twin(grouped):
    """The code length in the details is that of the features at the site, and beside it the untrained model's."""
    asked, untrained, site = recurring(3, told=1.0), control_models(grouped, count=3), Site("resid_post", 2)
    found = probe(grouped, untrained, asked, site, seed=2)
    for prefix, model in (("", grouped), ("untrained_", untrained[0].build())):
        code = codelength(collect(model, asked.prompts, [site])[site], asked.labels, asked.groups, seed=2)
        assert found.details[f"{prefix}codelength_bits"] == pytest.approx(code.bits)
        assert found.details[f"{prefix}compression"] == pytest.approx(code.compression)


def test_a_site_may_be_a_text_and_count_from_the_last_layer(grouped):
    """`resid_post.-1` is the last layer's, and a layer that the model does not have is named before anything runs."""
    asked, untrained = recurring(3, told=1.0), control_models(grouped, count=3)
    site = Site("resid_post", grouped.num_layers - 1)
    assert probe(grouped, untrained, asked, "resid_post.-1") == probe(grouped, untrained, asked, site)
    with pytest.raises(IndexError, match=r"layer 99 of resid_post\.99 is out of range"):
        probe(grouped, untrained, asked, "resid_post.99")


def test_the_prompts_behind_the_score_are_kept(grouped):
    """Examples are prompts with their label and the probe's answer, and the tokens are of all prompts."""
    asked = recurring(4, told=0.7)
    found = probe(grouped, control_models(grouped, count=3), asked, Site("embed"))
    assert found.tokens == sum(len(grouped.encode(text)) for text in asked.prompts)
    assert len(found.examples) == 12
    truth = dict(zip(asked.prompts, asked.labels, strict=True))
    for example in found.examples:
        assert example.expected == str(truth[example.prompt])
        assert example.counted == (example.said == example.expected)
    assert {example.counted for example in found.examples} == {True, False}


def test_the_layers_of_a_claim_share_one_pass(grouped):
    """Reading a second layer runs neither model again, and reads what a pass of its own would."""
    asked, untrained, store = recurring(6, told=0.7), control_models(grouped, count=3), ActivationStore()
    probe(grouped, untrained, asked, Site("resid_post", 0), store=store)
    passes = store.passes
    found = probe(grouped, untrained, asked, Site("resid_post", 2), store=store)
    assert store.passes == passes == 1 + 3 + 6 + 1  # the last is over the vocabulary's embeddings
    assert found == probe(grouped, untrained, asked, Site("resid_post", 2))


def test_token_ids_need_no_tokenizer(grouped):
    """Prompts of token ids are probed on a model without a tokenizer, and shown as numbers."""
    subject = Subject.from_model(grouped.model, name="bare")
    groups = np.repeat(np.arange(10), 2)
    asked = ProbeDataset([[1, 2 + row] for row in range(20)], groups % 2, groups)
    found = probe(subject, control_models(grouped, count=3), asked, Site("resid_post", 0))
    assert found.examples[0].prompt.split()[0] == "1"


def test_a_number_is_scored_as_by_hand(grouped):
    """Both R2, the gain over the mean and the examples of a regression are those of its out-of-fold predictions."""
    asked = recurring(5, told=1.0)
    ends = np.array(["abcdefghijklmnop".index(text[-1]) for text in asked.prompts], dtype=float)
    asked = replace(asked, labels=ends + np.random.default_rng(0).normal(size=120))
    found = probe(grouped, control_models(grouped, count=3), asked, Site("embed"), kind="regression", seed=1)
    features = collect(grouped, asked.prompts, [Site("embed")])[Site("embed")]
    guesses = out_of_fold_regression(features, asked.labels, asked.groups, seed=1)
    errors = number_errors(asked.labels, guesses, mean_predictions(asked.labels, asked.groups, seed=1))
    expected = errors.score
    assert found.score == pytest.approx(expected)
    assert found.details["r2"] == pytest.approx(errors.r2)
    assert found.details["r2_of_controls"].keys() == {"mean", "bag_of_tokens", "untrained"}
    controls = {control.name: control for control in found.controls}
    assert controls["mean"].gain == pytest.approx(expected)
    assert controls["control_task"].score > 0.5
    assert found.p == pytest.approx(1 / 200)  # no shuffle of 199 comes as far
    said = {f"{value:.4g}" for value in guesses}
    assert {example.said for example in found.examples} <= said


@pytest.mark.parametrize("draws", slow_except([40, 200], 40))
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_random_features_are_no_finding(monkeypatch, kind, draws):
    """On draws of features that know nothing, at most alpha of the claims are supported (exact interval)."""
    monkeypatch.setattr("lazarus_probe.statistics.probes.held_out.DRAWS", 59)
    # The learning curve tells what is refuted from what is open; no support rests on it.
    monkeypatch.setattr("lazarus_probe.statistics.probes.held_out.REPEATS", 1)
    rng, alarms, groups = np.random.default_rng(30), 0, np.repeat(np.arange(14), 2)
    labels = groups % 2 if kind == "classification" else rng.normal(size=28)
    controls = (CONSTANT[kind], "bag_of_tokens", "untrained", "shuffled_labels")
    lowest = 0.0 if kind == "regression" else 0.5
    claim = CLAIM.model_copy(update={"controls": controls, "threshold": lowest, "margin": 0.01})
    tokens = [[0, 1]] * 28
    for _ in range(draws):
        noise = rng.normal(size=(5, 14, 5))[:, groups] + 0.3 * rng.normal(size=(5, 28, 5))
        bag, models = {"bag_of_tokens": noise[1]}, {"untrained": noise[2:]}
        inputs = ProbeInputs(
            ProbeDataset(tokens, labels, groups), tokens, ["a"] * 28, noise[0], bag, models=models
        )
        alarms += judge(claim, measure(inputs, kind, 0, {})).outcome is Outcome.SUPPORTED
    assert exact(alarms, draws).low <= 0.05, f"{alarms} of {draws}: {exact(alarms, draws)}"


def test_a_probe_without_groups_is_refused(grouped):
    """No groups is an error in one line that says what to give."""
    texts, labels, _ = letters(0)
    with pytest.raises(ValueError, match="no groups is refused"):
        probe(grouped, control_models(grouped, count=3), ProbeDataset(texts, labels, None), Site("embed"))


def test_no_prompts_is_refused(grouped):
    """An empty prompt list is named as such."""
    with pytest.raises(ValueError, match="prompts"):
        probe(
            grouped,
            control_models(grouped, count=3),
            ProbeDataset([], np.array([]), np.array([])),
            Site("embed"),
        )


def test_sites_that_are_read_later_share_the_passes(grouped, monkeypatch):
    """With the sites of later calls given, those run no model, and give what they give by themselves."""
    asked, untrained, store = recurring(6, told=0.7), control_models(grouped, count=3), ActivationStore()
    early = [Site("resid_post", layer) for layer in (0, 1)]
    claim = Claim(
        id="test", statement="a", source="b", controls=("untrained",), kind="decodability",
        threshold=0.5, margin=0.01, minimum_groups=2,
    )  # fmt: skip
    probe(grouped, untrained, asked, early[0], store=store, claim=claim, also=early)
    passes = store.passes
    after = probe(grouped, untrained, asked, early[1], store=store, claim=claim, also=early)
    assert store.passes == passes
    assert after == probe(grouped, untrained, asked, early[1], claim=claim)


@pytest.mark.parametrize(("count", "rises"), [(24, True), (240, False)])
@pytest.mark.usefixtures("full_learning_curves")
def test_the_learning_curve_tells_few_rows_from_no_signal(count, rises):
    """A weak signal in many features is short of rows with few groups and not with many; noise is flat."""
    rng = np.random.default_rng(5)
    groups = np.arange(count)
    labels = groups % 2
    features = rng.normal(size=(count, 20)) + 0.5 * labels[:, None]
    problem = Problem.of(features, labels, groups, "classification", 0)
    growth = growth_of(problem, held_out(problem), groups)
    assert isinstance(growth, Growth)
    assert (growth.gain > 0.05) == rises
    assert growth.expected <= 1
    half, whole = (
        np.mean(
            [
                out_of_fold(features, labels, groups, seed=seed, half=part).predictions == labels
                for seed in range(REPEATS)
            ]
        )
        for part in (True, False)
    )
    assert growth.half == pytest.approx(half)
    assert growth.gain == pytest.approx(whole - half)


def test_a_curve_that_cannot_be_halved_says_why():
    """With too few groups there is no growth, and the reason is kept."""
    rows, features = np.arange(8), np.random.default_rng(0).normal(size=(8, 3))
    problem = Problem.of(features, rows % 2, rows % 4, "classification", 0)
    reason = growth_of(problem, held_out(problem), rows % 4)
    assert reason == "2 training groups cannot be halved; give at least 4"


def unbuilt(monkeypatch):
    """Let no control model be built."""

    def refuse(*_):
        raise AssertionError("a control model was built")

    monkeypatch.setattr("lazarus_probe.subject.control_models.ControlModel.build", refuse)


def sums() -> list[str]:
    """Sums of which no two have the same numbers."""
    return [f"{a}+{b}=" for a in range(12, 42) for b in range(2, 12)]


SETTLED = [
    (np.random.default_rng(0).integers(2, size=30).repeat(10), 0.9, 0.5, Outcome.REFUTED),
    (np.tile(np.arange(2, 12) > 6, 30), 0.5, 0.05, Outcome.CONFOUNDED),
]


@pytest.mark.parametrize(("labels", "threshold", "margin", "outcome"), SETTLED)
def test_control_models_are_left_out_where_nothing_depends_on_them(
    grouped, monkeypatch, labels, threshold, margin, outcome
):
    """A claim that is refuted, or confounded by a bag of tokens, has the verdict that it has with control models."""
    check_left_out(grouped, monkeypatch, labels, threshold, margin, outcome)


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "threshold", "margin", "outcome"), SETTLED)
def test_control_models_are_left_out_of_every_kind_of_llama(
    subject, monkeypatch, labels, threshold, margin, outcome
):
    """So it is for full and single key heads, and with biases."""
    check_left_out(subject, monkeypatch, labels, threshold, margin, outcome)


def check_left_out(subject, monkeypatch, labels, threshold, margin, outcome):
    dataset = ProbeDataset(sums(), labels, np.arange(30).repeat(10), at="mean")
    claim = CLAIM.model_copy(update={"threshold": threshold, "margin": margin})
    models, site = control_models(subject, count=3), Site("resid_post", 1)
    whole = probe(subject, models, dataset, site)
    unbuilt(monkeypatch)
    short = probe(subject, models, dataset, site, claim=claim)
    assert short.unmeasured == ("untrained", "new_blocks", "permuted_blocks")
    assert judge(claim, short).outcome is judge(claim, whole).outcome is outcome
    assert (
        "not run, since the verdict does not need them: untrained, new_blocks" in judge(claim, short).reason
    )
    without = [control for control in whole.controls if control.name not in short.unmeasured]
    assert (short.score, short.low, short.high, list(short.controls)) == (
        whole.score,
        whole.low,
        whole.high,
        without,
    )


def test_a_claim_that_may_be_supported_faces_all_control_models(grouped):
    """Where the outcome depends on the control models, the measurement is the same as without a claim."""
    texts, labels, groups = letters(0)
    dataset, models = ProbeDataset(texts, labels, groups), control_models(grouped, count=3)
    claim = CLAIM.model_copy(update={"threshold": 0.0, "margin": -1.0})
    whole, with_claim = (
        probe(grouped, models, dataset, Site("resid_post", 1), claim=each) for each in (None, claim)
    )
    assert whole == with_claim
    assert not whole.unmeasured


def test_models_that_are_made_one_by_one_serve_a_claim(grouped):
    """Untrained models that come one at a time are not used up by the look whether the claim is settled."""
    texts, labels, groups = letters(0)
    dataset, site = ProbeDataset(texts, labels, groups), Site("resid_post", 1)
    claim = CLAIM.model_copy(update={"threshold": 0.0, "margin": -1.0})
    found = probe(grouped, untrained_models(grouped, count=3), dataset, site, claim=claim)
    assert len(found.details["models"]["untrained"]) == 3
