"""`lazarus introspect ablate`: completions of a model without a component of some layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Layers, Model, Output, Raw, Seed
from lazarus_probe.cli.parsing import check_output, checked_text, parse_layers, parse_prompt, parse_prompts

if TYPE_CHECKING:
    from lazarus_probe.introspection.ablation.findings import Ablations
    from lazarus_probe.subject.subject import Subject

PLACEHOLDER = "x"
WIDE = 6  # prompts that a matrix has columns for

Component = Literal[
    "mlp",
    "attention",
    "both",
    "mlp_gate",
    "mlp_up",
    "mlp_down",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_o",
]
Method = Literal["mean", "zero", "resample", "noise"]


def ablate(
    model: Model,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="The prompt, or @FILE with many; x for none.")
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            "--criterion",
            "-c",
            help="What an output must show to pass: function_call, sorry, positive, negative, refusal, a "
            "number, or a text; x for none.",
        ),
    ] = None,
    component: Annotated[Component, typer.Option(help="Component to ablate.")] = "mlp",
    layers: Layers = None,
    multi: Annotated[
        bool, typer.Option("--multi", help="Ablate all layers together, not one at a time.")
    ] = False,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts", help="Several prompts, each with its criterion: 'prompt:expected|prompt2:expected2'."
        ),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="What replaces the outputs; zero ablation is shown for comparison.")
    ] = "mean",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Maximum tokens to generate.")] = 60,
    raw: Raw = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also print every output in full.")
    ] = False,
    adapter: Adapter = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Ablate components of layers and see whether a behaviour breaks.

    Outputs are replaced at every position, generated ones included; means and resampled rows come from prompts of
    every kind in `lazarus_probe.tasks`. The control of each layer ablates as many coordinates, drawn at random over
    all layers. A layer is called causal only with at least 10 prompts (-p @FILE, or --prompts). Damage is how much
    next-token probability the ablation moves on unrelated prompts. The model's chat template is used if it has one,
    unless --raw. Numbers are read from the start of an output: `2,209` is 2209, `1000` is not 100.
    """
    from lazarus_probe.checkpoints.names import num_layers_of
    from lazarus_probe.introspection.ablation.criteria import criterion_of

    check_output(output)
    asked = _asked(prompt, criterion, prompts)
    criteria = [criterion_of(expected) for _, expected in asked]
    chosen = None if layers is None else parse_layers(layers, num_layers_of(model))
    from lazarus_probe.cli.output import about, deliver
    from lazarus_probe.introspection.ablation.components import (
        AblationType,
        ComponentType,
        layers_with,
    )
    from lazarus_probe.introspection.ablation.runs import AblationConfig
    from lazarus_probe.introspection.ablation.study import ablations, reference_prompts
    from lazarus_probe.introspection.generation.damage import unrelated_prompts
    from lazarus_probe.subject.subject import Subject

    subject, unrelated = Subject.load(model, adapter), unrelated_prompts()
    if chosen is None:
        chosen = layers_with(subject, ComponentType(component))
    found = ablations(
        subject,
        _in_mode(subject, [text for text, _ in asked], raw),
        criteria,
        [tuple(chosen)] if multi else [(layer,) for layer in chosen],
        AblationConfig(AblationType(method), ComponentType(component), max_tokens, seed=seed),
        methods=[AblationType(method), AblationType.ZERO],
        names=[text for text, _ in asked],
        reference=_in_mode(subject, list(reference_prompts()), raw),
        progress=True,
        unrelated=replace(unrelated, prompts=tuple(_in_mode(subject, list(unrelated.prompts), raw))),
    )
    mode = "RAW" if _is_raw(subject, raw) else "CHAT"
    data = found.as_data() | {"mode": mode, "multi": multi, "about": about(subject, seed)}
    text = _text(found, multi, prompts is not None)
    full = f"\n\n{_outputs(found)}" if verbose else ""
    deliver(data, f"Model: {subject.name}\nMode: {mode}\n{text}{full}", as_json=as_json, output=output)


def _asked(prompt: str | None, criterion: str | None, prompts: str | None) -> list[tuple[str, str]]:
    """Prompts with their criteria.

    Raises:
        ValueError: a prompt without a criterion or the other way round, or none at all.
    """
    given = [each for each in (prompt, criterion) if each not in (None, PLACEHOLDER)]
    found = [_pair(text) for text in parse_prompts(prompts)] if prompts is not None else []
    if found and not given:
        return found
    if prompt in (None, PLACEHOLDER) and not prompts:
        raise ValueError("give --prompt and --criterion, or --prompts 'prompt:expected|prompt:expected'")
    if prompt is None or criterion is None or PLACEHOLDER in (prompt, criterion):
        missing = "--prompt" if prompt in (None, PLACEHOLDER) else "--criterion"
        raise ValueError(f"{missing} is missing; --prompt and --criterion go together")
    checked_text(criterion, "--criterion")
    return [*((text, criterion) for text in parse_prompt(prompt)), *found]


def _pair(text: str) -> tuple[str, str]:
    """`prompt:expected`, split at the last colon: prompts may hold colons.

    Raises:
        ValueError: there is no colon, or nothing on one side of it.
    """
    prompt, colon, expected = text.rpartition(":")
    if not colon or not prompt or not expected:
        raise ValueError(
            f"--prompts {text!r}: write a prompt, a colon and the expected output, as in '45*45=:2025'"
        )
    return prompt, expected


def _is_raw(subject: Subject, raw: bool) -> bool:
    from lazarus_probe.subject.chat import has_chat_template

    return raw or not has_chat_template(subject)


def _in_mode(subject: Subject, texts: list[str], raw: bool) -> list[str]:
    """Texts as the model is given them: in its chat template, unless it has none or they are to be raw."""
    from lazarus_probe.subject.chat import in_chat

    return texts if _is_raw(subject, raw) else [in_chat(subject, text) for text in texts]


def _text(found: Ablations, multi: bool, matrix: bool) -> str:
    from lazarus_probe.introspection.ablation.text import matrix_text, sweep_text, together_text

    if matrix and len(found.prompts) <= WIDE:
        return matrix_text(found)
    return together_text(found) if multi else sweep_text(found)


def _outputs(found: Ablations) -> str:
    """Every output in full."""
    lines = []
    for i, prompt in enumerate(found.prompts):
        lines += [f"{prompt!r}", f"  {'original':<18} {found.original[i]!r}"]
        lines += [
            f"  {f'{row.name} {row.method}':<18} {row.said[i]!r}" for row in (*found.rows, *found.controls)
        ]
    return "\n".join(lines)
