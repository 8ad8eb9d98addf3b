"""Ablation studies: the sweep is what a loop of runs says, and words come from numbers with controls."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lazarus_probe.hooks import hooked, trace
from lazarus_probe.interventions import mean, zero
from lazarus_probe.introspection.ablation.config import AblationConfig, AblationType, ComponentType
from lazarus_probe.introspection.ablation.criteria import criterion_of
from lazarus_probe.introspection.ablation.methods import reference_rows
from lazarus_probe.introspection.ablation.results import Ablation, Ablations
from lazarus_probe.introspection.ablation.runs import AblationRuns, reference_prompts
from lazarus_probe.introspection.ablation.study import AblationStudy
from lazarus_probe.introspection.ablation.text import matrix_text, sweep_text, together_text
from lazarus_probe.introspection.generation.damage import Unrelated
from lazarus_probe.sites import Site
from lazarus_probe.subject import Subject
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks.prompts import sample_facts
from tests.introspection.deep import save_deep

FACTS = sample_facts("multiply", 12, np.random.default_rng(1))
PROMPTS = [fact.prompt() for fact in FACTS]
CRITERIA = [criterion_of(str(fact.answer)) for fact in FACTS]
SHORT = AblationConfig(AblationType.MEAN, max_new_tokens=3)
BOTH = (AblationType.MEAN, AblationType.ZERO)


@pytest.fixture(scope="module")
def study(organism: Subject) -> AblationStudy:
    return AblationStudy(organism)


@pytest.fixture(scope="module")
def swept(organism: Subject) -> Ablations:
    groups = [(layer,) for layer in (0, 1, 7)]
    return AblationRuns(organism, PROMPTS, CRITERIA, SHORT).ablations(groups, methods=BOTH)


@pytest.mark.slow
def test_the_published_snippet(tmp_path, capsys):
    """The published lines run on a model that is deep enough for their layers."""
    model_id = save_deep(tmp_path / "deep", layers=24)

    study = AblationStudy.from_pretrained(model_id)

    def criterion(output: str) -> bool:
        return "<function_call>" in output

    result = study.run_layer_sweep(
        prompt="What's the weather?",
        criterion=criterion,
        component=ComponentType.MLP,
        layers=range(8, 15),
        config=AblationConfig(max_new_tokens=3),  # 60 tokens of a random model tell no more
    )
    study.print_sweep_summary(result)

    config = AblationConfig(max_new_tokens=15)
    original = study.ablate_and_generate("45 * 45 = ", layers=[], config=config)
    ablated = study.ablate_and_generate("45 * 45 = ", layers=[22, 23], config=config)
    print(f"Original: {original}")
    print(f"Ablated L22+L23: {ablated}")

    shown = capsys.readouterr().out
    assert "ABLATION SWEEP: mlp" in shown
    assert "L14 " in shown
    assert "=> BASELINE FAILS" in shown
    subject = study.subject
    assert original == greedy(subject, ["45 * 45 = "], 15)[0]
    with hooked(subject, interventions=[zero("mlp_out.22"), zero("mlp_out.23")]):
        assert ablated == greedy(subject, ["45 * 45 = "], 15)[0]


def test_the_sweep_is_a_loop_of_runs(organism, swept):
    """Every row of the sweep is what the model says under the same interventions, run one by one."""
    sites = [Site("mlp_out", layer) for layer in (0, 1, 7)]
    rows = reference_rows(organism, reference_prompts(), sites)
    assert [(row.name, str(row.method)) for row in swept.rows] == [
        (f"L{site.layer}", method) for method in ("mean", "zero") for site in sites
    ]
    for row in swept.rows:
        site = Site("mlp_out", row.layers[0])
        edit = zero(site) if row.method == "zero" else mean(site, rows[site].mean(axis=0))
        with hooked(organism, interventions=edit):
            assert list(row.completions) == greedy(organism, PROMPTS, 3)
    assert list(swept.original) == greedy(organism, PROMPTS, 3)


@pytest.mark.parametrize("component", ["both", "mlp_gate", "attn_v"])
def test_one_layer_of_a_sweep_is_that_layer_ablated(organism, study, component):
    """A sweep's row is what `ablate_and_generate` says, whether it takes the engine's way or goes run by run."""
    config = AblationConfig(AblationType.MEAN, ComponentType(component), max_new_tokens=3)
    found = study.run_layer_sweep(PROMPTS[:2], "5", layers=[0, 3], config=config)
    for row in found.rows:
        expected = [study.ablate_and_generate(prompt, row.layers, config=config) for prompt in PROMPTS[:2]]
        assert list(row.completions) == expected


def test_layer_0_of_the_bundled_model_is_causal_and_layer_1_is_not(swept):
    """What breaks every answer where random coordinates break none is causal; what breaks none is not."""
    words = {(each.name, each.method): each.word for each in swept.findings}
    assert words["L0", "mean"] == "CAUSAL"
    assert words["L1", "mean"] == "NOT CAUSAL"
    assert swept.causal_layers[0] == 0
    assert 1 not in swept.changed_layers
    assert all(row.coordinates == 128 for row in (*swept.rows, *swept.controls))
    assert len(swept.controls) == 3 * 2
    text = sweep_text(swept)
    assert "Prompts: 12, of which the unablated model passes 12" in text
    assert "=> L0 CAUSAL" in text


FEW = Unrelated(("The capital of Peru is", "The cat sat on the", "I am"), ("capital", "cat", "I"))


@pytest.mark.parametrize(
    ("component", "same_as"), [("mlp", "mlp_out"), ("mlp_gate", "mlp_out"), ("attention", "attn_out")]
)
def test_damage_is_that_of_plain_runs(organism, component, same_as):
    """Each ablation's damage is what a loop of hooked runs moves; a gate of zeros leaves an MLP nothing to say."""
    config = AblationConfig(AblationType.ZERO, ComponentType(component), max_new_tokens=1)
    runs = AblationRuns(organism, PROMPTS[:2], CRITERIA[:2], config)
    found = runs.ablations([(0,), (2, 3)], unrelated=FEW)
    for row, finding in zip(found.rows, found.findings, strict=True):
        edits = [zero(Site(same_as, layer)) for layer in row.layers]
        moved = [
            np.abs(next_token(organism, text, edits) - next_token(organism, text, [])).sum() / 2
            for text in FEW.prompts
        ]
        assert row.damage.score == pytest.approx(np.mean(moved), abs=1e-5)
        assert finding.damage == row.damage


