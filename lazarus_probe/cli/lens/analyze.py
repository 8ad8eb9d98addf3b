"""`lazarus introspect analyze`: a prompt read with the logit lens, layer by layer, unedited or under edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.lens.analyze_edits import (
    Edit,
    answer_of,
    inject_of,
    interventions_of,
    override_of,
    steer_of,
)
from lazarus_probe.cli.lens.analyze_layers import config_of
from lazarus_probe.cli.options import (
    EVERY_SPELLING,
    ONE_SPELLING,
    Adapter,
    AsJson,
    Layers,
    Model,
    Output,
    Prompt,
)
from lazarus_probe.cli.output import RULE, about, deliver
from lazarus_probe.cli.parsing import check_output, checked_text, parse_prompt
from lazarus_probe.introspection.lens.analysis_config import AnalysisConfig, LayerStrategy

if TYPE_CHECKING:
    from lazarus_probe.introspection.lens.analysis import AnalysisResult
    from lazarus_probe.introspection.lens.analyzer import ModelAnalyzer
    from lazarus_probe.introspection.lens.answer_emergence import AnswerEmergence

GENERATED = 30


class Computed(StrEnum):
    """What is computed exactly and written into the residual stream."""

    NONE = "none"
    ARITHMETIC = "arithmetic"


def analyze(
    model: Model,
    prompt: Prompt,
    adapter: Adapter = None,
    layer_strategy: Annotated[
        LayerStrategy | None, typer.Option(help="Which layers to read.", show_default="evenly_spaced")
    ] = None,
    layer_step: Annotated[
        int | None,
        typer.Option(
            "--layer-step",
            "-s",
            min=1,
            help="Read every Nth layer, and the last.",
            show_default=str(AnalysisConfig.layer_step),
        ),
    ] = None,
    all_layers: Annotated[bool, typer.Option("--all-layers", help="Read every layer.")] = False,
    layers: Layers = None,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Predictions to show per layer.")] = 5,
    track: Annotated[
        list[str] | None,
        typer.Option(
            "--track",
            "--targets",
            "-t",
            help=f"Token to track; of a text of several tokens, the first. Repeatable. {EVERY_SPELLING}",
        ),
    ] = None,
    embedding_scale: Annotated[
        float | None,
        typer.Option(help="Scale embeddings by this factor.", show_default="the model's own"),
    ] = None,
    residual: Annotated[
        bool,
        typer.Option(
            "--residual", help="Also measure what attention and MLP write into the residual stream."
        ),
    ] = False,
    chat: Annotated[
        bool, typer.Option("--chat/--raw", help="Use the model's chat template, or the plain prompt.")
    ] = False,
    prefix: Annotated[
        str | None,
        typer.Option(help="Text that the answer is forced to begin with; the lens reads after it."),
    ] = None,
    find_answer: Annotated[
        bool | None,
        typer.Option(
            "--find-answer/--no-find-answer",
            help="Generate, find where the answer begins, and report the layer at which it emerges there.",
            show_default="only with --expected",
        ),
    ] = None,
    expected: Annotated[
        str | None, typer.Option(help="The answer to find.", show_default="computed for `a op b`")
    ] = None,
    gen_tokens: Annotated[
        int | None,
        typer.Option(
            "--gen-tokens",
            "--max-tokens",
            "-n",
            min=1,
            help="Tokens to generate in search of the answer.",
            show_default=str(GENERATED),
        ),
    ] = None,
    steer: Annotated[
        str | None,
        typer.Option(metavar="FILE[:C]", help="Add C (default 1) times a saved direction after its layer."),
    ] = None,
    steer_neuron: Annotated[
        int | None, typer.Option(min=0, help="Add --strength to this coordinate of the residual stream.")
    ] = None,
    steer_layer: Annotated[
        int | None, typer.Option(help="Steer after this layer.", show_default="the direction's own")
    ] = None,
    strength: Annotated[float | None, typer.Option(help="Steering strength.", show_default="1")] = None,
    inject_layer: Annotated[int | None, typer.Option(help="Inject --inject-token after this layer.")] = None,
    inject_token: Annotated[
        str | None,
        typer.Option(
            help="Token whose embedding is injected at the last position, rescaled to the residual stream's norm. "
            f"{ONE_SPELLING}"
        ),
    ] = None,
    inject_blend: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="0 leaves the residual stream unchanged, 1 replaces it.", show_default="1"
        ),
    ] = None,
    compute_override: Annotated[
        Computed,
        typer.Option(
            help="`arithmetic`: compute the prompt's `a op b` exactly, and steer the residual stream at the "
            "last position, by its own norm, towards the answer's first token."
        ),
    ] = Computed.NONE,
    compute_layer: Annotated[
        int | None,
        typer.Option(help="Layer after which to apply --compute-override.", show_default="80% of the depth"),
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Read a prompt with the logit lens: what the model would predict if it stopped after each layer.

    The lens applies the model's own final norm and unembedding (nostalgebraist 2020) to the residual stream at the
    last position; ranks are exact over the whole vocabulary. Edits act at the last position, steering also on every
    generated token.
    """
    from lazarus_probe.checkpoints.names import num_layers_of

    texts = parse_prompt(prompt)
    check_output(output)
    answers = _answers(find_answer, expected, gen_tokens, texts)
    tokens = [checked_text(text, "--track") for text in track or []]
    if "" in tokens:
        raise ValueError("--track is empty; give at least one character")
    if prefix is not None and not checked_text(prefix, "--prefix"):
        raise ValueError("--prefix is empty; give at least one character")
    if embedding_scale is not None and not 0 < embedding_scale < float("inf"):
        raise ValueError(f"--embedding-scale {embedding_scale} is unusable; give a positive number")
    count = num_layers_of(model)
    config = config_of(layer_strategy, layer_step, all_layers, layers, count, top_k, tokens, residual)
    requested = (
        steer_of(steer, steer_neuron, steer_layer, strength, count),
        inject_of(inject_layer, inject_token, inject_blend, count),
        override_of(compute_override, compute_layer, count),
    )
    edits = [edit for edit in requested if edit]
    from lazarus_probe.introspection.lens.analyzer import ModelAnalyzer
    from lazarus_probe.subject.chat import in_chat

    analyzer = ModelAnalyzer.from_pretrained(model, embedding_scale, adapter)
    inputs = [(in_chat(analyzer.subject, text) if chat else text) + (prefix or "") for text in texts]
    analyses = _analyses(
        analyzer, texts, inputs, config, edits, answers, gen_tokens or GENERATED, prefix or ""
    )
    results = [analysis.as_data() for analysis in analyses]
    data = (results[0] if len(analyses) == 1 else {"results": results}) | {
        "model_info": asdict(analyzer.model_info) | {"embedding_scale": analyzer.config.embedding_scale},
        "chat": chat,
        "prefix": prefix,
        "edits": list(map(str, edits)),
        "about": about(analyzer.subject),
    }
    text = "\n\n".join([_header(analyzer, edits), f"\n\n{RULE}\n\n".join(map(_text, analyses))])
    deliver(data, text, as_json=as_json, output=output)


