"""Changes of a model: inner ones change what it computes, harmless ones do not."""

from __future__ import annotations

from collections import Counter

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.mutants import Mutant, harmless_mutants, inner_mutants
from lazarus_probe.mutants.mutant import changed, changed_weights, weights_of, write_mutant
from lazarus_probe.subject import Subject
from tests.architectures import zoo
from tests.cases import slow_except

# Of a rounding the largest move of a logit, in standard deviations of the logits: bfloat16 has 8 bits of mantissa.
ROUNDED = 0.1
EVERY = slow_except([5, 1], 5)  # every fifth change; all of them with the slow tests


@pytest.fixture(scope="module")
def organism() -> Subject:
    return Subject.load("organism")


def logits(subject: Subject) -> np.ndarray:
    """Of one prompt at all positions."""
    return np.array(subject.model(mx.array([list(range(4, 24))])).astype(mx.float32))


def moved(subject: Subject, mutant: Mutant) -> float:
    """The largest move of a logit, in standard deviations of the logits."""
    before = logits(subject)
    with changed(subject, mutant):
        return float(np.abs(logits(subject) - before).max() / before.std())


def one_of_a_kind(mutants: tuple[Mutant, ...]) -> list[Mutant]:
    return list({mutant.kind: mutant for mutant in mutants if mutant.change is not None}.values())


def test_there_are_a_hundred_of_each(organism):
    """The bundled model has about a hundred inner changes and more than a hundred harmless ones, each with a name."""
    inner, harmless = inner_mutants(organism), harmless_mutants(organism)
    assert (len(inner) >= 90, len(harmless) >= 100) == (True, True)
    assert Counter(mutant.name for mutant in (*inner, *harmless)).most_common(1)[0][1] == 1


def test_a_large_model_has_no_run_of_hours(organism, monkeypatch):
    """A model for which mlx's own products take hours is not run with them, and has all other harmless changes."""
    small = {mutant.kind for mutant in harmless_mutants(organism)}
    monkeypatch.setattr("lazarus_probe.mutants.harmless_changes.SMALL", 2**10)
    assert small - {mutant.kind for mutant in harmless_mutants(organism)} == {"mlx's own products"}


@pytest.mark.parametrize("step", EVERY)
def test_inner_changes_change_what_the_model_computes(organism, step):
    """Every inner change moves some logit by more than the numerics of a forward do."""
    mutants = inner_mutants(organism)[::step]
    still = {mutant.name: by for mutant in mutants if (by := moved(organism, mutant)) < 1e-3}
    assert not still


@pytest.mark.parametrize("step", EVERY)
def test_harmless_changes_leave_the_logits(organism, step):
    """Neurons and heads permuted with their weights, rotations and rescalings leave every logit but for float32."""
    exact = [mutant for mutant in harmless_mutants(organism) if mutant.change and "bit" not in mutant.kind]
    exact = [mutant for mutant in exact if "float16" not in mutant.kind]
    off = {mutant.name: by for mutant in exact[::step] if (by := moved(organism, mutant)) > 1e-4}
    assert not off


def test_roundings_move_little(organism):
    """float16, bfloat16 and 8-bit weights move logits by less than a tenth of their spread."""
    kinds = one_of_a_kind(harmless_mutants(organism))
    roundings = [mutant for mutant in kinds if "bit" in mutant.kind or "float16" in mutant.kind]
    assert len(roundings) == 5
    assert all(0 < moved(organism, mutant) < ROUNDED for mutant in roundings)


def test_a_mutant_is_a_checkpoint(organism, tmp_path):
    """A mutant's folder loads as any model does, with its weights and the model's tokenizer."""
    mutant = next(mutant for mutant in inner_mutants(organism) if mutant.kind == "layers swapped")
    loaded = Subject.load(str(write_mutant(organism, mutant, tmp_path / "mutant")))
    assert loaded.fingerprint != organism.fingerprint
    assert loaded.encode("7*8=") == organism.encode("7*8=")
    with changed(organism, mutant):
        np.testing.assert_array_equal(logits(loaded), logits(organism))


def test_the_model_itself_stays(organism):
    """Making mutants leaves the model's own weights as they are."""
    before = organism.fingerprint
    for mutant in one_of_a_kind((*inner_mutants(organism), *harmless_mutants(organism))):
        changed_weights(organism, mutant)
    assert Subject.load("organism").fingerprint == organism.fingerprint == before


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "gpt2", "phi3", "mamba", "mixtral", "olmo2"])
def test_any_architecture_has_the_changes_that_fit_it(name):
    """Of an untrained model of any architecture every inner change changes it, and exact harmless ones do not.

    Kinds without a place there, as heads of a state-space model, are left out.
    """
    subject = Subject.from_model(zoo.build(name), name=name)
    inner, harmless = inner_mutants(subject), harmless_mutants(subject)
    assert inner
    for mutant in one_of_a_kind(inner):
        assert moved(subject, mutant) > 0, mutant.name
    for mutant in one_of_a_kind(harmless):
        if "bit" not in mutant.kind and "float16" not in mutant.kind:
            assert moved(subject, mutant) < 1e-3, mutant.name


def test_a_symmetry_that_a_model_lacks_is_left_out():
    """Where a norm runs over all heads together, heads permuted with their weights are no harmless change."""
    kinds = {
        name: {mutant.kind for mutant in harmless_mutants(Subject.from_model(zoo.build(name), name=name))}
        for name in ("llama", "olmo2")
    }
    assert "heads permuted with their weights" in kinds["llama"] - kinds["olmo2"]


def test_a_change_that_breaks_a_weight_is_named(organism):
    """Weights of another shape, or not finite, are refused by the mutant's and the weight's name."""

    def cut(weights):
        weights["model.norm.weight"] = weights["model.norm.weight"][:-1]

    def burst(weights):
        weights["model.norm.weight"] = weights["model.norm.weight"] * float("inf")

    with pytest.raises(
        ValueError, match=r"cut norm: weight model.norm.weight became \(127,\), it was \(128,\)"
    ):
        changed_weights(organism, Mutant("cut", "norm", harmless=False, change=cut))
    with pytest.raises(
        ValueError, match=r"burst norm: weight model.norm.weight holds numbers that are not finite"
    ):
        changed_weights(organism, Mutant("burst", "norm", harmless=False, change=burst))


def test_a_model_in_memory_has_mutants_on_disk(organism, tmp_path):
    """A model that came from no folder, as that of a GGUF file, is written with the settings and tokenizer it has."""
    subject = Subject.from_model(organism.model, organism.tokenizer, "in memory", organism.config)
    mutant = Mutant("none", "", harmless=True)
    loaded = Subject.load(str(write_mutant(subject, mutant, tmp_path / "mutant")))
    tokens = organism.encode("3*4=")
    assert loaded.encode("3*4=") == tokens
    expected, logits = (np.array(model.model(mx.array([tokens]))) for model in (organism, loaded))
    np.testing.assert_array_equal(logits, expected)


def test_every_weight_has_one_name(organism):
    """The weights that changes edit are those that the model has, by the same names."""
    assert weights_of(organism).keys() == dict(tree_flatten(organism.model.parameters())).keys()
