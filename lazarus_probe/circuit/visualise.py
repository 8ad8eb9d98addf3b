"""Plots of collected activations, of attention, and of the logit lens across layers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.circuit.geometry import Components, Probed
from lazarus_probe.files.whole_files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from lazarus_probe.subject.subject import Subject

DPI = 110
# As many classes as have a colour and a mark of their own.
MARKS = "osD^vP*X"
CONTROL_STYLES = ("--", ":", "-.")
LONGEST = 14
# Tokens named along an axis at most, and tokens of a prompt whose attention is drawn.
NAMED = 64
UPRIGHT = 3  # characters of a name that fit below a cell
DRAWN = 256


def draw_components(principal: Components, labels: Sequence[str], path: Path) -> None:
    """The prompts along the first two principal components, one colour per label."""
    title = f"Layer {principal.layer}: principal components, standardised"
    names = [f"PC {i + 1} ({share:.0%} of the variance)" for i, share in enumerate(principal.shares[:2])]
    points = principal.points[:, :2]
    if points.shape[1] < 2:
        points, names = np.column_stack([points, np.zeros(len(points))]), [*names, ""]
    draw_points(points, labels, title, (names[0], names[1]), path)


def draw_points(
    points: NDArray[Any], labels: Sequence[str], title: str, names: tuple[str, str], path: Path
) -> None:
    """Points (N, 2), one colour and marker per label."""
    figure, axes = _figure(6.4, 4.8)
    for number, label in enumerate(dict.fromkeys(labels)):
        rows = np.array(labels) == label
        axes.scatter(
            points[rows, 0],
            points[rows, 1],
            s=22,
            alpha=0.75,
            marker=MARKS[number % len(MARKS)],
            color=f"C{number % 10}",
            label=f"{shown(label)} ({int(rows.sum())})",
        )
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    if len(set(labels)) <= 12:
        _legend(axes)
    _save(figure, path)


def draw_probes(probes: Sequence[Probed], path: Path) -> None:
    """Held-out accuracy by layer with its interval, every control, and the range of shuffled labels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4 * len(probes), 4.8), layout="constrained")
    for number, probed in enumerate(probes):
        _probe_lines(figure.add_subplot(1, len(probes), number + 1), probed)
    _save(figure, path)


def _probe_lines(axes: Axes, probed: Probed) -> None:
    layers, probes = list(probed.layers), list(probed.layers.values())
    axes.plot(layers, [probe.accuracy for probe in probes], "o-", color="C0", label="held-out accuracy")
    ends = [probe.low for probe in probes], [probe.high for probe in probes]
    if len(layers) > 1:
        axes.fill_between(layers, *ends, color="C0", alpha=0.2, label="95% interval")
    else:
        axes.vlines(layers, *ends, color="C0", alpha=0.5, label="95% interval")
    for number, control in enumerate(probes[0].controls):
        scores = [probe.controls[number].score for probe in probes]
        style = CONTROL_STYLES[number % len(CONTROL_STYLES)] + ("" if len(layers) > 1 else "s")
        axes.plot(layers, scores, style, color=f"C{number + 1}", label=control.name)
    shuffled = [probe.shuffled for probe in probes if probe.shuffled is not None]
    if len(shuffled) == len(layers) > 1:
        lows, highs = zip(*shuffled, strict=True)
        axes.fill_between(layers, lows, highs, color="grey", alpha=0.2, label="shuffled labels")
    axes.set_title(
        f"{probed.name}: {probes[0].classes} classes, {probes[0].n} prompts, {probes[0].groups} groups"
    )
    axes.set_xlabel("layer")
    axes.set_ylabel("accuracy on held-out groups")
    axes.set_xticks(layers)
    axes.set_ylim(0, 1.03)
    axes.legend(fontsize=8, loc="lower right")


def draw_attention_from(weights: NDArray[Any], tokens: Sequence[str], title: str, path: Path) -> None:
    """What each head (H, S) attends to from one position: one row per head, one column per token."""
    figure, axes = _figure(max(4.0, 1.8 + 0.45 * len(tokens)), max(2.4, 1.4 + 0.4 * len(weights)))
    _heatmap(axes, weights, [f"head {head}" for head in range(len(weights))], tokens)
    axes.set_title(title, parse_math=False, fontsize=9)
    _save(figure, path)


