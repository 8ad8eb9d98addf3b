"""The final verdicts in junitxml, which hears of each test before its family is complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from _pytest.junitxml import LogXML, xml_key

from lazarus_probe.plugin.outcomes import TestOutcome, properties_of

if TYPE_CHECKING:
    from lazarus_probe.claims.record import ClaimRecord


class JunitCases:
    """The test cases of the claims, where `--junitxml` asks for them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.cases: dict[int, Any] = {}

    @property
    def xml(self) -> LogXML | None:
        """Where pytest collects what it will write."""
        return self.config.stash.get(xml_key, None)

    def remember(self, report: pytest.TestReport) -> None:
        """Keep hold of a report's test case before pytest closes it."""
        if self.xml is not None:
            self.cases[id(report)] = self.xml.node_reporter(report)

    def finalise(self, report: pytest.TestReport, record: ClaimRecord) -> None:
        """Write a record's outcome over that of the test alone."""
        if id(report) not in self.cases:
            return
        case = self.cases[id(report)].to_xml()
        block = case.find("properties")
        if block is None:
            block = ElementTree.SubElement(case, "properties")
        present = {element.get("name"): element for element in block}
        for name, value in properties_of(record):
            written = present.get(name)
            if written is None:
                written = ElementTree.SubElement(block, "property", name=name)
            written.set("value", str(value))

    def move(self, report: pytest.TestReport, outcome: TestOutcome, text: str) -> None:
        """Make a test case one of another outcome."""
        if id(report) not in self.cases or self.xml is None:
            return
        case = self.cases[id(report)].to_xml()
        before = [element for element in case if element.tag in ("failure", "skipped")]
        for outcome_element in before:
            case.remove(outcome_element)
        self.xml.stats[before[0].tag if before else "passed"] -= 1
        tag = {"passed": "passed", "failed": "failure"}.get(outcome, "skipped")
        self.xml.add_stats(tag)
        if tag != "passed":
            ElementTree.SubElement(case, tag, message=" ".join(text.split())).text = text
