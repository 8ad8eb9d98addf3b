"""The verdicts on a claim at each layer, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lazarus_probe.cli.probing.probe_text import verdict_lines

if TYPE_CHECKING:
    from lazarus_probe.claims.judging import JudgedLayers


def judged_lines(finding: str, judged: JudgedLayers | None, why_unjudged: str | None) -> Iterator[str]:
    """The layers at which a claim is supported, after what they are called, and the verdict at each layer.

    Args:
        finding: what a layer does at which it is supported, as in "Works at".
        judged: the verdicts; None where there are none.
        why_unjudged: why there are none.
    """
    if judged is None:
        yield f"{finding}: not judged, {why_unjudged}"
        return
    yield f"{finding}: {', '.join(f'L{layer}' for layer in judged.supported) or 'no layer'}"
    yield from verdict_lines(judged.named)
