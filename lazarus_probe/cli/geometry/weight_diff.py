"""`lazarus introspect weight-diff`: which weights of a model a training changed, and by how much."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Output, _bundled
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output
from lazarus_probe.files.paths import user_path

if TYPE_CHECKING:
    from lazarus_probe.introspection.geometry.weight_difference import WeightDifferences
    from lazarus_probe.subject.subject import Subject

Base = Annotated[
    str,
    typer.Option(
        "--base",
        "-b",
        help="The model before training: bundled model name, folder or Hub id.",
        autocompletion=_bundled,
    ),
]
Finetuned = Annotated[
    str | None,
    typer.Option(
        "--finetuned",
        "-f",
        help="The model after training; or an adapter folder, which is applied to the base.",
        show_default="the base with --adapter",
    ),
]


def weight_diff(
    base: Base,
    finetuned: Finetuned = None,
    adapter: Adapter = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Compare every weight of a model before and after training.

    Shows the norm of the difference relative to the base's norm, per layer and component, in float32; quantised
    weights are dequantised. Ratios above 0.1 are marked ***.
    """
    check_output(output)
    before, after = load_both(base, finetuned, adapter)
    from lazarus_probe.introspection.geometry.weight_difference import weight_difference

    result = weight_difference(before, after)
    data = result.as_data() | {"about": about(before), "about_finetuned": about(after)}
    deliver(data, _text(result), as_json=as_json, output=output)


def load_both(base: str, finetuned: str | None, adapter: Path | None) -> tuple[Subject, Subject]:
    """The models before and after; an adapter's folder as the second is the base with that adapter.

    Raises:
        ValueError: neither a second model nor an adapter, two adapters, or one of the models cannot be loaded.
    """
    from lazarus_probe.checkpoints.formats import is_adapter
    from lazarus_probe.checkpoints.names import find, untrained_name

    other = base if finetuned is None else finetuned
    if finetuned is None and adapter is None:
        raise ValueError("--finetuned is missing; give a model, an adapter's folder, or --adapter")
    if finetuned is not None and is_adapter(user_path(finetuned)):
        if adapter is not None:
            raise ValueError(
                f"--finetuned {finetuned} is an adapter, and so is --adapter {adapter}; give one"
            )
        other, adapter = base, Path(finetuned)
    for name in (base, other):  # before the time that loading the first takes
        untrained = untrained_name(name)
        find(untrained[0] if untrained else name, files=["config.json"])
    from lazarus_probe.subject.subject import Subject

    before = Subject.load(base)
    return before, Subject.load(other, adapter)


def _text(result: WeightDifferences) -> str:
    lines = [
        title(f"WEIGHT DIFFERENCE: {result.base} → {result.finetuned}"),
        result.table.text(gap=1, rule=True),
        "",
        f"All weights together: {result.total:.4f}; changed are {result.changed} of {len(result.results)}",
        "",
        "By component:",
        *(f"  {name.ljust(26)} {value:.4f}" for name, value in result.by_component().items()),
    ]
    if top := result.top():
        lines += ["", f"Top {len(top)} by relative difference:"]
        lines += [
            f"  {weight.name}: {'-' if weight.relative_diff is None else f'{weight.relative_diff:.4f}'}"
            for weight in top
        ]
    return "\n".join(lines)
