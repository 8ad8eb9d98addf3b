"""A circuit as SVG, without scripts: what the pointer is on says its name, and what is clicked shows its numbers.

A click makes the numbers the page's target: style rules show them, and leave that edge or the node's edges alone.
Colours suit light and dark pages: texts have that of the page, nodes and edges one that stands out from both.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterator, Sequence
from html import escape

from lazarus_probe.introspection.circuits.circuit_parts import CircuitEdge, Contrast
from lazarus_probe.introspection.circuits.drawing.circuit_layout import HIGH, Layout, Node, Place, layout
from lazarus_probe.introspection.circuits.edges.edge_graph import EdgeGraph
from lazarus_probe.statistics.student import signed_estimate
from lazarus_probe.untrusted import visible

THINNEST, THICKEST, FAINTEST, STRONGEST = 0.9, 6.5, 0.5, 0.95
LINE, LETTER, BOLD = 15.0, 5.7, 6.4  # pixels of a line and, about, of a letter
LONGEST = 300
SHOWN = 56  # characters of a prompt, of which the end says most
HINT = "Click an edge or a node for its numbers and prompts; a click next to them ends that."
STYLE = """\
.lzc{max-width:100%;height:auto;color:inherit;font:11px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
.lzc text{fill:currentColor}
.lzc a{color:inherit;text-decoration:none;cursor:pointer;outline:none}
.lzc .zh{font-size:13px;font-weight:600}
.lzc .zw{opacity:.72}
.lzc .zb{fill:transparent;pointer-events:none}
.lzc:has(:target) .zb{pointer-events:all}
.lzc .zv{fill:none;stroke:transparent}
.lzc .zt{stroke:currentColor;stroke-opacity:.45;stroke-dasharray:1 3}
.lzc .ze{fill:none;stroke-linecap:round}
.lzc .zs{stroke:#3b82d6}
.lzc .zo{stroke:#e0532f;stroke-dasharray:6 5;stroke-linecap:butt}
.lzc .zn rect{stroke:currentColor;stroke-opacity:.35}
.lzc .zhead rect{fill:#4d6379}
.lzc .zshared rect{fill:#6f7883}
.lzc .zmlp rect{fill:#6d5794}
.lzc .zend rect{fill:#4f5358}
.lzc .zn a text{fill:#fff;text-anchor:middle;pointer-events:none}
.lzc .zn a .zp{font-size:8.5px;opacity:.9}
.lzc .zk{text-anchor:end;opacity:.72}
.lzc .zg:hover .ze,.lzc a:focus-visible .ze{stroke-opacity:1}
.lzc .zn:hover rect,.lzc a:focus-visible rect{stroke-opacity:1;stroke-width:2}
.lzc .zd{display:none;pointer-events:none}
.lzc .zd:target{display:inline;scroll-margin-top:40vh}
.lzc .zd rect{fill:#22262b;stroke:#8b929b;stroke-opacity:.6}
.lzc .zd text{fill:#f4f3f0}
.lzc .zd .zh{font-size:11px}
.lzc:has(.zq:target) .zg{opacity:.13}
@media (prefers-color-scheme:dark){.lzc:root{color:#e6e4df;background:#15171b}}
@media (prefers-color-scheme:light){.lzc:root{background:#fff}}
"""


def edges_svg(
    edges: Sequence[CircuitEdge],
    graph: EdgeGraph,
    title: str,
    most: int,
    prompts: Sequence[Contrast] = (),
) -> str:
    """The edges with the largest scores, at most so many, as an SVG; a click shows which of the prompts they act on.

    Raises:
        ValueError: `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"most is {most}; draw at least 1 edge")
    shown = by_size(edges)[:most]
    laid = layout(shown, graph)
    largest = max((abs(edge.score.value) for edge in shown), default=0.0)
    data = repr((title, [edge.model_dump_json() for edge in shown]))
    mark = f"c{hashlib.sha256(data.encode()).hexdigest()[:8]}"
    caption = (
        f"{len(shown)} of {len(edges)} edges{', those with the largest scores' if len(shown) < len(edges) else ''}. "
        f"The thicker, the larger the score: {largest:.3g} at the most. Edges run upwards."
    )
    letters = int((laid.width - 24) / LETTER)
    heads, notes = textwrap.wrap(_visible(title), int(letters * 0.84))[:3], textwrap.wrap(caption, letters)
    top, parts = LINE * (len(heads) + len(notes) + 1), list[str]()
    parts += [_text(12, 20 + LINE * row, line, "zh") for row, line in enumerate(heads)]
    parts += [_text(12, 20 + LINE * (len(heads) + row), line, "zw") for row, line in enumerate(notes)]
    parts += _legend(20 + LINE * (len(heads) + len(notes)))
    lines, nodes = list(_lines(laid, mark, largest)), list(_nodes(laid, mark))
    height = top + laid.height + 2 * LINE
    hint = _text(12, laid.height + LINE, HINT, "zw zi") if shown else ""
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="lzc" id="{mark}" '
            f'viewBox="0 0 {laid.width:.1f} {height:.1f}" width="{laid.width:.0f}" height="{height:.0f}" role="img">',
            f"<title>{escape(_visible(title))}</title><style>{STYLE}{_rules(laid, mark)}</style>",
            f'<a href="#{mark}"><rect class="zb" width="{laid.width:.1f}" height="{height:.1f}"/></a>',
            *parts,
            f'<g transform="translate(0 {top:.1f})">',
            *_rows(laid),
            *lines,
            *nodes,
            hint,
            *_numbers(laid, mark, prompts),
            "</g></svg>",
        ]
    )


def by_size(edges: Sequence[CircuitEdge]) -> list[CircuitEdge]:
    """Edges, those with the largest scores first; the id of the n-th one in a drawing ends in `-e` and n, from 0."""
    return sorted(edges, key=lambda edge: (-abs(edge.score.value), edge.name))


def edge_told(edge: CircuitEdge) -> list[str]:
    """An edge in a few lines: its name, and its numbers with their intervals."""
    lines = [edge.name, f"{edge.sender_hook} to {edge.receiver_hook}"]
    for name, figure in (("score", edge.score), ("effect", edge.effect), ("loss", edge.loss)):
        if figure is not None:
            lines.append(f"{name} {signed_estimate(figure.value, figure.low, figure.high)}")
    return lines


def prompts_told(edge: CircuitEdge, prompts: Sequence[Contrast]) -> list[str]:
    """For each pair on which an edge's score is largest two lines: the score and the prompts' ends."""
    lines = list[str]()
    for shown in edge.strongest:
        pair = prompts[shown.pair]
        lines += [f"{shown.score:+.3f} on {_end(pair.clean)}", f"against {_end(pair.corrupted)}"]
    return lines


def _end(prompt: str) -> str:
    return repr(prompt if len(prompt) <= SHOWN else f"…{prompt[1 - SHOWN :]}")


def _lines(laid: Layout, mark: str, largest: float) -> Iterator[str]:
    """The edges, the weakest first, so that the strongest lie on top."""
    numbers = {node.name: number for number, node in enumerate(laid.nodes)}
    for number, line in reversed(list(enumerate(laid.lines))):
        share = abs(line.edge.score.value) / largest if largest else 0.0
        wide, clear = THINNEST + (THICKEST - THINNEST) * share, FAINTEST + (STRONGEST - FAINTEST) * share**0.5
        path, kind = _path(line.points), "zo" if line.edge.score.value > 0 else "zs"
        of = " ".join(f"z{numbers[name]}" for name in line.nodes)
        yield (
            f'<g class="zg {of} y{number}"><a href="#{mark}-e{number}">{_title(edge_told(line.edge))}'
            f'<path class="zv" stroke-width="{wide + 7:.1f}" d="{path}"/>'
            f'<path class="ze {kind}" stroke-width="{wide:.2f}" stroke-opacity="{clear:.2f}" d="{path}"/></a></g>'
        )


def _nodes(laid: Layout, mark: str) -> Iterator[str]:
    for number, node in enumerate(laid.nodes):
        label, raised = node.name.rpartition(".")[2], -0.5 if node.reads else 4.0
        letters = "".join(_text(node.x + across, node.y + 9, step, "zp") for step, across in _letters(node))
        yield (
            f'<g class="zn z{node.kind} x{number}"><a href="#{mark}-n{number}">{_title(_node_told(node, laid))}'
            f'<rect x="{node.x - node.width / 2:.1f}" y="{node.y - HIGH / 2:.1f}" width="{node.width:.1f}" '
            f'height="{HIGH:g}" rx="5"/>{_text(node.x, node.y + raised, label)}{letters}</a></g>'
        )


def _numbers(laid: Layout, mark: str, prompts: Sequence[Contrast]) -> Iterator[str]:
    """The numbers and prompts of each edge and node, which are shown where they are the target."""
    for number, line in enumerate(laid.lines):
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = line.points
        middle = (ax + 3 * bx + 3 * cx + dx) / 8, (ay + 3 * by + 3 * cy + dy) / 8
        lines = [*edge_told(line.edge), *prompts_told(line.edge, prompts)]
        yield f'<g class="zd zq" id="{mark}-e{number}">{_box(lines, middle, laid)}</g>'
    for number, node in enumerate(laid.nodes):
        strongest = next(line.edge for line in laid.lines if node.name in line.nodes)
        lines = [*_node_told(node, laid), *prompts_told(strongest, prompts)]
        yield f'<g class="zd" id="{mark}-n{number}">{_box(lines, (node.x, node.y), laid)}</g>'


def _box(lines: Sequence[str], beside: Place, laid: Layout) -> str:
    """Lines in a box below a place, or above it where there is no room."""
    lines = [_visible(line)[: int((laid.width - 28) / BOLD)] for line in lines]
    width, height = max(map(len, lines)) * BOLD + 16, LINE * len(lines) + 8
    x = min(max(beside[0] - width / 2, 4.0), laid.width - width - 4)
    y = beside[1] + HIGH if beside[1] + HIGH + height < laid.height else beside[1] - HIGH - height
    texts = (_text(x + 8, y + LINE * (row + 1), line, "" if row else "zh") for row, line in enumerate(lines))
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5"/>{"".join(texts)}'


def _letters(node: Node) -> list[tuple[str, float]]:
    places = {"k": -11.0, "v": 11.0} if node.kind == "shared" else {"q": -12.0, "k": 0.0, "v": 12.0}
    return [(step, places[step]) for step in node.reads]


def _node_told(node: Node, laid: Layout) -> list[str]:
    """A node in a few lines: its name and hooks, and how many edges it reads and writes, the strongest of each."""
    lines = [node.name, ", ".join(_hooks(node, laid))]
    for verb, end in (("reads", 1), ("writes", 0)):
        edges = [line.edge for line in laid.lines if line.nodes[end] == node.name]
        if edges:
            best, count = edges[0], f"{len(edges)} edge{'s' * (len(edges) > 1)}"
            lines.append(f"{verb} {count}, the strongest {best.name} with {best.score.value:+.3f}")
    return lines


def _hooks(node: Node, laid: Layout) -> list[str]:
    """What TransformerLens calls what a node reads and writes, as far as edges of the circuit do."""
    read = [line.edge.receiver_hook for line in laid.lines if line.nodes[1] == node.name]
    sent = [line.edge.sender_hook for line in laid.lines if line.nodes[0] == node.name]
    return list(dict.fromkeys([*sorted(read), *sent]))


def _rows(laid: Layout) -> Iterator[str]:
    for layer, y in laid.rows:
        yield _text(38, y + 4, f"L{layer}", "zk")
    for start, end in laid.ties:
        yield f'<line class="zt" x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>'


def _legend(y: float) -> list[str]:
    """What the colours mean."""
    return [
        f'<line class="ze zs" stroke-width="4" x1="12" y1="{y - 4:.1f}" x2="40" y2="{y - 4:.1f}"/>',
        _text(48, y, "corrupting it lowers the metric (score below 0)", "zw"),
        f'<line class="ze zo" stroke-width="4" x1="322" y1="{y - 4:.1f}" x2="350" y2="{y - 4:.1f}"/>',
        _text(358, y, "corrupting it raises it", "zw"),
    ]


def _rules(laid: Layout, mark: str) -> str:
    """Where the numbers of an edge or a node are shown, it stands out, and edges that are not of it are faint."""
    edge = "#{m}:has(#{m}-e{n}:target) .y{n}{{opacity:1}}\n"
    node = (
        "#{m}:has(#{m}-n{n}:target) .zg:not(.z{n}){{opacity:.07}}\n"
        "#{m}:has(#{m}-n{n}:target) .x{n} rect{{stroke-opacity:1;stroke-width:2}}\n"
    )
    rules = [edge.format(m=mark, n=number) for number in range(len(laid.lines))]
    return "".join([*rules, *(node.format(m=mark, n=number) for number in range(len(laid.nodes)))])


def _path(points: tuple[Place, Place, Place, Place]) -> str:
    first, *others = (f"{x:.1f} {y:.1f}" for x, y in points)
    return f"M{first}C{' '.join(others)}"


def _title(lines: Sequence[str]) -> str:
    return f"<title>{escape(_visible(chr(10).join(lines)))}</title>"


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}">{escape(_visible(text))}</text>'


def _visible(text: str) -> str:
    return visible(text[:LONGEST])
