"""`ModelAnalyzer`: what the lens says of prompts, the embedding scale, and what each block writes."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import forward, new_cache
from lazarus_probe.hooks import trace
from lazarus_probe.introspection.lens.analysis import AnalysisResult
from lazarus_probe.introspection.lens.analysis_config import AnalysisConfig, LayerStrategy
from lazarus_probe.introspection.lens.analyzer import ModelAnalyzer
from lazarus_probe.introspection.lens.predictions import LayerPredictionResult, TokenPrediction
from lazarus_probe.subject import NotFinite, Subject
from tests.tolerance import in_order, of_logits, possible_ranks, sole_best

PROMPT = "The capital of France is"
EVERY = AnalysisConfig(LayerStrategy.ALL)


@pytest.fixture(scope="module")
def analyzer(organism: Subject) -> ModelAnalyzer:
    return ModelAnalyzer(organism)


@pytest.fixture(scope="module")
def result(analyzer: ModelAnalyzer) -> AnalysisResult:
    """Every layer of one prompt, with all that can be computed."""
    config = AnalysisConfig(
        LayerStrategy.ALL,
        track_tokens=[" Paris", "London", " Oslo", " is", "Paris", "multiply"],
        compute_residual_decomposition=True,
    )
    return analyzer.run(PROMPT, config)


def last_log_probs(subject: Subject, tokens: list[int]) -> np.ndarray:
    """The model's own, by a plain forward."""
    logits = np.array(forward(subject.model, mx.array([tokens]))[0, -1].astype(mx.float32), np.float64)
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


# --- what is read ---------------------------------------------------------------------------------------------------


def test_last_layer_is_the_models_own_prediction(organism: Subject, result: AnalysisResult):
    """The final prediction, and the lens after the last layer, are what a plain forward gives."""
    own = last_log_probs(organism, organism.encode(PROMPT))
    ties = of_logits(organism, own)
    for found in (result.final_prediction, result.layer_predictions[-1].predictions):
        order = [each.token_id for each in found]
        assert in_order(order, own, ties)
        assert [each.rank for each in found] == [1, 2, 3, 4, 5]
        assert [each.probability for each in found] == pytest.approx(np.exp(own[order]).tolist(), rel=1e-3)
    assert result.predicted_token == " Paris" == organism.decode([sole_best(own, ties)])
    assert result.predicted_probability == result.final_prediction[0].probability


def test_layers_are_those_of_a_naive_lens(grouped: Subject, naive: Any):
    """Every layer's entropy, top token and tracked rank agree with a lens written out in NumPy."""
    tokens = [0, 5, 9, 20, 3]
    found = ModelAnalyzer(grouped).run(tokens, AnalysisConfig(LayerStrategy.ALL, track_tokens=[7]))
    seen, model = naive(grouped.model, [tokens]), grouped.model
    for layer in range(grouped.num_layers):
        h = seen[f"resid_post.{layer}"][0, -1]
        x = h / np.sqrt((h**2).mean() + model.args.rms_norm_eps) * np.array(model.model.norm.weight)
        logits = np.array(model.lm_head.weight, np.float64) @ x
        p = np.exp(logits - logits.max())
        p /= p.sum()
        read = found.layer_predictions[layer]
        ties = of_logits(grouped, logits)
        assert in_order([read.predictions[0].token_id], logits, ties)
        assert read.entropy == pytest.approx(-(p * np.log(p)).sum(), rel=1e-4)
        assert read.entropy_normalized == pytest.approx(read.entropy / math.log(64), rel=1e-6)
        assert found.token_evolutions[0].layer_ranks[layer] in possible_ranks(logits, 7, ties)
        assert found.token_evolutions[0].layer_probabilities[layer] == pytest.approx(p[7], rel=1e-3)


