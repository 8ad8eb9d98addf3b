"""Activations computed once, in memory and on disk, against fresh collections."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import mlx.core as mx
import numpy as np
import pytest
from filelock import FileLock
from safetensors import safe_open
from safetensors.numpy import load_file, save

from lazarus_probe.hooks import collect, entries, hooked, store
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.interventions import zero
from lazarus_probe.sites import head_out, resid_post
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import built, control_models

PROMPTS = ["12 + 5 = ", "Paris", "a cat sat.", "dog.", "12 * 3 = "]
SITES = ["embed", "attn_out.1", "head_out.2", "head_out.2.3", "resid_post.-1", "logits"]
SITE = resid_post(1)
ROW = 32 * 4  # bytes of a residual vector


def files(folder):
    return sorted(folder.glob("*/*.safetensors"))


def same(found, expected):
    return found.keys() == expected.keys() and all(np.array_equal(found[at], expected[at]) for at in expected)


@pytest.mark.parametrize("at", ["last", "mean", 1, -2, np.int64(1), [3, 1, 0, -1, 4], np.arange(5) % 2])
def test_the_store_gives_what_collect_gives(grouped, tmp_path, at):
    """Computed, remembered or read from disk, values are those of a collection to the last bit."""
    expected = collect(grouped, PROMPTS, SITES, at)
    for folder in (None, tmp_path):
        kept = ActivationStore(folder=folder)
        assert same(kept.get(grouped, PROMPTS, SITES, at), expected)
        assert same(kept.get(grouped, PROMPTS, SITES, at), expected)
        assert (kept.passes, kept.hits) == (1, len(SITES))
    later = ActivationStore(folder=tmp_path)
    assert same(later.get(grouped, PROMPTS, SITES, at), expected)
    assert (later.passes, later.hits) == (0, len(SITES))


@pytest.mark.parametrize("on_disk", [False, True])
def test_only_what_is_missing_is_computed(grouped, tmp_path, on_disk):
    """A site once computed is the same array later, under any of its names; the others take one pass together."""
    kept = ActivationStore(folder=tmp_path if on_disk else None)
    first = kept.get(grouped, PROMPTS, ["resid_post.1"])
    second = kept.get(grouped, PROMPTS, ["resid_post.1", head_out(0, 1), "resid_post.-3", "embed"])
    assert second[resid_post(1)] is first[resid_post(1)] is second[resid_post(-3)]
    assert same(second, collect(grouped, PROMPTS, list(second)))
    assert (kept.passes, kept.hits) == (2, 1)
    assert kept.nbytes == sum(values.nbytes for site, values in second.items() if site != resid_post(-3))


def test_what_is_handed_out_cannot_be_written_to(grouped, tmp_path):
    """Nobody spoils what is shared: computed, remembered, read or computed under hooks, arrays are read-only."""
    kept = ActivationStore(folder=tmp_path)
    found = [kept.get(grouped, PROMPTS, [SITE]) for _ in range(2)]
    found.append(ActivationStore(folder=tmp_path).get(grouped, PROMPTS, [SITE]))
    with hooked(grouped, SITE):
        found.append(kept.get(grouped, PROMPTS, [SITE]))
    for values in found:
        with pytest.raises(ValueError, match="read-only"):
            values[SITE][0] = 0


def test_half_precision_is_kept_in_float32(make_llama, tmp_path):
    """Values of a bfloat16 model are float32 in memory and in the file."""
    model = make_llama()
    model.set_dtype(mx.bfloat16)
    half = Subject.from_model(model)
    found = ActivationStore(folder=tmp_path).get(half, [[5, 6, 7]], [SITE])[SITE]
    assert found.dtype == load_file(files(tmp_path)[0])["values"].dtype == np.float32
    assert np.array_equal(found, collect(half, [[5, 6, 7]], [SITE])[SITE])


def test_each_part_of_a_content_counts(grouped, make_llama, tmp_path, monkeypatch):
    """Another model, prompt, order, position, site, version or device is another entry: nothing is mistaken."""
    kept = ActivationStore(folder=tmp_path)
    other = Subject.from_model(make_llama(1), grouped.tokenizer)
    requests = [
        (grouped, PROMPTS, SITE, "last"),
        (other, PROMPTS, SITE, "last"),
        (grouped, PROMPTS[::-1], SITE, "last"),
        (grouped, PROMPTS[:-1], SITE, "last"),
        (grouped, PROMPTS, resid_post(2), "last"),
        (grouped, PROMPTS, head_out(1), "last"),
        (grouped, PROMPTS, head_out(1, 1), "last"),
        (grouped, PROMPTS, SITE, "mean"),
        (grouped, PROMPTS, SITE, 1),
        (grouped, PROMPTS, SITE, [1, 1, 1, 1, 0]),
    ]
    for count, (subject, prompts, site, at) in enumerate(requests, start=1):
        found = kept.get(subject, prompts, [site], at)
        assert same(found, collect(subject, prompts, [site], at))
        assert (kept.passes, kept.hits, len(files(tmp_path))) == (count, 0, count)
    for name in ("FORMAT", "_versions"):
        with monkeypatch.context() as patched:
            patched.setattr(store, name, "2" if name == "FORMAT" else lambda: "mlx 99")
            kept.get(grouped, PROMPTS, [SITE])
        assert (kept.passes, kept.hits) == (count := count + 1, 0)


def test_prompts_are_known_by_their_tokens(grouped):
    """A text and its token ids are one entry, for the same model under any name."""
    kept = ActivationStore()
    twin = Subject.from_model(grouped.model, grouped.tokenizer, config=grouped.config, name="same")
    first = kept.get(grouped, PROMPTS, [SITE])
    assert kept.get(twin, PROMPTS, [SITE])[SITE] is first[SITE]
    assert kept.get(grouped, [grouped.encode(text) for text in PROMPTS], [SITE])[SITE] is first[SITE]
    assert (
        kept.get(grouped, [np.array(grouped.encode(text)) for text in PROMPTS], [SITE])[SITE] is first[SITE]
    )


def test_edited_runs_are_never_kept_or_mistaken(grouped, tmp_path):
    """Under an intervention the edited values are given, and before and after it the model's own."""
    for kept in (ActivationStore(), ActivationStore(folder=tmp_path)):
        clean = collect(grouped, PROMPTS, [resid_post(2)])
        for _ in range(2):
            with hooked(grouped, interventions=zero("attn_out.1")):
                edited = kept.get(grouped, PROMPTS, [resid_post(2)])
                assert same(edited, collect(grouped, PROMPTS, [resid_post(2)]))
            assert not np.allclose(edited[resid_post(2)], clean[resid_post(2)])
            assert same(kept.get(grouped, PROMPTS, [resid_post(2)]), clean)
        assert (kept.passes, kept.hits) == (3, 1)


