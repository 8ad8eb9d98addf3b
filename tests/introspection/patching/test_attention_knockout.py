"""Attention knockout: a planted route is found in its layer, NumPy cuts the same edges, untrained models have none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.patching.attention_knockout import attention_knockout
from lazarus_probe.introspection.patching.spanned_prompts import SpannedPrompt, encode_spans, read_spanned
from lazarus_probe.organisms import planted
from lazarus_probe.subject import Span, Subject
from tests.architectures import zoo

IDS = [[0, 5, 9, 11, 7, 30], [0, 6, 8, 22, 17, 3], [0, 9, 3, 4, 2]]
PARTS = [Span(1, 3), Span(2, 3), Span(1, 2)]


def numbers(count, seed=0):
    drawn = np.random.default_rng(seed).choice(planted.NUMBERS, size=(count, 2), replace=False)
    return [(int(a), int(b)) for a, b in drawn]


def spanned(pairs, first=True):
    return [SpannedPrompt(planted.prompt(a, b), str(a if first else b), str(a), str(b)) for a, b in pairs]


@pytest.mark.parametrize("layer", [0, 2, 3])
@pytest.mark.parametrize("cut", ["scores", "pattern"])
def test_the_planted_route_is_found_in_its_layer(layer, cut):
    """The `=` reads the first operand in one layer: cut there the answer is lost, elsewhere nothing is."""
    circuit = planted.router(layer)
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    pairs = [(a, b) for a, b in numbers(30) if str(a) not in str(b)][:8]
    encoded = encode_spans(subject, spanned(pairs))
    result = attention_knockout(
        subject, encoded.ids, encoded.spans, encoded.answers, encoded.others, cut=cut, units=encoded.units
    )
    drops = result.drops
    assert drops.best == layer
    # The answer's logit is 16, the sum of 16 signs; what the two numbers share of their signs is in it as well.
    assert (drops.effects[layer] > 3).all()
    assert drops.p[layer] == pytest.approx(1 / 256)
    others = [row for row in range(4) if row != layer]
    assert np.abs(drops.effects[others]).max() < 0.1
    assert drops.p[others].min() > 0.05
    assert np.abs(drops.control).max() < 0.1
    assert result.damage.score < 0.05


def test_another_part_is_read_by_nobody():
    """Blocking the operand that is not read loses nothing in any layer."""
    circuit = planted.router(1)
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    pairs = [(a, b) for a, b in numbers(30, 1) if str(b) not in str(a)][:6]
    encoded = encode_spans(subject, spanned(pairs, first=False))
    result = attention_knockout(subject, encoded.ids, encoded.spans, encoded.answers, encoded.others)
    assert np.abs(result.drops.effects).max() < 0.1
    assert result.drops.p.min() > 0.05 or result.drops.gain.mean.max() < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_untrained_models_read_nothing_from_a_part(organism, seed):
    """The null: no window of an untrained model loses more of the answer's probability than by another part."""
    subject = organism.untrained(seed)
    encoded = encode_spans(subject, spanned(numbers(8, seed)))
    result = attention_knockout(
        subject, encoded.ids, encoded.spans, encoded.answers, units=encoded.units, seed=seed
    )
    assert result.metric == "probability"
    assert result.drops.p.min() > 0.05


@pytest.mark.parametrize("cut", ["scores", "pattern"])
def test_edges_are_cut_as_in_numpy(subject, naive, cut):
    """In a window of two layers no head of the readers sees the part, in NumPy as in the model."""
    readers = [Span(4, 6), Span(5, 6), Span(3, 5)]
    result = attention_knockout(
        subject, IDS, PARTS, [5, 6, 7], [8, 9, 10], readers=readers, layers=[1], window=2, cut=cut
    )
    assert result.windows == ((1, 2),)
    for row, (ids, part, reads) in enumerate(zip(IDS, PARTS, readers, strict=True)):

        def edit(name, value, part=part, reads=reads):
            if name in (f"{cut}.1", f"{cut}.2"):
                value = value.copy()
                value[:, :, reads.start : reads.stop, part.start : part.stop] = (
                    -np.inf if cut == "scores" else 0
                )
            return value

        logits = naive(subject.model, [ids], edit)["logits"][0, -1]
        plain = naive(subject.model, [ids])["logits"][0, -1]
        assert result.blocked["logit_diff"][0, row] == pytest.approx(
            logits[5 + row] - logits[8 + row], abs=1e-4
        )
        assert result.baseline["logit_diff"][row] == pytest.approx(plain[5 + row] - plain[8 + row], abs=1e-4)
        chance = np.exp(logits - logits.max())
        assert result.blocked["probability"][0, row] == pytest.approx(
            chance[5 + row] / chance.sum(), abs=1e-5
        )


