"""`--probe-anytime`: prompts are run only until a claim is decided, in its family."""

from __future__ import annotations

import numpy.fft  # noqa: F401 - pytester forgets what is imported within it, and this cannot be imported twice
import pytest

pytest_plugins = ["pytester"]

ALONE = '@claim("high", threshold=0.7, controls=("untrained",), family="small")'
CLAIMS = """
import numpy as np
from lazarus_probe.claims import rate_until_known

RUN = []

MARK
def test_high(evidence):
    def measure(rows):
        RUN.extend(rows)
        return np.ones(len(rows)), {}

    def untrained(rows):
        return np.zeros((3, len(rows)))

    evidence.record(
        rate_until_known("accuracy", range(120), measure, evidence.known, costly={"untrained": untrained})
    )
    assert len(RUN) == len(set(RUN))
""".replace("MARK", ALONE)
FAMILY = """
- id: high
  statement: It is so.
  source: a paper
  family: small
  kind: decodability
  threshold: 0.7
  margin: 0.1
  controls: [untrained]
"""


def test_a_clear_claim_has_fewer_prompts_and_the_same_verdict(project):
    """The verdict is that of all prompts, after a third of them at most, and says after how many units it was known."""
    project.write(CLAIMS)
    records = []
    for options in ((), ("--probe-anytime",)):
        assert project.run(*options).ret == 0
        records.append(project.reports()[-1]["claims"][0])
    whole, early = records
    assert whole["outcome"] == early["outcome"] == "supported"
    assert whole["measurement"]["n"] == 120
    assert early["measurement"]["n"] <= 40
    assert early["measurement"]["details"] == {"of_units": 120}
    assert early["reason"].endswith(f"; known after {early['measurement']['groups']} of 120 units")


def test_a_family_takes_more_prompts_and_keeps_the_verdict(project):
    """Among forty cases of its family that did not run the claim is supported all the same, after more units."""
    others = "".join(FAMILY.replace("id: high", f"id: other-{number}") for number in range(40))
    alone = FAMILY.replace("id: high", "id: alone").replace("family: small", "family: own")
    body = CLAIMS.replace(ALONE, '@pytest.mark.claim("high")')
    project.write(body, all=FAMILY + others + alone)
    project.write(body.replace("high", "alone"), "test_alone")
    assert project.run("--probe-anytime").ret == 0
    (run,) = project.reports()
    units = {record["claim"]["id"]: record["measurement"]["groups"] for record in run["claims"]}
    assert {record["outcome"] for record in run["claims"]} == {"supported"}
    assert units["alone"] < units["high"] < 120


@pytest.mark.parametrize("option", ["--probe-scores-only", "--probe-seeds=2"])
def test_what_needs_all_prompts_has_them(project, option):
    """Scores alone, and seeds that are pooled, are measured on all prompts."""
    project.write(CLAIMS.replace("assert len(RUN) == len(set(RUN))", ""))
    project.run("--probe-anytime", option)
    assert project.reports()[-1]["claims"][0]["measurement"]["n"] % 120 == 0
