"""`circuit visualize`: plots of collected activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.circuit.analyze import Activations, Layer, about_file, chosen
from lazarus_probe.cli.options import AsJson, Seed, SeveralLayers
from lazarus_probe.cli.output import deliver
from lazarus_probe.cli.parsing import checked_text, layer_of

if TYPE_CHECKING:
    from lazarus_probe.circuit.activations import Collected
    from lazarus_probe.subject.subject import Subject

KINDS = ("pca", "umap", "probes", "attention", "logits")


@dataclass(frozen=True)
class Task:
    """What to plot, and what was plotted.

    Attributes:
        collected: the activations.
        layers: the requested layers.
        folder: of the plots.
        prompt: the prompt to run, or to look up in the file.
        subject: the model to run it on, if one was named.
        seed: of probes and UMAP.
        files: the plots written, in order.
        left_out: by kind of plot, why it was not drawn.
    """

    collected: Collected
    layers: Sequence[int]
    folder: Path
    prompt: str | None
    subject: Subject | None
    seed: int
    files: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def draw(self, name: str, plot: Callable[..., object], *values: object) -> None:
        """Call a plotting function with some values and the path of the plot."""
        plot(*values, self.folder / name)
        self.files.append(str(self.folder / name))

    def labels(self) -> list[str]:
        """(N,) the label of each prompt, as it is called."""
        prompts = self.collected.prompts
        return ["no label" if label is None else prompts.called(label) for label in prompts.labels]


def visualize(
    activations: Activations,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the plots; created if missing.")],
    layer: Layer = None,
    layers: SeveralLayers = None,
    pca: Annotated[bool, typer.Option("--pca", help="Principal components: pca_layer{L}.png.")] = False,
    umap: Annotated[
        bool, typer.Option("--umap", help="UMAP: umap_layer{L}.png (needs lazarus_probe[umap]).")
    ] = False,
    probes: Annotated[
        bool, typer.Option("--probes", help="Probe accuracy compared with its controls: probe_accuracy.png.")
    ] = False,
    attention: Annotated[
        bool, typer.Option("--attention", help="Attention of each head: attention_heatmap_layer{L}.png.")
    ] = False,
    logits: Annotated[
        bool, typer.Option("--logits", help="The logit lens on --prompt: logit_evolution.png.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Draw every plot that can be drawn, and list those that cannot.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Model to run --prompt on: bundled model name, folder or Hub id."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            "-p",
            help="Prompt for attention and logits; without --model, one of the file's prompts.",
        ),
    ] = None,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="Adapter folder for the model.")] = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Plot collected activations, attention and the logit lens.

    Attention comes from the file (`collect --attention`, from the position collected), or from a run of --prompt on
    --model, which gives every position. Without --layer or --layers: every layer collected.
    """
    flags = dict(zip(KINDS, (pca, umap, probes, attention, logits), strict=True))
    wanted = [kind for kind in KINDS if everything or flags[kind]]
    check_options(wanted, everything, model, prompt, adapter)
    from lazarus_probe.circuit.activations import read_activations

    collected = read_activations(activations)
    drawn = collected.layer_or_all(chosen(collected, layer, layers))
    if model is not None and "attention" in wanted:
        from lazarus_probe.checkpoints.names import num_layers_of

        layer_of(max(drawn), num_layers_of(model))
    output.mkdir(parents=True, exist_ok=True)
    subject = None
    if model is not None:
        from lazarus_probe.subject.subject import Subject

        subject = Subject.load(model, adapter)
    task = Task(collected, drawn, output, prompt, subject, seed)
    for kind in wanted:
        try:
            PLOTS[kind](task)
        except ValueError as error:
            if not everything:
                raise
            task.left_out[kind] = str(error)
    text = "\n".join(
        [f"written: {name}" for name in task.files]
        + [f"left out: {kind}: {reason}" for kind, reason in task.left_out.items()]
    )
    data = {"files": task.files, "left_out": task.left_out, "about": about_file(collected, seed)}
    deliver(data, text, as_json=as_json)


