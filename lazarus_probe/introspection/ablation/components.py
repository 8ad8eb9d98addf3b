"""The components of a layer by their published names, and the outputs that they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lazarus_probe.anatomy.anatomy import at_path
from lazarus_probe.anatomy.projections import projections, sizes
from lazarus_probe.hooks.model_sites import head_count, kinds_at
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.config import ComponentType
from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer in a block, whose output is not a `Site`.

    Attributes:
        layer: the block.
        path: in the block, as in `mlp.gate_proj`.
    """

    layer: int
    path: str

    def module(self, subject: Subject) -> Any:
        """The module of a model."""
        return at_path(subject.anatomy.blocks[self.layer], self.path)


Output = Site | LinearLayer

SITES = {
    ComponentType.MLP: ("mlp_out",),
    ComponentType.ATTENTION: ("attn_out",),
    ComponentType.BOTH: ("attn_out", "mlp_out"),
    ComponentType.ATTN_Q: ("queries",),
    ComponentType.ATTN_K: ("keys",),
    ComponentType.ATTN_V: ("values",),
    ComponentType.ATTN_O: ("attn_out",),
}
# Names in model files of the two input projections of a gated MLP.
PROJECTIONS = {
    ComponentType.MLP_GATE: ("gate_proj", "w1"),
    ComponentType.MLP_UP: ("up_proj", "w3", "c_fc", "fc1", "dense_h_to_4h"),
}


def outputs_of(subject: Subject, component: ComponentType, layer: int) -> tuple[Output, ...]:
    """The outputs of a component in one layer.

    Raises:
        ValueError: the layer has no such component; the message lists those that it has.
    """
    if component in PROJECTIONS:
        return (_projection(subject, component, layer),)
    if component == ComponentType.MLP_DOWN:
        _refuse_mixture(subject, component, layer)
        return (Site("mlp_out", layer),)
    kinds = kinds_at(subject.anatomy, layer)
    missing = [kind for kind in SITES[component] if kind not in kinds]
    if missing:
        raise ValueError(
            f"component {component}: layer {layer} of {subject.name} has no {missing[0]}; it has {', '.join(kinds)}"
        )
    return tuple(Site(kind, layer) for kind in SITES[component])


def layers_with(subject: Subject, component: ComponentType) -> list[int]:
    """The layers that have a component.

    Raises:
        ValueError: none has; the message lists those of the first layer.
    """
    layers = []
    for layer in range(subject.num_layers):
        try:
            outputs_of(subject, component, layer)
        except ValueError:
            continue
        layers.append(layer)
    if not layers:
        outputs_of(subject, component, 0)  # raises, and lists what the layer has
    return layers


def output_shape(subject: Subject, output: Output) -> tuple[int, ...]:
    """The shape of an output at one position."""
    if isinstance(output, LinearLayer):
        return (sizes(output.module(subject))[2],)
    heads = subject.anatomy.parts[output.layer or 0].heads
    if heads and output.kind in ("queries", "keys", "values"):
        width = heads.value_dim if output.kind == "values" else heads.head_dim
        return (head_count(subject.anatomy, output), width)
    return (subject.anatomy.hidden_size,)


def _projection(subject: Subject, component: ComponentType, layer: int) -> LinearLayer:
    _refuse_mixture(subject, component, layer)
    mlp = f"{subject.anatomy.parts[layer].mlp}."
    linears = [
        linear for linear in projections(subject.anatomy, [layer]) if f"{linear.path}.".startswith(mlp)
    ]
    for name in PROJECTIONS[component]:
        matches = [linear for linear in linears if linear.matches(name)]
        if len(matches) == 1 and sizes(matches[0].module)[0] == 1:
            return LinearLayer(layer, matches[0].path)
    paths = ", ".join(linear.path for linear in linears) or "none"
    raise ValueError(
        f"component {component} cannot be identified in layer {layer} of {subject.name}: the linear layers of its MLP "
        f"are {paths}; ablate mlp"
    )


def _refuse_mixture(subject: Subject, component: ComponentType, layer: int) -> None:
    parts = subject.anatomy.parts[layer]
    if parts.mlp is None or parts.num_experts is not None:
        reason = (
            "has no MLP; ablate attention"
            if parts.mlp is None
            else "is a mixture of experts; ablate mlp, which is the whole of it"
        )
        raise ValueError(f"component {component}: layer {layer} of {subject.name} {reason}")
