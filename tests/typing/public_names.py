"""What a type checker sees of the public names: checked by `make lint`, which fails where an ignore is not needed."""

from typing import assert_type

import lazarus_probe
from lazarus_probe import Subject, Verdict, probe, trace
from lazarus_probe.claims import judge
from lazarus_probe.introspection import ModelAnalyzer
from lazarus_probe.reports import Run, find_run
from lazarus_probe.sites import Site, resid_post
from lazarus_probe.sweep import sweep
from lazarus_probe.tasks import Fact, facts
from lazarus_probe.training import SftConfig, train_sft

subject = Subject.load("organism")
assert_type(subject, Subject)
assert_type(resid_post(4), Site)
assert_type(lazarus_probe.__version__, str)
assert_type(lazarus_probe.sites.resid_post(4), Site)
assert_type(facts("add"), tuple[Fact, ...])
assert_type(find_run("latest")[1], Run)
names = (ModelAnalyzer, SftConfig, Verdict, judge, probe, trace, train_sft, sweep)

Subject.laod("organism")  # type: ignore[attr-defined]
lazarus_probe.sites.resid_pots(4)  # type: ignore[attr-defined]
lazarus_probe.tasks.fact  # type: ignore[attr-defined]  # noqa: B018
lazarus_probe.trase  # type: ignore[attr-defined]  # noqa: B018
subject.layers_of_mine  # type: ignore[attr-defined]  # noqa: B018