def test_prompts_read_together_are_read_as_alone(analyzer: ModelAnalyzer):
    """Prompts of other lengths in one batch change nothing."""
    prompts = [PROMPT, "2 + 2 = ", "45 * 45 = ", "Hello world"]
    together = analyzer.run_batch(prompts, EVERY)
    assert [each.prompt for each in together] == prompts
    for prompt, one in zip(prompts, together, strict=True):
        alone = analyzer.run(prompt, EVERY)
        for read, other in zip(one.layer_predictions, alone.layer_predictions, strict=True):
            first, second = (np.log(each.top_probability) for each in (read, other))
            same = read.top_token == other.top_token
            assert same or abs(first - second) <= of_logits(analyzer.subject, [first, second])
        assert [each.entropy for each in one.layer_predictions] == pytest.approx(
            [each.entropy for each in alone.layer_predictions], abs=1e-4
        )


def test_one_call_runs_the_model_once(analyzer: ModelAnalyzer, monkeypatch: pytest.MonkeyPatch):
    """All layers of all prompts of one length come from one forward of the model."""
    import lazarus_probe.hooks.activations as activations

    runs = []
    plain = activations.forward
    monkeypatch.setattr(activations, "forward", lambda *args: runs.append(args[1].shape) or plain(*args))
    analyzer.run_batch(["2 + 2 = ", "3 + 4 = "], EVERY)
    assert runs == [(2, 7)]


# --- which layers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        (AnalysisConfig(), [0, 4, 7]),
        (AnalysisConfig(layer_step=3), [0, 3, 6, 7]),
        (AnalysisConfig(layer_step=100), [0, 7]),
        (AnalysisConfig(LayerStrategy.ALL), list(range(8))),
        (AnalysisConfig(LayerStrategy.FIRST_LAST), [0, 7]),
        (AnalysisConfig(LayerStrategy.CUSTOM, custom_layers=[-1, 2, 0, 2]), [0, 2, 7]),
        (AnalysisConfig(LayerStrategy.CUSTOM, custom_layers=[0]), [0]),
    ],
)
def test_strategies_choose_layers(analyzer: ModelAnalyzer, config: AnalysisConfig, layers: list[int]):
    """Each strategy reads the layers it names, layer 0 among them, and predictions are the last layer's always."""
    found = analyzer.run("2 + 2 = ", config)
    assert found.captured_layers == [each.layer_idx for each in found.layer_predictions] == layers
    assert [(each.from_layer, each.to_layer) for each in found.layer_transitions] == list(pairwise(layers))
    assert found.predicted_token == "4"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 0}, "1 to 100"),
        ({"top_k": 101}, "1 to 100"),
        ({"layer_step": 0}, "at least 1"),
        ({"custom_layers": [1]}, r"give custom_layers with LayerStrategy.CUSTOM"),
        ({"layer_strategy": "custom"}, r"give custom_layers with LayerStrategy.CUSTOM"),
        ({"layer_strategy": "some"}, "'some' is not a valid LayerStrategy"),
        ({"track_tokens": "Paris"}, "give a list of texts"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str):
    """A number out of range, layers without their strategy and a text for a list are errors."""
    with pytest.raises(ValueError, match=message):
        AnalysisConfig(**settings)


def test_layers_the_model_lacks_are_refused(analyzer: ModelAnalyzer):
    """A custom layer beyond the last is an error that says which there are."""
    with pytest.raises(IndexError, match="there is no layer 25; the model has 0 to 7"):
        analyzer.run(PROMPT, AnalysisConfig(LayerStrategy.CUSTOM, custom_layers=[0, 25]))


# --- tracked tokens -------------------------------------------------------------------------------------------------


def test_evolutions_agree_with_predictions(result: AnalysisResult):
    """A tracked token is of rank 1 exactly where it is the top prediction; layer 0 is a layer."""
    paris, oslo = result.token_evolutions[0], result.token_evolutions[2]
    for layer in result.layer_predictions:
        assert (paris.layer_ranks[layer.layer_idx] == 1) == (layer.top_token == " Paris")
    assert paris.emergence_layer == paris.stable_layer == 0
    assert paris.pieces == (" Paris",)
    assert oslo.emergence_layer is oslo.stable_layer is None
    assert all(rank > 1 for rank in oslo.layer_ranks.values())


