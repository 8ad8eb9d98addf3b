"""What `lazarus introspect patch` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazarus_probe.cli.output import columns, title

if TYPE_CHECKING:
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.introspection.patching.answered_pairs import AnsweredPair
    from lazarus_probe.introspection.patching.layers import LayerPatch, PatchResult
    from lazarus_probe.introspection.patching.prompt_pairs import Answer
    from lazarus_probe.introspection.patching.rates import PatchRates

EFFECTS = {
    "no_effect": "No effect",
    "partial_transfer": "Partial transfer",
    "full_transfer": "FULL TRANSFER",
    "corruption": "Corruption",
}
MEANINGS = (
    ("FULL TRANSFER", "the source's answer comes out"),
    ("Partial transfer", "another number; or words, with the source's answer further on"),
    ("Corruption", "no number any more; or words of neither answer"),
    ("No effect", "the same answer as before"),
    ("Effect fades", "no effect, above a layer with full transfer"),
)
WIDTHS = (8, 16, 18, 11, 10, 8, 13)


def _one_line(text: str, most: int = 40) -> str:
    """An output in one line, and in few characters."""
    from lazarus_probe.tasks.arithmetic import parse_number

    line = " ".join(text.split())
    if parse_number(line) is not None:
        line = line.split()[0]
    return (line if len(line) <= most else f"{line[: most - 1]}…") or "(ends)"


def _prompt(text: str) -> str:
    """A prompt in one line; with what cannot be printed spelt out."""
    line = text if text.isprintable() else repr(text)
    return line if len(line) <= 200 else f"{line[:199]}…"


def _answer(answer: Answer | None) -> str:
    from lazarus_probe.introspection.patching.answers import shown

    return shown(answer) or "nothing, the text ends"


def _header(answered: AnsweredPair) -> list[str]:
    pair = answered.pair
    rows = (
        ("Source", pair.source, pair.source_answer, answered.source_given),
        ("Target", pair.target, pair.target_answer, answered.target_given),
    )
    return [
        f"{side}: {_prompt(prompt)} (expected: {_answer(answer)}{'' if given else '; as the model says'})"
        for side, prompt, answer, given in rows
    ]


def single_text(result: PatchResult, verdict: Verdict | None) -> str:
    """One layer of one pair, in words."""
    from lazarus_probe.introspection.patching.answers import says

    layer, answered = result.results[0], result.pair
    right = says(layer.original_output, answered.pair.target_answer)
    name = _prompt(answered.pair.target.strip().removesuffix("=").strip())
    judged = "not what is expected" if not right else "correct" if answered.answers_given else "as expected"
    notes = {
        "full_transfer": "source answer transferred!",
        "no_effect": "unchanged",
        "partial_transfer": "changed, and not the source's answer",
        "corruption": "no answer to either",
    }
    where = "" if result.position == "last" else f", position {result.position}"
    share = "" if result.blend == 1 else f", {result.blend:g} of the source's state"
    return "\n".join(
        [
            title("ACTIVATION PATCHING"),
            *_header(answered),
            f"Patching at layer {layer.layer}{where}{share}",
            "",
            "Before patching:",
            f"  Target output: {_one_line(layer.original_output)} ({judged} for {name})",
            "",
            "After patching:",
            f"  Target output: {_one_line(layer.patched_output)} ({notes[layer.effect]})",
            "",
            *_effect(result, layer),
            "",
            *_numbers(layer, answered),
            *_controls(result, layer),
            "",
            *_limits(result, verdict),
        ]
    )


def _effect(result: PatchResult, layer: LayerPatch) -> list[str]:
    if layer.effect != "full_transfer":
        meaning = dict(MEANINGS)[EFFECTS[layer.effect]]
        return [f"Effect: {EFFECTS[layer.effect].upper()}", f"  That is: {meaning}"]
    if result.doubt:
        return ["Effect: Full transfer", f"  It shows little: {result.doubt}"]
    return ["Effect: TRANSFER SUCCESS", "  Computation from source replaced target computation"]


def _numbers(layer: LayerPatch, answered: AnsweredPair) -> list[str]:
    first, second = _answer(answered.pair.source_answer), _answer(answered.pair.target_answer)
    lines = []
    if layer.logit_diff is not None and layer.logit_diff_before is not None:
        lines.append(
            f"Logit of {first} minus that of {second}: {layer.logit_diff_before:+.2f} before, "
            f"{layer.logit_diff:+.2f} after"
        )
    if layer.probability is not None and layer.probability_before is not None:
        lines.append(
            f"Probability of {first}: {layer.probability_before:.4f} before, {layer.probability:.4f} after"
        )
    return [*lines, f"KL(before || after) of the next token: {max(layer.kl, 0):.3f} nats"]


def _controls(result: PatchResult, layer: LayerPatch) -> list[str]:
    first = _answer(result.pair.pair.source_answer)
    donor, other = layer.random_donor, layer.random_position
    lines = [
        f"Foreign sources: {donor['found']}/{donor['n']} bring {first}, "
        f"{donor['changed']}/{donor['n']} change the answer"
    ]
    if other["n"]:
        places = ", ".join(map(str, result.other_positions))
        lines.append(f"Other positions ({places} from the end): {other['found']}/{other['n']} bring {first}")
    return lines


def _limits(result: PatchResult, verdict: Verdict | None, note: bool = True) -> list[str]:
    lines = [] if verdict is None else [f"Verdict on the layer: {verdict}"]
    lines.append(
        "n = 1 pair: it shows what can happen, not how often; --pairs FILE gives rates with intervals."
    )
    if note and result.doubt and result.full_transfer_layer is None:
        lines.append(f"Note: {result.doubt}.")
    return lines


def sweep_text(result: PatchResult, verdict: Verdict | None) -> str:
    """Several layers of one pair, as a table."""
    pair = result.pair.pair
    heads = ("Layer", "Target Output", "Effect", "Logit diff", "P(source)", "KL", "Foreign", "Elsewhere")
    rows = [_row(layer, result.doubt) for layer in result.results]
    seen = {row[2].casefold() for row in rows}
    before = result.results[0]
    lines = [
        title(f"LAYER SWEEP: {_prompt(pair.source)} → {_prompt(pair.target)}"),
        *_header(result.pair),
        f"Position: {result.position}" + ("" if result.blend == 1 else f", blend {result.blend:g}"),
        "",
        columns([heads], WIDTHS),
        "-" * 96,
        columns([("before", _one_line(before.original_output, WIDTHS[1]), "", _signed(before.logit_diff_before),
                  _share(before.probability_before))], WIDTHS),
        columns(rows, WIDTHS),
        "",
        _critical(result),
        "",
        *(f"{name}: {meaning}" for name, meaning in MEANINGS if name.casefold() in seen),
        f"Foreign: of {len(result.donors)} other sources, those that bring the source's answer; "
        "Elsewhere: of other positions.",
        *_limits(result, verdict, note=False),
    ]  # fmt: skip
    return "\n".join(lines)


def _name(layer: LayerPatch, doubt: str) -> str:
    """An effect's name; in capitals only where it shows something."""
    if layer.fades:
        return "Effect fades"
    return EFFECTS[layer.effect].capitalize() if doubt else EFFECTS[layer.effect]


