"""`lazarus introspect early-layers`: what the first layers carry of an expression."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, KeepOutliers, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers
from lazarus_probe.cli.probing.probe_text import accuracy, compared, r2, verdict_lines
from lazarus_probe.cli.studies.operations import parse_operations
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.introspection.studies.early_layers import EarlyLayersResult

DEFAULT = (0, 1, 2, 4)
EXTRACTABLE, MOSTLY = "answer-extractable", "computation-mostly-complete"
LABELS = {"op": "Operation", "a": "First operand R2", "b": "Second operand R2", "answer": "Answer R2"}


def early_layers(
    model: Model,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            "--layer",
            "-l",
            help="Layers, counted from 0, as in 0,4-7; or all.",
            show_default="0,1,2,4,8",
        ),
    ] = None,
    operations: Annotated[
        str, typer.Option(help="Operations on the same operands: some of *, +, -, /, or all.")
    ] = "*,+,-",
    digits: Annotated[str, typer.Option(help="Numbers to use as operands, as in 2-8 or 2,5,7-9.")] = "2-8",
    analyze_positions: Annotated[
        bool, typer.Option("--analyze-positions", help="Probe every token, not only the last.")
    ] = False,
    keep_outliers: KeepOutliers = False,
    adapter: Adapter = None,
    output: Output = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Compare expressions after early layers, and probe for operation, operands and answer.

    Probes are scored on held-out pairs of operands, and compared with a bag of tokens, untrained models and, for the
    answer, a probe that is given the operands themselves; an answer is called extractable only beyond all of these.
    """
    from lazarus_probe.checkpoints.names import num_layers_of

    chosen, numbers = parse_operations(operations, "--operations"), parse_numbers(digits)
    check_output(output)
    depth = num_layers_of(model)
    read = default_layers(depth) if layers is None else parse_layers(layers, depth)
    from lazarus_probe.introspection.studies.early_layers import early_layers as analyse
    from lazarus_probe.introspection.studies.expressions import expressions
    from lazarus_probe.subject.subject import Subject

    try:
        expressions(chosen, numbers)
    except ValueError as error:
        raise ValueError(f"--digits {digits}: {error}") from None
    subject = Subject.load(model, adapter)
    result = analyse(
        subject,
        read,
        chosen,
        numbers,
        positions=analyze_positions,
        keep_outliers=keep_outliers,
        seed=seed,
        progress=True,
    )
    from lazarus_probe.claims.declared import declared
    from lazarus_probe.claims.judging import verdict_data

    verdicts = judged(result, EXTRACTABLE)
    verdict_records = {key: verdict_data(declared(EXTRACTABLE), verdict) for key, verdict in verdicts.items()}
    deliver(
        result.as_data() | {"verdicts": verdict_records, "about": about(subject, seed)},
        "\n".join(text(result, verdicts)),
        as_json=as_json,
        output=output,
    )


def default_layers(depth: int) -> list[int]:
    """0, 1, 2, 4 and 8, as far as the model has them; its last layer where it has fewer than nine."""
    return sorted({layer for layer in DEFAULT if layer < depth} | {min(8, depth - 1)})


