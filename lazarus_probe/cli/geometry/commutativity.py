"""`lazarus introspect commutativity`: are the states of `a*b` and `b*a` alike, more than those of similar prompts?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, KeepOutliers, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, layer_of, parse_layers, parse_prompts
from lazarus_probe.subject.relative_depth import layer_at
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.introspection.geometry.commutativity import Commutativity

DEPTH = 0.6
# The declared claims that swapped pairs are alike, the strongest first, and the published names of the cosines.
ALIKE = "swapped-pairs-alike"
LEVELS = {
    "swapped-pairs-perfectly-alike": "PERFECT",
    "swapped-pairs-highly-alike": "HIGH",
    ALIKE: "MODERATE",
}
NAMES = {
    "same_first": "a*b with a*c",
    "same_answer": "same answer, other operands",
    "random": "nothing in common",
    "non_commutative": "a-b with b-a",
    "untrained": "a*b with b*a, untrained",
    "new_blocks": "a*b with b*a, new blocks",
    "permuted_blocks": "the same, permuted blocks",
}


def commutativity(
    model: Model,
    pairs: Annotated[
        str | None,
        typer.Option(help="Pairs as in '2*3,3*2|4*7,7*4', or @FILE.", show_default="28 products of 2 to 9"),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            "--layer",
            "-l",
            help="One layer, counted from 0; -1 is the last.",
            show_default="60% of the depth",
        ),
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Several layers instead, as in 0,4-7, or all.")] = None,
    keep_outliers: KeepOutliers = False,
    adapter: Adapter = None,
    output: Output = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Compare the states of a*b and b*a, and of pairs that share less or do not commute.

    Cosine similarities at the last token, centred on the other prompts of the operation and without outlier
    dimensions. A high one means little by itself: it must exceed those of pairs that share an operand or the answer,
    of random pairs, of a-b with b-a, and of the same pairs in untrained and lesioned models.
    """
    from lazarus_probe.checkpoints.names import num_layers_of

    check_output(output)
    if layer is not None and layers is not None:
        raise ValueError("--layer and --layers are both given; give one of them")
    count = num_layers_of(model)
    if layers is not None:
        wanted = parse_layers(layers, count)
    else:
        wanted = [layer_at(DEPTH, count) if layer is None else layer_of(layer, count)]
    from lazarus_probe.introspection.geometry.swaps import default_swaps, parse_swaps

    swaps = default_swaps() if pairs is None else parse_swaps(parse_prompts(pairs, "--pairs"))
    from lazarus_probe.introspection.geometry import commutativity as analysis
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    result = analysis.commutativity(subject, swaps, wanted, seed, keep_outliers=keep_outliers)
    verdicts = judged(result)
    data, levels = result.as_data(), [level_of(by_layer) for by_layer in verdicts]
    for row, level, by_layer in zip(data["layers"], levels, verdicts, strict=True):
        row |= {"level": level, "claim": ALIKE, "verdict": str(by_layer[ALIKE])}
    first = {key: data["layers"][0][key] for key in ("level", "claim", "verdict")}
    data = {**data, **first, "about": about(subject, seed)}
    deliver(data, _text(result, verdicts), as_json=as_json, output=output)


def judged(result: Commutativity) -> list[dict[str, Verdict]]:
    """By layer and declared claim, whether swapped pairs are that alike, and more than those of every control.

    The layers are one family for each claim.
    """
    from lazarus_probe.claims.declared import declared
    from lazarus_probe.claims.judging import judge_together
    from lazarus_probe.claims.verdict import Outcome, Verdict

    if not result.commutes:
        excluded = Verdict(Outcome.NOT_APPLICABLE, "the pairs do not commute: only sums and products do")
        return [dict.fromkeys(LEVELS, excluded) for _ in result.layers]
    by_claim = {
        claim_id: judge_together(
            {str(row): (declared(claim_id), measured) for row, measured in enumerate(result.measurements)}
        )
        for claim_id in LEVELS
    }
    return [
        {claim_id: verdicts[str(row)] for claim_id, verdicts in by_claim.items()}
        for row in range(len(result.layers))
    ]


def level_of(verdicts: Mapping[str, Verdict]) -> str:
    """The strongest level that is supported; LOW where the weakest is refuted, and else `not shown`."""
    supported = [name for claim_id, name in LEVELS.items() if verdicts[claim_id].outcome == "supported"]
    if supported:
        return supported[0]
    return "LOW" if verdicts[ALIKE].outcome == "refuted" else "not shown"


def _text(result: Commutativity, verdicts: Sequence[Mapping[str, Verdict]]) -> str:
    lines = [
        title("COMMUTATIVITY: a*b AND b*a"),
        f"Model: {result.model_id}",
        f"Pairs: {len(result.swaps)}",
        *result.notes(),
        "",
    ]
    if len(result.layers) == 1:
        columns = (
            Column("Prompt A", width=12),
            Column("Prompt B", width=12),
            Column("Similarity", ".4f", width=11),
            Column("Says A", width=9),
            "Says B",
        )
        rows = [
            (swap.prompt_a, swap.prompt_b, value, *map(_short, completions))
            for swap, value, completions in zip(
                result.swaps, result.similarities[0], result.outputs, strict=True
            )
        ]
        lines += [Table(columns, rows).text(gap=1, rule=True), ""]
    for layer, values, raw, measured, by_claim in zip(
        result.layers, result.similarities, result.raw, result.measurements, verdicts, strict=True
    ):
        lines += [
            f"Layer {layer}: mean {values.mean():.4f} [{measured.low:.4f}, {measured.high:.4f}], "
            f"std {values.std():.4f}, min {values.min():.4f}, max {values.max():.4f}, n = {measured.n}"
            + (f"; raw mean {raw.mean():.4f}" if result.centre else ""),
            f"Level: {level_of(by_claim)}",
            *(
                f"  {NAMES[control.name].ljust(28)} {control.score:.4f}   gain {control.gain:+.4f} "
                f"[{control.low:+.4f}, {control.high:+.4f}]"
                for control in measured.controls
            ),
        ]
        if (verdict := by_claim[ALIKE]).outcome == "supported":
            lines.append(
                "Order does not matter to the state here: swapped pairs are closer than those of every control."
            )
            lines += [f"  {verdict}", ""]
        else:
            lines += [f"No finding ({verdict})", ""]
    same = result.same_answer
    lines.append(
        f"Both orders get one answer: {same.score:.2f} [{same.low:.2f}, {same.high:.2f}]; "
        f"two random prompts: {same.controls[0].score:.2f}; right: {result.right():.2f} of {2 * same.n}"
    )
    return "\n".join(lines)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 8 else f"{line[:7]}…"
