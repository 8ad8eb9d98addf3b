"""Labels, files, interruption and memory of a sweep."""

from __future__ import annotations

import gc
import re
import resource

import mlx.core as mx
import naive
import numpy as np
import pytest

from lazarus_probe.hooks import trace
from lazarus_probe.sweep import Donors, Mean, Sweep, Zero, answer, engine, kl, logit_diff, sweep
from lazarus_probe.sweep.memory import parse_bytes
from lazarus_probe.sweep.progress import bar
from tests.tolerance import assert_close

TARGETS = ["12*ab = ", "bb*d=", [3, 4, 5, 6, 7, 8]]
DONORS = ["12*bb = ", "bd*a=", [3, 4, 5, 9, 7, 8]]


@pytest.fixture(scope="module")
def found(grouped) -> Sweep:
    sites = [f"{kind}.{layer}" for kind in ("resid_post", "attn_out") for layer in (2, 0, 1)]
    sources = {"donor": Donors(DONORS), "zero": Zero()}
    return sweep(grouped, TARGETS, sites, sources=sources, metrics=[logit_diff(5, 6), kl(), answer(2)])


def test_values_are_found_by_label(found):
    """A label picks its place, labels that are not given keep their axis."""
    values = found.values["kl"]
    assert found.dims == ("prompt", "source", "site", "position")
    assert tuple(len(found.coords[name]) for name in found.dims) == values.shape == (3, 2, 6, 8)
    assert found.at("kl", prompt=1, source="zero", site="attn_out.2", position=3) == values[1, 1, 3, 3]
    assert (found.at("kl", source="zero", site="resid_post.0", position=1) == values[:, 1, 1, 1]).all()
    assert found.at("kl", prompt="bb*d=").shape == (2, 6, 8)
    assert found.prompts[2] == "3 4 5 6 7 8"


def test_a_grid_is_layers_by_positions(found):
    """Layers are in order, and the mean is over the prompts that have the position."""
    values = found.values["kl"][:, 0, [1, 2, 0]]
    np.testing.assert_array_equal(found.grid("kl", "donor", "resid_post", prompt=1), values[1])
    mean = found.grid("kl", "donor", "resid_post")
    np.testing.assert_allclose(mean, np.nanmean(values, axis=0), rtol=1e-6)
    assert np.isnan(values[1]).any()


def test_the_normalised_effect_is_one_where_everything_is_patched(grouped):
    """The last block's whole output at the last position carries the donor's logits; an idle cell has no effect."""
    sources = {"donor": Donors(DONORS), "zero": Zero()}
    result = sweep(
        grouped, TARGETS, ["resid_post.3"], sources=sources, metrics=[logit_diff(5, 6)], positions=[0, -1]
    )
    effect = result.normalised("logit_diff")
    np.testing.assert_allclose(effect[:, 0, 0, 1], 1, atol=1e-4)
    assert (effect[:, 0, 0, 0] == 0).all()
    assert np.isnan(effect[:, 1]).all()


def test_a_saved_sweep_is_the_same_when_loaded(found, tmp_path):
    """Labels, numbers and answers survive a file that holds no pickle."""
    found.save(tmp_path / "sweep.npz")
    loaded = Sweep.load(tmp_path / "sweep.npz")
    assert loaded.coords == found.coords
    assert loaded.routes == found.routes
    for part in ("values", "baseline", "donors"):
        for name, array in getattr(found, part).items():
            np.testing.assert_array_equal(getattr(loaded, part)[name], array)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda found: found.at("loss"), "no metric 'loss'; the metrics are logit_diff, kl, answer"),
        (lambda found: found.at("kl", source="mean"), "no source 'mean'; there are donor, zero"),
        (lambda found: found.at("kl", site="mlp_out.1"), "no site 'mlp_out.1'"),
        (lambda found: found.grid("kl", kind="resid_post"), "give source="),
        (lambda found: found.grid("kl", "zero"), "give kind="),
        (lambda found: found.grid("answer", "zero", "attn_out"), "answers have no mean"),
    ],
)
def test_an_unknown_label_is_refused_with_those_there_are(found, call, message):
    """A wrong label names itself and the right ones."""
    with pytest.raises(KeyError, match=message):
        call(found)


class Interrupted(Exception):  # noqa: N818 - what a user does, not an error
    """Stands for control-C."""


def interrupted(monkeypatch, after: int) -> None:
    """Stop the next sweep before its bucket number `after`."""
    seen, run = [], engine.compute

    def stopping(*args):
        seen.append(args)
        if len(seen) > after:
            raise Interrupted
        run(*args)

    monkeypatch.setattr(engine, "compute", stopping)


