"""`index.html`: a run as one file to read, on a phone and in the dark, with nothing fetched from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lazarus_probe.claims.record import named_seeds
from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.reports.curves import curve
from lazarus_probe.reports.sections import (
    Group,
    Row,
    began,
    error_of,
    groups_of,
    lasted,
    number,
    thresholds,
    topics_of,
    with_comparison,
)
from lazarus_probe.reports.short_html import short_html
from lazarus_probe.reports.summary import nothing_tested
from lazarus_probe.reports.telling import most_telling
from lazarus_probe.reports.versions.matrix import models_of
from lazarus_probe.reports.versions.matrix_table import MARKS, WORDS
from lazarus_probe.untrusted import clipped, visible

if TYPE_CHECKING:
    from lazarus_probe.reports.run import Run
    from lazarus_probe.reports.versions.compare import Comparison
    from lazarus_probe.reports.versions.matrix import Matrix

LIMIT = 1024 * 1024
TEMPLATES = Path(__file__).parent / "templates"
LONGEST = 2000  # characters of a prompt or an answer
FEW = 3  # verdicts, of which none has to be picked out


@dataclass(frozen=True)
class PageSize:
    """How much of a run a page holds.

    Attributes:
        left_out: what it says of the rest.
        bytes: that it takes for each measurement at the least; what cannot fit is not tried.
        examples: prompts of a measurement.
        details: of a measurement.
        figures: curves and maps of a measurement.
        controls: forest plots, and all of the above.
        cases: a paragraph for each verdict, and all of the above.
        layers: a figure for each claim that was tested layer by layer.
        claims: more than the table of verdicts.
    """

    left_out: str = ""
    bytes: int = 2000
    examples: int = 12
    details: bool = True
    figures: bool = True
    controls: bool = True
    cases: bool = True
    layers: bool = True
    claims: bool = True


def _stages() -> Iterator[PageSize]:
    """What goes, one after the other, when a page grows past its limit: what is least missed first."""
    now = PageSize()
    changes: list[tuple[str, dict[str, Any]]] = [
        ("", {}),
        ("all but 3 of the prompts behind each number", {"examples": 3}),
        ("the prompts behind each number", {"examples": 0}),
        ("the prompts and details behind each number", {"details": False}),
        ("the prompts, details, curves and maps behind each number", {"figures": False}),
        ("what is behind each number", {"controls": False, "bytes": 600}),
        ("what is behind each number, and the reasons", {"cases": False, "bytes": 300}),
        ("what is behind each number, the reasons and the curves", {"layers": False}),
        ("all but the table of verdicts", {"claims": False, "bytes": 0}),
    ]
    for left_out, change in changes:
        yield (now := replace(now, left_out=left_out, **change))


def page_html(run: Run, comparison: Comparison | None = None, limit: int = LIMIT) -> str:
    """A run as one HTML page.

    Past the limit, markup is shortened, and where that is not enough, prompts are left out first, then details, figures
    and forest plots; the page says so, and all of it stays in `run.json`.

    Args:
        run: to show.
        comparison: with an earlier run; without one, what the run itself was tested against is shown.
        limit: of the page, in bytes.
    """
    run = with_comparison(run, comparison) if comparison else run
    groups, matrix = groups_of(run), models_of(run)
    measured = sum(record.measurement is not None for record in run.claims)
    page = ""
    # A warning of matplotlib's must not end the session of somebody who turns warnings into errors.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for shown in _stages():
            if shown.bytes * measured <= limit:
                page = _render(run, groups, comparison, matrix if shown.claims else None, shown)
                if len(page.encode()) > limit:
                    page = short_html(page)
                if len(page.encode()) <= limit:
                    break
    return page


def _render(
    run: Run, groups: Sequence[Group], comparison: Comparison | None, matrix: Matrix | None, shown: PageSize
) -> str:
    rows = [row for group in groups for row in group.rows]
    models = {row.record.model.name: row.record.model for row in rows}
    css, script = asset("style.css"), asset("script.js")
    css = Markup(f"{css}{asset('matrix.css')}") if matrix else css  # noqa: S704 - parts of this package
    styles = [figure.style for row in rows for figure in row.figures if figure.style] if shown.figures else []
    return templates().get_template("page.html.j2").render(
        run=run, groups=groups, topics=topics_of(groups), rows=rows,
        comparison=comparison, shown=shown, models=models, css=css, script=script,
        style_hashes=[policy_hash(style) for style in (css, *styles)], script_hash=policy_hash(script),
        telling=most_telling(rows) if len(rows) > FEW else [],
        families=sorted({row.record.claim.family for row in rows}),
        matrix=matrix, curve=curve, marks=MARKS, words=WORDS,
        changes=sorted((row for row in rows if row.record.known), key=_by_change),
        scale=(0.0, 1.0),
        outcomes=[(str(outcome), run.outcomes.get(str(outcome), 0)) for outcome in Outcome],
    )  # fmt: skip


def _by_change(row: Row) -> tuple[bool, bool]:
    """What changed its verdict, then whose number moved, then the rest."""
    baseline_record = row.record.known
    moved = (
        baseline_record is not None
        and baseline_record.difference is not None
        and baseline_record.difference.real
    )
    return not row.record.changed, not moved


@cache
def templates() -> Environment:
    """The templates of pages: texts are escaped, and what would hide or reorder them is spelled out."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=lambda value: visible(value) if type(value) is str else value,
    )  # fmt: skip
    environment.filters |= {"n2": number, "p": p_value, "on": _on, "line": _line, "prompt": _prompt}
    environment.filters |= {"began": began, "lasted": lasted, "error": error_of}
    environment.globals |= {
        "thresholds": thresholds,
        "named_seeds": named_seeds,
        "nothing_tested": nothing_tested,
    }
    return environment


def p_value(value: float | None) -> str:
    """A p or q to read."""
    if value is None:
        return ""
    return "< .001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _on(value: float, scale: tuple[float, float]) -> str:
    """Where a value lies on an axis of 100 steps, clipped to it."""
    share = (value - scale[0]) / (scale[1] - scale[0])
    return f"{100 * min(max(share, 0.0), 1.0):.4g}"


def _line(value: Any) -> str:
    """A value of a measurement's details in one line."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(_short(value), ensure_ascii=False)
    return clipped(text, 400)


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return [_short(item) for item in value] if isinstance(value, list) else value


def _prompt(text: str) -> str:
    return clipped(text, LONGEST)


@cache
def asset(name: str) -> Markup:
    """A file of ours, to stand in the page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704 - part of this package


def policy_hash(style_or_script: str) -> str:
    """The hash by which a page's policy lets a style or a script of its own in."""
    return base64.b64encode(hashlib.sha256(style_or_script.encode()).digest()).decode()
