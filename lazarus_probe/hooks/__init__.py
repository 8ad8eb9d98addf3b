"""Watching and editing what happens inside a model while it runs its own code."""

from __future__ import annotations

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.captures import Captures, HookError
from lazarus_probe.hooks.compiled import compiled
from lazarus_probe.hooks.interventions import Intervention, mean, noise, patch, resample, scale, steer, zero
from lazarus_probe.hooks.model_check import SelfCheck, self_check
from lazarus_probe.hooks.replay import replay, resume
from lazarus_probe.hooks.sites import (
    Site,
    attn_out,
    embed,
    expert_out,
    head_out,
    keys,
    kinds_at,
    logits,
    mixer_out,
    mlp_out,
    neurons,
    pattern,
    queries,
    resid_mid,
    resid_post,
    resid_pre,
    resolve,
    router_logits,
    scores,
    values,
)
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.hooks.trace import Trace, hooked, trace

__all__ = [
    "ActivationStore",
    "Captures",
    "HookError",
    "Intervention",
    "SelfCheck",
    "Site",
    "Trace",
    "attn_out",
    "collect",
    "compiled",
    "embed",
    "expert_out",
    "head_out",
    "hooked",
    "keys",
    "kinds_at",
    "logits",
    "mean",
    "mixer_out",
    "mlp_out",
    "neurons",
    "noise",
    "patch",
    "pattern",
    "queries",
    "replay",
    "resample",
    "resid_mid",
    "resid_post",
    "resid_pre",
    "resolve",
    "resume",
    "router_logits",
    "scale",
    "scores",
    "self_check",
    "steer",
    "trace",
    "values",
    "zero",
]
