from __future__ import annotations

import json
from pathlib import Path

import pytest

from lazarus_probe import versions
from lazarus_probe.claims.claim import make_claim
from lazarus_probe.claims.record import ClaimRecord, ModelRecord
from lazarus_probe.reports import run as module
from lazarus_probe.reports import write as write_module
from lazarus_probe.reports.run import Run, RunError, environment, make_run, read_run, schema
from lazarus_probe.reports.summary import claims_table, summary_markdown
from lazarus_probe.reports.write import write_run

CLAIM = make_claim(
    {
        "id": "c",
        "statement": "It is so.",
        "source": "a paper",
        "family": "all",
        "kind": "absence",
        "threshold": 0.1,
        "margin": 0.1,
        "controls": ["answer"],
    },
    "test",
)


def record(parameters: str = "", model: str = "tiny", reason: str = "it is moot") -> ClaimRecord:
    return ClaimRecord(
        claim=CLAIM,
        claim_hash=CLAIM.hash,
        test=f"test_c.py::test_c[{model}-{parameters}]",
        parameters=parameters,
        model=ModelRecord(name=model, fingerprint="f" * 64, num_layers=2, dtype="float32"),
        outcome="not applicable",
        alone="not applicable",
        reason=reason,
        requirements=[],
        measurement=None,
    )


@pytest.fixture
def run() -> Run:
    return make_run([record()], seeds=[3], arguments=["-q"], partial=False)


def test_committed_schema_is_current():
    """The schema in the package is that of the code; write `schema()` to the file, and raise the version, if not."""
    committed = Path(module.__file__).with_name("run.schema.json").read_text(encoding="utf-8")
    assert committed == schema()


def test_run_comes_back_as_it_was(run, tmp_path):
    """What was written reads back as the same run."""
    folder = write_run(run, tmp_path / "reports")
    assert Run.model_validate_json((folder / "run.json").read_text()) == run
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_two_runs_in_a_second_both_stay(run, tmp_path):
    """A run never takes the place of another."""
    names = [write_run(run, tmp_path).name for _ in range(3)]
    assert names == [f"{run.run}-tiny", f"{run.run}-tiny~2", f"{run.run}-tiny~3"]


def test_many_models_make_no_long_name(tmp_path):
    """A folder's name stays short enough for any file system, and a Hub id makes no folder of its own."""
    records = [record(model=f"org/a-model-with-a-long-name-{i}") for i in range(40)]
    folder = write_run(make_run(records, [0], [], partial=False), tmp_path)
    assert folder.name.endswith("-40-models")
    folder = write_run(make_run(records[:1], [0], [], partial=False), tmp_path)
    assert folder.name.endswith("-org--a-model-with-a-long-name-0")


@pytest.mark.parametrize(
    ("argument", "kept"),
    [
        ("/home/me/test_x.py::test_y[a/b]", "test_x.py::test_y[a/b]"),
        ("--probe-model=/home/me/models/tiny", "--probe-model=tiny"),
        ("/home/me/models/tiny", "tiny"),
        ("--probe-model=org/name", "--probe-model=org/name"),
        ("-k", "-k"),
        ("a=/b", "a=/b"),
        ("hypotheses/", "hypotheses/"),
    ],
)
def test_arguments_hold_no_folder_of_the_machine(argument, kept):
    """Of an absolute path only the last part is kept; all else stays as it was given."""
    assert make_run([], [0], [argument], partial=False).arguments == [kept]


