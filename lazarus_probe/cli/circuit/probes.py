"""`circuit probes`: batteries of probe sets over all layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.commands import lazy_group
from lazarus_probe.cli.options import Adapter, AsJson, Layers, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers
from lazarus_probe.spelling import one_of

if TYPE_CHECKING:
    from lazarus_probe.circuit.probes import Stratigraphy
    from lazarus_probe.circuit.sets import ProbeSet

probes = typer.Typer(
    cls=lazy_group(),
    add_completion=False,
    rich_markup_mode=None,
    help="Run probe batteries over all layers, to find the layer at which each property emerges.",
)
Datasets = Annotated[
    str | None,
    typer.Option(
        "--datasets", help="Names of built-in sets, separated by commas; or a file or folder of sets."
    ),
]


@probes.command()
def run(
    model: Model,
    layers: Layers = None,
    datasets: Datasets = None,
    category: Annotated[
        str | None, typer.Option(help="Only sets of this category: tools, meaning or grammar.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Minimum held-out accuracy for a property to emerge.",
            show_default="the threshold of the claim property-emerges",
        ),
    ] = None,
    no_stratigraphy: Annotated[
        bool,
        typer.Option(
            "--no-stratigraphy",
            help="Report accuracies only: no untrained models, no shuffled labels, no emergence.",
        ),
    ] = False,
    adapter: Adapter = None,
    output: Output = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Probe sets of prompts at every layer, and find the layer at which each property emerges.

    Probes are scored on held-out groups of prompts. A property emerges at the first layer past the threshold that
    beats the majority class, a bag of tokens, the embeddings, untrained and lesioned models and shuffled labels,
    corrected for all layers and all sets.
    """
    check_output(output)
    sets = chosen_sets(datasets, category)
    from lazarus_probe.checkpoints.names import num_layers_of

    count = num_layers_of(model)
    wanted = parse_layers(layers, count) if layers is not None else None
    from rich.console import Console

    from lazarus_probe.circuit.probes import stratigraphy
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    with Console(stderr=True).status("probing") as status:
        battery = stratigraphy(
            subject,
            sets,
            wanted,
            threshold=threshold,
            full=not no_stratigraphy,
            seed=seed,
            progress=lambda name: status.update(f"probing {name}"),
        )
    data = battery.as_data() | {"about": about(subject, seed)}
    deliver(data, as_text(battery), as_json=as_json, output=output)


@probes.command()
def init(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .yaml or .json file, or a folder for one file per set.")
    ],
    datasets: Datasets = None,
    category: Annotated[
        str | None, typer.Option(help="Only sets of this category: tools, meaning or grammar.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the probe sets to a file to edit; `circuit probes run --datasets FILE` reads it."""
    from lazarus_probe.circuit.sets import write_sets

    if output.suffix in (".yaml", ".yml", ".json"):
        check_output(output)
    elif output.is_file() or output.suffix:
        raise ValueError(f"--output {output}: give a name ending in .yaml or .json, or a folder")
    sets = chosen_sets(datasets, category)
    files = [str(file) for file in write_sets(output, sets)]
    counts = {item.name: len(item.texts) for item in sets}
    text = "\n".join(
        [*(f"{name}: {count} prompts" for name, count in counts.items()), *(f"Saved to: {f}" for f in files)]
    )
    deliver({"files": files, "sets": counts}, text, as_json=as_json)


def chosen_sets(datasets: str | None, category: str | None) -> list[ProbeSet]:
    """The sets of `--datasets` and `--category`; all built-in ones, where neither is given.

    Raises:
        OSError: a file that cannot be read.
        ValueError: an unknown name, a file that holds no sets, two sets of one name, or no set of the category.
    """
    from lazarus_probe.circuit.sets import BUILT_IN, built_in, read_sets

    if datasets is None:
        sets = [built_in(name) for name in BUILT_IN]
    elif Path(datasets).suffix in (".yaml", ".yml", ".json") or Path(datasets).exists():
        sets = read_sets(Path(datasets))
    else:
        sets = [built_in(name.strip()) for name in datasets.split(",")]
    names = [item.name for item in sets]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"--datasets {datasets}: the set {twice} is there twice; give each once")
    if category is None:
        return sets
    categories = sorted({item.category for item in sets if item.category})
    sets = [item for item in sets if item.category == category]
    if not sets:
        raise ValueError(f"--category {category}: no set belongs to it; {one_of(category, categories)}")
    return sets


def as_text(battery: Stratigraphy) -> str:
    """The battery as text: a line per set, and where properties emerge."""
    lines = [
        title(f"Probe stratigraphy: {battery.model_id} ({battery.num_layers} layers)"),
        "Accuracy on held-out groups; controls at the best layer:",
        "",
        battery.table.text(gap=1),
    ]
    if battery.full:
        lines += ["", *emergence_lines(battery)]
    return "\n".join(lines)


def emergence_lines(battery: Stratigraphy) -> list[str]:
    """The properties that emerge, earliest first, then the others with the verdict at their best layer."""
    from lazarus_probe.circuit.probes import CLAIM
    from lazarus_probe.claims.judging import by_option

    least = f"{battery.threshold:g}{by_option(CLAIM, battery.threshold, '--threshold')}"
    lines = [f"Emergence (accuracy of at least {least}, beyond every control):"]
    emerging = [
        (probes.emergence, probes) for probes in battery.sets.values() if probes.emergence is not None
    ]
    for layer, probes in sorted(emerging, key=lambda pair: pair[0]):
        probe = probes.layers[layer]
        lines.append(
            f"  L{layer}: {probes.name} {probe.accuracy:.2f} [{probe.low:.2f}, {probe.high:.2f}], q {probes.q:.3f}"
        )
    lines += [] if emerging else ["  nothing"]
    for probes in battery.sets.values():
        best = probes.best
        if probes.emergence is None:
            lines.append(f"  not: {probes.name}: best {best.accuracy:.2f} at L{best.layer}: {best.verdict}")
    return lines