def test_hooks_see_the_pass_that_was_asked_for(grouped):
    """A capture around a request sees the model run, even where the values are kept already."""
    kept = ActivationStore()
    kept.get(grouped, ["dog."], [SITE])
    with hooked(grouped, "embed") as captures:
        kept.get(grouped, ["dog."], [SITE])
    assert captures["embed"].shape == (1, len(grouped.encode("dog.")), 32)


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (([], ["embed"]), ValueError),
        ((["a"], []), ValueError),
        (("a cat", ["embed"]), TypeError),
        ((["a"], ["resid_post.9"]), IndexError),
        ((["a"], ["../../resid_post.0"]), ValueError),
        ((["a"], ["embed"], "first"), ValueError),
        ((["a", "dog."], ["embed", "resid_post.0"], 3), IndexError),
    ],
)
def test_what_is_refused_leaves_nothing(grouped, tmp_path, on_disk, arguments, error):
    """What `collect` refuses is refused in its words, and neither kept nor counted."""
    kept = ActivationStore(folder=tmp_path if on_disk else None)
    with pytest.raises(error) as expected:
        collect(grouped, *arguments)
    for _ in range(2):
        with pytest.raises(error, match=re.escape(str(expected.value))):
            kept.get(grouped, *arguments)
    assert (kept.passes, kept.hits, kept.nbytes) == (0, 0, 0)
    assert files(tmp_path) == []