def draw_attention(pattern: NDArray[Any], tokens: Sequence[str], title: str, path: Path) -> None:
    """Each head's attention (H, L, L) from every position to every other: one panel per head."""
    from matplotlib.figure import Figure

    heads = len(pattern)
    across = min(heads, 4)
    down = -(-heads // across)
    side = min(max(2.4, 1.2 + 0.22 * len(tokens)), 10.0)
    figure = Figure(figsize=(side * across, side * down + 0.4), layout="constrained")
    panels = [figure.add_subplot(down, across, head + 1) for head in range(heads)]
    for head, axes in enumerate(panels):
        image = _heatmap(axes, pattern[head], tokens if head % across == 0 else [], tokens, small=True)
        axes.set_title(f"head {head}", fontsize=8)
        axes.set_xlabel("attended to", fontsize=7)
        if head % across == 0:
            axes.set_ylabel("from", fontsize=7)
    figure.colorbar(image, ax=panels, label="attention", shrink=0.8)
    figure.suptitle(title, parse_math=False, fontsize=10)
    _save(figure, path)


def draw_lens(subject: Subject, prompt: str, path: Path, top: int = 5) -> dict[str, list[float]]:
    """The probability of the finally likeliest tokens after each layer, by the logit lens.

    Under each layer stands the token that is likeliest there.

    Returns:
        By token, its probability after each layer.
    """
    from lazarus_probe.introspection.lens.logit_lens import logit_lens

    lens = logit_lens(subject, [prompt])
    ids = lens.top_tokens(top)[0, -1].tolist()
    likeliest = [subject.decode([token]) for token in lens.top_tokens(1)[0, :, 0].tolist()]
    curves = {token: lens.probability(token)[0] for token in ids}
    figure, axes = _figure(max(6.4, 1.5 + 0.7 * len(lens.layers)), 4.8)
    for number, (token, values) in enumerate(curves.items()):
        axes.plot(
            lens.layers,
            values,
            marker=MARKS[number % len(MARKS)],
            markersize=4,
            label=shown(repr(subject.decode([token]))),
        )
    axes.set_title(f"Logit lens: {shown(prompt, 60)}", parse_math=False, fontsize=10)
    axes.set_xlabel("layer, and its likeliest token")
    axes.set_ylabel("probability")
    axes.set_ylim(-0.02, 1.02)
    names = [f"{n}\n{shown(repr(text), 9)}" for n, text in zip(lens.layers, likeliest, strict=True)]
    axes.set_xticks(lens.layers, names, fontsize=7, parse_math=False)
    _legend(axes, "final top tokens")
    _save(figure, path)
    return {subject.decode([token]): values.tolist() for token, values in curves.items()}


def patterns_of(
    subject: Subject, prompt: str, layers: Sequence[int]
) -> tuple[Mapping[int, NDArray[Any]], list[str]]:
    """By layer that has attention, each head's pattern (H, L, L) on a prompt; and the prompt's tokens.

    Raises:
        ValueError: none of the layers has attention, or the prompt is too long to be drawn.
    """
    from lazarus_probe.hooks.model_sites import kinds_at
    from lazarus_probe.hooks.sites import pattern
    from lazarus_probe.hooks.trace import trace

    attending = [layer for layer in layers if "pattern" in kinds_at(subject.anatomy, layer)]
    if not attending:
        raise ValueError(f"{subject.name} has no attention at layer {', '.join(map(str, layers))}")
    if (count := len(subject.encode(prompt))) > DRAWN:
        raise ValueError(f"the prompt has {count} tokens; attention is drawn of at most {DRAWN}")
    captured = trace(subject, prompt, [pattern(layer) for layer in attending])
    tokens = [subject.decode([token]) for token in np.array(captured.tokens)[0].tolist()]
    patterns = {layer: np.array(captured[pattern(layer)])[0].astype(np.float32) for layer in attending}
    return patterns, tokens


def _heatmap(
    axes: Axes, values: NDArray[Any], rows: Sequence[str], columns: Sequence[str], small: bool = False
) -> AxesImage:
    image = axes.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    size = 7.5 if small else 8
    across, down = (range(0, len(names), -(-len(names) // NAMED) or 1) for names in (columns, rows))
    names = [shown(columns[i]) for i in across]
    axes.set_xticks(across, names, fontsize=size, parse_math=False)
    for text in axes.get_xticklabels():
        # On its side a sign is hard to tell from another; only long names have to be turned.
        text.set_rotation(90 if len(text.get_text()) > UPRIGHT else 0)
    axes.set_yticks(down, [shown(rows[i]) for i in down], fontsize=size, parse_math=False)
    if not small:
        axes.figure.colorbar(image, ax=axes, label="attention")
        axes.set_xlabel("attended to")
    return image


def _legend(axes: Axes, title: str | None = None) -> None:
    """A legend that takes no text for mathematics."""
    for text in axes.legend(fontsize=8, title=title).get_texts():
        text.set_parse_math(False)


def shown(text: str, longest: int = LONGEST) -> str:
    """A text in one line of printable characters, cut where it is long."""
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    # A leading underscore would keep a name out of a legend.
    line = f" {line}" if line.startswith("_") else repr(line) if line.isspace() else line
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(min(width, 30.0), min(height, 30.0)), layout="constrained")
    return figure, figure.add_subplot()


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as aside, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters that the font lacks
        figure.savefig(aside, dpi=DPI, format="png")