def test_other_parts_are_as_long_and_apart(grouped):
    """The control is the mean of runs that block another part; a prompt too short for one has none."""
    ids, part = [[0, 5, 9, 11, 7, 30]], [Span(1, 2)]
    result = attention_knockout(grouped, ids, part, [5], layers=[2], controls=9)
    single = [
        attention_knockout(grouped, ids, [Span(at, at + 1)], [5], layers=[2]).blocked["probability"][0, 0]
        for at in (2, 3, 4)
    ]
    assert result.control["probability"][0, 0] == pytest.approx(np.mean(single), abs=1e-6)
    short = attention_knockout(grouped, [[0, 5, 9]], [Span(1, 2)], [5], layers=[2])
    assert np.isnan(short.drops.gain.mean).all()


def test_what_cannot_be_cut_is_refused_by_name(grouped):
    """An error names the prompt, or the block, and what would be right."""
    wrong = {
        "prompt 0: the part are tokens 4 to 8 of a prompt of 6": ([IDS[0]], [Span(4, 9)], None),
        "after the readers, which end at 2": ([IDS[0]], [Span(3, 4)], [Span(2, 3)]),
        "position 0 would have nothing left": ([IDS[0]], [Span(0, 1)], [Span(0, 2)]),
        "2 parts for 1 prompts": ([IDS[0]], PARTS[:2], None),
    }
    for message, (ids, parts, readers) in wrong.items():
        with pytest.raises(ValueError, match=message):
            attention_knockout(grouped, ids, parts, [5], readers=readers)
    with pytest.raises(ValueError, match="layer 4 is not there; the model has 0 to 3"):
        attention_knockout(grouped, IDS, PARTS, [5] * 3, layers=[4])
    with pytest.raises(ValueError, match="cut 'score' is unknown"):
        attention_knockout(grouped, IDS, PARTS, [5] * 3, cut="score")


def test_a_model_without_attention_is_refused(mamba):
    """A state-space model has nothing to block."""
    with pytest.raises(UnsupportedArchitecture, match="mamba has no scores; block 0 has resid_pre"):
        attention_knockout(mamba, IDS, PARTS, [5] * 3)


def test_prompts_are_read_from_files(tmp_path):
    """JSON and JSON lines hold prompts with their parts; a wrong one is named."""
    rows = [{"prompt": "a b", "part": "b", "answer": "c"}, {"prompt": "d e", "part": "d", "group": "x"}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    expected = [SpannedPrompt("a b", "b", "c"), SpannedPrompt("d e", "d", group="x")]
    assert read_spanned(tmp_path / "a.json") == read_spanned(tmp_path / "a.jsonl") == expected
    for text, message in (
        ("[]", "holds no prompts"),
        ("x", "is not JSON"),
        ('[{"prompt": "a"}]', "prompt 0 is"),
        ('[{"prompt": "a", "part": "a", "anwser": "b"}]', "did you mean"),
        ('[{"prompt": "a", "part": ""}]', "part of prompt 0 is ''"),
    ):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_spanned(tmp_path / "b.json")


def test_words_are_single_tokens_spelled_alike(organism):
    """Answers are as given or the model's own, and `other` is for all prompts or for none."""
    encoded = encode_spans(organism, [SpannedPrompt("7*8=", "7"), SpannedPrompt("6*9=", "9", "54")])
    assert [organism.decode([token]) for token in encoded.answers] == ["56", "54"]
    assert encoded.others is None
    with pytest.raises(ValueError, match="for all, or for none"):
        encode_spans(organism, [SpannedPrompt("7*8=", "7"), SpannedPrompt("6*9=", "9", "54", "63")])
    with pytest.raises(ValueError, match="are one token"):
        encode_spans(organism, [SpannedPrompt("6*9=", "9", "54", "54")])
    with pytest.raises(ValueError, match="no prompts"):
        encode_spans(organism, [])


def test_blocks_without_attention_are_passed_over_and_refused_where_requested():
    """A model with attention in some blocks alone is blocked there; another block is named."""
    subject = Subject.from_model(zoo.build("jamba"), name="jamba")
    result = attention_knockout(subject, IDS, PARTS, [5] * 3, controls=1)
    assert result.windows == ((1,), (3,))
    with pytest.raises(UnsupportedArchitecture, match="jamba has no scores around block 0; these have: 1, 3"):
        attention_knockout(subject, IDS, PARTS, [5] * 3, layers=[0])
