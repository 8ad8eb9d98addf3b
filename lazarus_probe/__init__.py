"""pytest for claims about what happens inside a language model.

What most claims need is here. Sites are in `lazarus_probe.sites`, edits in `.interventions`, grids of edits in
`.sweep`, prompts in `.tasks`, and the classes of the published documents in `.introspection`. These modules are
attributes of the package, and imported when they are first used, as its names are.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lazarus_probe.lazy import lazy_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from lazarus_probe import claims as claims
    from lazarus_probe import hooks as hooks
    from lazarus_probe import interventions as interventions
    from lazarus_probe import introspection as introspection
    from lazarus_probe import reports as reports
    from lazarus_probe import sites as sites
    from lazarus_probe import subject as subject
    from lazarus_probe import sweep as sweep
    from lazarus_probe import tasks as tasks
    from lazarus_probe import training as training
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.claims.evidence import Evidence
    from lazarus_probe.claims.falsification import Rows
    from lazarus_probe.claims.falsify import falsify
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.hooks.activations import collect
    from lazarus_probe.hooks.interventions import Intervention
    from lazarus_probe.hooks.sites import Site
    from lazarus_probe.hooks.trace import hooked, trace
    from lazarus_probe.introspection.attribution.head_scores import head_scores
    from lazarus_probe.introspection.attribution.logit_attribution import logit_attribution
    from lazarus_probe.introspection.lens.logit_lens import logit_lens
    from lazarus_probe.introspection.lens.tuned_lens import tuned_lens
    from lazarus_probe.introspection.patching.attribution_patching import attribution_patch
    from lazarus_probe.introspection.patching.path_patching import path_patch
    from lazarus_probe.introspection.probing.class_probe import class_probe
    from lazarus_probe.introspection.probing.emergence import emergence
    from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
    from lazarus_probe.introspection.steering.dose_response import dose_response
    from lazarus_probe.statistics.measurement import Control, Measurement
    from lazarus_probe.statistics.rates import rate
    from lazarus_probe.subject.subject import Subject

    __version__: str

__all__ = [
    "Claim",
    "Control",
    "Evidence",
    "Intervention",
    "Measurement",
    "ProbeDataset",
    "Rows",
    "Site",
    "Subject",
    "Verdict",
    "__version__",
    "attribution_patch",
    "class_probe",
    "collect",
    "dose_response",
    "emergence",
    "falsify",
    "head_scores",
    "hooked",
    "logit_attribution",
    "logit_lens",
    "path_patch",
    "probe",
    "rate",
    "trace",
    "tuned_lens",
]

_HOMES = {
    "Claim": "claims.claim",
    "Control": "statistics.measurement",
    "Evidence": "claims.evidence",
    "Intervention": "hooks.interventions",
    "Measurement": "statistics.measurement",
    "ProbeDataset": "introspection.probing.probe",
    "Rows": "claims.falsification",
    "Site": "hooks.sites",
    "Subject": "subject.subject",
    "Verdict": "claims.verdict",
    "attribution_patch": "introspection.patching.attribution_patching",
    "class_probe": "introspection.probing.class_probe",
    "collect": "hooks.activations",
    "dose_response": "introspection.steering.dose_response",
    "emergence": "introspection.probing.emergence",
    "falsify": "claims.falsify",
    "head_scores": "introspection.attribution.head_scores",
    "hooked": "hooks.trace",
    "logit_attribution": "introspection.attribution.logit_attribution",
    "logit_lens": "introspection.lens.logit_lens",
    "path_patch": "introspection.patching.path_patching",
    "probe": "introspection.probing.probe",
    "rate": "statistics.rates",
    "trace": "hooks.trace",
    "tuned_lens": "introspection.lens.tuned_lens",
}
_MODULES = (
    *("claims", "hooks", "interventions", "introspection", "reports"),
    *("sites", "subject", "sweep", "tasks", "training"),
)

if not TYPE_CHECKING:
    _public, _names = lazy_names(__name__, _HOMES)

    def __getattr__(name: str) -> Any:
        if name == "__version__":  # reading it takes 20 ms
            from lazarus_probe.versions import version_of

            return version_of(__name__)
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        return _public(name)

    def __dir__() -> list[str]:
        return sorted({*_names(), *_MODULES})


class _BlasBeforeMlx:
    """Opens a fast BLAS at the moment mlx is first imported: before that nobody pays, after it is too late.

    A finder of modules by its method alone: `importlib.abc` takes 30 ms to import.
    """

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "mlx.core":
            sys.meta_path.remove(self)
            from lazarus_probe.backend import choose_blas, find_temporary_folder, keep_float32

            choose_blas()
            keep_float32()
            find_temporary_folder()
        return None


if "mlx.core" not in sys.modules:
    sys.meta_path.insert(0, _BlasBeforeMlx())
else:  # too late for a BLAS; mlx reads how it rounds at its first product
    from lazarus_probe.backend import keep_float32

    keep_float32()