def test_memory_is_capped(grouped):
    """The least recently used entry goes first, and what is larger than the cap is given and not kept."""
    kept = ActivationStore(memory=2 * ROW)
    for site in ("resid_post.0", "resid_post.1", "resid_post.0", "resid_post.2"):
        kept.get(grouped, ["dog."], [site])
    assert (kept.passes, kept.hits, kept.nbytes) == (3, 1, 2 * ROW)
    kept.get(grouped, ["dog."], ["resid_post.0"])
    assert (kept.passes, kept.hits) == (3, 2)
    large = kept.get(grouped, ["dog.", "a cat", "P"], [SITE])
    assert same(large, collect(grouped, ["dog.", "a cat", "P"], [SITE]))
    assert (kept.passes, kept.nbytes) == (4, 2 * ROW)
    kept.get(grouped, ["dog."], ["resid_post.1"])
    assert kept.passes == 5


def test_a_request_beyond_the_cap_is_whole(grouped):
    """One request may be larger than the cap: all of it is given, and the cap holds."""
    kept = ActivationStore(memory=2 * ROW)
    sites = [f"resid_post.{layer}" for layer in range(4)]
    assert same(kept.get(grouped, ["dog."], sites), collect(grouped, ["dog."], sites))
    assert kept.nbytes == 2 * ROW
    nothing = ActivationStore(memory=0)
    assert same(nothing.get(grouped, ["dog."], sites), collect(grouped, ["dog."], sites))
    assert nothing.nbytes == 0


@pytest.mark.parametrize("name", ["memory", "disk"])
def test_negative_sizes_are_refused(name):
    """A size below zero is an error that names it."""
    with pytest.raises(ValueError, match=f"{name} is -1 bytes; give 0 to keep nothing there, or more"):
        ActivationStore(**{name: -1})


def test_a_file_says_what_it_is(grouped, tmp_path):
    """Files lie under their model's fingerprint, and their metadata says what is in them."""
    ActivationStore(folder=tmp_path).get(grouped, PROMPTS, ["head_out.2.3"], at=-2)
    (path,) = files(tmp_path)
    assert path.parent.name == grouped.fingerprint[:16]
    assert re.fullmatch(r"[0-9a-f]{64}\.safetensors", path.name)
    with safe_open(path, framework="numpy") as file:
        found = file.metadata()
    assert found["fingerprint"] == grouped.fingerprint
    assert (found["site"], found["at"], found["n"]) == ("head_out.2.3", "-2", "5")
    assert "mlx-lm" in found["computed_by"]


def changed(path, how, other):
    """Puts something else in a file's place."""
    whole = path.read_bytes()
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    values = load_file(path)["values"]
    contents = {
        "empty": b"",
        "text": b"this is no tensor at all",
        "truncated": whole[:-1],
        "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
        "foreign": save({"values": values}),
        "another": other.read_bytes(),
        "renamed": save({"vectors": values}, metadata),
        "more": save({"values": values, "vectors": values}, metadata),
        "float64": save({"values": values.astype(np.float64)}, metadata),
        "integers": save({"values": values.view(np.int32)}, metadata),
        "reshaped": save({"values": values.reshape(-1, 8)}, metadata),
        "fewer": save({"values": values[:-1]}, metadata),
        "unchecked": save({"values": values}, {k: v for k, v in metadata.items() if k != "crc32"}),
    }
    path.write_bytes(contents[how])


