"""`lazarus introspect ablate`: completions of a model without a component of some layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Layers, Model, Output, Raw, Seed
from lazarus_probe.cli.parsing import check_output, checked_text, parse_layers, parse_prompt, parse_prompts
from lazarus_probe.introspection.ablation.config import AblationConfig, AblationType, ComponentType

if TYPE_CHECKING:
    from lazarus_probe.introspection.ablation.results import Ablations

PLACEHOLDER = "x"
WIDE = 6  # most prompts in a matrix


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
    component: Annotated[ComponentType, typer.Option(help="Component to ablate.")] = ComponentType.MLP,
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
        AblationType, typer.Option(help="What replaces the outputs; zero ablation is shown for comparison.")
    ] = AblationType.MEAN,
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
    """Ablate components of layers and test whether a behaviour breaks.

    Outputs are replaced at every position, generated ones included; means and resampled rows come from prompts of
    every kind in `lazarus_probe.tasks`. The control of each layer ablates as many coordinates, drawn at random over
    all layers. A layer is called causal only with at least 10 prompts (-p @FILE, or --prompts). Damage is how much
    next-token probability the ablation moves on unrelated prompts. The model's chat template is used if it has one,
    unless --raw. Numbers are read from the start of an output: `2,209` is 2209, `1000` is not 100.
    """
    from lazarus_probe.checkpoints.names import num_layers_of
    from lazarus_probe.introspection.ablation.criteria import criterion_of

    check_output(output)
    pairs = _prompts_with_criteria(prompt, criterion, prompts)
    names = [text for text, _ in pairs]
    criteria = [criterion_of(expected) for _, expected in pairs]
    chosen = None if layers is None else parse_layers(layers, num_layers_of(model))
    from lazarus_probe.cli.output import about, deliver
    from lazarus_probe.introspection.ablation.components import layers_with
    from lazarus_probe.introspection.ablation.runs import AblationRuns, reference_prompts
    from lazarus_probe.introspection.ablation.text import matrix_text, sweep_text, together_text
    from lazarus_probe.introspection.generation.damage import unrelated_prompts
    from lazarus_probe.subject.chat import chat_prompts, has_chat_template
    from lazarus_probe.subject.subject import Subject

    subject, unrelated = Subject.load(model, adapter), unrelated_prompts()
    chat = not raw and has_chat_template(subject)
    if chosen is None:
        chosen = layers_with(subject, component)
    runs = AblationRuns(
        subject,
        chat_prompts(subject, names, chat),
        criteria,
        AblationConfig(method, component, max_tokens, seed=seed),
        chat_prompts(subject, reference_prompts(), chat),
        progress=True,
    )
    results = runs.ablations(
        [tuple(chosen)] if multi else [(layer,) for layer in chosen],
        methods=[method, AblationType.ZERO],
        names=names,
        unrelated=replace(unrelated, prompts=tuple(chat_prompts(subject, unrelated.prompts, chat))),
    )
    mode = "CHAT" if chat else "RAW"
    data = results.as_data() | {"mode": mode, "multi": multi, "about": about(subject, seed)}
    if prompts is not None and len(results.prompts) <= WIDE:
        text = matrix_text(results)
    else:
        text = together_text(results) if multi else sweep_text(results)
    full = f"\n\n{_completions(results)}" if verbose else ""
    deliver(data, f"Model: {subject.name}\nMode: {mode}\n{text}{full}", as_json=as_json, output=output)


def _prompts_with_criteria(
    prompt: str | None, criterion: str | None, prompts: str | None
) -> list[tuple[str, str]]:
    pairs = [_pair(text) for text in parse_prompts(prompts)] if prompts is not None else []
    has_prompt, has_criterion = (text not in (None, PLACEHOLDER) for text in (prompt, criterion))
    if pairs and not has_prompt and not has_criterion:
        return pairs
    if not has_prompt and not prompts:
        raise ValueError("give --prompt and --criterion, or --prompts 'prompt:expected|prompt:expected'")
    if prompt is None or criterion is None or not (has_prompt and has_criterion):
        missing = "--criterion" if has_prompt else "--prompt"
        raise ValueError(f"{missing} is missing; --prompt and --criterion go together")
    checked_text(criterion, "--criterion")
    return [*((text, criterion) for text in parse_prompt(prompt)), *pairs]


def _pair(text: str) -> tuple[str, str]:
    """`prompt:expected`, split at the last colon: prompts may contain colons."""
    prompt, colon, expected = text.rpartition(":")
    if not colon or not prompt or not expected:
        raise ValueError(
            f"--prompts {text!r}: write a prompt, a colon and the expected output, as in '45*45=:2025'"
        )
    return prompt, expected


def _completions(results: Ablations) -> str:
    lines = []
    for i, prompt in enumerate(results.prompts):
        lines += [f"{prompt!r}", f"  {'original':<18} {results.original[i]!r}"]
        lines += [
            f"  {f'{row.name} {row.method}':<18} {row.completions[i]!r}"
            for row in (*results.rows, *results.controls)
        ]
    return "\n".join(lines)
