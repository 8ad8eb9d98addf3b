"""`lazarus introspect hooks`: what hooks capture on a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, KeepOutliers, Layers, Model, Output, Prompt
from lazarus_probe.cli.parsing import check_output, parse_layers, parse_prompt

if TYPE_CHECKING:
    from lazarus_probe.introspection.capture.capture_report import Attended, CaptureReport


def hooks(
    model: Model,
    prompt: Prompt,
    layers: Layers = None,
    capture_attention: Annotated[
        bool, typer.Option("--capture-attention", help="Also capture attention weights.")
    ] = False,
    last_only: Annotated[bool, typer.Option("--last-only", help="Capture only the last position.")] = False,
    no_logit_lens: Annotated[bool, typer.Option("--no-logit-lens", help="Leave out the logit lens.")] = False,
    top_k: Annotated[
        int, typer.Option("--top-k", min=1, help="Logit-lens predictions to show per layer.")
    ] = 5,
    keep_outliers: KeepOutliers = False,
    adapter: Adapter = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Capture hidden states and attention of layers on a prompt, and summarise them.

    The model's own code runs, observed by hooks. By default layers are evenly spaced over the model. Attention sinks
    and positions with massive activations are named, and left out of averages.
    """
    from lazarus_probe.checkpoints.names import num_layers_of

    check_output(output)
    texts = parse_prompt(prompt)
    chosen = None if layers is None else parse_layers(layers, num_layers_of(model))
    from lazarus_probe.cli.output import about, deliver
    from lazarus_probe.introspection.capture.capture_report import capture_report
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    reports = [
        capture_report(
            subject,
            text,
            chosen,
            attention=capture_attention,
            last_only=last_only,
            lens=not no_logit_lens,
            top_k=top_k,
            keep_outliers=keep_outliers,
        )
        for text in texts
    ]
    data = {
        "model": subject.name,
        "num_layers": subject.num_layers,
        "layers": [report.layer for report in reports[0].layers],
        "results": [report.as_data() for report in reports],
        "about": about(subject),
    }
    head = f"Model: {subject.name} ({subject.num_layers} layers)"
    text = "\n\n".join([head, *("\n".join(_lines(report)) for report in reports)])
    deliver(data, text, as_json=as_json, output=output)


def _lines(report: CaptureReport) -> Iterator[str]:
    yield f"Prompt: {report.prompt!r}"
    yield f"Tokens ({len(report.tokens)}): {list(report.tokens)}"
    yield f"Captured layers: {[captured.layer for captured in report.layers]}"
    yield f"Logits: {report.logits_shape}"
    if notes := report.notes():
        yield "\n=== Outliers (--keep-outliers keeps them) ==="
        yield from (f"  {note}" for note in notes)
    yield "\n=== Hidden states ==="
    for captured in report.layers:
        yield (
            f"  Layer {captured.layer:2d}: shape {captured.shape}, norm {captured.norm:.3f} at the last position, "
            f"{captured.mean_norm:.3f} on average, {captured.median_norm:.3f} at the median position"
        )
    attended = [(captured.layer, captured.attention) for captured in report.layers if captured.attention]
    if attended:
        yield "\n=== Attention from the last position ==="
    for layer, attention in attended:
        yield f"  Layer {layer:2d}: {_attention(attention)}"
    if report.lens:
        yield f"\n=== Logit lens at position {report.lens[0].position} ==="
    for read in report.lens:
        pairs = zip(read.top_tokens, read.top_probs, strict=True)
        yield f"  Layer {read.layer_idx:2d}: " + " | ".join(f"{token!r} ({p:.4f})" for token, p in pairs)


def _attention(attention: Attended) -> str:
    top = zip(attention.tokens, attention.positions, attention.weights, strict=True)
    named = ", ".join(f"{token!r} at {position} ({weight:.2f})" for token, position, weight in top)
    most = f"{attention.outliers:.2f} to outliers, then" if attention.outliers else "most"
    return f"shape {attention.shape}, entropy {attention.entropy:.3f} nats; {most} to {named or 'no other position'}"
