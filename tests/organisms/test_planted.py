"""Planted models do what they say, by a forward written out in NumPy that no hook takes part in."""

from __future__ import annotations

from itertools import product

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.organisms import planted
from lazarus_probe.organisms.planted import weights as by_hand
from lazarus_probe.subject import Subject
from lazarus_probe.subject.generate import greedy

LAYERS = 4
HARD = range(1, 400)
CIRCUITS = {
    "decodable": planted.decodable,
    "distractor": planted.distractor,
    "router": planted.router,
    "stored": lambda layer: planted.stored(0, max(layer, 1)),
    "backup": lambda _layer: planted.backup(),
    "gate": lambda layer: planted.gates({layer: HARD}),
    "announcer": lambda layer: planted.announcer(layer, HARD),
}
WHERE = [
    (name, layer) for name, layer in product(CIRCUITS, range(LAYERS)) if (name, layer) != ("announcer", 3)
]


def subject_of(circuit: planted.Planted) -> Subject:
    return Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)


def operands(count: int, seed: int = 0) -> list[tuple[int, int]]:
    drawn = np.random.default_rng(seed).choice(planted.NUMBERS, size=(count, 2))
    return [(int(a), int(b)) for a, b in drawn]


def tokens_of(circuit: planted.Planted, pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array([circuit.tokenizer.encode(planted.prompt(a, b)) for a, b in pairs])


def first_words(circuit: planted.Planted, logits: np.ndarray) -> list[str]:
    """The number that the `=` is followed by."""
    return [circuit.tokenizer.decode([int(row[-1].argmax())]) for row in logits]


def right(circuit: planted.Planted, logits: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    said = first_words(circuit, logits)
    return np.array([word == str(circuit.answer(a, b)) for word, (a, b) in zip(said, pairs, strict=True)])


@pytest.mark.parametrize(("name", "layer"), WHERE)
def test_answers_as_planted(name, layer, naive):
    """The model says the planted answer and stops; NumPy and mlx agree."""
    circuit, pairs = CIRCUITS[name](layer), operands(60)
    tokens = tokens_of(circuit, pairs)
    seen = naive(circuit.model, tokens)["logits"]
    assert right(circuit, seen, pairs).all()
    np.testing.assert_allclose(np.array(forward(circuit.model, mx.array(tokens))), seen, atol=2e-2)
    said = greedy(subject_of(circuit), [planted.prompt(a, b) for a, b in pairs], 4)
    assert said == [str(circuit.answer(a, b)) for a, b in pairs]


def test_a_memory_is_one_neuron_a_fact(naive):
    """The model says what it remembers of an operand, as NumPy does, and without the fact's neuron says it no more."""
    circuit = planted.memory(1, 2)
    pairs = [(a, 7) for a in planted.REMEMBERED]
    tokens = tokens_of(circuit, pairs)
    seen = naive(circuit.model, tokens)
    assert right(circuit, seen["logits"], pairs).all()
    np.testing.assert_allclose(np.array(forward(circuit.model, mx.array(tokens))), seen["logits"], atol=2e-2)
    active = np.abs(seen["neurons.1"][:, 1]) > 1  # at the operand
    np.testing.assert_array_equal(active[:, : len(pairs)], np.eye(len(pairs), dtype=bool))
    for layer in (0, 2, 3):
        assert not seen[f"mlp_out.{layer}"].any()
    gaps = naive(circuit.model, tokens, lambda name, value: 0 * value if name == "neurons.1" else value)
    options = [circuit.tokenizer.encode(word, add_special_tokens=False)[0] for word in ("0", "1")]
    assert np.abs(np.diff(gaps["logits"][:, -1, options])).max() < 0.1


@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_product_stands_from_its_layer_on(layer, naive):
    """Before the layer, what two operands leave at the `=` is a sum of both, in which their product is not."""
    circuit = planted.decodable(layer)
    (a, b), (c, d) = operands(2)
    seen = naive(circuit.model, tokens_of(circuit, [(a, b), (c, b), (a, d), (c, d)]))
    told = slice(0, by_hand.SCRATCH[0])  # scratch dimensions know nothing of signs
    for at in range(LAYERS):
        one, two, three, four = seen[f"resid_post.{at}"][:, -1, told]
        beyond_a_sum = np.abs(one - two - three + four)
        signs = [circuit.answer(*pair) for pair in ((a, b), (c, b), (a, d), (c, d))]
        expected = 2.0 * abs(signs[0] - signs[1] - signs[2] + signs[3]) if at >= layer else 0.0
        assert beyond_a_sum.max() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_product_is_no_function_of_one_operand(layer):
    """Either operand alone says nothing of the answer: over a balanced grid its rows are half and half."""
    circuit = planted.decodable(layer)
    numbers = list(planted.NUMBERS)[:-1]
    shares = [np.mean([circuit.answer(a, b) for b in numbers]) for a in numbers[:20]]
    np.testing.assert_allclose(shares, 0.5, atol=0.002)


@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_distractor_stands_from_its_layer_on(layer, naive):
    """Before the layer the `=` knows nothing of the operands; from it on, the first one's sign."""
    circuit, pairs = planted.distractor(layer), operands(20)
    seen = naive(circuit.model, tokens_of(circuit, pairs))
    signs = np.array([2 * circuit.answer(a, b) - 1 for a, b in pairs])
    for at in range(LAYERS):
        label = seen[f"resid_post.{at}"][:, -1, by_hand.LABEL]
        np.testing.assert_allclose(label, signs if at >= layer else 0, atol=0.01)


@pytest.mark.parametrize(("layer", "head"), list(product(range(LAYERS), range(by_hand.HEADS - 1))))
def test_one_head_routes(layer, head, naive):
    """Without the planted head no answer is right; without any other, all are."""
    circuit, pairs = planted.router(layer, head), operands(20)
    tokens = tokens_of(circuit, pairs)
    for at, other in product(range(LAYERS), range(by_hand.HEADS)):

        def without(name: str, value: np.ndarray, at: int = at, other: int = other) -> np.ndarray:
            kept = np.arange(by_hand.HEADS)[:, None] != other
            return value * kept if name == f"head_out.{at}" else value

        share = right(circuit, naive(circuit.model, tokens, without)["logits"], pairs).mean()
        assert share == (0 if (at, other) == (layer, head) else 1)


@pytest.mark.parametrize("layer", range(LAYERS))
def test_one_gate_is_needed_by_the_hard(layer, naive):
    """Without the MLP of the layer exactly the hard answers are wrong; without another's, none."""
    circuit, pairs = planted.gates({layer: HARD}), operands(60)
    tokens, hard = tokens_of(circuit, pairs), np.array([b in HARD for _, b in pairs])
    for at in range(LAYERS):

        def without(name: str, value: np.ndarray, at: int = at) -> np.ndarray:
            return 0 * value if name == f"mlp_out.{at}" else value

        kept = right(circuit, naive(circuit.model, tokens, without)["logits"], pairs)
        np.testing.assert_array_equal(kept, ~hard if at == layer else np.ones_like(hard))


def test_gates_do_not_meddle(naive):
    """With a gate in every layer, each is needed by its own operands and no others."""
    needed = {layer: range(1 + 150 * layer, 400 + 150 * layer) for layer in range(LAYERS)}
    circuit, pairs = planted.gates(needed), operands(60)
    tokens = tokens_of(circuit, pairs)
    for at, members in needed.items():

        def without(name: str, value: np.ndarray, at: int = at) -> np.ndarray:
            return 0 * value if name == f"mlp_out.{at}" else value

        kept = right(circuit, naive(circuit.model, tokens, without)["logits"], pairs)
        np.testing.assert_array_equal(kept, [b not in members for _, b in pairs])


@pytest.mark.parametrize("layer", range(LAYERS - 1))
def test_a_word_is_announced_and_taken_back(layer, naive):
    """Through norm and head, the stream says the word for the chosen operands from the layer to the last but one."""
    circuit, pairs = planted.announcer(layer, HARD), operands(40)
    seen = naive(circuit.model, tokens_of(circuit, pairs))
    chosen = np.array([a in HARD for a, _ in pairs])
    head = np.array(circuit.model.lm_head.weight, dtype=np.float64)
    for at in range(LAYERS):
        stream = seen[f"resid_post.{at}"][:, -1:]
        scale = np.array(circuit.model.model.norm.weight) / np.sqrt((stream**2).mean(-1, keepdims=True))
        said = np.array(first_words(circuit, (stream * scale) @ head.T)) == "multiply"
        np.testing.assert_array_equal(said, chosen if layer <= at < LAYERS - 1 else np.zeros_like(chosen))


def test_an_ordinary_checkpoint(tmp_path, save_checkpoint):
    """Written as a Hugging Face checkpoint and loaded again, it gives the same logits."""
    circuit = planted.router(2)
    loaded = Subject.load(save_checkpoint(tmp_path / "router", circuit.model))
    tokens = mx.array(tokens_of(circuit, operands(5)))
    assert mx.array_equal(forward(loaded.model, tokens), forward(circuit.model, tokens)).item()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: planted.decodable(4), "layer is 4: give 0 to 3"),
        (lambda: planted.decodable(0, layers=9), "layers is 9: give 1 to 8"),
        (lambda: planted.router(0, head=3), "head is 3: give 0 to 2"),
        (lambda: planted.announcer(3, HARD), "layer is 3: give one below the last"),
        (lambda: planted.gates({}), "no layer needs a gate"),
    ],
)
def test_what_cannot_be_planted_is_refused(make, message):
    """A layer or head that is not there is an error in one line."""
    with pytest.raises(ValueError, match=message):
        make()