def test_pieces_are_told(result: AnalysisResult):
    """Of a text that is several tokens the first is followed, and the result and its text say so."""
    found = result.token_evolutions[1]
    assert (found.token, found.pieces) == ("London", ("L", "on", "d", "on"))
    assert "4 tokens ('L', 'on', 'd', 'on'); followed is the first, 'L'" in result.to_display()


def test_every_spelling_is_followed(organism: Subject, result: AnalysisResult):
    """A word's probability is that of all its spellings, its rank the best of theirs, and the text names them."""
    exact, word, multiply = (result.token_evolutions[i] for i in (0, 4, 5))
    assert (word.token, word.spelling) == ("Paris", " Paris")
    assert word.layer_probabilities == exact.layer_probabilities
    assert word.layer_ranks == exact.layer_ranks
    forms = ["multiply", " multiply", "Multiply", " Multiply"]
    tokens = [organism.single_token(form) for form in forms]
    assert multiply.spellings == dict(zip(forms, tokens, strict=True))
    own = last_log_probs(organism, organism.encode(PROMPT))
    last = organism.num_layers - 1
    assert multiply.layer_probabilities[last] == pytest.approx(np.exp(own[tokens]).sum(), rel=1e-2)
    assert multiply.token_id == tokens[int(own[tokens].argmax())]
    shown = result.to_display()
    assert "Token 'Paris':\n  every spelling counts: ' Paris'; at the end ' Paris' is likeliest" in shown
    assert "Token ' Paris':\n  Layer" in shown


def test_texts_without_tokens_are_refused(grouped: Subject, analyzer: ModelAnalyzer):
    """What the tokenizer cannot spell is an error, never an unknown token that is followed; so is an unknown id."""
    with pytest.raises(
        ValueError, match="'Zoo' cannot be followed: the tokenizer of grouped cannot spell it"
    ):
        ModelAnalyzer(grouped).run("ca", AnalysisConfig(track_tokens=["Zoo"]))
    with pytest.raises(ValueError, match="'' is not one token"):
        analyzer.run(PROMPT, AnalysisConfig(track_tokens=[""]))
    with pytest.raises(ValueError, match="outside the vocabulary, 0 to 2002"):
        analyzer.run(PROMPT, AnalysisConfig(track_tokens=[2003]))


def test_what_the_tail_makes_no_numbers_of_is_refused(make_llama, tokenizer):
    """Where the last norm has a NaN nothing is predicted at any layer: the weight is named."""
    subject = Subject.from_model(make_llama(), tokenizer, name="broken")
    subject.model.model.norm.weight[3] = mx.nan
    with pytest.raises(NotFinite, match=r"of broken .*not finite: the weight model\.norm\.weight"):
        ModelAnalyzer(subject).run([3, 5, 7], AnalysisConfig(LayerStrategy.CUSTOM, custom_layers=[0]))


def test_stable_layer_is_after_the_last_change():
    """A token that comes, goes and comes again emerges at the first of these layers and is stable from the last."""
    from lazarus_probe.introspection.lens.predictions import TokenEvolutionResult

    ranks = {0: 1, 2: 4, 5: 1, 7: 1}
    found = TokenEvolutionResult("x", 1, dict.fromkeys(ranks, 0.1), ranks)
    assert (found.emergence_layer, found.stable_layer) == (0, 5)
    lost = TokenEvolutionResult("x", 1, {0: 0.1, 2: 0.1}, {0: 1, 2: 2})
    assert (lost.emergence_layer, lost.stable_layer) == (0, None)


# --- what follows from it -------------------------------------------------------------------------------------------


