"""`lazarus introspect heads`: which heads are induction, duplicate-token and previous-token heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output

if TYPE_CHECKING:
    from lazarus_probe.introspection.attribution.head_scores import HeadScores
    from lazarus_probe.introspection.attribution.named_heads import Kind

POSITIONS = {
    "induction": "attention to the token after the first occurrence",
    "duplicate": "attention to the first occurrence",
    "previous": "attention to the token before",
    "copying": "share of tokens that the OV circuit raises most where it reads them",
    "successor": "share of ordered words of which the OV circuit raises the next one most",
}
CONTROLS = {
    "induction": "second half in another order",
    "duplicate": "second half in another order",
    "previous": "attention spread evenly",
    "copying": "the next token of the row in place of the token itself",
    "successor": "the other words of the sequence",
}
MODELS = {
    "untrained": "untrained models",
    "new_blocks": "models with new blocks",
    "permuted_blocks": "models with permuted blocks",
}


def heads(
    model: Model,
    adapter: Adapter = None,
    length: Annotated[int, typer.Option(min=4, help="Random tokens per sequence, repeated once.")] = 50,
    rows: Annotated[
        int, typer.Option(min=5, help="Number of sequences, the units of intervals and p-values.")
    ] = 8,
    top: Annotated[int, typer.Option(min=1, help="Heads to show of each kind.")] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Minimum gain over the control for a head to be named.",
            show_default="the threshold of the claim head-has-a-name",
        ),
    ] = None,
    untrained: Annotated[int, typer.Option(min=3, help="Number of untrained models to compare with.")] = 5,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Score heads on repeated random tokens: induction, duplicate-token and previous-token heads.

    Olsson et al. 2022 (arXiv:2209.11895). A head is named where its attention exceeds the control's by the threshold,
    beyond chance over sequences (step-down maximum over all heads of all kinds) and beyond the best head of untrained
    and of lesioned models.
    """
    check_output(output)
    from lazarus_probe.introspection.attribution.head_scores import head_scores
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    limit = subject.context_length
    if limit is not None and 2 * length + 1 > limit:
        raise ValueError(f"--length {length}: 2 * {length} + 1 tokens do not fit into {limit}; give fewer")
    result = head_scores(
        subject, length, rows, threshold=threshold, untrained=untrained, seed=seed, progress=True
    )
    data = result.as_data() | {"about": about(subject, seed)}
    deliver(data, as_text(subject.name, result, top), as_json=as_json, output=output)


def as_text(name: str, result: HeadScores, top: int) -> str:
    """The best heads of each kind compared with their controls, and the gain from the repetition."""
    lines = [title(f"ATTENTION HEADS: {name}")]
    lines.append(f"{result.rows} rows of {result.length} random tokens that come twice (seed {result.seed})")
    for kind, scores in result.kinds.items():
        lines += ["", *kind_lines(kind, scores, top, result.threshold)]
    loss = result.loss
    lines += ["", "Loss on the repetition, nats a token:"]
    lines.append(f"  first half                    {loss['first_half']:.3f}")
    lines.append(f"  second half                   {loss['second_half']:.3f}")
    lines.append(f"  second half in another order  {loss['second_half_in_another_order']:.3f}")
    lines.append(f"  gain over the first half      {_estimate(*result.loss_gain)}")
    lines.append(f"  gain over another order       {_estimate(*result.copying_gain)}")
    return "\n".join(lines)


def kind_lines(
    name: str, kind: Kind, top: int, threshold: float, claim: str = "head-has-a-name"
) -> list[str]:
    """The best heads of one kind, all that are named, and the best of control models."""
    import numpy as np

    from lazarus_probe.claims.judging import by_option
    from lazarus_probe.introspection.attribution.named_heads import NAMES
    from lazarus_probe.tables import Column, Table

    order = np.argsort(-np.nan_to_num(kind.gain.mean, nan=-np.inf), axis=None, kind="stable")[:top]
    columns = (
        Column("Head", width=8),
        Column("Score", ".3f"),
        Column("Control", ".3f"),
        Column("Gain [95%]", width=21),
        Column("p", ".4f"),
        Column(""),
    )
    rows = []
    for layer, number in zip(*np.unravel_index(order, kind.score.shape), strict=True):
        head = (int(layer), int(number))
        gain = _estimate(*(values[head] for values in kind.gain))
        label = NAMES[name] if head in kind.named else ""
        rows.append((f"L{layer}.H{number}", kind.score[head], kind.control[head], gain, kind.p[head], label))
    lines = [f"{name.capitalize()}: {POSITIONS[name]} (control: {CONTROLS[name]})"]
    lines += [f"  {line}" for line in Table(columns, rows).lines()]
    if hidden := [head for head in kind.named if np.ravel_multi_index(head, kind.score.shape) not in order]:
        more = ", ".join(f"L{layer}.H{head} {kind.gain.mean[layer, head]:.3f}" for layer, head in hidden)
        lines.append(f"  named as well, by their gain: {more}")
    for model, best in kind.models.items():
        lines.append(f"  best gain of {MODELS[model]}: {', '.join(f'{gain:.3f}' for gain in best)}")
    if not kind.named:
        lines.append(f"  no head goes beyond the controls: no {NAMES[name]} was found")
        verdict = f"{kind.verdicts[kind.best]}{by_option(claim, threshold, '--threshold')}"
        lines.append(f"  best L{kind.best[0]}.H{kind.best[1]}: {verdict}")
    return lines


def _estimate(mean: Any, low: Any, high: Any) -> str:
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"