@dataclass(frozen=True)
class PromptAnalysis:
    """One prompt read with the lens, without the edits if there are any, and its answer if requested."""

    result: AnalysisResult
    unedited: AnalysisResult | None
    answer: AnswerEmergence | None

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        data = self.result.as_data()
        if self.unedited is not None:
            data["unedited"] = asdict(self.unedited.final_prediction[0])
        if self.answer is not None:
            data["answer"] = self.answer.as_data()
        return data


def _answers(
    find_answer: bool | None, expected: str | None, gen_tokens: int | None, texts: Sequence[str]
) -> list[str] | None:
    """The answers to find, one per prompt; None if none are requested."""
    if not (expected is not None if find_answer is None else find_answer):
        for name, value in (("--expected", expected), ("--gen-tokens", gen_tokens)):
            if value is not None:
                raise ValueError(f"{name} {value} applies to finding the answer; give --find-answer")
        return None
    if expected is not None and len(texts) > 1:
        raise ValueError(f"--expected {expected!r} is one answer for {len(texts)} prompts; give one prompt")
    if expected is not None and not checked_text(expected, "--expected").strip():
        raise ValueError("--expected is empty; give a number or a word")
    if expected is None:
        return [answer_of(text, "--find-answer needs --expected") for text in texts]
    return [expected]