def test_decisions_and_transitions_follow_their_definitions(result: AnalysisResult):
    """Confident is a normalised entropy below .3, decided the first confident layer with the final token."""
    confident = [each.layer_idx for each in result.layer_predictions if each.is_confident]
    assert confident == [each.layer_idx for each in result.layer_predictions if each.entropy_normalized < 0.3]
    assert result.decision_layer == next(
        each for each in confident if result.layer_predictions[each].top_token == " Paris"
    )
    largest = result.max_kl_transition
    assert largest.kl_divergence == max(each.kl_divergence for each in result.layer_transitions)
    assert result.significant_transitions == [
        each for each in result.layer_transitions if each.js_divergence > 0.1
    ]
    entropies = [each.entropy for each in result.layer_predictions]
    assert [each.entropy_delta for each in result.layer_transitions] == pytest.approx(
        np.diff(entropies).tolist()
    )


@pytest.mark.parametrize(
    ("token", "confident"),
    [(" Paris", True), ("7", True), ("é", True), ("東", True), ("\ufffd", True), (" ", False), ("\n\n", False),
     (".", False), (" (", False), ("...", False), ("", False)],
)  # fmt: skip
def test_spaces_and_punctuation_are_not_called_confident(token: str, confident: bool):
    """What a real model's middle layers put on top of any prompt is no decision, unless the model ends with it."""
    sharp = LayerPredictionResult(3, [TokenPrediction(token, 5, 0.97, 1)], 0.1, 0.02)
    assert (sharp.is_sharp, sharp.is_confident) == (True, confident)
    flat = LayerPredictionResult(3, [TokenPrediction(token, 5, 0.97, 1)], 5.0, 0.5)
    assert not flat.is_sharp
    assert not flat.is_confident
    final = [TokenPrediction(token, 5, 0.9, 1)]
    found = AnalysisResult("a", ["a"], 4, [3], final, [sharp])
    assert found.decision_layer == 3
    assert ("[confident]" in found.to_display()) == confident


def test_what_is_not_asked_for_is_left_out(analyzer: ModelAnalyzer):
    """Without entropy no layer is confident or decides; without transitions there is no largest one."""
    config = AnalysisConfig(compute_entropy=False, compute_transitions=False)
    found = analyzer.run(PROMPT, config)
    assert all(each.entropy is None and not each.is_confident for each in found.layer_predictions)
    assert found.decision_layer is found.max_kl_transition is None
    assert found.residual_contributions == []
    assert "entropy" not in found.to_display()


def test_untrained_model_decides_nothing():
    """At no layer of an untrained model is the lens confident, so that it has no decision layer."""
    with ModelAnalyzer.from_pretrained("organism-untrained") as untrained:
        results = untrained.run_batch([PROMPT, "2 + 2 = ", "45 * 45 = "], EVERY)
    assert all(each.decision_layer is None for each in results)
    assert "Decision layer: none" in results[0].to_display()


def test_saved_data_has_the_published_keys(result: AnalysisResult, tmp_path: Path):
    """The JSON file has the keys of the documents, all derived values among them, and no number that is none."""
    result.save(tmp_path / "result.json")
    data = json.loads((tmp_path / "result.json").read_text())
    assert list(data)[:9] == [
        "prompt", "tokens", "num_layers", "captured_layers", "final_prediction",
        "layer_predictions", "layer_transitions", "token_evolutions", "residual_contributions",
    ]  # fmt: skip
    assert set(data["final_prediction"][0]) == {"token", "token_id", "probability", "rank"}
    assert set(data["layer_predictions"][0]) == {
        "layer_idx", "predictions", "top_token", "top_probability", "entropy", "entropy_normalized",
        "is_confident",
    }  # fmt: skip
    assert set(data["layer_transitions"][0]) == {
        "from_layer", "to_layer", "kl_divergence", "js_divergence", "top_token_changed", "entropy_delta",
        "is_significant",
    }  # fmt: skip
    assert set(data["token_evolutions"][0]) >= {
        "token", "token_id", "layer_probabilities", "layer_ranks", "emergence_layer", "pieces",
    }  # fmt: skip
    assert data["token_evolutions"][0]["emergence_layer"] == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "result.json"]