@pytest.mark.parametrize(
    "how",
    ["empty", "text", "truncated", "flipped", "foreign", "another", "renamed", "more", "float64", "integers",
     "reshaped", "fewer", "unchecked"],
)  # fmt: skip
def test_damaged_files_are_computed_again(grouped, tmp_path, how):
    """A file that is not what its name says is replaced with a warning that names it, even if that is an error."""
    expected = ActivationStore(folder=tmp_path).get(grouped, PROMPTS, [SITE])
    (path,) = files(tmp_path)
    ActivationStore(folder=tmp_path).get(grouped, PROMPTS[::-1], [SITE])
    other = next(other for other in files(tmp_path) if other != path)
    changed(path, how, other)
    said = f"{path} is damaged .* computed again and replaced"
    with pytest.warns(UserWarning, match=said) as caught:
        assert same(ActivationStore(folder=tmp_path).get(grouped, PROMPTS, [SITE]), expected)
    assert [warning.filename for warning in caught] == [__file__]
    assert_whole(grouped, tmp_path, expected)
    changed(path, how, other)
    with pytest.raises(UserWarning, match="damaged"):  # the test run makes errors of warnings
        ActivationStore(folder=tmp_path).get(grouped, PROMPTS, [SITE])
    assert_whole(grouped, tmp_path, expected)


def assert_whole(subject, folder, expected):
    later = ActivationStore(folder=folder)
    assert same(later.get(subject, PROMPTS, [SITE]), expected)
    assert later.passes == 0


def test_only_damaged_files_are_computed_again(grouped, tmp_path):
    """Beside a damaged file the others are read."""
    sites = ["resid_post.0", "resid_post.1", "resid_post.2"]
    expected = ActivationStore(folder=tmp_path).get(grouped, PROMPTS, sites)
    files(tmp_path)[1].write_bytes(b"")
    kept = ActivationStore(folder=tmp_path)
    with pytest.warns(UserWarning, match="damaged"):
        assert same(kept.get(grouped, PROMPTS, sites), expected)
    assert (kept.passes, kept.hits) == (1, 2)


def test_a_folder_in_place_of_a_file(grouped, tmp_path):
    """What cannot be replaced is left, said, and costs nothing but the file."""
    expected = ActivationStore(folder=tmp_path).get(grouped, PROMPTS, [SITE])
    (path,) = files(tmp_path)
    path.unlink()
    (path / "mine").mkdir(parents=True)
    kept = ActivationStore(folder=tmp_path)
    with pytest.warns(UserWarning, match=f"^{path} ") as caught:
        assert same(kept.get(grouped, PROMPTS, [SITE]), expected)
    said = [str(warning.message) for warning in caught]
    assert [line.startswith(f"{path} is damaged") for line in said] == [True, False]
    assert said[1] == f"{path} cannot be written (Is a directory); its values are not kept there"
    assert (path / "mine").is_dir()
    assert not list(tmp_path.glob("*/*.partial"))
    assert same(kept.get(grouped, PROMPTS, [SITE]), expected)
    assert (kept.passes, kept.hits) == (1, 1)


@pytest.mark.parametrize("name", ["a_file", "a_file/below", "n" * 300])
def test_a_folder_that_cannot_be_used_is_refused(tmp_path, name):
    """A folder that cannot be made is an error that names it, when the store is made."""
    (tmp_path / "a_file").write_text("")
    with pytest.raises(OSError, match=f"{name} cannot keep activations .*; give another folder"):
        ActivationStore(folder=tmp_path / name)


def test_a_folder_that_vanishes_is_made_again(grouped, tmp_path):
    """Whoever cleans up while a run goes on costs it a pass, not more."""
    kept = ActivationStore(memory=0, folder=tmp_path / "kept")
    for passes in (1, 2):
        kept.get(grouped, PROMPTS, [SITE])
        assert (kept.passes, len(files(tmp_path / "kept"))) == (passes, 1)
        shutil.rmtree(tmp_path / "kept")


