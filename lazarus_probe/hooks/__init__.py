"""Watching and editing what happens inside a model while it runs its own code."""

from __future__ import annotations

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.captures import Captures, HookError
from lazarus_probe.hooks.interventions import Intervention, mean, patch, resample, scale, steer, zero
from lazarus_probe.hooks.replay import replay, resume
from lazarus_probe.hooks.sites import (
    Site,
    attn_out,
    embed,
    head_out,
    kinds_at,
    logits,
    mlp_out,
    neurons,
    pattern,
    resid_post,
    resid_pre,
    resolve,
)
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.hooks.trace import Trace, hooked, trace

__all__ = [
    "ActivationStore",
    "Captures",
    "HookError",
    "Intervention",
    "Site",
    "Trace",
    "attn_out",
    "collect",
    "embed",
    "head_out",
    "hooked",
    "kinds_at",
    "logits",
    "mean",
    "mlp_out",
    "neurons",
    "patch",
    "pattern",
    "replay",
    "resample",
    "resid_post",
    "resid_pre",
    "resolve",
    "resume",
    "scale",
    "steer",
    "trace",
    "zero",
]
