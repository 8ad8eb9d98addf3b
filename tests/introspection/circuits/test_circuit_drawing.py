"""The drawing of a circuit: what is in it, where it lies, and that nothing in it is markup of somebody else's."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from lazarus_probe.introspection.circuits.circuit_parts import Block, CircuitEdge, Contrast, Figure, PairScore
from lazarus_probe.introspection.circuits.drawing.circuit_drawing import circuit_svg
from lazarus_probe.introspection.circuits.drawing.circuit_layout import layout
from lazarus_probe.introspection.circuits.edges.edge import Edge
from tests.introspection.circuits.test_circuit_files import CIRCUIT

SHARED = Block(heads=4, kv_heads=2, mlp=True)
OWN = Block(heads=3, kv_heads=3, mlp=True)
BARE = Block(heads=4, kv_heads=4, mlp=False)


def edge_of(edge, score):
    """An edge of a circuit with a score, and with an exact effect."""
    edge = Edge.parse(edge)
    figure = Figure(value=score, low=score - 0.5, high=score + 0.5)
    return CircuitEdge(
        name=str(edge),
        sender_hook=edge.sender.hook,
        receiver_hook=edge.receiver.hook(9),
        score=figure,
        effect=figure,
    )


def circuit_of(*names, blocks=(SHARED, OWN, BARE), scores=None, **changes):
    """A circuit of some edges; their scores fall, and every other one is above 0."""
    scores = scores or [(-1) ** (number + 1) / (number + 1) for number in range(len(names))]
    edges = tuple(edge_of(name, score) for name, score in zip(names, scores, strict=True))
    return CIRCUIT.model_copy(update={"blocks": blocks, "edges": edges, **changes})


def every_edge(blocks):
    """A circuit of all edges of a model."""
    graph = circuit_of(blocks=blocks).graph
    return circuit_of(*graph.named(np.ones(graph.size, dtype=bool)), blocks=blocks)


def drawn(circuit, most=10_000):
    """The elements of a drawing, without their namespace."""
    root = ElementTree.fromstring(circuit_svg(circuit, most))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def of_class(root, kind):
    return [element for element in root.iter() if kind in element.get("class", "").split()]


def name_of(group):
    """What the pointer on an edge or a node says first."""
    return group.find("a/title").text.partition("\n")[0]


EVERY = every_edge((SHARED, OWN, BARE, SHARED))


@pytest.mark.parametrize("most", [1, 7, 200, 10_000])
def test_as_many_edges_are_drawn_as_asked_for(most):
    """There is a curve for each of the edges with the largest scores, and the caption says how many of how many."""
    root = drawn(EVERY, most)
    expected = min(most, len(EVERY.edges))
    assert len([path for path in of_class(root, "ze") if path.tag == "path"]) == expected
    assert f"{expected} of {len(EVERY.edges)} edges" in "".join(root.itertext())
    names = {name_of(group) for group in of_class(root, "zg")}
    largest = {edge.name for edge in EVERY.edges[:expected]}  # their scores fall
    assert names == largest


def test_nodes_are_those_that_edges_touch():
    """A node that no edge touches is not drawn; keys that heads share are a node below their heads, tied to them."""
    root = drawn(circuit_of("embed -> L0.KV1.k", "L0.H2 -> L1.KV0.v", "L1.H0 -> logits"))
    names = [name_of(node) for node in of_class(root, "zn")]
    assert sorted(names) == ["L0.H2", "L0.KV1", "L1.H0", "embed", "logits"]
    assert len(of_class(root, "zt")) == 1


def test_what_computes_later_lies_higher():
    """Each edge begins below where it ends, the embedding is the lowest node and the logits the highest."""
    for circuit in (EVERY, every_edge((BARE,) * 3), every_edge((OWN,) * 20)):
        laid = layout(circuit.edges, circuit.graph)
        heights = {node.name: node.y for node in laid.nodes}
        for line in laid.lines:
            assert line.points[0][1] > line.points[3][1]
            assert heights[line.nodes[0]] > heights[line.nodes[1]]
        assert max(heights, key=heights.__getitem__) == "embed"
        assert min(heights, key=heights.__getitem__) == "logits"
        assert [layer for layer, _ in laid.rows] == list(range(len(circuit.blocks)))
        assert sorted((y for _, y in laid.rows), reverse=True) == [y for _, y in laid.rows]


def test_nodes_lie_apart_and_all_is_on_the_paper():
    """No two nodes overlap, and nodes and the ends and bends of edges are within the drawing."""
    for circuit in (
        EVERY,
        every_edge((Block(heads=16, kv_heads=4, mlp=True),) * 2),
        circuit_of("embed -> L0.KV1.k"),
    ):
        laid = layout(circuit.edges, circuit.graph)
        for node in laid.nodes:
            assert 0 <= node.x - node.width / 2 <= node.x + node.width / 2 <= laid.width
            assert 0 <= node.y <= laid.height
            for other in laid.nodes:
                apart = abs(node.x - other.x) >= (node.width + other.width) / 2 or abs(node.y - other.y) >= 24
                assert node is other or apart, (node, other)
        for line in laid.lines:
            t = np.linspace(0, 1, 50)
            weights = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
            places = weights @ np.array(line.points)
            assert (places >= 0).all()
            assert (places <= [laid.width, laid.height]).all()


def test_every_coordinate_is_a_number():
    """No coordinate or width is NaN or infinite, also where scores are 0, equal, tiny or huge."""
    names = ["embed -> L0.MLP", "L0.MLP -> logits"]
    for scores in ([0.0, 0.0], [2.0, 2.0], [5e-324, 1e-310], [1e308, -1e300]):
        for element in drawn(circuit_of(*names, scores=scores)).iter():
            for name in ("x", "y", "d", "width", "height", "stroke-width", "stroke-opacity", "viewBox"):
                for number in re.findall(r"[^\sMC]+", element.get(name, "")):
                    assert math.isfinite(float(number))


def test_sign_is_seen_without_colour():
    """Edges above 0 have another class, which is dashed, than those below; widths follow the size of the score."""
    root = drawn(
        circuit_of("embed -> L0.MLP", "L0.MLP -> logits", "embed -> logits", scores=[-4.0, 2.0, 1.0])
    )
    paths = {name_of(group): group.findall("a/path")[1] for group in of_class(root, "zg")}
    kinds = {name: path.get("class") for name, path in paths.items()}
    assert kinds == {"embed -> L0.MLP": "ze zs", "L0.MLP -> logits": "ze zo", "embed -> logits": "ze zo"}
    widths = [float(path.get("stroke-width")) for path in paths.values()]
    assert sorted(widths) == widths  # the weakest is drawn first
    assert len(set(widths)) == 3
    assert ".zo{stroke:#e0532f;stroke-dasharray" in "".join(root.itertext())


def test_the_numbers_of_what_is_clicked_are_there():
    """An edge and a node link to their hooks and numbers, which are hidden until they are the target."""
    root = drawn(circuit_of("L0.H2 -> L1.KV0.v", "L1.H0 -> logits", scores=[-0.25, 0.125]))
    numbers = {
        group.get("id"): [text.text for text in group.findall("text")] for group in of_class(root, "zd")
    }
    linked = {
        name_of(each): each.find("a").get("href")[1:]
        for kind in ("zg", "zn")
        for each in of_class(root, kind)
    }
    assert numbers[linked["L0.H2 -> L1.KV0.v"]] == [
        "L0.H2 -> L1.KV0.v",
        "blocks.0.attn.hook_result to blocks.1.hook_v_input",
        "score -0.250 [-0.750, +0.250]",
        "effect -0.250 [-0.750, +0.250]",
    ]
    assert numbers[linked["L1.H0"]] == [
        "L1.H0",
        "blocks.1.hook_v_input, blocks.1.attn.hook_result",
        "reads 1 edge, the strongest L0.H2 -> L1.KV0.v with -0.250",
        "writes 1 edge, the strongest L1.H0 -> logits with +0.125",
    ]
    assert len(numbers) == len(linked) == 5
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(set(ids)) == len(ids)
    assert {link.get("href")[1:] for link in root.iter("a")} <= set(ids)


def test_a_click_shows_the_prompts_that_an_edge_acts_on():
    """Both prompts of the pairs with its largest scores, their ends where they are long; the pointer shows numbers."""
    names = ["embed -> L0.MLP", "L0.MLP -> logits"]
    long = "a\n" + "b" * 80 + " the end"
    plain = circuit_of(*names, scores=[-2.0, 1.0], prompts=(Contrast(clean="x", corrupted="y"),))
    prompts = (*plain.prompts, Contrast.of(long, "<b>z</b>"))
    strongest = (PairScore(pair=1, score=-3.5), PairScore(pair=0, score=-0.5))
    edges = (plain.edges[0].model_copy(update={"strongest": strongest}), plain.edges[1])
    root = drawn(plain.model_copy(update={"prompts": prompts, "edges": edges}))
    told = {
        name_of(group): [
            text.text
            for box in of_class(root, "zd")
            if box.get("id") == group.find("a").get("href")[1:]
            for text in box.findall("text")
        ]
        for kind in ("zg", "zn")
        for group in of_class(root, kind)
    }
    shown = [f"-3.500 on '…{long[-55:]}'", "against '<b>z</b>'", "-0.500 on 'x'", "against 'y'"]
    assert told[names[0]][-4:] == shown
    assert told["embed"][-4:] == told["L0.MLP"][-4:] == shown
    assert not any(" on " in line or "against" in line for line in told[names[1]] + told["logits"])
    pointed = next(group.find("a/title").text for group in of_class(root, "zg") if name_of(group) == names[0])
    assert "against" not in pointed


@pytest.mark.parametrize(
    "name",
    ["</style><script>alert(1)</script>", '"><a href="x">', "&lt;", "a\x00b\x0c\u202ec", "\ud800", "x" * 900],
)
def test_nothing_of_a_name_is_markup(name):
    """A model's or metric's name is text in the drawing whatever is in it, with no script and no character unseen."""
    circuit = circuit_of(
        "embed -> logits",
        model=name,
        metric=name,
        prompts=(Contrast.model_construct(clean=name, corrupted=f"…{name}"),),
    )
    strongest = (PairScore(pair=0, score=1.0),)
    edge = circuit.edges[0].model_copy(update={"strongest": strongest})
    circuit = circuit.model_copy(update={"edges": (edge,)})
    root = drawn(circuit)
    assert {element.tag for element in root.iter()} <= {
        "svg",
        "title",
        "style",
        "a",
        "rect",
        "text",
        "line",
        "g",
        "path",
    }
    text = "".join(root.itertext())
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", text)
    assert name[:4] in text or "\\" in text
    circuit_svg(circuit).encode()


def test_nothing_is_fetched_and_nothing_runs():
    """The drawing has no script, no handler, and no address but fragments of itself."""
    text = circuit_svg(EVERY)
    assert not re.search(r"<script|\son\w+=|javascript:|url\(|@import|<image|<use", text)
    assert set(re.findall(r'href="(.)', text)) == {"#"}
    assert re.findall(r'"(https?:[^"]*)"', text) == ["http://www.w3.org/2000/svg"]


def test_the_same_circuit_is_drawn_the_same():
    """A circuit gives one text, and another circuit has other ids, so that two fit on a page."""
    assert circuit_svg(EVERY) == circuit_svg(EVERY)
    other = circuit_of("embed -> logits")
    assert drawn(other).get("id") != drawn(EVERY).get("id")


def test_small_and_odd_circuits_are_drawn():
    """One edge, no edges, and blocks without MLPs make drawings."""
    assert len(of_class(drawn(circuit_of("embed -> logits")), "zn")) == 2
    assert "0 of 0 edges" in "".join(drawn(circuit_of()).itertext())
    bare = drawn(every_edge((BARE, BARE)))
    assert not of_class(bare, "zmlp")
    assert len(of_class(bare, "zhead")) == 8


def test_fewer_than_one_edge_is_refused():
    """A drawing of no edges at all is not asked for in earnest."""
    with pytest.raises(ValueError, match="most is 0; draw at least 1 edge"):
        circuit_svg(EVERY, most=0)


def test_a_notebook_shows_the_drawing_above_the_tables():
    """The HTML of a circuit is its drawing, its edges and its curve, in this order."""
    html = EVERY._repr_html_()
    assert html.startswith(circuit_svg(EVERY))
    assert html.count("<table>") == 2