def test_notebooks_show_a_row_a_layer(result: AnalysisResult):
    """The HTML has a row for every layer, with texts escaped."""
    shown = result._repr_html_()
    assert shown.count("<tr>") == 1 + 8
    assert "<|" not in shown


# --- residual contributions -----------------------------------------------------------------------------------------


def test_contributions_are_norms_of_what_is_added(organism: Subject, result: AnalysisResult):
    """In a Llama they are the norms of the two parts' outputs at the last position, and no constants."""
    sites = [
        f"{kind}.{layer}" for kind in ("attn_out", "mlp_out", "resid_pre", "resid_post") for layer in range(8)
    ]
    run = trace(organism, PROMPT, sites)
    for layer, found in enumerate(result.residual_contributions):
        attention, ffn, before, after = (
            np.array(run[f"{kind}.{layer}"])[0, -1]
            for kind in ("attn_out", "mlp_out", "resid_pre", "resid_post")
        )
        assert found.attention_norm == pytest.approx(np.linalg.norm(attention), rel=1e-4)
        assert found.ffn_norm == pytest.approx(np.linalg.norm(ffn), rel=1e-4)
        assert found.total_norm == pytest.approx(np.linalg.norm(after - before), rel=1e-3)
        assert found.resid_norm == pytest.approx(np.linalg.norm(before), rel=1e-4)
        assert found.attention_fraction == pytest.approx(
            found.attention_norm / (found.attention_norm + found.ffn_norm)
        )
    assert len({round(each.attention_fraction, 2) for each in result.residual_contributions}) > 4
    assert sorted([*result.attention_dominant_layers, *result.ffn_dominant_layers]) == list(range(8))
    norms = [each.ffn_norm for each in result.residual_contributions]
    assert result.max_ffn_layer == norms.index(max(norms))


@pytest.mark.parametrize("name", ["gemma3_text", "granite"])
def test_contributions_are_what_enters_the_sum(zoo: Any, name: str):
    """Where parts are normalised or scaled before they are added, it is what is added that is measured."""
    subject = Subject.from_model(zoo.build(name), None, name)
    tokens = zoo.random_tokens()[0].tolist()
    config = AnalysisConfig(LayerStrategy.ALL, compute_residual_decomposition=True)
    found = ModelAnalyzer(subject).run(tokens, config).residual_contributions
    for layer, each in enumerate(found):
        run = trace(subject, tokens, [f"resid_pre.{layer}", f"resid_post.{layer}", f"attn_out.{layer}"])
        before, after = (np.array(run[f"{kind}.{layer}"])[0, -1] for kind in ("resid_pre", "resid_post"))
        assert each.total_norm == pytest.approx(np.linalg.norm(after - before), rel=1e-3)
        attention = np.linalg.norm(np.array(run[f"attn_out.{layer}"])[0, -1])
        assert each.attention_norm != pytest.approx(attention, rel=1e-3)


