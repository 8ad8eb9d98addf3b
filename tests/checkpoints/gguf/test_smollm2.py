"""SmolLM2-135M-Instruct from its package: what transformers says of it, in float32."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.checkpoints.packages import installed_file
from lazarus_probe.hooks import trace
from lazarus_probe.introspection.generation.continuation import with_answers
from lazarus_probe.introspection.lens.readings import read_tokens
from lazarus_probe.introspection.lens.targets import target_lens
from lazarus_probe.introspection.studies.operands import why_no_operands
from lazarus_probe.subject import Subject, span
from lazarus_probe.subject.chat import in_chat
from lazarus_probe.subject.generate import greedy
from lazarus_probe.training.dual_reward import CLASS_WORDS, class_spellings

# `make nested` runs these where `lazarus models fetch smollm2` was run before; CI does.
pytestmark = [
    pytest.mark.nested,
    pytest.mark.skipif(installed_file("smollm2") is None, reason="no model: smollm2 is not installed"),
]
BLOCKS = (0, 1, 10, 20, 29)
TABLE = {
    "The capital of France is": (
        (504, 3575, 282, 4649, 314),
        {" Paris": 17.3632, " the": 14.9030, " London": 13.2532, " Le": 13.0048, " New": 12.9515},
        (2.601, 35.185, 118.218, 191.056, 665.965),
        " Paris.\n\nThe answer is: 2",
    ),
    "7 * 8 = ": (
        (39, 1672, 216, 40, 446, 216),
        {"2": 33.6431, "1": 33.6331, "3": 33.2626, "4": 32.8282, "5": 32.2640},
        (3.250, 50.262, 215.244, 213.852, 660.720),
        "240\n\nThe total cost of ",
    ),
    "When Mary and John went to the store, John gave a drink to": (
        (2427, 5099, 284, 2322, 3514, 288, 260, 4249, 28, 2322, 4502, 253, 5968, 288),
        {" Mary": 11.0407, " the": 7.2826, " his": 5.9384, " a": 5.8780, " her": 5.7459},
        (2.860, 35.620, 105.252, 224.242, 777.673),
        " Mary, and Mary gave a drink to John.",
    ),
    "2+2=": (
        (34, 27, 34, 45),
        {"1": 32.3687, "3": 32.0334, "4": 31.8816, "2": 31.5021, "5": 31.3974},
        (2.419, 35.982, 119.993, 207.852, 619.739),
        "11, so the answer is 11",
    ),
}


@pytest.fixture(scope="module")
def smollm2() -> Subject:
    return Subject.load("smollm2")


@pytest.mark.parametrize("prompt", TABLE)
def test_tokens_logits_and_residuals(smollm2, prompt):
    """Ids exactly, the five largest logits and the norms of the last token's residual to 0.001."""
    ids, likeliest, norms, _ = TABLE[prompt]
    assert tuple(smollm2.encode(prompt)) == ids
    logits = np.array(smollm2.model(mx.array([ids])))[0, -1]
    top = np.argsort(-logits)[:5]
    assert [smollm2.decode([token]) for token in top] == list(likeliest)
    np.testing.assert_allclose(logits[top], list(likeliest.values()), atol=1e-3)
    residuals = trace(smollm2, prompt, capture=[f"resid_pre.{blocks}" for blocks in BLOCKS], positions="last")
    found = [np.linalg.norm(np.array(residuals[f"resid_pre.{blocks}"])) for blocks in BLOCKS]
    np.testing.assert_allclose(found, norms, atol=1e-3)


@pytest.mark.parametrize("prompt", TABLE)
def test_greedy_text(smollm2, prompt):
    """The likeliest text."""
    text = TABLE[prompt][3]
    assert greedy(smollm2, [prompt], len(smollm2.pieces(text)))[0] == text


def test_it_answers_in_its_chat_template(smollm2):
    """The template in the metadata is used, and the text ends where the model ends its turn."""
    assert smollm2.eos_token_ids == {2}
    assert greedy(smollm2, [in_chat(smollm2, "What is the capital of France?")], 20) == [
        "The capital of France is Paris."
    ]


def test_words_are_found_in_all_their_spellings(smollm2):
    """Cases C1 and C9: Paris is on top of the lens at the end as ` Paris`, and class words all have their space."""
    lens = target_lens(smollm2, ["The capital of France is"], ["Paris"], layer=29)
    assert (lens.on_top("Paris")[0], lens.mostly("Paris")) == (1, " Paris")
    assert lens.probs[0, 0, 0] == pytest.approx(0.770, abs=0.003)
    words = class_spellings(smollm2)
    assert words.form == "with a space before it"
    assert list(words.spellings.values()) == [f" {word}" for word in CLASS_WORDS]


def test_numbers_of_several_tokens(smollm2):
    """A number is the span of its digits, also in a chat; nothing is claimed of operands; an answer is read whole."""
    prompt = in_chat(smollm2, "What is 123 times 45?")
    ids = smollm2.encode(prompt)
    for number in ("123", "45"):
        where = span(smollm2, prompt, number)
        assert [smollm2.decode([ids[position]]) for position in where.positions] == list(number)
    assert (why_no_operands(smollm2) or "").startswith("9 of the numbers below 1000 are one token")
    [context], [answer] = with_answers(smollm2, ["2+2="], ["11"])
    reading = read_tokens(smollm2, [context], [[answer]], [29])
    logits = np.array(smollm2.model(mx.array([[*context, *answer]])))[0].astype(np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    chances = [log_probs[len(context) - 1 + i, token] for i, token in enumerate(answer)]
    assert reading.probability[0, 0] == pytest.approx(np.exp(sum(chances)), rel=1e-2)
    assert len(answer) == 2
    assert (reading.rank[0, 0] == 0) == all(
        log_probs[len(context) - 1 + i].argmax() == token for i, token in enumerate(answer)
    )