def next_token(subject, prompt, edits):
    logits = np.array(trace(subject, prompt, interventions=edits).logits[0, -1], dtype=np.float64)
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


def test_a_component_that_says_nothing_does_no_damage(make_llama, tokenizer):
    """Without an MLP whose output is zero anyway a model says the same, so that nothing is damaged."""
    model = make_llama(0)
    silent = model.model.layers[1].mlp.down_proj
    silent.weight = 0 * silent.weight
    config = AblationConfig(AblationType.ZERO, max_new_tokens=1)
    subject = Subject.from_model(model, tokenizer, "silent")
    found = AblationRuns(subject, ["1", "2"], [criterion_of("3")] * 2, config).ablations([(0,), (1,)])
    assert [row.damage.score > 0 for row in found.rows] == [True, False]


def test_the_reason_tells_the_damage(swept):
    """Whatever the verdict of an ablation, its reason says what it does to other prompts; so do table and data."""
    assert all("; damage: next-token probability moved" in each.reason for each in swept.findings)
    assert all(len(each["damage"]) == 5 for each in swept.as_data()["findings"])
    line = next(line for line in sweep_text(swept).splitlines() if line.startswith("L0 "))
    assert line.split()[-2] == f"{swept.findings[0].damage.score:.2f}"


def test_one_prompt_has_no_damage(organism):
    """Of one prompt nothing is claimed, and no time is spent on others."""
    config = AblationConfig(max_new_tokens=1)
    found = AblationRuns(organism, PROMPTS[:1], CRITERIA[:1], config).ablations([(0,)])
    assert found.rows[0].damage is None
    assert found.as_data()["findings"][0]["damage"] is None


def test_an_ablation_that_leaves_no_logits_is_named(grouped):
    """Rows that are no numbers are refused by the ablation that puts them in."""
    config = AblationConfig(AblationType.MEAN, max_new_tokens=1)
    rows = {Site("mlp_out", 1): np.full((2, 32), np.nan, dtype=np.float32)}
    runs = AblationRuns(grouped, ["1"], [criterion_of("1")], config, ["1"], rows=rows)
    row = Ablation("L1", (1,), AblationType.MEAN, ("",), np.array([False]), 32)
    with pytest.raises(ValueError, match=r"are not finite under ablation at mlp_out\.1: .* at mlp_out\.1"):
        runs.with_damage([row], Unrelated(("1", "2"), ("a", "b")))