def test_the_disk_is_capped(grouped, tmp_path):
    """The least recently used files go first, over all models; files of others are neither counted nor touched."""
    ActivationStore(folder=tmp_path).get(grouped, ["dog."], ["resid_post.0"])
    (path,) = files(tmp_path)
    size = path.stat().st_size
    others = [tmp_path / "model.safetensors", path.parent / "model.safetensors", tmp_path / "a" / path.name]
    others[-1].parent.mkdir()
    for other in others:
        other.write_bytes(b"0" * 10 * size)
        os.utime(other, (0, 0))
    left = path.parent / f"{path.stem}.{'0' * 32}.partial"
    left.write_bytes(b"0" * size)
    os.utime(left, (1, 1))
    kept = ActivationStore(memory=0, folder=tmp_path, disk=2 * size)
    kept.get(grouped, ["dog."], ["resid_post.1"])
    assert not left.exists()  # what a process that died has left
    mine = files(path.parent.parent)
    for age, each in enumerate(sorted(set(mine) - set(others), key=lambda each: each == path)):
        os.utime(each, (10 + age, 10 + age))
    kept.get(grouped, ["dog."], ["resid_post.1"])  # used: now the newest
    kept.get(grouped, ["dog."], ["resid_post.2"])
    assert (kept.passes, kept.hits) == (2, 1)
    assert not path.exists()
    assert len(set(files(tmp_path)) - set(others)) == 2
    assert all(other.stat().st_size == 10 * size for other in others)


def test_what_is_larger_than_the_disk_is_not_written(grouped, tmp_path):
    """An entry that alone is too much is given and not written, and drives nothing else out."""
    ActivationStore(folder=tmp_path).get(grouped, ["dog."], [SITE])
    (path,) = files(tmp_path)
    kept = ActivationStore(folder=tmp_path, disk=path.stat().st_size)
    assert same(kept.get(grouped, PROMPTS, ["head_out.0"]), collect(grouped, PROMPTS, ["head_out.0"]))
    assert files(tmp_path) == [path]


HOLD = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_dead_process_holds_nobody_up(grouped, tmp_path):
    """The lock of a process that was killed within a pass is free at once."""
    kept = ActivationStore(folder=tmp_path)
    kept.get(grouped, PROMPTS, [SITE])
    (lock,) = tmp_path.glob("*/*.lock")
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(TimeoutError):
            FileLock(lock).acquire(timeout=0)
        holder.kill()
    started = time.monotonic()
    kept.get(grouped, PROMPTS, ["embed"])
    assert time.monotonic() - started < 5


def test_a_stuck_process_is_not_waited_for_forever(grouped, tmp_path, monkeypatch):
    """After a while what another holds is computed here too, and is right."""
    kept = ActivationStore(folder=tmp_path)
    kept.get(grouped, PROMPTS, [SITE])
    (lock,) = tmp_path.glob("*/*.lock")
    monkeypatch.setattr(entries, "WAIT", 0.2)
    with FileLock(lock):
        assert same(kept.get(grouped, PROMPTS, ["embed"]), collect(grouped, PROMPTS, ["embed"]))
        with pytest.raises(TimeoutError):
            FileLock(lock).acquire(timeout=0)
    assert len(files(tmp_path)) == 2


WORKER = """
import json, sys, time
from pathlib import Path
from lazarus_probe.hooks import entries
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.subject import Subject
import numpy as np

model, folder, go, seed, size = sys.argv[1:]
subject, drawn = Subject.load(model), np.random.default_rng(int(seed))
subject.fingerprint
shared = ActivationStore(folder=folder)
tight = ActivationStore(memory=0, folder=Path(folder) / "tight", disk=3 * int(size))
print("ready", flush=True)
while not Path(go).exists():
    time.sleep(0.001)
prompts = [[token, 5] for token in range(1, 60)] * 20
for site in ("resid_post.0", "resid_post.1", "logits"):
    shared.get(subject, prompts, [site])
entries.WAIT = 0  # and without locks
sums = set()
for layer in drawn.integers(4, size=300):
    (values,) = tight.get(subject, [[5, 6, 7]], [f"resid_post.{layer}"]).values()
    sums.add((int(layer), float(values.sum(dtype=np.float64))))
print(json.dumps([shared.passes, shared.hits, tight.passes, tight.hits, sorted(sums)]))
"""


