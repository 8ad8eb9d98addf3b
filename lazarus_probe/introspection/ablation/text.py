"""Ablations as text: a sweep over layers, layers together, and a matrix over prompts."""

from __future__ import annotations

from collections.abc import Mapping

from lazarus_probe.introspection.ablation.results import Ablation, Ablations, Finding
from lazarus_probe.tables import Column, Table

RULE = "=" * 70
WIDTH = 24


def sweep_text(ablations: Ablations) -> str:
    """Per layer, for one prompt the completion, for several the number that flip, compared with random controls."""
    head = [RULE, f"ABLATION SWEEP: {ablations.config.component}", RULE]
    table = _one_prompt(ablations) if len(ablations.prompts) == 1 else _many_prompts(ablations)
    return "\n".join([*head, *_originals(ablations), "", *table.fitted(rule=True), "", *_closing(ablations)])


def together_text(ablations: Ablations) -> str:
    """Layers ablated together: completions before and after, and the finding."""
    names = ", ".join(dict.fromkeys(row.name for row in ablations.rows))
    head = [RULE, f"ABLATION: {ablations.config.component} of {names} together", RULE]
    completions = []
    for row in (*ablations.rows, *_first_draws(ablations)):
        name = f"Ablated output ({_name(row)}, {row.method})"
        if len(ablations.prompts) == 1:
            completions.append(f"{name}: {row.completions[0]!r} ({_pass(row.passes[0])})")
        else:
            completions.append(f"{name}: {int(row.passes.sum())}/{len(row.completions)} pass")
    finding = ablations.findings[0]
    return "\n".join(
        [*head, *_originals(ablations), *completions, "", f"=> {finding.word}", f"   {finding.reason}"]
    )


def matrix_text(ablations: Ablations) -> str:
    """Ablations by prompts, each cell with Y or N and the completion; random controls are the last rows."""
    labels = [
        f"{prompt}:{criterion}"
        for prompt, criterion in zip(ablations.prompts, ablations.criteria, strict=True)
    ]
    rows = [["baseline", *map(_cell, ablations.original, ablations.passes.tolist())]]
    rows += [
        [f"{_name(row)} {row.method}", *map(_cell, row.completions, row.passes.tolist())]
        for row in (*ablations.rows, *_first_draws(ablations))
    ]
    table = Table(["Ablation", *labels], rows)
    head = [RULE, f"ABLATION MATRIX: {ablations.config.component}", RULE]
    return "\n".join(
        [*head, *table.fitted(rule=True), "", *_broken_prompts(ablations), "", *_closing(ablations)]
    )


def tasks_text(results: Mapping[str, Ablations]) -> str:
    """Several tasks: on how many outputs the criterion flips without each layer."""
    names = dict.fromkeys(row.name for ablations in results.values() for row in ablations.rows)
    rows = [[name, *(_changed(ablations, name) for ablations in results.values())] for name in names]
    table = Table(["Layer", *results], rows)
    return "\n".join(
        [RULE, "ABLATION BY TASK: outputs whose criterion flips", RULE, *table.fitted(rule=True)]
    )


def _one_prompt(ablations: Ablations) -> Table:
    methods = list(dict.fromkeys(row.method for row in ablations.rows))
    columns = ["Layer", *(heading for method in methods for heading in (f"Ablated ({method})", "Flips"))]
    by_name: dict[str, dict[str, Ablation]] = {}
    for row in (*ablations.rows, *_first_draws(ablations)):
        by_name.setdefault(_name(row), {})[row.method] = row
    rows = [
        [
            name,
            *(
                text
                for row in by_method.values()
                for text in (_shown(row.completions[0]), "yes" if ablations.flips(row)[0] else "-")
            ),
        ]
        for name, by_method in by_name.items()
    ]
    return Table(columns, rows)


