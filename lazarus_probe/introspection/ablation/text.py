"""Ablations as they are read: a sweep over layers, layers together, and a matrix over prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lazarus_probe.introspection.ablation.findings import Ablations, Finding
from lazarus_probe.introspection.ablation.runs import Row

RULE = "=" * 70
WIDTH = 24


def sweep_text(found: Ablations) -> str:
    """Layer by layer: with one prompt the completion, with several how many flip, next to random controls."""
    head = [RULE, f"ABLATION SWEEP: {found.config.component}", RULE]
    table = _one_prompt(found) if len(found.prompts) == 1 else _many_prompts(found)
    return "\n".join([*head, *_originals(found), "", *table, "", *_closing(found)])


def together_text(found: Ablations) -> str:
    """Layers ablated together: completions before and after, and the result."""
    names = ", ".join(dict.fromkeys(row.name for row in found.rows))
    lines = [RULE, f"ABLATION: {found.config.component} of {names} together", RULE, *_originals(found)]
    for row in found.rows:
        lines += _ablated(found, row)
    for row in _first_draws(found):
        lines += _ablated(found, row)
    asked = found.findings[0]
    return "\n".join([*lines, "", f"=> {asked.word}", f"   {asked.reason}"])


def matrix_text(found: Ablations) -> str:
    """Ablations by prompts, each cell with Y or N and the completion; random controls are the last rows."""
    labels = [
        f"{prompt}:{criterion}" for prompt, criterion in zip(found.prompts, found.criteria, strict=True)
    ]
    rows = [["Ablation", *labels]]
    rows.append(["baseline", *map(_cell, found.original, found.passes.tolist())])
    rows += [
        [f"{_name(row)} {row.method}", *map(_cell, row.said, row.passes.tolist())]
        for row in (*found.rows, *_first_draws(found))
    ]
    head = [RULE, f"ABLATION MATRIX: {found.config.component}", RULE]
    return "\n".join([*head, *_columns(rows), "", *_reading(found), "", *_closing(found)])


def tasks_text(found: Mapping[str, Ablations]) -> str:
    """Several tasks side by side: on how many outputs the criterion flips without each layer."""
    names = list(dict.fromkeys(row.name for each in found.values() for row in each.rows))
    rows = [["Layer", *found]]
    rows += [[name, *(_share(each, name) for each in found.values())] for name in names]
    return "\n".join([RULE, "ABLATION BY TASK: outputs whose criterion flips", RULE, *_columns(rows)])


def _one_prompt(found: Ablations) -> list[str]:
    methods = list(dict.fromkeys(row.method for row in found.rows))
    rows = [["Layer", *(part for method in methods for part in (f"Ablated ({method})", "Flips"))]]
    by_name: dict[str, list[Row]] = {}
    for row in (*found.rows, *_first_draws(found)):
        by_name.setdefault(_name(row), []).append(row)
    for name, of_name in by_name.items():
        cells = [
            part for row in of_name for part in (_shown(row.said[0]), "yes" if found.flips(row)[0] else "-")
        ]
        rows.append([name, *cells])
    return _columns(rows)


def _many_prompts(found: Ablations) -> list[str]:
    rows = [["Layer", "Method", "Flips", "95%", "Random", "Damage", "Finding"]]
    for each in found.findings:
        interval = "-" if each.low is None or each.high is None else f"[{each.low:.2f}, {each.high:.2f}]"
        random = "-" if each.control is None else f"{each.control:.2f}"
        damage = "-" if each.damage is None else f"{each.damage.score:.2f}"
        rows.append([each.name, each.method, f"{each.changed}/{each.n}", interval, random, damage, each.word])
    return _columns(rows)


def _originals(found: Ablations) -> list[str]:
    if len(found.prompts) > 1:
        passed = int(found.passes.sum())
        return [f"Prompts: {len(found.prompts)}, of which the whole model passes {passed}"]
    return [
        f"Prompt: {found.prompts[0]!r}",
        f"Criterion: {found.criteria[0]}",
        f"Original output: {found.original[0]!r} ({_pass(found.passes[0])})",
    ]


def _ablated(found: Ablations, row: Row) -> list[str]:
    name = f"Ablated output ({_name(row)}, {row.method})"
    if len(found.prompts) == 1:
        return [f"{name}: {row.said[0]!r} ({_pass(row.passes[0])})"]
    return [f"{name}: {int(row.passes.sum())}/{len(row.said)} pass"]


def _closing(found: Ablations) -> list[str]:
    """The result of the requested method's ablations, in words that the numbers support."""
    asked = [each for each in found.findings if each.method == str(found.rows[0].method)]
    changed = [each.name for each in asked if each.changed]
    lines = [f"The criterion flips without: {', '.join(changed) or 'none of them'} ({asked[0].method})"]
    words = dict.fromkeys(each.word for each in asked)
    if len(words) == 1 and asked[0].word in ("BASELINE FAILS", "INCONCLUSIVE"):
        worst = max(asked, key=lambda each: each.changed)
        return [*lines, f"=> {worst.word}: {worst.reason}"]
    for word in words:
        of_word = [each for each in asked if each.word == word]
        if word == "NOT CAUSAL":
            names, most = ", ".join(each.name for each in of_word), max(each.high or 0.0 for each in of_word)
            lines.append(
                f"=> {names} NOT CAUSAL: without each by itself at most {most:.2f} of the outputs fail"
            )
        else:
            lines += [f"=> {each.name} {word}: {each.reason}" for each in of_word]
    return lines


def _reading(found: Ablations) -> list[str]:
    """Which prompts each ablation breaks, as differential causality is read."""
    total = int(found.passes.sum())
    if not total:
        return ["No prompt passes without an ablation"]
    return [f"{row.name} {row.method}: {_broken(found, row, total)}" for row in found.rows]


def _broken(found: Ablations, row: Row, total: int) -> str:
    broken = [
        prompt
        for prompt, before, after in zip(found.prompts, found.passes, row.passes, strict=True)
        if before and not after
    ]
    if not broken:
        return f"none of {total} breaks"
    random = found.random_share(row)
    beside = "" if random is None else f"; as much at random breaks {random:.0%}"
    which = (
        "all break" if len(broken) == total else f"breaks {', '.join(map(repr, broken))} and spares the rest"
    )
    return f"{which} ({len(broken)} of {total}{beside})"


def _first_draws(found: Ablations) -> list[Row]:
    """One random control for each method and size, to look at."""
    return [row for row in found.controls if row.name == "random 1"]


def _name(row: Row) -> str:
    return row.name if row.layers else f"random x{row.size}"


def _share(found: Ablations, name: str) -> str:
    of = next((each for each in found.findings if each.name == name), None)
    return "-" if of is None else f"{of.changed}/{of.n} {_mark(of)}".rstrip()


def _mark(of: Finding) -> str:
    return "CAUSAL" if of.word == "CAUSAL" else ""


def _cell(said: str, passes: bool) -> str:
    return f"{'Y' if passes else 'N'} {_shown(said)}"


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
