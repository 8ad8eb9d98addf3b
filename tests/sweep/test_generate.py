"""Answers of a sweep against greedy generation under the same intervention, one cell at a time."""

from __future__ import annotations

from dataclasses import replace

import naive
import pytest

from lazarus_probe import Subject
from lazarus_probe.sweep import Donors, Zero, answer, kl, route_of, routes, sweep
from tests.cases import slow_except
from tests.tolerance import of_logits, sole_best

pytestmark = pytest.mark.usefixtures("no_ties")

TARGETS = ["12*ab = ", "bb*d=", "12 ab = 1"]
DONORS = ["12*bb = ", "bd*a=", "12 ab+b 9"]
ROUTES = [
    {},
    {"tail": False},
    {"adds_mlp": False},
    {"name": "layers", "tail": False},
    {"name": "full", "tail": False},
]
KINDS = ("mlp_out", "attn_out", "resid_post", "keys", "pattern")
LAYERS = (1, 3)  # one within, and the last, which a tail runs in another way


def check(subject, result, targets, sources, tokens, stop=()):
    """Every answer of a sweep is the naive one; how many of them differ from the untouched answer."""
    changed = 0
    for number, target in enumerate(targets):
        assert result.baseline["answer"][number] == naive.answer(subject, target, None, tokens, stop)
        for name, source in sources.items():
            for site in result.sites:
                for position in result.positions:
                    length = len(naive.ids_of(subject, target))
                    edit = naive.edit_of(subject, source, number, site, position, length)
                    got = result.at("answer", prompt=number, source=name, site=site, position=position)
                    assert got == naive.answer(subject, target, edit, tokens, stop), (
                        number,
                        name,
                        site,
                        position,
                    )
                    changed += got != result.baseline["answer"][number]
    return changed


@pytest.mark.parametrize(
    "changes",
    slow_except(ROUTES, ROUTES[0], ROUTES[-1]),
    ids=["suffix", "no tail", "MLP inside", "layers", "full"],
)
def test_ablation_with_generation_equals_the_naive_loop(grouped, monkeypatch, changes):
    """With positions "all" every component is ablated in the prompt and in what is generated, on every route."""
    monkeypatch.setitem(routes._routes, grouped, replace(route_of(grouped), **changes))
    sites, sources = naive.sites_of(grouped, *KINDS, layers=LAYERS), {"zero": Zero()}
    result = sweep(grouped, TARGETS, sites, sources=sources, metrics=[answer(5), kl()], positions="all")
    assert check(grouped, result, TARGETS, sources, 5) > 10


def test_patching_with_generation_equals_the_naive_loop(grouped):
    """A patched position of the prompt stays patched for what is generated after it, keys and values included."""
    sites, sources = naive.sites_of(grouped, *KINDS, layers=LAYERS), {"donor": Donors(DONORS)}
    result = sweep(grouped, TARGETS, sites, sources=sources, metrics=[answer(4)], positions=[3, -1])
    assert check(grouped, result, TARGETS, sources, 4) > 10
    for number, donor in enumerate(DONORS):
        assert result.donors["answer"][number, 0] == naive.answer(grouped, donor, None, 4)


def test_patching_all_positions_leaves_generated_ones_alone(grouped):
    """Donors have values for the prompt's positions only."""
    sites, sources = naive.sites_of(grouped, "attn_out", "resid_pre"), {"donor": Donors(DONORS)}
    result = sweep(grouped, TARGETS, sites, sources=sources, metrics=[answer(4)], positions="all")
    assert check(grouped, result, TARGETS, sources, 4) > 0


def test_rows_end_at_their_stop_string(grouped):
    """A row that has said a stop string ends, its text is cut there, and the others go on."""
    untouched = naive.answer(grouped, TARGETS[0], None, 6)
    sites, sources, stop = naive.sites_of(grouped, "mlp_out"), {"zero": Zero()}, (untouched[1], "b", "7")
    result = sweep(grouped, TARGETS, sites, sources=sources, metrics=[answer(6, stop=stop)], positions="all")
    check(grouped, result, TARGETS, sources, 6, stop)
    lengths = {len(text) for text in result.values["answer"].reshape(-1)}
    assert len(lengths) > 1


def test_rows_end_at_the_end_of_sequence(grouped):
    """A row ends with an end-of-sequence token, which is not part of its answer, while others go on."""
    first = grouped.encode("a" + naive.answer(grouped, TARGETS[0], None, 3))[-1]
    subject = replace(grouped)
    object.__setattr__(subject, "eos_token_ids", frozenset({first, 3}))
    sites, sources = naive.sites_of(subject, "mlp_out", "attn_out"), {"zero": Zero()}
    result = sweep(subject, TARGETS, sites, sources=sources, metrics=[answer(6)], positions="all")
    check(subject, result, TARGETS, sources, 6)
    assert len({len(text) for text in result.values["answer"].reshape(-1)}) > 1


def test_without_a_tokenizer_answers_are_token_ids(grouped):
    """A subject that only knows token ids answers with them."""
    bare = Subject.from_model(grouped.model)
    ids = [3, 4, 5, 6]
    result = sweep(bare, [ids], ["mlp_out.1"], sources={"zero": Zero()}, metrics=[answer(3)], positions="all")
    edit = naive.edit_of(bare, Zero(), 0, result.sites[0], "all", 4)
    for _ in range(3):
        logits = naive.logits(bare, ids, edit)
        ids = [*ids, sole_best(logits, of_logits(bare, logits))]
    assert result.values["answer"].item() == " ".join(map(str, ids[4:]))


def test_a_sliding_window_holds_in_generation(make_llama, tokenizer):
    """Beyond the window, generated tokens see what the model's own rotating cache lets them see."""
    kinds = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    subject = Subject.from_model(make_llama(layer_types=kinds, sliding_window=4), tokenizer)
    sites, sources = naive.sites_of(subject, "mlp_out", "attn_out"), {"zero": Zero()}
    result = sweep(subject, TARGETS, sites, sources=sources, metrics=[answer(6)], positions="all")
    assert result.route == "suffix"
    assert check(subject, result, TARGETS, sources, 6) > 0


def test_one_token_is_the_most_likely_one(grouped):
    """An answer of one token is the argmax, and needs no step beyond the prompt."""
    bare = Subject.from_model(grouped.model)
    result = sweep(
        bare, [[5, 6, 7]], ["mlp_out.2"], sources={"zero": Zero()}, metrics=[answer(1)], positions="last"
    )
    edit = naive.edit_of(bare, Zero(), 0, result.sites[0], "last", 3)
    logits = naive.logits(bare, [5, 6, 7], edit)
    assert int(result.values["answer"].item()) == sole_best(logits, of_logits(bare, logits))
