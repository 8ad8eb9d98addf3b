"""Which module a site lies at, and on which side of it."""

from __future__ import annotations

from lazarus_probe.hooks.attention import Change
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.taps import Tap
from lazarus_probe.subject.anatomy import Anatomy


def tap_at(anatomy: Anatomy, site: Site, visit: Change) -> Tap:
    """A tap that hands the value at a site to `visit`, whose result takes its place.

    Args:
        anatomy: of the model.
        site: resolved against that model. A head is not singled out: `head_out` and `pattern` give all heads.
        visit: from the value, in the shape that `Site` documents, to one of the same shape.
    """
    layer = site.layer or 0
    match site.kind:
        case "embed":
            return Tap(anatomy.embedding, after=visit)
        case "resid_pre":
            return Tap(anatomy.blocks[layer], before=visit)
        case "attn_out":
            return Tap(anatomy.attention[layer], after=visit)
        case "head_out":
            return Tap(anatomy.attention[layer], head_out=visit)
        case "pattern":
            return Tap(anatomy.attention[layer], pattern=visit)
        case "mlp_out":
            return Tap(anatomy.mlp[layer], after=visit)
        case "neurons":
            return Tap(anatomy.down_proj[layer], before=visit)
        case "resid_post":
            return Tap(anatomy.blocks[layer], after=visit)
        case _:
            return Tap(anatomy.model, after=visit)