# --- embedding scale ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo() -> Any:
    """The module that builds tiny models of every architecture."""
    path = Path(__file__).parents[2] / "architectures" / "zoo.py"
    spec = importlib.util.spec_from_file_location("zoo_of_analyzer_tests", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def gemma(zoo: Any) -> ModelAnalyzer:
    return ModelAnalyzer.from_model(zoo.build("gemma3_text"), None, "gemma")


def test_own_scale_is_found_by_running_the_model(gemma: ModelAnalyzer, analyzer: ModelAnalyzer, zoo: Any):
    """Gemma's is the square root of its width as bfloat16 holds it, Granite's its multiplier, a Llama's 1."""
    width = gemma.model_info.hidden_size
    assert gemma.config.embedding_scale == pytest.approx(mx.array(width**0.5, mx.bfloat16).item())
    assert gemma.config.family == gemma.model_info.family == "gemma3_text"
    assert analyzer.config.embedding_scale == 1
    granite = ModelAnalyzer.from_model(zoo.build("granite"), None, "granite")
    assert granite.config.embedding_scale == granite.config["embedding_multiplier"]


def test_a_given_scale_takes_the_place_of_the_models_own(gemma: ModelAnalyzer, zoo: Any):
    """Scaling by 2 is what the model computes on embeddings of which every one is 2 / own times as large."""
    tokens = zoo.random_tokens()[0].tolist()
    own = gemma.config.embedding_scale
    given = ModelAnalyzer(gemma.subject, embedding_scale=2.0)
    found = given.run(tokens, EVERY)
    assert given.config.embedding_scale == 2.0
    model = gemma.subject.model
    embedded = model.model.embed_tokens(mx.array([tokens])) * (2.0 / own)
    logits = model(mx.array([tokens]), cache=new_cache(model), input_embeddings=embedded)[0, -1]
    expected = np.array(logits - mx.logsumexp(logits))
    assert in_order([found.final_prediction[0].token_id], expected, of_logits(gemma.subject, expected))
    assert found.predicted_probability == pytest.approx(np.exp(expected.max()), rel=1e-3)
    plain = gemma.run(tokens, EVERY)
    assert plain.predicted_probability == pytest.approx(
        np.exp(last_log_probs(gemma.subject, tokens).max()), rel=1e-3
    )
    assert plain.layer_predictions[0].entropy != pytest.approx(found.layer_predictions[0].entropy, rel=1e-2)
    same = ModelAnalyzer(gemma.subject, embedding_scale=own).run(tokens, EVERY)
    assert same.predicted_probability == pytest.approx(plain.predicted_probability, rel=1e-4)


def test_scales_that_replace_nothing_are_refused(zoo: Any, organism: Subject):
    """A model that adds positions to its embeddings has no factor to replace; nor is 0 a factor."""
    gpt2 = Subject.from_model(zoo.build("gpt2"), None, "gpt2")
    assert ModelAnalyzer(gpt2).config.embedding_scale is None
    with pytest.raises(ValueError, match="leave embedding_scale out"):
        ModelAnalyzer(gpt2, embedding_scale=2.0)
    for scale in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="give a positive number"):
            ModelAnalyzer(organism, embedding_scale=scale)


# --- models ---------------------------------------------------------------------------------------------------------


def test_model_info_is_that_of_the_model(analyzer: ModelAnalyzer, grouped: Subject, gemma: ModelAnalyzer):
    """Name, family, sizes, and whether the head is the embedding, as the weights say."""
    info = analyzer.model_info
    assert (info.model_id, info.family, info.num_layers) == ("organism", "llama", 8)
    assert (info.hidden_size, info.vocab_size, info.has_tied_embeddings) == (128, 2003, True)
    assert not ModelAnalyzer(grouped).model_info.has_tied_embeddings
    assert analyzer.config["num_attention_heads"] == 4


def test_quantised_models_are_analysed_as_they_run(make_llama: Any, tokenizer: Any):
    """On a quantised model the last layer of the lens is its own prediction too."""
    model = make_llama(tie_word_embeddings=True, intermediate_size=64)
    nn.quantize(model, group_size=32, bits=4)
    quantised = ModelAnalyzer.from_model(model, tokenizer, "four-bit")
    found = quantised.run("ca12", AnalysisConfig(compute_residual_decomposition=True))
    own = last_log_probs(quantised.subject, quantised.subject.encode("ca12"))
    assert found.predicted_probability == pytest.approx(np.exp(own.max()), rel=1e-3)
    assert quantised.model_info.has_tied_embeddings
    assert len(found.residual_contributions) == 2


def test_a_models_configuration_is_no_analysis(make_llama: Any, tokenizer: Any):
    """`config` says how to analyse; a model's own configuration there is an error that says so."""
    with pytest.raises(TypeError, match="give an AnalysisConfig"):
        ModelAnalyzer.from_model(make_llama(), tokenizer, config={"model_type": "llama"})
    given = ModelAnalyzer.from_model(make_llama(), tokenizer, config=AnalysisConfig(top_k=2))
    assert len(given.run("ca").final_prediction) == 2