def parse_numbers(text: str) -> list[int]:
    """The numbers of `2-8` or `2,5,7-9`, in order and each once.

    Raises:
        ValueError: it is neither, or a number is not in 1 to 999.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part.strip(), re.ASCII)
        ends = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= ends[0] <= ends[1]:
            raise ValueError(
                f"--digits {text}: {part.strip()!r} is not a number from 1 to 999 or a range of them; "
                "write them as in 2-8 or 2,5,7-9"
            )
        numbers.update(range(ends[0], ends[1] + 1))
    return sorted(numbers)


def judged(result: EarlyLayersResult, claim_id: str) -> dict[str, Verdict]:
    """By `answer_r2_L0` and so on, the verdict on a declared claim about the answer; the layers are one family."""
    from lazarus_probe.claims.declared import declared
    from lazarus_probe.claims.judging import judge_together

    claim = declared(claim_id)
    return judge_together(
        {f"answer_r2_L{layer}": (claim, row["answer"]) for layer, row in result.probes.items()}
    )


def text(result: EarlyLayersResult, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """The result as it is read."""
    numbers = ",".join(map(str, result.digits))
    yield f"Model: {result.model}"
    yield f"Prompts: {result.num_prompts} ({', '.join(result.operations)} of {numbers})"
    yield "\n" + title("PART 1: REPRESENTATION SIMILARITY (last token)")
    yield from _similarity(result)
    yield "\n" + title("PART 2: WHAT CAN BE READ (held-out pairs of operands, last token)")
    yield "R2 is capped: an error counts for one standard deviation of the labels at most; --json has `plain_r2` too."
    for layer in result.layers:
        yield f"Layer {layer}:"
        yield from _probes(result, layer)
    if result.positions:
        yield "\n" + title("PART 3: WHICH POSITION CARRIES WHAT")
        yield from _positions(result)
    yield "\n" + title("INTERPRETATION")
    yield from interpretation(result, verdicts)
    yield ""
    yield from verdict_lines(verdicts)


def _similarity(result: EarlyLayersResult) -> Iterator[str]:
    rows = [
        (f"{a} {b}", *(result.cosines[layer][index] for layer in result.layers))
        for index, (a, b) in enumerate(result.pairs)
    ]
    for index, name in enumerate(("all pairs, raw", "the same, untrained")):
        rows.append((name, *(result.mean_cosines[layer][index] for layer in result.layers)))
    layers = [Column(f"L{layer}", ".3f", width=6) for layer in result.layers]
    yield Table(["", *layers], rows).text()
    yield from result.notes()


def _probes(result: EarlyLayersResult, layer: int) -> Iterator[str]:
    for target, measured in result.probes[layer].items():
        score = accuracy(measured) if target == "op" else r2(measured)
        yield f"  {LABELS[target]}: {score}"
    if "op" not in result.probes[layer]:
        yield f"  {LABELS['op']}: only {result.operations[0]} is included"
    first = result.probes[layer]["answer"]
    yield f"  (n = {first.n} in {first.groups} groups)"


def _positions(result: EarlyLayersResult) -> Iterator[str]:
    yield "At the token of each, the score, and in brackets its gain over the best control:"
    targets = list(next(iter(result.probes.values())))
    rows = []
    for name, by in result.positions.items():
        for layer, row in by.items():
            cells = []
            for measured in row.values():
                best = measured.best_control
                cells.append(f"{measured.score:.3f} ({best.gain:+.3f})" if best else f"{measured.score:.3f}")
            rows.append([name, f"L{layer}", *cells])
    labels = [Column(LABELS[target], width=17) for target in targets]
    yield Table([Column("position", width=14), "layer", *labels], rows).text()


def interpretation(result: EarlyLayersResult, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """What the numbers support, and where they do not, which control prevents it."""
    shown = [layer for layer in result.layers if verdicts[f"answer_r2_L{layer}"].outcome == "supported"]
    for layer in shown:
        yield f"Answer extractable after L{layer} (R2 {result.probes[layer]['answer'].score:.3f})"
    mostly = judged(result, MOSTLY)
    done = [layer for layer in result.layers if mostly[f"answer_r2_L{layer}"].outcome == "supported"]
    if done:
        yield f"Computation mostly complete by L{done[0]} (R2 {result.probes[done[0]]['answer'].score:.3f})"
    if done:
        model, untrained = result.mean_cosines[done[0]]
        yield f"Mean raw cosine of all expressions after L{done[0]}: {model:.3f}; in an untrained model {untrained:.3f}"
    else:
        best = max(result.layers, key=lambda layer: result.probes[layer]["answer"].score)
        measured = result.probes[best]["answer"]
        yield f"Answer not shown to be computed by any of these layers: R2 {measured.score:.3f} at most (L{best}),"
        yield f"  {compared(measured)}; {mostly[f'answer_r2_L{best}']}"