def _analyses(
    analyzer: ModelAnalyzer,
    texts: Sequence[str],
    inputs: Sequence[str],
    config: AnalysisConfig,
    edits: Sequence[Edit],
    answers: Sequence[str] | None,
    max_tokens: int,
    prefix: str,
) -> list[PromptAnalysis]:
    """Every prompt read, in one run where nothing is edited: some edits are of one prompt."""
    from lazarus_probe.introspection.lens.answer_emergence import answer_emergence

    acting = [interventions_of(edits, analyzer, *pair) for pair in zip(inputs, texts, strict=True)]
    plain = analyzer.run_batch(inputs, config)
    analyses = []
    for i, (prompt, interventions) in enumerate(zip(inputs, acting, strict=True)):
        result = analyzer.run(prompt, config, interventions) if edits else plain[i]
        answer = (
            answer_emergence(analyzer, prompt, answers[i], max_tokens, interventions, prefix)
            if answers
            else None
        )
        analyses.append(PromptAnalysis(result, plain[i] if edits else None, answer))
    return analyses


def _header(analyzer: ModelAnalyzer, edits: Sequence[Edit]) -> str:
    info, scale = analyzer.model_info, analyzer.config.embedding_scale
    lines = [
        f"Model: {info.model_id}",
        f"  Family: {info.family}",
        f"  Layers: {info.num_layers}",
        f"  Hidden size: {info.hidden_size}",
        f"  Vocab size: {info.vocab_size}",
        f"  Tied embeddings: {info.has_tied_embeddings}",
    ]
    if scale is not None and scale != 1:
        lines.append(f"  Embedding scale: {scale:g}")
    return "\n".join([*lines, *(f"  Edit: {edit}" for edit in edits)])


def _text(analysis: PromptAnalysis) -> str:
    parts = [analysis.result.to_display()]
    if analysis.unedited is not None:
        before = analysis.unedited
        parts.append(f"Without the edits: {before.predicted_token!r} ({before.predicted_probability:.4f})")
    if analysis.answer is not None:
        parts.append(_answer_text(analysis.answer))
    return "\n\n".join(parts)


def _answer_text(answer: AnswerEmergence) -> str:
    lines = ["=== Answer ===", f"  Generated: {answer.generated!r}"]
    if answer.in_prefix:
        return "\n".join([*lines, f"  Expected {answer.expected}: begins in the prefix that was given"])
    whole = answer.whole
    if answer.onset is None or answer.evolution is None or whole is None:
        return "\n".join([*lines, f"  Expected {answer.expected}: not found"])
    cut = "; cut off by --gen-tokens, it may go on" if answer.cut else ""
    lines.append(
        f"  Expected {answer.expected}: begins in generated token {answer.onset}, {answer.evolution.token!r}{cut}"
    )
    if len(whole.pieces) > 1:
        tokens = ", ".join(map(repr, whole.pieces))
        lines.append(
            f"  All of its {len(whole.pieces)} tokens are read, each after the ones before: {tokens}"
        )
    layer, stable = whole.emergence_layer, whole.stable_layer
    if layer is None:
        return "\n".join([*lines, "  --> Never top-1 there"])
    stays = "" if stable == layer else f", and stays so from {stable}"
    lines.append(f"  --> There it becomes top-1 at layer {layer}{stays}")
    return "\n".join(lines)
