"""The runner over kernels: what it runs is what it names, failures and other verdicts are counted and named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lazarus_probe.claims.baseline_record import BaselineRecord
from lazarus_probe.claims.record import ClaimRecord
from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.organisms import bundled
from tests.kernels import kernels, run
from tests.kernels.kernels import NAMES, Kernel, Loaded

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="a BLAS is chosen on Linux only")
LOADED = Loaded(("libmkl_mc3.so.3",), "MKL 2026.2", "Nehalem")
JUNIT = """<testsuites><testsuite name="pytest">
<testcase classname="tests.a" name="one"/>
<testcase classname="tests.a" name="two"><failure message="no"/></testcase>
<testcase classname="tests.a" name="three"><error message="no"/></testcase>
<testcase classname="tests.b" name="four"><skipped message="not here"/></testcase>
</testsuite></testsuites>"""


@LINUX
@pytest.mark.parametrize("name", NAMES)
def test_a_process_multiplies_with_the_kernel_it_is_named_after(name: str, monkeypatch: pytest.MonkeyPatch):
    """The module that a new process loaded is the kernel's own, whatever this process was told."""
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "AVX2")
    monkeypatch.setenv("LAZARUS_BLAS", "off")
    try:
        found = kernels.loaded(kernels.kernel(name))
    except LookupError as reason:
        pytest.skip(str(reason))
    assert any(module.startswith(kernels.kernel(name).module) for module in found.modules)
    assert len({module.split(".")[0] for module in found.modules}) == 1


@LINUX
def test_another_kernel_than_the_named_one_is_told():
    """Where a process multiplies with something else, as without an instruction set, it says with what."""
    with pytest.raises(LookupError, match=r"under dream mlx multiplied with libblas"):
        kernels.loaded(Kernel("dream", {"LAZARUS_BLAS": "off"}, "libmkl_avx512."))


def test_names_that_are_no_kernel_are_refused(capsys: pytest.CaptureFixture[str]):
    """An unknown name is an error that lists the names there are."""
    with pytest.raises(
        ValueError, match=r"there is no kernel AVX9; there are SSE4_2, AVX2, AVX512, mkl, openblas, off"
    ):
        kernels.kernel("AVX9")
    with pytest.raises(SystemExit):
        run.options_of(["--kernels", "AVX2,AVX9"])
    assert "there is no kernel AVX9; there are SSE4_2" in capsys.readouterr().err


def test_a_missing_openblas_is_a_skipped_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without an OpenBLAS its line says what to install, and is no failure."""
    monkeypatch.delenv("LAZARUS_BLAS", raising=False)
    with pytest.raises(LookupError, match="apt-get install libopenblas0-pthread"):
        kernels.system_openblas(tmp_path)
    line = run.Line("openblas", None, "no OpenBLAS in /usr/lib: apt-get install libopenblas0-pthread")
    assert line.right
    assert "skipped: no OpenBLAS" in run.table([line])


def test_tests_are_counted_and_named(tmp_path: Path):
    """Failures and errors are named, skipped tests are none of both."""
    report = tmp_path / "tests.xml"
    report.write_text(JUNIT)
    assert run.read_tests(report, 1) == run.Tests(1, ("tests.a::two", "tests.a::three"))


@pytest.mark.parametrize(
    ("written", "code", "message"),
    [
        (None, 4, r"wrote no tests\.xml: see .*tests\.log"),
        ("<testsuites/>", 5, "ran no test"),
        (JUNIT, 2, "ended with 2 and 2 failed"),
        (JUNIT, 0, "ended with 0 and 2 failed"),
    ],
)
def test_a_run_that_did_not_come_to_its_end_is_no_success(tmp_path: Path, written, code, message):
    """Where pytest wrote nothing, ran nothing or was cut off, that is an error and not a count."""
    report = tmp_path / "tests.xml"
    if written is not None:
        report.write_text(written)
    with pytest.raises(ValueError, match=message):
        run.read_tests(report, code)


def test_verdicts_are_held_against_the_baseline():
    """Equal verdicts are counted, another verdict is named with both, and so is a claim of one side alone."""
    known = {"same": "refuted", "turned": "supported", "gone": "refuted"}
    found = run.compare({"same": "refuted", "turned": "inconclusive", "new": "refuted"}, known)
    assert found.compared == 4
    assert found.differing == (
        "gone: refuted -> not there",
        "new: not there -> refuted",
        "turned: supported -> inconclusive",
    )
    assert str(found) == "3 of 4 differ"
    assert str(run.compare(known, known)) == "3 equal"


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (None, ("not there", "refuted")),
        ({"outcome": Outcome.REFUTED}, ("refuted", "refuted")),
        ({"outcome": Outcome.SUPPORTED}, ("supported", "refuted")),
        ({"outcome": Outcome.SUPPORTED, "compared": "nothing"}, ("declared otherwise", "refuted")),
        (
            {"outcome": Outcome.REFUTED, "alone": Outcome.SUPPORTED, "compared": "alone"},
            ("supported", "inconclusive"),
        ),
        ({"outcome": Outcome.INCONCLUSIVE, "compared": "alone"}, ("inconclusive", "inconclusive")),
    ],
)
def test_a_verdict_is_held_against_what_the_plugin_holds_it_against(known, expected):
    """Final verdicts, those of the test alone where part of its family ran, and none where the claim is another."""
    fields = {"outcome": Outcome.REFUTED, "alone": Outcome.INCONCLUSIVE}
    found = ClaimRecord.model_construct(
        **fields, known=known and BaselineRecord(claim_hash="h", **known), parameters="", reason=""
    )
    assert run.held(found) == expected


def test_every_model_that_is_run_has_a_baseline():
    """Without options the hypotheses run on the bundled models whose baselines are kept."""
    models = run.options_of([]).models.split(",")
    assert models == sorted({file.stem for file in run.BASELINES.glob("*.json")} & set(bundled.names()))


def test_the_table_shows_kernel_tests_and_verdicts():
    """A line has what was multiplied with, what passed and what differs; below stand the names."""
    bad = run.Line(
        "SSE4_2", LOADED, "", "", run.Tests(8, ("tests.a::two",)), run.Verdicts(3, ("m: c: a -> b",))
    )
    good = run.Line("AVX2", LOADED, "", "", run.Tests(9, ()), None)
    assert good.right
    assert not bad.right
    shown = run.table([bad, good]).splitlines()
    assert "MKL 2026.2, libmkl_mc3.so.3  Nehalem" in shown[1]
    assert "8 passed, 1 failed  1 of 3 differ" in shown[1]
    assert "9 passed, 0 failed  not run" in shown[2]
    assert shown[3:] == ["SSE4_2 failed: tests.a::two", "SSE4_2 differs: m: c: a -> b"]
    cut = run.Line("off", LOADED, broken="pytest ended with 2")
    assert not cut.right
    assert "off broke: pytest ended with 2" in run.table([cut])
