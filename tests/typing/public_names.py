"""What a type checker sees of the public names: checked by `make lint`, which fails where an ignore is not needed."""

from typing import assert_type

import lazarus_probe
from lazarus_probe import Subject, Verdict, probe, trace
from lazarus_probe.introspection import ModelAnalyzer
from lazarus_probe.sites import Site, resid_post
from lazarus_probe.sweep import sweep

subject = Subject.load("organism")
assert_type(subject, Subject)
assert_type(resid_post(4), Site)
assert_type(lazarus_probe.__version__, str)
names = (ModelAnalyzer, Verdict, probe, trace, sweep)

Subject.laod("organism")  # type: ignore[attr-defined]
lazarus_probe.trase  # type: ignore[attr-defined]  # noqa: B018
subject.layers_of_mine  # type: ignore[attr-defined]  # noqa: B018
