"""Where values can be read and edited: `resid_post(4)` is the residual stream after block 4."""

from __future__ import annotations

from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import (
    Site,
    attn_out,
    embed,
    expert_out,
    head_out,
    keys,
    logits,
    mixer_out,
    mlp_out,
    neurons,
    pattern,
    queries,
    resid_mid,
    resid_post,
    resid_pre,
    router_logits,
    scores,
    values,
)

__all__ = [
    "Site",
    "attn_out",
    "embed",
    "expert_out",
    "head_out",
    "keys",
    "kinds_at",
    "logits",
    "mixer_out",
    "mlp_out",
    "neurons",
    "pattern",
    "queries",
    "resid_mid",
    "resid_post",
    "resid_pre",
    "router_logits",
    "scores",
    "values",
]
