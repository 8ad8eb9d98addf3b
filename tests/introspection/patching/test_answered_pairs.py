"""What the answers of a pair are, and pairs read from files."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from lazarus_probe.introspection.patching.answered_pairs import answered, other_sources, unrelated_donors
from lazarus_probe.introspection.patching.answers import as_answer, exact_answer
from lazarus_probe.introspection.patching.attribution_patching import attribution_patch
from lazarus_probe.introspection.patching.layers import patch_prompts
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair, read_pairs
from lazarus_probe.subject.subject import Subject


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("7*8=", 56),
        ("47 * 47 = ", 2209),
        ("3-8=", -5),
        ("7/2=", 3.5),
        ("1/3=", None),
        ("1/0=", None),
        ("7*8", None),
        ("What is 7*8=", None),
        ("7*8=56", None),
    ],
)
def test_sums_are_computed_exactly(prompt: str, answer: float | None):
    """`a op b =` has its exact result, where that has a short decimal; nothing else is guessed."""
    assert exact_answer(prompt) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [("2,209", 2209), ("56", 56), ("Paris", "Paris"), ("7 dwarfs", "7 dwarfs"), ("-5", -5)],
)
def test_an_answer_of_digits_is_a_number(text: str, answer: float | str):
    """A number is one only as a whole text."""
    assert as_answer(text) == answer


def test_answers_are_given_computed_or_the_models_own(organism: Subject):
    """What is given wins over what is computed, and that over what the model says; each is told apart."""
    given, computed, own = answered(
        organism,
        [
            PromptPair("7*8=", "7+8=", "1000", "15"),
            PromptPair("7*8=", "The capital of Germany is"),
            PromptPair("The capital of France is", "The capital of Germany is"),
        ],
        4,
    )
    assert (given.pair.source_answer, given.answers_given, given.can_transfer) == (1000, True, False)
    assert (computed.pair.source_answer, computed.pair.target_answer) == (56, "Berlin")
    assert (computed.source_given, computed.target_given) == (True, False)
    assert (own.pair.source_answer, own.answers_given, own.can_transfer) == ("Paris", False, True)
    assert own.source_token == organism.single_token(" Paris")
    assert own.target_token == organism.single_token(" Berlin")
    assert computed.source_token == organism.single_token("56")
    assert computed.group == "7 and 8"


def test_unrelated_donors_are_alike_and_answer_otherwise(organism: Subject):
    """A sum is varied in its operands only, and no donor has either answer."""
    pair = answered(organism, [PromptPair("7*8=", "7+8=")], 4)[0]
    donors = unrelated_donors(organism, pair, 6, 4, 0)
    texts = [donor.text for donor in donors]
    assert len(texts) == 6
    assert {exact_answer(text) for text in texts}.isdisjoint({56, 15, None})
    assert all("*" in text and len(text) == 4 for text in texts)
    assert [list(donor.ids) for donor in donors] == [organism.encode(text) for text in texts]
    assert donors != unrelated_donors(organism, pair, 6, 4, 1)
    words = answered(organism, [PromptPair("The capital of Italy is", "The capital of Spain is")], 4)[0]
    capitals = [donor.text for donor in unrelated_donors(organism, words, 20, 4, 0)]
    assert "The capital of Italy is" not in capitals
    assert "The capital of Japan is" in capitals


def test_other_sources_have_other_answers(grouped: Subject):
    """A donor from another pair never has this pair's answer; where all have one, that is refused."""

    def donors(*pairs: PromptPair, equal_lengths: bool = False) -> list[str]:
        return [donor.text for donor in other_sources(answered(grouped, pairs, 2), 0, equal_lengths)]

    pairs = PromptPair("2*6=", "1+1="), PromptPair("3*4=", "2+2="), PromptPair("3*5=", "4+4=")
    assert donors(*pairs)[:2] == ["3*5=", "3*5="]
    assert donors(*pairs)[2] in ("2*6=", "3*4=")
    with pytest.raises(ValueError, match="no source has another answer than '2\\*6='"):
        donors(*pairs[:2])
    longer = PromptPair("2*6=", "1+1="), PromptPair("3 * 5=", "4+4=")
    assert donors(*longer) == ["3 * 5=", "2*6="]
    with pytest.raises(ValueError, match="no source of its length has another answer than '2\\*6='"):
        donors(*longer, equal_lengths=True)


def test_each_prompt_of_a_pair_is_encoded_once(organism: Subject, monkeypatch: pytest.MonkeyPatch):
    """Answers, donors, controls and patches of `introspect patch` share one encoding of each prompt."""
    encoded: Counter[str] = Counter()
    encode = Subject.encode
    monkeypatch.setattr(
        Subject, "encode", lambda subject, text: encoded.update([text]) or encode(subject, text)
    )
    for pair in (
        PromptPair("7*8=", "7+8="),
        PromptPair("The capital of Italy is", "The capital of Spain is"),
    ):
        for position in ("last", "all"):
            encoded.clear()
            patch_prompts(organism, answered(organism, [pair], 2)[0], [1], position, max_tokens=2, donors=3)
            assert encoded[pair.source] == encoded[pair.target] == 1
            assert set(encoded.values()) == {1}
    attribution_patch(organism, [PromptPair("12 * 8 = ", "12 * 7 = ")], "attn_out", [0], top=1)
    assert encoded["12 * 8 = "] == encoded["12 * 7 = "] == 1


def test_pairs_are_read_in_three_forms(tmp_path: Path):
    """Lines, JSON lines and JSON give the same pairs, and prompts keep their spaces."""
    rows = [{"source": "7 * 8 = ", "target": "7 + 8 = "}, {"source": " a", "target": "b"}]
    lines, list_, jsonl = (tmp_path / name for name in ("p.txt", "p.json", "p.jsonl"))
    lines.write_text("".join(f"{row['source']} => {row['target']}\n" for row in rows))
    list_.write_text(json.dumps({"pairs": rows}))
    jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = [PromptPair("7 * 8 = ", "7 + 8 = "), PromptPair(" a", "b")]
    assert read_pairs(lines) == read_pairs(list_) == read_pairs(jsonl) == expected
    list_.write_text(json.dumps([{**rows[1], "expected_source": 56, "expected_target": None, "group": "g"}]))
    assert read_pairs(list_) == [PromptPair(" a", "b", "56", None, "g")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.txt", b"", "holds no pairs"),
        ("p.txt", b"7*8= -> 7+8=\n", "pair 0 is '7*8= -> 7+8='"),
        ("p.txt", b" => b\n", "source of pair 0 is empty"),
        ("p.txt", b"\xff\xfe", "is not UTF-8 text"),
        ("p.json", b"{", "is not JSON"),
        ("p.json", b"[" * 100_000, "is not JSON"),
        ("p.json", b'{"rows": []}', "has no list of pairs"),
        ("p.json", b'[{"source": "a"}]', "pair 0 is"),
        (
            "p.json",
            b'[{"source": "a", "target": 4, "colour": 1}]',
            "pair 0 has 'colour'; give one of source",
        ),
        ("p.json", b'[{"source": "a", "target": ["b"]}]', "target of pair 0 is ['b']; a text is needed"),
        ("p.jsonl", b'{"source": "a", "target": "b"}\n3\n', "pair 1 is '3'"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, said: str):
    """What is no file of pairs is refused with what is wrong in it."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        read_pairs(tmp_path / name)
    assert "\n" not in str(error.value)