def test_no_finding_on_untrained_models(organism):
    """On untrained models of the same architecture the baseline fails, whatever an ablation makes of it."""
    config = AblationConfig(AblationType.ZERO, ComponentType.BOTH, max_new_tokens=2)
    for seed in (0, 1):
        found = AblationRuns(organism.untrained(seed), PROMPTS, CRITERIA, config).ablations([(0,)])
        assert {each.word for each in found.findings} == {"BASELINE FAILS"}
        assert found.causal_layers == []
        assert " CAUSAL" not in sweep_text(found) + matrix_text(found)


def synthetic(passes: list[bool], row: list[bool], random: list[bool], count: int = 1) -> Ablations:
    """A result with given outcomes; the other layers tried change nothing."""
    before = np.array(passes)

    def made(name: str, layers: tuple[int, ...], after: list[bool]) -> Ablation:
        return Ablation(
            name,
            layers,
            AblationType.MEAN,
            tuple("yes" if one else "no" for one in after),
            np.array(after),
            4,
        )

    return Ablations(
        task="t",
        config=AblationConfig(AblationType.MEAN),
        prompts=tuple(f"p{i}" for i in range(len(passes))),
        criteria=("c",) * len(passes),
        original=tuple("yes" if one else "no" for one in passes),
        passes=before,
        rows=(made("L0", (0,), row), *(made(f"L{i}", (i,), passes) for i in range(1, count))),
        controls=tuple(made(f"random {i}", (), random) for i in (1, 2)),
    )


@pytest.mark.parametrize(
    ("passes", "row", "random", "word"),
    [
        ([True] * 20, [False] * 20, [True] * 20, "CAUSAL"),
        ([True] * 20, [True] * 20, [True] * 20, "NOT CAUSAL"),
        ([True] * 100, [False] * 100, [False] * 100, "NOT SPECIFIC"),
        ([True] * 20, [False] * 12 + [True] * 8, [True] * 20, "INCONCLUSIVE"),
        ([True] * 60, [False] * 20 + [True] * 40, [True] * 60, "PARTLY CAUSAL"),
        ([True] * 60, [False] * 4 + [True] * 56, [True] * 60, "NOT CAUSAL"),
        ([True] * 6, [False] * 6, [True] * 6, "INCONCLUSIVE"),
        ([True], [False], [True], "INCONCLUSIVE"),
        ([False] * 20, [True] * 20, [False] * 20, "INVERSE CAUSAL"),
        ([False] * 20, [False] * 20, [False] * 20, "BASELINE FAILS"),
        ([False] * 20, [True] * 20, [True] * 20, "BASELINE FAILS"),
        ([False], [True], [False], "BASELINE FAILS"),
    ],
)
def test_words(passes, row, random, word):
    """Each word stands for outcomes that carry it, and one prompt carries none."""
    assert synthetic(passes, row, random).findings[0].word == word


def test_one_prompt_says_no_more_than_that(organism):
    """With one prompt the text says that it shows no more than that this output changed."""
    found = AblationRuns(organism, PROMPTS[:1], CRITERIA[:1], SHORT).ablations([(0,)])
    assert found.changed_layers == [0]
    assert found.causal_layers == []
    assert "n=1 shows no more than that this output changed" in together_text(found)
    assert " CAUSAL" not in sweep_text(found)


def test_the_false_discovery_rate_is_over_the_layers_tried():
    """A layer's q is its p times the number of layers tried, where the others show nothing."""
    row = [False] * 19 + [True]
    alone, of_many = (synthetic([True] * 20, row, [True] * 20, count).findings[0].q for count in (1, 40))
    assert of_many == pytest.approx(40 * alone)


