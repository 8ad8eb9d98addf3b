"""Components by their published names: which layers have them, and what is refused."""

from __future__ import annotations

import pytest

from lazarus_probe.introspection.ablation.components import layers_with, outputs_of
from lazarus_probe.introspection.ablation.config import ComponentType
from lazarus_probe.subject import Subject
from tests.architectures.zoo import build


@pytest.mark.parametrize(
    ("model", "component", "message"),
    [
        ("phi3", "mlp_gate", "cannot be identified in layer 0.*mlp.gate_up_proj.*; ablate mlp"),
        ("mamba2", "attention", "layer 0 of model has no attn_out; it has"),
        ("mamba2", "mlp_up", "layer 0 of model has no MLP; ablate attention"),
        ("mamba2", "attn_k", "layer 0 of model has no keys"),
    ],
)
def test_what_a_model_does_not_have(model, component, message):
    """A component that a model does not have is refused with what it has."""
    with pytest.raises(ValueError, match=message):
        outputs_of(Subject.from_model(build(model)), ComponentType(component), 0)


def test_layers_that_have_a_component():
    """In a model of several kinds of block only some have attention; one without any says what it has."""
    jamba = Subject.from_model(build("jamba"))
    kinds = [any("self_attn" in name for name, _ in block.named_modules()) for block in jamba.anatomy.blocks]
    expected = [layer for layer, has in enumerate(kinds) if has]
    assert layers_with(jamba, ComponentType.ATTENTION) == expected
    assert 0 < len(expected) < jamba.num_layers
    with pytest.raises(ValueError, match="layer 0 of model has no attn_out"):
        layers_with(Subject.from_model(build("mamba2")), ComponentType.ATTENTION)
