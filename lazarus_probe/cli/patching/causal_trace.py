"""`lazarus introspect causal-trace`: which clean states bring back the answer to a corrupted prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Layers, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers
from lazarus_probe.cli.patching.spanned import (
    Answer,
    Other,
    Part,
    PromptFile,
    PromptText,
    damage_line,
    described,
    spanned_of,
)
from lazarus_probe.spelling import one_of

if TYPE_CHECKING:
    from lazarus_probe.introspection.patching.causal_tracing import CausalTrace
    from lazarus_probe.introspection.patching.corrupted_runs import Corruption

SITES = ("resid_post", "mlp_out", "attn_out", "mixer_out")
CORRUPTIONS: tuple[Corruption, ...] = ("noise", "resample")


def causal_trace(
    model: Model,
    prompt: PromptText = None,
    part: Part = None,
    prompts: PromptFile = None,
    answer: Answer = None,
    other: Other = None,
    site: Annotated[str, typer.Option(help=f"What is put back: {', '.join(SITES)}.")] = "resid_post",
    corruption: Annotated[
        str, typer.Option(help="noise on the part's embeddings; or resample, the parts of other prompts.")
    ] = "noise",
    noise: Annotated[
        float, typer.Option(help="Noise, in standard deviations of the parts' embeddings.")
    ] = 3.0,
    draws: Annotated[int, typer.Option(min=1, help="Corrupted runs of a prompt.")] = 4,
    layers: Layers = None,
    window: Annotated[int, typer.Option(min=1, help="Layers that are put back together.")] = 1,
    adapter: Adapter = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Corrupt a part of the prompt, put clean states back layer by layer, and measure what comes back of the answer.

    Causal tracing (Meng et al. 2022, arXiv:2202.05262). Control: the state of another corrupted run, put in at the same
    place. Where it can happen one prompt shows; intervals and p need --prompts.
    """
    check_output(output)
    if site not in SITES:
        raise ValueError(f"--site {site} is unknown; {one_of(site, SITES)}")
    chosen_corruption = next((name for name in CORRUPTIONS if name == corruption), None)
    if chosen_corruption is None:
        raise ValueError(f"--corruption {corruption} is unknown; {one_of(corruption, CORRUPTIONS)}")
    spanned_prompts = spanned_of(prompt, part, prompts, answer, other)
    from lazarus_probe.checkpoints.names import num_layers_of

    chosen = None if layers is None else parse_layers(layers, num_layers_of(model))
    from lazarus_probe.introspection.patching import causal_tracing
    from lazarus_probe.introspection.patching.spanned_prompts import encode_spans
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    encoded = encode_spans(subject, spanned_prompts)
    result = causal_tracing.causal_trace(
        subject,
        encoded.ids,
        encoded.spans,
        encoded.answers,
        encoded.others,
        kind=site,
        corruption=chosen_corruption,
        noise=noise,
        draws=draws,
        layers=chosen,
        window=window,
        units=encoded.units,
        seed=seed,
        progress=True,
    )
    text = as_text(subject.name, described(subject, spanned_prompts, encoded, result.metric), result)
    data = {
        "prompts": [item.prompt for item in spanned_prompts],
        "parts": [item.part for item in spanned_prompts],
    }
    deliver(data | result.as_data() | {"about": about(subject, seed)}, text, as_json=as_json, output=output)


def as_text(name: str, heading: str, result: CausalTrace) -> str:
    """The total effect, the indirect effects by window and spot, and the damage of the strongest."""
    from lazarus_probe.introspection.patching.windows import named_window
    from lazarus_probe.statistics.student import signed_estimate

    lines = [title(f"CAUSAL TRACE: {name}"), heading]
    size = f", standard deviation {result.noise:.3g}" if result.corruption == "noise" else ""
    lines.append(f"Corruption: {result.corruption}{size}, {result.draws} runs of a prompt")
    clean, corrupted = (values[result.metric].mean() for values in (result.clean, result.corrupted))
    lines.append(f"Clean {clean:.3f}, corrupted {corrupted:.3f}")
    lines.append(f"Total effect: {signed_estimate(*map(float, result.total))}")
    beyond = "" if result.draws == 1 else ", beyond that of another corrupted run's state"
    lines += ["", f"Indirect effect of {result.kind} on {result.metric}{beyond} (* p at most .05):"]
    lines.append(result.table().text())
    layers, spot = result.cell(result.effects.best)
    share = result.effects.effect.mean[result.effects.best] / result.total.mean
    lines += ["", f"Strongest: {named_window(layers)} at the {spot}, {share:.0%} of the total effect"]
    lines.append(damage_line(result.damage))
    lines += [f"Left out: {spot}, for {why}" for spot, why in result.left_out.items()]
    if result.draws == 1:
        lines.append("With one corrupted run there is no control; give more --draws")
    return "\n".join(lines)