def test_an_interrupted_sweep_goes_on_where_it_stopped(grouped, tmp_path, monkeypatch):
    """The second run computes only what is missing, and gives the array of one that was not interrupted."""
    path = tmp_path / "part.npz"
    options = {"sources": {"donor": Donors(DONORS)}, "metrics": [kl(), answer(2)], "positions": [1, -1]}
    sites = ["attn_out.1", "resid_post.2"]
    whole = sweep(grouped, TARGETS, sites, **options)
    with monkeypatch.context() as patched:
        interrupted(patched, 1)
        with pytest.raises(Interrupted):
            sweep(grouped, TARGETS, sites, resume=path, **options)
    buckets, run = [], engine.compute
    monkeypatch.setattr(engine, "compute", lambda *args: (buckets.append(args), run(*args)))
    result = sweep(grouped, TARGETS, sites, resume=path, **options)
    assert len(buckets) == 1
    for part in ("values", "baseline", "donors"):
        for name, array in getattr(whole, part).items():
            np.testing.assert_array_equal(getattr(result, part)[name], array)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"targets": ["12*ba = ", *TARGETS[1:]]}, "targets"),
        ({"sites": ["mlp_out.1"]}, "sites"),
        ({"positions": "last"}, "positions"),
        ({"sources": {"m": Mean({"attn_out.1": np.ones(32)})}}, "sources"),
        ({"metrics": [kl(), logit_diff(1, 2)]}, "metrics"),
    ],
)
def test_a_file_of_another_sweep_is_refused(grouped, tmp_path, changes, named):
    """What differs is named, and the file is left alone."""
    path = tmp_path / "part.npz"
    same = {
        "targets": TARGETS,
        "sites": ["attn_out.1"],
        "sources": {"m": Mean({"attn_out.1": np.zeros(32), "mlp_out.1": np.zeros(32)})},
        "metrics": [kl()],
        "positions": [1],
    }

    def run(targets, sites, **options):
        return sweep(grouped, targets, sites, resume=path, **options)

    run(**same)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"other {named};"):
        run(**{**same, **changes})
    assert path.read_bytes() == before


def test_a_file_that_is_something_else_is_refused(grouped, tmp_path):
    """A text is no interrupted sweep."""
    path = tmp_path / "notes.txt"
    path.write_text("notes")
    with pytest.raises(ValueError, match="is not the file of an interrupted sweep"):
        sweep(grouped, TARGETS, ["attn_out.1"], sources={"zero": Zero()}, metrics=[kl()], resume=path)


@pytest.mark.slow
def test_memory_stays_under_the_cap(make_llama):
    """The peak of a grid over 512 prompts is under the cap, which a sweep without one exceeds; values are equal."""
    from lazarus_probe import Subject

    subject = Subject.from_model(make_llama(hidden_size=64, intermediate_size=128))
    rng = np.random.default_rng(0)
    targets, donors = (rng.integers(0, 64, (512, 16)).tolist() for _ in range(2))
    sites, sources = naive.sites_of(subject, "resid_post", "mlp_out"), {"donor": Donors(donors)}
    cells = [(site, position) for site in sites for position in (3, 9, -1)]

    def peak(memory):
        gc.collect()
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        found = sweep(subject, targets, sources=sources, metrics=[kl()], cells=cells, memory=memory)
        return mx.get_peak_memory() - before, found

    cap = 12_000_000
    free, whole = peak("2GB")
    used, found = peak(cap)
    assert used < cap < free
    (ours, theirs) = (each.values["kl"][np.isfinite(each.values["kl"])] for each in (found, whole))
    assert_close(subject, ours, theirs)


def test_too_little_memory_is_refused_with_what_is_needed(grouped):
    """A cap that one prompt exceeds is an error, not a crash later."""
    with pytest.raises(ValueError, match=r"a prompt of 8 tokens needs [\d,]+"):
        sweep(grouped, TARGETS[:1], ["attn_out.1"], sources={"zero": Zero()}, metrics=[kl()], memory=1000)


@pytest.mark.parametrize(
    ("text", "count"), [("2GB", 2 * 10**9), ("512 MiB", 512 * 2**20), (123, 123), ("1.5kb", 1500)]
)
def test_amounts_of_memory(text, count):
    """Bytes, and texts with decimal or binary units."""
    assert parse_bytes(text) == count


@pytest.mark.slow
def test_ten_thousand_traces_leak_nothing(make_llama):
    """Resident and mlx memory after 10,000 traces are what they were after the first thousand."""
    from lazarus_probe import Subject

    subject = Subject.from_model(make_llama(num_hidden_layers=1, hidden_size=8, intermediate_size=8))
    tokens = mx.array([[1, 2, 3]])

    def run(times):
        for _ in range(times):
            trace(subject, tokens, capture=["resid_post.0", "attn_out.0"])
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, mx.get_active_memory()

    resident, active = run(1000)
    after, now = run(9000)
    assert now <= active + 1000
    assert after - resident < 8_000  # kilobytes on Linux: under one a trace


def test_progress_is_silent_where_nobody_looks(capfd):
    """Without a terminal nothing is written, and every cell is counted for one that has."""
    with bar(10, wanted=True) as advance:
        advance(10)
    assert capfd.readouterr() == ("", "")


def test_progress_counts_every_cell(grouped, monkeypatch):
    """The cells reported are as many as there are, copied ones included."""
    from contextlib import contextmanager

    counts = {}

    @contextmanager
    def counting(total, wanted):
        counts.update(total=total, done=0)

        def advance(cells):
            counts["done"] += cells

        yield advance

    monkeypatch.setattr(engine, "bar", counting)
    sites = ["resid_post.3", "attn_out.1"]
    sweep(grouped, TARGETS, sites, sources={"donor": Donors(DONORS), "zero": Zero()}, metrics=[kl()])
    assert counts["total"] == counts["done"] == 2 * 2 * (8 + 6 + 6)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.98])
@pytest.mark.parametrize("what", ["resume", "load"])
def test_a_file_cut_short_is_refused_by_name(grouped, tmp_path, what, kept):
    """A resume file or a saved sweep of which a part is missing is an error that names it, never half a result."""
    path = tmp_path / "sweep.npz"
    options = {"sources": {"zero": Zero()}, "metrics": [kl()]}
    result = sweep(grouped, TARGETS, ["attn_out.1"], resume=path, **options)
    if what == "load":
        result.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    read = {
        "load": lambda: Sweep.load(path),
        "resume": lambda: sweep(grouped, TARGETS, ["attn_out.1"], resume=path, **options),
    }
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read[what]()
