"""Whatever a file holds, it is read or refused in words: never a traceback, never a crash."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import readers

# A damage: cut the file short, change or put in bytes somewhere, or something else altogether.
DAMAGE = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(b"")),
    st.tuples(st.just("change"), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("put in"), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("replace"), st.just(0.0), st.binary(max_size=64)),
    st.tuples(st.just("replace"), st.just(0.0), st.sampled_from([b"null", b"[]", b"{}", b"0", b'""', b"[[]]", b"\0"])),
)  # fmt: skip


def damaged(content: bytes, damage: tuple[str, float, bytes]) -> bytes:
    how, where, given = damage
    place = int(where * len(content))
    if how == "cut":
        return content[:place]
    if how == "replace":
        return given
    return content[:place] + given + content[place + (len(given) if how == "change" else 0) :]


@pytest.mark.parametrize("reader", readers.READERS, ids=lambda reader: reader.name)
def test_whole_file_is_read(reader: readers.Reader, tmp_path: Path):
    """The file that is damaged below is one that the reader takes."""
    path = tmp_path / reader.name
    reader.write(path)
    reader.read(path)


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


@pytest.mark.parametrize("reader", readers.READERS, ids=lambda reader: reader.name)
@examples(20)
@given(damage=DAMAGE)
def test_damaged_file_is_refused_in_words(reader: readers.Reader, damage, tmp_path_factory):
    """A file with any damage is read, or refused by an error that says something."""
    check_damaged(reader, damage, tmp_path_factory.mktemp("fuzz") / reader.name)


@pytest.mark.slow
@pytest.mark.parametrize("reader", readers.READERS, ids=lambda reader: reader.name)
@examples(60)
@given(damage=DAMAGE)
def test_more_damages_are_refused_in_words(reader: readers.Reader, damage, tmp_path_factory):
    """So it is with more damages of each kind."""
    check_damaged(reader, damage, tmp_path_factory.mktemp("fuzz") / reader.name)


def check_damaged(reader: readers.Reader, damage: tuple[str, float, bytes], path: Path) -> None:
    """Hold a reader against a damaged copy of its file."""
    reader.write(path)
    path.write_bytes(damaged(path.read_bytes(), damage))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, on headers
        assert reader.holds(path)
