"""Which of the sites a model has: the kinds of each block, its heads, and names counted from the last."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lazarus_probe.hooks.sites import Site

if TYPE_CHECKING:
    from lazarus_probe.anatomy.anatomy import Anatomy


def kinds_at(anatomy: Anatomy, layer: int) -> tuple[str, ...]:
    """The kinds of site that a block has.

    Example:
        >>> from lazarus_probe.sites import kinds_at
        >>> kinds_at(mamba.anatomy, layer=0)
        ('resid_pre', 'mixer_out', 'resid_post')
        >>> "router_logits" in kinds_at(mixture.anatomy, layer=0)
        True
    """
    parts = anatomy.parts[layer]
    heads = parts.heads
    there = {
        "resid_pre": True,
        "queries": heads and heads.fused,
        "keys": heads and heads.fused,
        "values": heads and heads.fused,
        "scores": heads,
        "pattern": heads,
        "head_out": heads and (heads.fused or parts.o_proj),
        "attn_out": parts.attention,
        "mixer_out": parts.mixer,
        "resid_mid": parts.mid,
        "router_logits": parts.router,
        "expert_out": parts.experts,
        "neurons": parts.down_proj,
        "mlp_out": parts.mlp,
        "resid_post": True,
    }
    refused = anatomy.ranks.refused if anatomy.ranks else {}
    return tuple(kind for kind, present in there.items() if present and (layer, kind) not in refused)


def resolve(site: Site | str, anatomy: Anatomy) -> Site:
    """The site with its layer and head counted from 0, checked against a model.

    Raises:
        ValueError: an unknown kind of site, or one that the block does not have.
        IndexError: a layer or head that the model does not have.

    Example:
        >>> from lazarus_probe.hooks import resolve
        >>> str(resolve("resid_post.-1", subject.anatomy))
        'resid_post.7'
    """
    resolved: dict[Site | str, Site] = anatomy.resolved
    if site not in resolved:
        resolved[site] = _resolved(Site.parse(site), anatomy)
    return resolved[site]


def _resolved(site: Site, anatomy: Anatomy) -> Site:
    if site.layer is None:
        return site
    site = replace(site, layer=_index(site.layer, anatomy.num_layers, "layer", site))
    layer = site.layer or 0
    kinds = kinds_at(anatomy, layer)
    if anatomy.ranks and (reason := anatomy.ranks.refused.get((layer, site.kind))):
        raise ValueError(f"{site} cannot be computed over {anatomy.ranks.group.size()} processes: {reason}")
    if site.kind not in kinds:
        raise ValueError(f"the model has no {site}; block {layer} has {', '.join(kinds)}")
    if site.head is not None:
        site = replace(site, head=_index(site.head, head_count(anatomy, site), "head", site))
    return site


def head_count(anatomy: Anatomy, site: Site) -> int:
    """How many heads a kind of site has in its block; keys and values have their own number."""
    heads = anatomy.parts[site.layer or 0].heads
    if heads is None:
        return 0
    return heads.num_kv_heads if site.kind in ("keys", "values") else heads.num_heads


def _index(value: int, count: int, what: str, site: Site) -> int:
    if not -count <= value < count:
        raise IndexError(f"{what} {value} of {site} is out of range: the model has {what}s 0 to {count - 1}")
    return value % count
