"""Attribution patching with its confirmation, against the exact sweep; and the pairs it takes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lazarus_probe.introspection.patching.attribution_patching import attribution_patch, effects, sites_of
from lazarus_probe.introspection.patching.encoded_pairs import encode_pairs, next_tokens, tokens_of
from lazarus_probe.introspection.patching.prompt_pairs import SINGLE_TOKENS, PromptPair, read_pairs
from lazarus_probe.organisms.planted import circuits
from lazarus_probe.subject import Subject
from lazarus_probe.sweep import Donors, logit_diff, sweep

PAIRS = [PromptPair("12 * 8 = ", "12 * 7 = "), PromptPair("6 + 9 = ", "6 + 4 = ")]


@pytest.fixture(scope="module")
def found(organism):
    """Attention outputs of two layers, the whole grid checked."""
    return attribution_patch(organism, PAIRS, "attn_out", [0, 5], top=3, check=True)


def test_the_chosen_cells_are_patched_exactly(organism, found):
    """Estimate, exact effect and share of each cell are those of the sweep's own arrays, the largest estimate first."""
    tokens = tokens_of(organism, encode_pairs(organism, PAIRS))
    exact = sweep(
        organism,
        [pair.target for pair in PAIRS],
        ["attn_out.0", "attn_out.5"],
        sources={"donor": Donors([pair.source for pair in PAIRS])},
        metrics=[logit_diff(tokens.answers, tokens.others)],
    )
    change = exact.values["logit_diff"][:, 0] - exact.baseline["logit_diff"][:, None, None]
    whole = exact.donors["logit_diff"][:, 0] - exact.baseline["logit_diff"]
    sizes = [abs(cell.estimate) for cell in found.cells]
    assert sizes == sorted(sizes, reverse=True)
    for cell in found.cells:
        column = change[:, [0, 5].index(cell.site.layer), cell.position]
        assert float(cell.exact.mean) == pytest.approx(column.mean(), abs=1e-4)
        assert cell.share == pytest.approx(column.mean() / whole.mean(), abs=1e-4)
        assert cell.exact.low < cell.exact.mean < cell.exact.high
        assert cell.n == 2
    estimates = effects(found.estimate)
    assert found.correlation == pytest.approx(np.corrcoef(estimates.ravel(), change.ravel())[0, 1], abs=1e-4)
    data = found.as_data()
    assert np.shape(data["exact"]) == np.shape(data["estimates"]) == (2, 7)
    assert "attn_out.5" in found._repr_html_()


def test_without_a_check_only_chosen_and_drawn_cells_are_patched(organism, found):
    """As many drawn cells as chosen ones are patched; the chosen are the same; another seed draws others."""
    few, other = (attribution_patch(organism, PAIRS, "attn_out", [0, 5], top=3, seed=seed) for seed in (0, 1))
    assert [cell.site for cell in few.cells] == [cell.site for cell in found.cells]
    assert np.isfinite(effects(few.exact)[0]).sum() == 6
    assert few.as_data()["exact"] is None
    assert (np.isfinite(effects(few.exact)) != np.isfinite(effects(other.exact))).any()


def test_heads_are_taken_one_by_one_and_find_the_planted_one():
    """Of all heads at all positions, the planted one at the `=` carries the whole difference."""
    made = circuits.router(1, head=2)
    subject = Subject.from_model(made.model, made.tokenizer, name=made.name)
    result = attribution_patch(subject, [PromptPair("3*7=", "8*7=")], "head_out", top=2)
    best = result.cells[0]
    assert (str(best.site), best.position) == ("head_out.1.2", 4)
    assert best.share == pytest.approx(1, abs=0.02)
    assert result.others < 0.05
    assert np.isnan(best.exact.low)  # one pair has no interval
    assert len(sites_of(subject, "head_out", [0, 1])) == 8


def test_pairs_that_do_not_differ_have_no_effect(organism):
    """The null: sources equal to their targets change nothing, and there is no correlation to report."""
    pairs = [PromptPair("12 * 7 = ", "12 * 7 = ", "84", "96")]
    result = attribution_patch(organism, pairs, "resid_post", [2], top=1)
    assert result.cells[0].estimate == 0
    assert abs(float(result.cells[0].exact.mean)) < 1e-4
    assert np.isnan(result.cells[0].share)


def test_tokens_are_those_given_or_those_said(organism):
    """A pair without tokens is told apart by what the model says to each prompt."""
    pairs = [PAIRS[0], PromptPair("12 * 8 = ", "12 * 7 = ", "7", 9)]
    tokens = tokens_of(organism, encode_pairs(organism, pairs))
    assert tokens.answers == (next_tokens(organism, ["12 * 8 = "])[0], organism.single_token("7"))
    assert organism.decode([tokens.others[0]]) == "84"
    for pair, message in [
        (PromptPair("12 * 8 = ", "1 + "), "the source has"),
        (PromptPair("12 * 7 = ", "12 * 7 = "), "both lead to '84'"),
        (PromptPair("12 * 8 = ", "12 * 7 = ", "no such word", "9"), "is not one token"),
    ]:
        with pytest.raises(ValueError, match=message):
            tokens_of(organism, encode_pairs(organism, [pair]))
    with pytest.raises(ValueError, match="no pairs"):
        tokens_of(organism, [])


def test_pairs_are_read_from_json_and_from_lines(tmp_path):
    """A list and lines of objects are the same pairs; spaces are kept."""
    entries = [{"source": "a ", "target": "b "}, {"source": "c", "target": "d", "answer": "x", "other": "y"}]
    wanted = [PromptPair("a ", "b "), PromptPair("c", "d", "x", "y")]
    whole, lines = tmp_path / "pairs.json", tmp_path / "pairs.jsonl"
    whole.write_text(json.dumps(entries))
    lines.write_text("\n".join(map(json.dumps, entries)) + "\n\n")
    assert read_pairs(whole, SINGLE_TOKENS) == read_pairs(lines, SINGLE_TOKENS) == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "holds no pairs"),
        (b"[1]", "pair 0 is '1'"),
        (b'[{"source": "a"}]', "pair 0 is "),
        (b'[{"source": "a", "target": ""}]', "target of pair 0 is empty"),
        (b'[{"source": "a", "target": "b", "other": ""}]', "other of pair 0 is empty"),
        (b'[{"source": "a", "target": [3]}]', r"target of pair 0 is \[3\]"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_damaged_files_of_pairs_are_refused(tmp_path, content, message):
    """The message names the file and what is wrong in it."""
    path = tmp_path / "pairs.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_pairs(path, SINGLE_TOKENS)
    assert "pairs.json" in str(error.value)


def test_what_cannot_be_patched_is_refused(organism):
    """An unknown kind, or no cells, is an error that says what there is."""
    with pytest.raises(ValueError, match="site 'head' is unknown"):
        attribution_patch(organism, PAIRS, "head")
    with pytest.raises(ValueError, match="top is 0"):
        attribution_patch(organism, PAIRS, "attn_out", [0], top=0)
