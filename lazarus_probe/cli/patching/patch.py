"""`lazarus introspect patch`: whether a layer's state carries one prompt's answer into another prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver
from lazarus_probe.cli.parsing import check_output, checked_text, layer_of, parse_layers, parse_position
from lazarus_probe.cli.patching.patch_text import rates_text, single_text, sweep_text

if TYPE_CHECKING:
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
    from lazarus_probe.statistics.measurement import Measurement

CLAIM = "patch-carries-the-answer"


def patch(
    model: Model,
    source: Annotated[str | None, typer.Option("--source", help="The prompt to patch from.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="The prompt to patch into.")] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help='Many pairs, to report rates: lines "source => target", JSON or JSON lines.'),
    ] = None,
    layer: Annotated[
        int | None, typer.Option("--layer", "-l", help="One layer, counted from 0; -1 is the last.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers to sweep, as in 0,4-7, or all.", show_default="all")
    ] = None,
    position: Annotated[
        str, typer.Option(help="The token position in both prompts: last, all, or a number; -1 is the last.")
    ] = "last",
    blend: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the source's state in the patched state.")
    ] = 1.0,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "-n", min=1, help="Maximum tokens to generate.")
    ] = 8,
    expected_source: Annotated[
        str | None, typer.Option(help="The source's answer.", show_default="computed, or the model's own")
    ] = None,
    expected_target: Annotated[
        str | None, typer.Option(help="The target's answer.", show_default="computed, or the model's own")
    ] = None,
    adapter: Adapter = None,
    output: Output = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Patch one prompt's states into another's run, and see whose answer comes out.

    Activation patching of the residual stream after each layer (Heimersheim & Nanda 2024). Controls: the same patch
    from unrelated donors, and at other positions. One pair shows that a transfer can happen; rates need --pairs.
    """
    from lazarus_probe.checkpoints.names import num_layers_of

    check_output(output)
    at = parse_position(position)
    _check_prompts(source, target, pairs, expected_source, expected_target)
    if layer is not None and layers is not None:
        raise ValueError("--layer and --layers are both given; give one of them")
    count = num_layers_of(model)
    chosen = parse_layers(layers or "all", count) if layer is None else [layer_of(layer, count)]
    from lazarus_probe.introspection.patching.prompt_pairs import PromptPair, read_pairs

    prompt_pairs = [PromptPair(source or "", target or "", expected_source, expected_target)]
    if pairs is not None:
        prompt_pairs = read_pairs(pairs)
        _check_texts(prompt_pairs)
    from lazarus_probe.introspection.patching.answered_pairs import answered
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    answered_pairs = answered(subject, prompt_pairs, max_tokens)
    settings: dict[str, Any] = {"blend": blend, "max_tokens": max_tokens, "seed": seed, "progress": True}
    if pairs is None:
        from lazarus_probe.introspection.patching.layers import patch_prompts

        result = patch_prompts(subject, answered_pairs[0], chosen, at, **settings)
        verdict = _verdict(result.measurement())
        text = single_text(result, verdict) if layer is not None else sweep_text(result, verdict)
        data = result.as_data()
    else:
        from lazarus_probe.introspection.patching.rates import patch_rates

        rates = patch_rates(subject, answered_pairs, chosen, at, **settings)
        verdict = _verdict(None if rates.caveat else rates.confirmed)
        supported = verdict is not None and verdict.outcome == "supported"
        text = rates_text(rates, verdict)
        data = rates.as_data() | {"critical_layer": rates.chosen if supported else None}
    data |= {"claim": CLAIM, "verdict": None if verdict is None else str(verdict)}
    deliver(data | {"about": about(subject, seed)}, text, as_json=as_json, output=output)


def _check_prompts(
    source: str | None, target: str | None, pairs: Path | None, first: str | None, second: str | None
) -> None:
    prompts, answers = (
        {"--source": source, "--target": target},
        {"--expected-source": first, "--expected-target": second},
    )
    for option, value in {**prompts, **answers}.items():
        if pairs is not None and value is not None:
            raise ValueError(f"{option} is given together with --pairs {pairs}; give it in that file")
        if pairs is None and option in prompts and not value:
            state = "missing" if value is None else "empty"
            raise ValueError(f"{option} is {state}; give a prompt, or --pairs FILE")
        if option in answers and value is not None and not value.strip():
            raise ValueError(f"{option} is empty; give the answer, or leave it out")
        checked_text(value or "", option)


def _check_texts(pairs: Sequence[PromptPair]) -> None:
    for pair in pairs:
        for text in (pair.source, pair.target, pair.source_answer, pair.target_answer):
            checked_text(str(text or ""), "--pairs")


def _verdict(measured: Measurement | None) -> Verdict | None:
    """Whether a layer carries the answer, as the claim `patch-carries-the-answer` declares it."""
    if measured is None:
        return None
    from lazarus_probe.claims.judging import judge_declared

    return judge_declared(CLAIM, measured)
