"""`lazarus claims`: the claims that come with the package, and copies of them to begin others with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.options import AsJson, Topic, Words
from lazarus_probe.cli.output import deliver

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lazarus_probe.claims.library import LibraryClaim


def claims(
    words: Words = None,
    topic: Topic = None,
    copy: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Copy the test files of these claims to this folder, with declarations and fixtures.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the claims that come with the package, or those that hold some words.

    With words, what each claim assumes is shown too. `lazarus test` takes the same words. To begin claims of one's own,
    copy a file with one that is like them and change its ids, statements and thresholds.
    """
    from lazarus_probe.claims.library import chosen_claims, copy_files

    chosen = chosen_claims(words or (), topic or ())
    if copy is None:
        text = "\n".join(_text(chosen, assumptions=bool(words)))
        deliver({"claims": [_data(item) for item in chosen]}, text, as_json=as_json)
        return
    copied = sorted(str(path) for path in copy_files(chosen, copy))
    run = f"pytest {copy} --probe-model organism"
    deliver({"copied": copied, "run": run}, "\n".join([*copied, f"Run them: {run}"]), as_json=as_json)


def _data(item: LibraryClaim) -> dict[str, Any]:
    claim = item.claim
    return {
        "id": claim.id,
        "topic": item.topic,
        "statement": claim.statement,
        "source": claim.source,
        "kind": claim.kind,
        "threshold": claim.threshold,
        "trains": item.trains,
        "file": item.file.name,
        "assumes": [assumption.model_dump() for assumption in claim.assumes],
        "published": {model: value.model_dump(exclude_none=True) for model, value in claim.published.items()},
    }


def _text(chosen: Sequence[LibraryClaim], assumptions: bool) -> Iterator[str]:
    from textwrap import wrap

    from lazarus_probe.claims.library import topics

    held = topics()
    for name in dict.fromkeys(item.topic for item in chosen):
        yield f"{name}: {held[name]}" if name in held else name
        for item in chosen:
            if item.topic == name:
                yield f"  {item.claim.id}{' (trains the model)' if item.trains else ''}"
                yield from wrap(item.claim.statement, 78, initial_indent="    ", subsequent_indent="    ")
                for assumption in item.claim.assumes if assumptions else ():
                    by = f"tested by {assumption.tested_by}" if assumption.tested_by else "not tested"
                    text = f"assumes: {assumption.that} ({by})"
                    yield from wrap(text, 78, initial_indent="    ", subsequent_indent="      ")
    yield f"\n{len(chosen)} {'claim' if len(chosen) == 1 else 'claims'}"
