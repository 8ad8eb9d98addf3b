"""pytest for claims about what happens inside a language model."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_PUBLIC = {
    "AblationConfig": "introspection.ablation.runs",
    "AblationStudy": "introspection.ablation.study",
    "AblationType": "introspection.ablation.component_outputs",
    "ActivationStore": "hooks.store",
    "AnalysisConfig": "introspection.lens.analysis",
    "AnalysisResult": "introspection.lens.analysis",
    "CaptureConfig": "introspection.lens.model_hooks",
    "CheckpointWarning": "checkpoints.differences",
    "Claim": "claims.claim",
    "ComponentType": "introspection.ablation.component_outputs",
    "Control": "statistics.measurement",
    "Direction": "introspection.directions.direction_file",
    "Evidence": "claims.evidence",
    "Intervention": "hooks.interventions",
    "Labelled": "introspection.probing.probe",
    "LayerStrategy": "introspection.lens.analysis",
    "LogitLens": "introspection.lens.evolution",
    "Measurement": "statistics.measurement",
    "ModelAnalyzer": "introspection.lens.analyzer",
    "ModelHooks": "introspection.lens.model_hooks",
    "PositionSelection": "introspection.lens.model_hooks",
    "Rows": "claims.falsification",
    "SelfCheck": "hooks.self_check",
    "Site": "hooks.sites",
    "Subject": "subject.subject",
    "attn_out": "hooks.sites",
    "attribution_patch": "introspection.patching.attribution_patching",
    "class_probe": "introspection.probing.class_probe",
    "collect": "hooks.activations",
    "compiled": "hooks.compiled",
    "decode": "introspection.probing.probe",
    "dose_response": "introspection.steering.dose_response",
    "embed": "hooks.sites",
    "emergence": "introspection.probing.emergence",
    "expert_out": "hooks.sites",
    "falsify": "claims.falsify",
    "greedy": "subject.generate",
    "head_out": "hooks.sites",
    "head_scores": "introspection.attribution.head_scores",
    "hooked": "hooks.trace",
    "keys": "hooks.sites",
    "kinds_at": "hooks.sites",
    "logit_attribution": "introspection.attribution.logit_attribution",
    "logit_lens": "introspection.lens.logit_lens",
    "logits": "hooks.sites",
    "mean": "hooks.interventions",
    "mixer_out": "hooks.sites",
    "mlp_out": "hooks.sites",
    "neurons": "hooks.sites",
    "noise": "hooks.interventions",
    "patch": "hooks.interventions",
    "path_patch": "introspection.patching.path_patching",
    "pattern": "hooks.sites",
    "queries": "hooks.sites",
    "rate": "statistics.rates",
    "read_direction": "introspection.directions.direction_file",
    "read_lens": "introspection.lens.tuned_lens",
    "replay": "hooks.replay",
    "resample": "hooks.interventions",
    "resid_mid": "hooks.sites",
    "resid_post": "hooks.sites",
    "resid_pre": "hooks.sites",
    "resume": "hooks.replay",
    "router_logits": "hooks.sites",
    "scale": "hooks.interventions",
    "scores": "hooks.sites",
    "steer": "hooks.interventions",
    "trace": "hooks.trace",
    "train_lens": "training.tuned_lens",
    "tuned_lens": "introspection.lens.tuned_lens",
    "values": "hooks.sites",
    "write_direction": "introspection.directions.direction_file",
    "zero": "hooks.interventions",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: this package loads in every pytest session."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


class _BlasBeforeMlx:
    """Opens a fast BLAS at the moment mlx is first imported: before that nobody pays, after it is too late.

    A finder of modules by its method alone: `importlib.abc` takes 30 ms to import.
    """

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "mlx.core":
            sys.meta_path.remove(self)
            from lazarus_probe.subject.backend import choose_blas, find_temporary_folder

            choose_blas()
            find_temporary_folder()
        return None


if "mlx.core" not in sys.modules:
    sys.meta_path.insert(0, _BlasBeforeMlx())
