"""Ablations as they are read: a sweep over layers, layers together, and a matrix over prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lazarus_probe.introspection.ablation.results import Ablation, Ablations, Finding

RULE = "=" * 70
WIDTH = 24


def sweep_text(ablations: Ablations) -> str:
    """Layer by layer: with one prompt the completion, with several how many flip, next to random controls."""
    head = [RULE, f"ABLATION SWEEP: {ablations.config.component}", RULE]
    table = _one_prompt(ablations) if len(ablations.prompts) == 1 else _many_prompts(ablations)
    return "\n".join([*head, *_originals(ablations), "", *table, "", *_closing(ablations)])


def together_text(ablations: Ablations) -> str:
    """Layers ablated together: completions before and after, and the result."""
    names = ", ".join(dict.fromkeys(row.name for row in ablations.rows))
    lines = [
        RULE,
        f"ABLATION: {ablations.config.component} of {names} together",
        RULE,
        *_originals(ablations),
    ]
    for row in (*ablations.rows, *_first_draws(ablations)):
        lines += _ablated(ablations, row)
    finding = ablations.findings[0]
    return "\n".join([*lines, "", f"=> {finding.word}", f"   {finding.reason}"])


def matrix_text(ablations: Ablations) -> str:
    """Ablations by prompts, each cell with Y or N and the completion; random controls are the last rows."""
    labels = [
        f"{prompt}:{criterion}"
        for prompt, criterion in zip(ablations.prompts, ablations.criteria, strict=True)
    ]
    rows = [["Ablation", *labels]]
    rows.append(["baseline", *map(_cell, ablations.original, ablations.passes.tolist())])
    rows += [
        [f"{_name(row)} {row.method}", *map(_cell, row.completions, row.passes.tolist())]
        for row in (*ablations.rows, *_first_draws(ablations))
    ]
    head = [RULE, f"ABLATION MATRIX: {ablations.config.component}", RULE]
    return "\n".join([*head, *_columns(rows), "", *_reading(ablations), "", *_closing(ablations)])


def tasks_text(results: Mapping[str, Ablations]) -> str:
    """Several tasks side by side: on how many outputs the criterion flips without each layer."""
    names = dict.fromkeys(row.name for ablations in results.values() for row in ablations.rows)
    rows = [["Layer", *results]]
    rows += [[name, *(_changed(ablations, name) for ablations in results.values())] for name in names]
    return "\n".join([RULE, "ABLATION BY TASK: outputs whose criterion flips", RULE, *_columns(rows)])


def _one_prompt(ablations: Ablations) -> list[str]:
    methods = list(dict.fromkeys(row.method for row in ablations.rows))
    rows = [["Layer", *(part for method in methods for part in (f"Ablated ({method})", "Flips"))]]
    by_name: dict[str, list[Ablation]] = {}
    for row in (*ablations.rows, *_first_draws(ablations)):
        by_name.setdefault(_name(row), []).append(row)
    for name, of_name in by_name.items():
        cells = [
            part
            for row in of_name
            for part in (_shown(row.completions[0]), "yes" if ablations.flips(row)[0] else "-")
        ]
        rows.append([name, *cells])
    return _columns(rows)


def _many_prompts(ablations: Ablations) -> list[str]:
    rows = [["Layer", "Method", "Flips", "95%", "Random", "Damage", "Finding"]]
    for finding in ablations.findings:
        has_interval = finding.low is not None and finding.high is not None
        rows.append(
            [
                finding.name,
                finding.method,
                f"{finding.changed}/{finding.n}",
                f"[{finding.low:.2f}, {finding.high:.2f}]" if has_interval else "-",
                "-" if finding.control is None else f"{finding.control:.2f}",
                "-" if finding.damage is None else f"{finding.damage.score:.2f}",
                finding.word,
            ]
        )
    return _columns(rows)


def _originals(ablations: Ablations) -> list[str]:
    if len(ablations.prompts) > 1:
        passed = int(ablations.passes.sum())
        return [f"Prompts: {len(ablations.prompts)}, of which the unablated model passes {passed}"]
    return [
        f"Prompt: {ablations.prompts[0]!r}",
        f"Criterion: {ablations.criteria[0]}",
        f"Original output: {ablations.original[0]!r} ({_pass(ablations.passes[0])})",
    ]


def _ablated(ablations: Ablations, row: Ablation) -> list[str]:
    name = f"Ablated output ({_name(row)}, {row.method})"
    if len(ablations.prompts) == 1:
        return [f"{name}: {row.completions[0]!r} ({_pass(row.passes[0])})"]
    return [f"{name}: {int(row.passes.sum())}/{len(row.completions)} pass"]


def _closing(ablations: Ablations) -> list[str]:
    """The result of the requested method's ablations, in words that the numbers support."""
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


def _reading(ablations: Ablations) -> list[str]:
    """Which prompts each ablation breaks, as differential causality is read."""
    total = int(ablations.passes.sum())
    if not total:
        return ["No prompt passes without an ablation"]
    return [f"{row.name} {row.method}: {_broken(ablations, row, total)}" for row in ablations.rows]


def _broken(ablations: Ablations, row: Ablation, total: int) -> str:
    broken = [
        prompt
        for prompt, before, after in zip(ablations.prompts, ablations.passes, row.passes, strict=True)
        if before and not after
    ]
    if not broken:
        return f"none of {total} breaks"
    random = ablations.random_share(row)
    control = "" if random is None else f"; as much at random breaks {random:.0%}"
    which = (
        "all break" if len(broken) == total else f"breaks {', '.join(map(repr, broken))} and spares the rest"
    )
    return f"{which} ({len(broken)} of {total}{control})"


def _first_draws(ablations: Ablations) -> list[Ablation]:
    """One random control for each method and size, as an example."""
    return [row for row in ablations.controls if row.name == "random 1"]


def _name(row: Ablation) -> str:
    return row.name if row.layers else f"random x{row.coordinates}"


def _changed(ablations: Ablations, name: str) -> str:
    finding = next((one for one in ablations.findings if one.name == name), None)
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


def _columns(rows: Iterable[Sequence[str]]) -> list[str]:
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
