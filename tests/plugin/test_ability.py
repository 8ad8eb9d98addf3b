"""The gate of claims about models that answer: the form it names, and what claims share."""

from __future__ import annotations

import lazarus_probe.asking.ability
import lazarus_probe.asking.exams  # noqa: F401 - pytester forgets what is imported within it

pytest_plugins = ["pytester"]

CLAIMS = """
    from lazarus_probe.asking.exams import Exam

    def exam(right):
        prompts = [f"{a}+{b}=" for a in range(1, 6) for b in range(1, 6)]
        families = [prompt[0] for prompt in prompts]
        return Exam(prompts, ["2"] * 25, families, lambda i, text: right, at_once=True)

    @claim("able", parameters={"answered": 0.5})
    def test_able(ability, evidence, completions):
        answers = ability(exam(True), "the sums")
        count = len(completions._texts)
        ability(exam(True), "the sums again")
        assert len(completions._texts) == count > 0
        evidence.record(answers.noted(measured(0.95)))

    @claim("unable", parameters={"answered": 0.5})
    def test_unable(ability, evidence):
        ability(exam(False), "the sums")
        raise AssertionError("the test ends before")

    @claim("undeclared")
    def test_undeclared(ability, evidence):
        ability(exam(True), "the sums")
    """


def test_a_claim_is_gated_by_the_share_that_it_declares(project):
    """An able model's form is in the record, an unable one's in the reason, and an undeclared share is an error."""
    project.write(CLAIMS)
    result = project.run()
    result.assert_outcomes(passed=1, skipped=1, failed=1)
    result.stdout.fnmatch_lines(["*claim 'undeclared' declares no `answered` among its parameters*"])
    (run,) = project.reports()
    claims = {claim["claim"]["id"]: claim for claim in run["claims"]}
    able = claims["able"]
    assert able["measurement"]["details"]["form"] == "plain text"
    assert able["requirements"][0] == (
        "answers 1.00 of the sums, asked as plain text (tried: plain text 16 of 16); 0.50 needed"
    )
    assert claims["unable"]["outcome"] == "not applicable"
    assert "answers 0.00 of the sums, the first 16 of them" in str(claims["unable"])
