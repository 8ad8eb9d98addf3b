"""Watching and editing what happens inside a model while it runs its own code.

Sites are named in `lazarus_probe.sites`, edits in `lazarus_probe.interventions`.
"""

from __future__ import annotations

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.captures import Captures, HookError
from lazarus_probe.hooks.compiled import compiled
from lazarus_probe.hooks.model_check import SelfCheck, self_check
from lazarus_probe.hooks.model_sites import resolve
from lazarus_probe.hooks.replay import replay, resume
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.hooks.trace import Trace, hooked, trace

__all__ = [
    "ActivationStore",
    "Captures",
    "HookError",
    "SelfCheck",
    "Trace",
    "collect",
    "compiled",
    "hooked",
    "replay",
    "resolve",
    "resume",
    "self_check",
    "trace",
]
