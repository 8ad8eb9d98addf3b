"""The text of `lazarus introspect patch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazarus_probe.cli.output import title
from lazarus_probe.tables import terminal_width

if TYPE_CHECKING:
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.introspection.patching.answered_pairs import AnsweredPair
    from lazarus_probe.introspection.patching.layers import LayerPatch, PatchResult
    from lazarus_probe.introspection.patching.prompt_pairs import Answer
    from lazarus_probe.introspection.patching.rates import PatchRates
    from lazarus_probe.tables import Table

RULED = 96  # columns of the rule below the headings, where a terminal has them
MEANINGS = (
    ("FULL TRANSFER", "the source's answer comes out"),
    ("Partial transfer", "another number; or words, with the source's answer further on"),
    ("Corruption", "no number any more; or words of neither answer"),
    ("No effect", "the same answer as before"),
    ("Effect fades", "no effect, above a layer with full transfer"),
)


def _prompt(text: str) -> str:
    """A prompt in one line, with unprintable characters escaped."""
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
        f"{side}: {_prompt(prompt)} (expected: {_answer(answer)}{'' if is_given else '; as the model says'})"
        for side, prompt, answer, is_given in rows
    ]


def single_text(result: PatchResult, verdict: Verdict | None) -> str:
    """One layer of one pair, in words."""
    from lazarus_probe.introspection.patching.answers import one_line, says

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
            f"  Target output: {one_line(layer.original_output)} ({judged} for {name})",
            "",
            "After patching:",
            f"  Target output: {one_line(layer.patched_output)} ({notes[layer.effect]})",
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
    from lazarus_probe.introspection.patching.layers import EFFECT_NAMES

    if layer.effect != "full_transfer":
        name = EFFECT_NAMES[layer.effect]
        return [f"Effect: {name.upper()}", f"  That is: {dict(MEANINGS)[name]}"]
    if result.caveat:
        return ["Effect: Full transfer", f"  It shows little: {result.caveat}"]
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
    donor, position = layer.random_donor, layer.random_position
    lines = [
        f"Unrelated sources: {donor['found']}/{donor['n']} bring {first}, "
        f"{donor['changed']}/{donor['n']} change the answer"
    ]
    if position["n"]:
        shown = ", ".join(map(str, result.other_positions))
        lines.append(
            f"Other positions ({shown} from the end): {position['found']}/{position['n']} bring {first}"
        )
    return lines


def _limits(result: PatchResult, verdict: Verdict | None, note: bool = True) -> list[str]:
    lines = [] if verdict is None else [f"Verdict on the layer: {verdict}"]
    lines.append(
        "n = 1 pair: it shows what can happen, not how often; --pairs FILE gives rates with intervals."
    )
    if note and result.caveat and result.full_transfer_layer is None:
        lines.append(f"Note: {result.caveat}.")
    return lines


def sweep_text(result: PatchResult, verdict: Verdict | None) -> str:
    """Several layers of one pair, as a table."""
    pair, table = result.pair.pair, result.table
    lines = _table(result, table)
    effects = {texts[2].casefold() for texts in table.texts}
    critical = f"none ({result.caveat or 'no full transfer'})"
    if result.critical_layer is not None:
        own = "" if result.pair.answers_given else ", of what the model itself says"
        critical = f"{result.critical_layer} (first full transfer{own})"
    return "\n".join(
        [
            title(f"LAYER SWEEP: {_prompt(pair.source)} → {_prompt(pair.target)}"),
            *_header(result.pair),
            *lines,
            "",
            f"Critical layer: {critical}",
            "",
            *(f"{name}: {meaning}" for name, meaning in MEANINGS if name.casefold() in effects),
            f"Unrelated: of {len(result.donors)} other sources, those that bring the source's answer; "
            "Elsewhere: of other positions.",
            *_limits(result, verdict, note=False),
        ]
    )


def _table(result: PatchResult | PatchRates, table: Table) -> list[str]:
    headings, *rows = table.lines(gap=1)
    lines = [headings, "-" * RULED, *rows]
    if (terminal_width() or RULED) < RULED:
        lines = table.fitted(gap=1, rule=True)
    blend = "" if result.blend == 1 else f", blend {result.blend:g}"
    return [f"Position: {result.position}{blend}", "", *lines]


def rates_text(rates: PatchRates, verdict: Verdict | None) -> str:
    """Several layers of many pairs, as a table of rates."""
    groups = len({pair.group for pair in rates.pairs})
    return "\n".join(
        [
            title(f"LAYER SWEEP: {len(rates.pairs)} pairs"),
            f"Pairs: {len(rates.pairs)} of {groups} independent groups; left out, as the model does not give both "
            f"answers: {len(rates.left_out)}",
            *_table(rates, rates.table),
            "",
            *_conclusion(rates, verdict),
        ]
    )


def _conclusion(rates: PatchRates, verdict: Verdict | None) -> list[str]:
    if rates.caveat:
        first = (
            f"first full transfer of half the pairs: layer {rates.chosen}; "
            if rates.chosen is not None
            else ""
        )
        return [f"Critical layer: none ({first}{rates.caveat})"]
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