# --- the published snippets, but for import line and model name -----------------------------------------------------


def test_snippets_run_as_published(capsys: pytest.CaptureFixture[str]):
    """Quick start, token evolution, entropy, transitions and Gemma: every call of the document, and what it prints."""

    async def snippets() -> None:
        async with ModelAnalyzer.from_pretrained("organism") as analyzer:
            result = await analyzer.analyze("The capital of France is")

            print(f"Predicted: {result.predicted_token}")
            print(f"Probability: {result.predicted_probability:.4f}")

            for layer in result.layer_predictions:
                print(f"Layer {layer.layer_idx}: {layer.top_token} ({layer.top_probability:.4f})")

        config = AnalysisConfig(track_tokens=["Paris", " Paris", "London"])
        async with ModelAnalyzer.from_pretrained("organism") as analyzer:
            result = await analyzer.analyze("The capital of France is", config)

            for evo in result.token_evolutions:
                print(f"\nToken '{evo.token}':")
                for layer, prob in evo.layer_probabilities.items():
                    rank = evo.layer_ranks.get(layer)
                    print(f"  Layer {layer}: prob={prob:.4f}, rank={rank}")

                if evo.emergence_layer:
                    print(f"  -> Becomes top-1 at layer {evo.emergence_layer}")

            result = await analyzer.analyze("The answer is")
            for pred in result.layer_predictions:
                print(f"Layer {pred.layer_idx}:")
                print(f"  Entropy: {pred.entropy:.3f}")
                print(f"  Is confident: {pred.is_confident}")

        # outside of the context, as the document has it
        result = await analyzer.analyze("The answer is")
        if result.max_kl_transition:
            t = result.max_kl_transition
            print(f"Max KL divergence: {t.kl_divergence:.3f}")
            print(f"  Between layers {t.from_layer} -> {t.to_layer}")
        if result.decision_layer is not None:
            print(f"Decision made at layer: {result.decision_layer}")

        async with ModelAnalyzer.from_pretrained("organism", embedding_scale=33.94) as analyzer:
            result = await analyzer.analyze("Hello")
            print(f"Scaled by {analyzer.config.embedding_scale}: {result.predicted_token}")
        [result] = await analyzer.analyze_batch(["Hello"])
        print(f"Batch: {result.predicted_token}")

    asyncio.run(snippets())
    printed = capsys.readouterr().out
    assert "Predicted:  Paris\nProbability: 0.99" in printed
    assert "Token ' Paris':\n  Layer 0: prob=0." in printed
    assert "rank=1" in printed
    assert "rank=None" not in printed
    assert "Max KL divergence: " in printed
    scaled = printed.split("Scaled by 33.94: ")[1].splitlines()[0]
    assert printed.endswith(f"Batch: {scaled}\n")


def test_configurations_are_made_as_published():
    """The four of the document, the custom one with layers that only a larger model has."""
    assert AnalysisConfig(layer_strategy=LayerStrategy.ALL).layers(3) == [0, 1, 2]
    assert AnalysisConfig(layer_strategy=LayerStrategy.EVENLY_SPACED, layer_step=4).layers(22) == [
        0, 4, 8, 12, 16, 20, 21,
    ]  # fmt: skip
    assert AnalysisConfig(layer_strategy=LayerStrategy.FIRST_LAST).layers(1) == [0]
    config = AnalysisConfig(layer_strategy=LayerStrategy.CUSTOM, custom_layers=[0, 4, 8, 12, 16, 20, 25])
    assert config.layers(26) == [0, 4, 8, 12, 16, 20, 25]
    default = AnalysisConfig()
    assert (default.layer_strategy, default.layer_step, default.top_k) == (LayerStrategy.EVENLY_SPACED, 4, 5)
    assert (default.track_tokens, default.compute_entropy, default.compute_transitions) == ([], True, True)