def _row(layer: LayerPatch, doubt: str) -> tuple[str, ...]:
    donor, other = layer.random_donor, layer.random_position
    return (
        f"L{layer.layer}",
        _one_line(layer.patched_output, WIDTHS[1]),
        _name(layer, doubt),
        _signed(layer.logit_diff),
        _share(layer.probability),
        f"{max(layer.kl, 0):.3f}",
        f"{donor['found']}/{donor['n']}",
        f"{other['found']}/{other['n']}",
    )


def _signed(number: float | None) -> str:
    return "-" if number is None else f"{number:+.2f}"


def _share(number: float | None) -> str:
    return "-" if number is None else f"{number:.4f}"


def _critical(result: PatchResult) -> str:
    if result.critical_layer is not None:
        return f"Critical layer: {result.critical_layer} (first full transfer)"
    if result.doubt:
        return f"Critical layer: none ({result.doubt})"
    return "Critical layer: none (no full transfer)"


def rates_text(rates: PatchRates, verdict: Verdict | None) -> str:
    """Several layers of many pairs, as a table of rates."""
    from lazarus_probe.statistics.intervals import estimate

    controls = [control.name for control in rates.rates[0].controls]
    heads = ("Layer", "Full transfer", *(name.replace("_", " ") for name in controls), "Partial", "Corrupt",
             "No effect", "KL")  # fmt: skip
    widths = (6, 20, *(16 for _ in controls), 8, 8, 10)
    rows = []
    for row, (layer, rate) in enumerate(zip(rates.layers, rates.rates, strict=True)):
        shares = [
            f"{(rates.effects[row] == effect).mean():.2f}"
            for effect in ("partial_transfer", "corruption", "no_effect")
        ]
        rows.append(
            (f"L{layer}", estimate(rate.score, rate.low, rate.high),
             *(f"{control.score:.2f}" for control in rate.controls), *shares, f"{rates.numbers['kl'][row]:.3f}")
        )  # fmt: skip
    groups = len({pair.group for pair in rates.pairs})
    return "\n".join(
        [
            title(f"LAYER SWEEP: {len(rates.pairs)} pairs"),
            f"Pairs: {len(rates.pairs)} of {groups} independent groups; left out, as the model does not give both "
            f"answers: {len(rates.left_out)}",
            f"Position: {rates.position}" + ("" if rates.blend == 1 else f", blend {rates.blend:g}"),
            "",
            columns([heads], widths),
            "-" * 96,
            columns(rows, widths),
            "",
            *_conclusion(rates, verdict),
        ]
    )


def _conclusion(rates: PatchRates, verdict: Verdict | None) -> list[str]:
    if rates.doubt:
        return [f"Critical layer: none ({rates.doubt})"]
    if rates.chosen is None or verdict is None or rates.confirmed is None:
        return [
            "Critical layer: none (on one half of the pairs no layer below the last transfers as many as is claimed)"
        ]
    how = f"chosen on one half of the pairs, tried on the other, n = {rates.confirmed.n}"
    reason = [
        f"  {verdict.reason}",
        *([f"  damage not measured: {rates.damage_not_measured}"] if rates.damage_not_measured else []),
    ]
    if verdict.outcome == "supported":
        return [f"Critical layer: {rates.chosen} (first full transfer; {how})", *reason]
    return [f"Critical layer: none (layer {rates.chosen}, {how}, is {verdict.outcome})", *reason]
