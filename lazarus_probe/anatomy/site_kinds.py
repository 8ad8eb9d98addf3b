"""The kinds of sites that blocks have: `Site` says what each is, a pipeline's processes hand each other all of them."""

from __future__ import annotations

PER_LAYER = (
    "resid_pre",
    "queries",
    "keys",
    "values",
    "scores",
    "pattern",
    "head_out",
    "attn_out",
    "mixer_out",
    "resid_mid",
    "router_logits",
    "expert_out",
    "neurons",
    "mlp_out",
    "resid_post",
)