def check_options(
    wanted: Sequence[str], everything: bool, model: str | None, prompt: str | None, adapter: Path | None
) -> None:
    """Refuse combinations without meaning, before any file is read.

    Raises:
        ValueError: nothing to draw, or options that need others or are of no use.
    """
    if not wanted:
        raise ValueError(
            f"nothing to draw; give --all, or some of {', '.join(f'--{kind}' for kind in KINDS)}"
        )
    if adapter is not None and model is None:
        raise ValueError("--adapter needs --model; give the model that it belongs to")
    if prompt is not None:
        if not prompt:
            raise ValueError("--prompt is empty; give at least one character")
        checked_text(prompt, "--prompt")
    if (model is None) != (prompt is None) and (model is not None or "attention" not in wanted):
        raise ValueError("--model and --prompt belong together: the model runs the prompt")
    if model is not None and not {"attention", "logits"} & set(wanted):
        raise ValueError("--model and --prompt apply to --attention and --logits only")
    if "logits" in wanted and not everything and model is None:
        raise ValueError("--logits needs --model and --prompt: the lens reads a run of the model")
    if "umap" in wanted and not everything:
        from lazarus_probe.circuit.geometry import check_umap

        check_umap()


def draw_pca(task: Task) -> None:
    """One plot per layer."""
    from lazarus_probe.circuit.geometry import components
    from lazarus_probe.circuit.visualise import draw_components

    # All before the first plot, so that a layer without components leaves no plots of other layers.
    by_layer = {layer: components(task.collected.hidden[layer], layer) for layer in task.layers}
    for layer, principal in by_layer.items():
        task.draw(f"pca_layer{layer}.png", draw_components, principal, task.labels())


def draw_umap(task: Task) -> None:
    """One plot per layer."""
    from lazarus_probe.circuit.geometry import umap_points
    from lazarus_probe.circuit.visualise import draw_points

    for layer in task.layers:
        points = umap_points(task.collected.hidden[layer], task.seed)
        title, names = f"Layer {layer}: UMAP, standardised", ("UMAP 1", "UMAP 2")
        task.draw(f"umap_layer{layer}.png", draw_points, points, task.labels(), title, names)


def draw_probes(task: Task) -> None:
    """One plot, with a panel for labels and one for categories."""
    from lazarus_probe.circuit import visualise
    from lazarus_probe.circuit.geometry import analyse

    geometry = analyse(task.collected, task.layers, seed=task.seed)
    probed = [probes for probes in (geometry.binary, geometry.category) if probes.layers]
    if not probed:
        raise ValueError(f"nothing was probed: {geometry.binary.missing}")
    task.draw("probe_accuracy.png", visualise.draw_probes, probed)


def draw_attention(task: Task) -> None:
    """One plot per layer: of a run of the prompt, or of the attention in the file."""
    from lazarus_probe.circuit import visualise

    if task.subject is not None and task.prompt is not None:
        patterns, tokens = visualise.patterns_of(task.subject, task.prompt, task.layers)
        for layer, pattern in patterns.items():
            title = f"Layer {layer} of {task.subject.name}: {visualise.shown(task.prompt, 60)}"
            task.draw(f"attention_heatmap_layer{layer}.png", visualise.draw_attention, pattern, tokens, title)
        return
    collected = task.collected
    layers = [layer for layer in task.layers if layer in collected.patterns]
    if not layers:
        raise ValueError(
            "the file holds no attention; collect with --attention, or give --model and --prompt"
        )
    row = row_of(collected, task.prompt)
    tokens = list(collected.tokens[row])
    for layer in layers:
        weights = collected.patterns[layer][row][:, : len(tokens)]
        title = f"Layer {layer}, from position {collected.at}"
        name = f"attention_heatmap_layer{layer}.png"
        task.draw(name, visualise.draw_attention_from, weights, tokens, title)


def row_of(collected: Collected, prompt: str | None) -> int:
    """The number of a prompt in the file; the first, if none is named.

    Raises:
        ValueError: it is not there.
    """
    texts = collected.prompts.texts
    if prompt is None:
        return 0
    if prompt not in texts:
        raise ValueError(
            f"--prompt {prompt!r} is not one of the file's prompts; give one of them, or --model to run it"
        )
    return texts.index(prompt)


def draw_logits(task: Task) -> None:
    """One plot, of the prompt on the model."""
    from lazarus_probe.circuit.visualise import draw_lens

    if task.subject is None or task.prompt is None:
        raise ValueError("the lens reads a run of the model; give --model and --prompt")
    task.draw("logit_evolution.png", draw_lens, task.subject, task.prompt)


PLOTS: dict[str, Callable[[Task], None]] = {
    "pca": draw_pca,
    "umap": draw_umap,
    "probes": draw_probes,
    "attention": draw_attention,
    "logits": draw_logits,
}