def test_processes_share_a_folder(make_llama, save_checkpoint, tmp_path):
    """Two processes make each pass once between them; without locks and under a tight cap neither sees harm."""
    model = save_checkpoint(tmp_path / "model", make_llama())
    subject = Subject.load(model)
    ActivationStore(folder=tmp_path / "one").get(subject, [[5, 6, 7]], [SITE])
    size = files(tmp_path / "one")[0].stat().st_size
    folder, go = tmp_path / "shared", tmp_path / "go"
    command = [sys.executable, "-W", "error", "-c", WORKER, model, folder, go]
    pipes = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "cwd": Path(__file__).parents[2],
    }
    workers = [subprocess.Popen([*map(str, command), str(seed), str(size)], **pipes) for seed in range(2)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n", worker.communicate()
    go.touch()
    results = [worker.communicate(timeout=60) for worker in workers]
    assert [error for _, error in results] == ["", ""]
    found = [json.loads(out) for out, _ in results]
    assert [sum(counts) for counts in zip(*(one[:2] for one in found), strict=True)] == [3, 3]
    for _, _, passes, hits, sums in found:
        assert passes + hits == 300
        assert hits > 0
        expected = collect(subject, [[5, 6, 7]], [f"resid_post.{layer}" for layer in range(4)])
        assert sums == [
            [site.layer, float(values.sum(dtype=np.float64))] for site, values in expected.items()
        ]
    assert found[0][2] > 4  # the cap removes files all the time
    assert sum(path.stat().st_size for path in files(folder / "tight")) <= 3 * size
    assert not list(folder.glob("**/*.partial"))


def test_what_another_process_computes_comes_last(make_llama, tmp_path, monkeypatch):
    """Of several models those are computed first that no other process has begun, and all come back in their order."""
    subject = Subject.from_model(make_llama())
    models, prompts = [subject, *control_models(subject, count=3)], [[5, 6, 7], [7, 6, 5]]
    kept, order = ActivationStore(folder=tmp_path), []
    kept.get(models[1], prompts, ["embed"])
    (path,) = tmp_path.glob("*/*.lock")
    get = kept.get
    monkeypatch.setattr(kept, "get", lambda model, *args: order.append(model) or get(model, *args))
    lock = FileLock(path, thread_local=False)
    lock.acquire()
    Timer(0.5, lock.release).start()
    values = kept.get_of_models([(model, [SITE]) for model in models], prompts)
    assert order == [models[0], models[2], models[3], models[1]]
    for model, activations in zip(models, values, strict=True):
        assert same(activations, collect(built(model), prompts, [SITE]))


def test_weights_replaced_afterwards_are_another_model(make_llama):
    """Values computed with LoRA attached are not taken for the plain model's, nor the other way round."""
    from lazarus_probe.training.lora.lora import attached

    subject = Subject.from_model(make_llama())
    store = ActivationStore()
    plain = store.get(subject, [[3, 5, 7]], [resid_post(2)])[resid_post(2)]
    with attached(subject, ["v_proj"], rank=2, scale=1.0) as model:
        for layer in model.layers:
            layer.self_attn.v_proj.lora_b = mx.ones_like(layer.self_attn.v_proj.lora_b)
        adapted = store.get(subject, [[3, 5, 7]], [resid_post(2)])[resid_post(2)]
    again = store.get(subject, [[3, 5, 7]], [resid_post(2)])[resid_post(2)]
    assert not np.allclose(plain, adapted)
    assert np.array_equal(plain, again)
    assert (store.passes, store.hits) == (2, 1)