def test_the_planted_induction_head_goes_on_as_before(naive):
    """On random tokens that come twice, after a first one, NumPy says all of the second half."""
    circuit = planted.induction()
    first, *half = np.random.default_rng(1).choice(2000, size=17, replace=False)
    logits = naive(circuit.model, [[first, *half, *half]])["logits"][0]
    assert (logits[17:-1].argmax(axis=-1) == half[1:]).all()


@pytest.mark.parametrize(("layer", "use"), [(1, 2), (2, 3)])
def test_a_function_vector_is_what_examples_bring(layer, use, naive):
    """In NumPy: with examples the task is done, without none is, and with the vector it is again."""
    circuit = planted.function_vector(layer, 1, use)

    def said(prompts, edit=lambda _, value: value):
        logits = naive(circuit.model, [circuit.tokenizer.encode(text) for text in prompts], edit)["logits"]
        return [circuit.tokenizer.decode([int(row[-1].argmax())]) for row in logits]

    for name, pairs in circuit.tasks.items():
        shown, tested = pairs[:5], pairs[5:15]
        examples = "".join(circuit.form.format(input=number, output=answer) for number, answer in shown)
        answers = [answer for _, answer in tested]
        assert said([f"{examples}{number}=" for number, _ in tested]) == answers
        plain = [f"{number}=" for number, _ in tested]
        assert set(said(plain)) == {"2"}

        def added(at, value, vector=circuit.vectors[name], last=use - 1):
            return value + vector if at == f"resid_post.{last}" else value

        assert said(plain, added) == answers
    assert {answer for _, answer in circuit.tasks["sign"]} == {"0", "1"}


def test_a_function_vector_that_cannot_be_planted_is_refused():
    """The head stands between the layer that reads examples and the one that uses them."""
    with pytest.raises(ValueError, match="give 0 < layer < use < 4"):
        planted.function_vector(2, 0, 2)
    with pytest.raises(ValueError, match="pairs is 1"):
        planted.function_vector(pairs=1)


def test_a_hidden_circuit_answers_among_the_noise():
    """The hidden circuit says what it should, though all heads and neurons besides it disturb every dimension."""
    organism, pairs = planted.hidden(), operands(60)
    tokens = mx.array(tokens_of(organism, pairs))
    logits = np.array(forward(organism.model, tokens)[:, -1])
    said = logits[:, [organism.tokenizer.encode(word, add_special_tokens=False)[0] for word in ("0", "1")]]
    assert (said.argmax(axis=1) == [organism.answer(a, b) for a, b in pairs]).all()
    quiet = np.array(forward(planted.hidden(noise=0.0).model, tokens)[:, -1])
    assert np.abs(logits - quiet).max() > 1
    with pytest.raises(ValueError, match="what a layer stores is read in one above it"):
        planted.hidden(2, 2)