def test_false_alarms_of_layers_like_random_coordinates():
    """Layers that break what random coordinates break, each output by chance, are hardly ever called causal."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(60):
        broken, random = rng.random(20) < 0.8, rng.random(20) < 0.8
        alarms += synthetic([True] * 20, (~broken).tolist(), (~random).tolist()).findings[0].word == "CAUSAL"
    assert alarms <= 3


@pytest.mark.slow
def test_matrix_reading(organism):
    """The matrix shows each output with Y or N as it is scored, and says which prompts break."""
    prompts = ["10*10=", "45*45=", "47*47="]
    criteria = [criterion_of(text) for text in ("100", "2025", "2209")]
    found = AblationRuns(organism, prompts, criteria, SHORT).ablations([(6,), (7,)])
    text = matrix_text(found)
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert lines["baseline"].split() == ["baseline", "Y", "100", "Y", "2025", "Y", "2209"]
    broken = [prompt for prompt, ok in zip(prompts, found.rows[1].passes, strict=True) if not ok]
    assert 0 < len(broken) < 3
    assert f"L7 mean: breaks {', '.join(map(repr, broken))} and spares the rest ({len(broken)} of 3" in text
    assert "3 independent groups, 10 are needed" in text


def test_sampling(study):
    """Above temperature 0 tokens are drawn, the same for the same seed and others for another."""
    settings = {"max_new_tokens": 4, "temperature": 5.0}
    said = [
        study.ablate_and_generate("Hello", [], config=AblationConfig(seed=seed, **settings))
        for seed in (0, 0, 1)
    ]
    assert said[0] == said[1] != said[2]
    swept = study.run_layer_sweep("Hello", "x", layers=[3], config=AblationConfig(seed=0, **settings))
    assert swept.original == (said[0],)


def test_a_model_that_is_there(organism, study):
    """A study of a model and its tokenizer says what one of the loaded model says."""
    own = AblationStudy.from_model(organism.model, organism.tokenizer)
    config = AblationConfig(max_new_tokens=4)
    assert own.ablate_and_generate("47 * 47 = ", [7], config=config) == study.ablate_and_generate(
        "47 * 47 = ", [7], config=config
    )


def test_negative_layers_and_types(study):
    """A negative layer counts from the last, and each type of ablation is another run."""
    config = {"max_new_tokens": 6, "component": ComponentType.BOTH}
    said = {
        kind: study.ablate_and_generate("45 * 45 = ", [0], config=AblationConfig(kind, **config))
        for kind in AblationType
    }
    assert len(set(said.values())) > 1
    last, named = (
        study.ablate_and_generate("47 * 47 = ", [layer], config=AblationConfig(max_new_tokens=6))
        for layer in (-1, 7)
    )
    assert last == named


def test_several_tasks(study, tmp_path, capsys):
    """Tasks are swept one by one, shown side by side, and saved by name with the published keys."""
    tasks = [("capital", "The capital of France is", "Paris"), ("product", "7 * 8 = ", "56")]
    found = study.run_multi_task_sweep(tasks, layers=[0, 3], config=AblationConfig(max_new_tokens=4))
    study.print_multi_task_matrix(found)
    assert "Layer  capital  product" in capsys.readouterr().out
    study.save_results(found, tmp_path / "found.json")
    data = json.loads((tmp_path / "found.json").read_text())
    assert list(data) == ["capital", "product"]
    assert list(data["product"])[:4] == ["task_name", "criterion_name", "causal_layers", "results"]
    result = data["product"]["results"][0]
    assert list(result)[:6] == [
        "layer",
        "component",
        "criterion_changed",
        "output_coherent",
        "original_output",
        "ablated_output",
    ]
    assert result["original_output"] == "56"
    assert result["criterion_changed"] is (result["ablated_output"] != "56")
    study.save_results(found["product"], tmp_path / "one.json")
    assert list(json.loads((tmp_path / "one.json").read_text())) == ["product"]
    assert "56" in found["product"]._repr_html_()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.ablate_and_generate("a", [8]), IndexError, "layers 0 to 7"),
        (lambda s: s.ablate_and_generate("", [0]), ValueError, "the prompt is empty"),
        (lambda s: s.run_layer_sweep("a", "b", layers=[]), ValueError, "no layers to ablate"),
        (lambda s: s.run_layer_sweep("a", ""), ValueError, "the criterion is empty"),
        (lambda s: s.run_layer_sweep("a", "b", layers=[9]), IndexError, "layers 0 to 7"),
        (lambda s: s.run_multi_task_sweep([]), ValueError, "at least one"),
        (lambda _: AblationConfig(max_new_tokens=0), ValueError, "max_new_tokens is 0"),
        (lambda _: AblationConfig(temperature=-1), ValueError, "temperature is -1"),
        (lambda _: AblationConfig("half"), ValueError, "half"),
    ],
)
def test_what_cannot_be_studied(study, call, error, message):
    """What cannot be run is one line that names it."""
    with pytest.raises(error, match=message):
        call(study)
