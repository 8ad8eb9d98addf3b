"""A matrix of claims by versions as one HTML file, without scripts, and with nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from lazarus_probe.reports.curves import curve
from lazarus_probe.reports.page import asset, policy_hash, templates
from lazarus_probe.reports.versions.matrix import Matrix
from lazarus_probe.reports.versions.matrix_table import MARKS, WORDS, sentences


def matrix_html(matrices: Sequence[Matrix]) -> str:
    """Matrices as a page: a row a claim, a column a version, and the effect over versions as a curve."""
    css = Markup(f"{asset('style.css')}{asset('matrix.css')}")  # noqa: S704 - parts of this package
    return templates().get_template("matrix.html.j2").render(
        matrices=matrices, css=css, style_hash=policy_hash(css), marks=MARKS, words=WORDS, curve=curve,
        sentences=sentences, most=max((len(matrix.versions) for matrix in matrices), default=0),
        rows=[row for matrix in matrices for row in matrix.rows],
    )  # fmt: skip