def test_failed_write_leaves_nothing(run, tmp_path, monkeypatch):
    """Where a part of a report cannot be written, none of it stays."""

    def fail(run: Run) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write_module, "summary_markdown", fail)
    with pytest.raises(OSError, match="No space left"):
        write_run(run, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_summary_says_what_ran(run):
    """The summary names seed, device and models, and warns of a partial run."""
    text = summary_markdown(run)
    assert "Seed 3, device " in text
    assert f"- tiny: 2 layers, float32, {'f' * 12}" in text
    assert "Partial" not in text
    assert "**Partial: 1 of 4 claims**: " in summary_markdown(
        run.model_copy(update={"partial": True, "cases": 4})
    )


@pytest.mark.parametrize(
    ("reason", "escaped"),
    [
        ("7*8 and 9*9", "7\\*8 and 9\\*9"),
        ("a|b\nc", "a\\|b c"),
        ("<b> & `x` \\", "&lt;b> &amp; \\`x\\` \\\\"),
        ("bag_of_tokens _x_ ~~y~~", "bag_of_tokens \\_x\\_ \\~\\~y\\~\\~"),
        ("[x](y) [0.1, 0.2]", "[x\\](y) [0.1, 0.2]"),
    ],
)
def test_markup_is_escaped(reason, escaped):
    """What a prompt holds stays text; names and intervals stay readable."""
    text = summary_markdown(make_run([record(reason=reason)], [0], [], partial=False))
    assert text.endswith(f": not applicable: {escaped}\n")


def test_table_is_aligned():
    """Each column starts at the same place in every line, and nothing trails."""
    header, *rows = claims_table([record("L2"), record("a-much-longer-one", model="other")]).lines()
    assert {row.index("not applicable") for row in rows} == {header.index("verdict")}
    assert all(line == line.rstrip() for line in (header, *rows))


def test_order_is_by_test_parameters_and_model():
    """The same claim on two models stands together, and L10 comes after L2."""
    records = [record("L10"), record("L2", "b"), record("L2", "a"), record("L10", "b")]
    ordered = sorted(records, key=lambda each: each.order)
    assert [(each.parameters, each.model.name) for each in ordered] == [
        ("L2", "a"),
        ("L2", "b"),
        ("L10", "b"),
        ("L10", "tiny"),
    ]
    assert json.loads(make_run(ordered, [0], [], partial=False).model_dump_json())["outcomes"] == {
        "not applicable": 4
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 5}, r"has schema 5, this version reads 2 to 4: update lazarus_probe"),
        ({"schema_version": 1}, r"has schema 1, this version reads 2 to 4: run the hypotheses again"),
        ({"schema_version": "x"}, r"run\.json is no run: schema_version: Input should be 2, 3 or 4"),
        ({"claims": [{}]}, r"run\.json is no run: claims\.0\.claim: Field required"),
        ({"more": 1}, r"run\.json is no run: more: Extra inputs are not permitted"),
    ],
)
def test_runs_of_another_schema_are_refused(run, tmp_path, change, message):
    """A newer, older or damaged run is refused by name, with what to do."""
    folder = write_run(run, tmp_path)
    assert read_run(folder) == read_run(folder / "run.json") == run
    file = folder / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(RunError, match=message):
        read_run(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_what_is_no_run_is_refused(tmp_path, text):
    """A file that is missing, cut off, of another encoding or of something else is refused by name."""
    with pytest.raises(RunError, match=r"nowhere cannot be read: "):
        read_run(tmp_path / "nowhere")
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=r"run\.json (cannot be read|is no run): "):
        read_run(tmp_path)


def test_runs_of_one_seed_are_still_read(run, tmp_path):
    """A run of schema 2, which had one seed and no word of pools, reads as a run of that seed."""
    folder = write_run(run, tmp_path)
    document = json.loads((folder / "run.json").read_text())
    del document["seeds"]
    (folder / "run.json").write_text(json.dumps({**document, "schema_version": 2}))
    assert read_run(folder).seeds == (3,)


def test_a_version_that_cannot_be_read_is_unknown(monkeypatch):
    """Where no file can be opened any more a run still says where it ran."""

    def no_file(package):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("importlib.metadata.version", no_file)
    versions._installed.cache_clear()  # what was read before can be said
    assert set(environment().packages.values()) == {"unknown"}