def _many_prompts(ablations: Ablations) -> Table:
    numbers = [Column("Random", ".2f"), Column("Damage", ".2f")]
    rows = [
        [
            finding.name,
            finding.method,
            f"{finding.changed}/{finding.n}",
            None if finding.low is None else f"[{finding.low:.2f}, {finding.high:.2f}]",
            finding.control,
            None if finding.damage is None else finding.damage.score,
            finding.word,
        ]
        for finding in ablations.findings
    ]
    return Table(["Layer", "Method", "Flips", "95%", *numbers, "Finding"], rows)


def _originals(ablations: Ablations) -> list[str]:
    if len(ablations.prompts) > 1:
        passed = int(ablations.passes.sum())
        return [f"Prompts: {len(ablations.prompts)}, of which the unablated model passes {passed}"]
    return [
        f"Prompt: {ablations.prompts[0]!r}",
        f"Criterion: {ablations.criteria[0]}",
        f"Original output: {ablations.original[0]!r} ({_pass(ablations.passes[0])})",
    ]


def _closing(ablations: Ablations) -> list[str]:
    """The findings of the first method."""
    method = str(ablations.rows[0].method)
    findings = [finding for finding in ablations.findings if finding.method == method]
    changed = ", ".join(finding.name for finding in findings if finding.changed)
    lines = [f"The criterion flips without: {changed or 'none of them'} ({method})"]
    by_word: dict[str, list[Finding]] = {}
    for finding in findings:
        by_word.setdefault(finding.word, []).append(finding)
    if len(by_word) == 1 and findings[0].word in ("BASELINE FAILS", "INCONCLUSIVE"):
        worst = max(findings, key=lambda finding: finding.changed)
        return [*lines, f"=> {worst.word}: {worst.reason}"]
    for word, of_word in by_word.items():
        if word == "NOT CAUSAL":
            names = ", ".join(finding.name for finding in of_word)
            most = max(finding.high or 0.0 for finding in of_word)
            lines.append(
                f"=> {names} NOT CAUSAL: without each by itself at most {most:.2f} of the outputs fail"
            )
        else:
            lines += [f"=> {finding.name} {word}: {finding.reason}" for finding in of_word]
    return lines


def _broken_prompts(ablations: Ablations) -> list[str]:
    """The prompts that each ablation breaks."""
    total = int(ablations.passes.sum())
    if not total:
        return ["No prompt passes without an ablation"]
    lines = []
    for row in ablations.rows:
        broken = [
            prompt
            for prompt, before, after in zip(ablations.prompts, ablations.passes, row.passes, strict=True)
            if before and not after
        ]
        random = ablations.random_share(row)
        control = "" if random is None else f"; as much at random breaks {random:.0%}"
        names = "all break" if len(broken) == total else f"breaks {', '.join(map(repr, broken))}"
        rest = "" if len(broken) == total else " and spares the rest"
        counts = f"{names}{rest} ({len(broken)} of {total}{control})" if broken else f"none of {total} breaks"
        lines.append(f"{row.name} {row.method}: {counts}")
    return lines


def _first_draws(ablations: Ablations) -> list[Ablation]:
    """One random control for each method and size, as an example."""
    return [row for row in ablations.controls if row.name == "random 1"]


def _name(row: Ablation) -> str:
    return row.name if row.layers else f"random x{row.coordinates}"


def _changed(ablations: Ablations, name: str) -> str:
    """How many outputs change without a layer; `-` where it was not ablated."""
    finding = next((finding for finding in ablations.findings if finding.name == name), None)
    if finding is None:
        return "-"
    return f"{finding.changed}/{finding.n}{' CAUSAL' if finding.word == 'CAUSAL' else ''}"


def _cell(completion: str, passes: bool) -> str:
    return f"{'Y' if passes else 'N'} {_shown(completion)}"


def _shown(text: str) -> str:
    line = repr(text.strip())[1:-1]
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."


def _pass(passes: bool) -> str:
    return "PASS" if passes else "FAIL"
