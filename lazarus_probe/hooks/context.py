"""Every call of a model within a context, watched and edited at sites."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Any

import mlx.core as mx

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.anatomy.forward_pass import cache_entries
from lazarus_probe.hooks.captures import Captures, HookError
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.model_sites import resolve
from lazarus_probe.hooks.places import place_of, tap_at
from lazarus_probe.hooks.positions import (
    Frame,
    Positions,
    by_row,
    check_positions,
    in_chunk,
    in_rows,
    put,
    put_rows,
    take,
    take_rows,
)
from lazarus_probe.hooks.sites import HEAD_AXIS, Site, position_axis
from lazarus_probe.subject.finite import NotFinite, whole
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import Change, Tap, held, tapped

OVER_KEYS = ("keys", "values")


@dataclass(eq=False)
class _Run:
    """One `hooked` context: the chunk being computed, and what has met something so far."""

    captures: Captures
    positions: Positions
    frame: Frame | None = None
    ends: dict[int, tuple[Any, int]] = field(default_factory=dict)
    met: set[tuple[Intervention, Any]] = field(default_factory=set)
    seen_at: set[Any] = field(default_factory=set)


@contextmanager
def hooked(
    subject: Subject | Anatomy,
    capture: Site | str | Iterable[Site | str] = (),
    interventions: Intervention | Iterable[Intervention] = (),
    positions: Positions = "all",
) -> Iterator[Captures]:
    """Watch and edit every call of the model made within: forward, generation, loss under `value_and_grad`.

    Contexts nest: the edits of the outer one are made first, and its captures do not see those of the inner
    one. Arguments are those of `trace`. Not thread-safe.

    Raises:
        HookError: at the end, an intervention or a capture, or one of its positions, met nothing.
        IndexError: a layer or head that does not exist.
        TypeError: what is no site or no intervention.
        ValueError: an unknown site, or an edit whose result has another shape or type.

    Example:
        >>> from lazarus_probe import hooked
        >>> from lazarus_probe.interventions import zero
        >>> from lazarus_probe.subject import greedy
        >>> with hooked(subject, interventions=zero("attn_out.0")):
        ...     ablated = greedy(subject, ["7*8="], max_tokens=4)
        >>> ablated == greedy(subject, ["7*8="], max_tokens=4)
        False
    """
    anatomy = subject.anatomy if isinstance(subject, Subject) else subject
    wanted = list(dict.fromkeys(resolve(site, anatomy) for site in several(capture, (Site, str))))
    edits = several(interventions, Intervention)
    run = _Run(Captures(anatomy, {site: [] for site in wanted}), check_positions(positions))
    with tapped([_watch(run, anatomy), *_site_taps(run, anatomy, wanted, edits)]):
        try:
            yield run.captures
        except NotFinite as error:
            error.edits = [*map(str, edits), *error.edits]
            raise
    _check_met(run, edits)


def several(values: Any, kind: type | tuple[type, ...]) -> list[Any]:
    """One of a kind as a list of it, several as they are.

    Raises:
        TypeError: something that is none of that kind.
    """
    wanted = (
        [values] if isinstance(values, kind) else list(values) if isinstance(values, Iterable) else [values]
    )
    for value in wanted:
        if not isinstance(value, kind):
            what = (
                "an intervention, as of `zero`" if kind is Intervention else "a site, such as 'resid_post.3'"
            )
            raise TypeError(f"{value!r} is of type {type(value).__name__}; {what}, is needed")
    return wanted


def _watch(run: _Run, anatomy: Anatomy) -> Tap:
    def watch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        cache = kwargs.get("cache", args[1] if len(args) > 1 else None)
        run.frame = Frame(_offset(run, cache), args[0].shape[1])
        if cache:
            run.ends[id(cache[0])] = (cache[0], run.frame.offset + run.frame.length)

    return Tap(anatomy.model, watch=watch)


def _offset(run: _Run, cache: Sequence[Any] | None) -> int:
    """How many positions a cache holds."""
    if not cache:
        return 0
    offset = next((entry.offset for entry in cache_entries(cache) if hasattr(entry, "offset")), None)
    if isinstance(offset, int):
        return offset
    if offset is not None:
        raise HookError("the cache has an offset for each row; hooks need one whose rows are equally long")
    # The caches of recurrent models do not count; what was run within this context is counted here.
    cached, end = run.ends.get(id(cache[0]), (None, 0))
    if cached is None and not all(entry.empty() for entry in cache if hasattr(entry, "empty")):
        raise HookError("the cache was filled outside of the context and does not count its positions")
    return end


def _site_taps(
    run: _Run, anatomy: Anatomy, wanted: Sequence[Site], edits: Sequence[Intervention]
) -> Iterator[Tap]:
    """One tap for every place that has an edit or a capture: all heads of a layer are one place."""
    if not edits and run.positions == "all" and not any(map(_is_part, wanted)):
        # The most frequent case, made short: every site is a place of its own, and is kept whole.
        for site in wanted:
            yield tap_at(anatomy, site, _keeper(run.captures.seen[site]))
        return
    changes = [(resolve(edit.site, anatomy), edit) for edit in edits] + [(site, None) for site in wanted]
    changes.sort(key=lambda pair: place_of(pair[0]))  # stable: edits stay in order, captures come after them
    for _, group in groupby(changes, key=lambda pair: place_of(pair[0])):
        yield _tap(anatomy, run, list(group))


def _is_part(site: Site) -> bool:
    """Whether what is kept at a site is only a part of the value there."""
    return site.head is not None or site.kind in OVER_KEYS


def _tap(anatomy: Anatomy, run: _Run, actions: list[tuple[Site, Intervention | None]]) -> Tap:
    def visit(value: mx.array) -> mx.array | None:
        other = None
        for site, edit in actions:
            if edit is None:
                _keep(run, site, value if other is None else other)
            else:
                new = _edited(run, site, edit, value if other is None else other)
                other = other if new is None else new
        return other

    return tap_at(anatomy, actions[0][0], visit)


def _keeper(captured: list[mx.array]) -> Change:
    def keep(value: mx.array) -> None:
        captured.append(held(value))

    return keep


def _keep(run: _Run, site: Site, value: mx.array) -> None:
    if site.kind in OVER_KEYS:
        value = _own(run, site, value)
    if site.head is not None:
        value = mx.take(value, site.head, axis=HEAD_AXIS[site.kind])
    if rows := by_row(run.positions):
        indices = in_rows(run.positions, _required_frame(run.frame), len(value))
        run.captures.seen[site].append(take_rows(value, indices, position_axis(site)))
        run.seen_at.update((site, row) for row in rows)
        return
    chunk = _chunk(run.positions, run.frame)
    if chunk is None:
        run.captures.seen[site].append(held(value))
    elif chunk:
        run.captures.seen[site].append(take(value, list(chunk.values()), position_axis(site)))
        run.seen_at.update((site, position) for position in chunk)


def _edited(run: _Run, site: Site, edit: Intervention, value: mx.array) -> mx.array | None:
    """A value after an edit; None where the edit is of positions that are not computed now."""
    if site.head is None:
        return _edited_at(run, site, edit, value, partial(_changed, edit))
    axis = HEAD_AXIS[site.kind]
    one = mx.take(value, mx.array([site.head]), axis=axis)

    def change(rows: mx.array) -> mx.array:
        return mx.expand_dims(_changed(edit, mx.squeeze(rows, axis)), axis)

    changed = _edited_at(run, replace(site, head=None), edit, one, change)
    return None if changed is None else put(value, [site.head], axis, changed)


def _edited_at(
    run: _Run, site: Site, edit: Intervention, value: mx.array, change: Callable[[mx.array], mx.array]
) -> mx.array | None:
    frame, axis = _frame(run, site, value, edit.positions), position_axis(site)
    if rows := by_row(edit.positions):
        places = in_rows(edit.positions, _required_frame(frame), len(value))
        run.met.update((edit, row) for row in rows)
        return put_rows(value, places, axis, change(take_rows(value, places, axis)))
    chunk = _chunk(edit.positions, frame)
    if chunk is not None and not chunk:
        return None
    run.met.update((edit, position) for position in chunk or ("all",))
    if chunk is None:
        # A copy with memory of its own: what the edit writes must reach nobody who holds the value before it.
        return change(mx.array(value))
    # In the requested order, as captures are: a patch of positions [3, 1] has the value of position 3 first.
    indices = list(dict.fromkeys(chunk.values()))
    return put(value, indices, axis, change(take(value, indices, axis)))


def _frame(run: _Run, site: Site, value: mx.array, positions: Positions) -> Frame | None:
    """The part of the sequence that a value covers: keys and values go back to its start."""
    if site.kind not in OVER_KEYS or run.frame is None or positions == "all":
        return run.frame
    end = run.frame.offset + run.frame.length
    if value.shape[1] != end:
        raise HookError(
            f"{site} has {value.shape[1]} of {end} positions, since its cache drops or shares some; "
            "only positions='all' can be edited"
        )
    return Frame(0, end)


def _own(run: _Run, site: Site, value: mx.array) -> mx.array:
    """Of keys or values, those of the positions computed now; cached ones were captured before."""
    if run.frame is None or value.shape[1] == run.frame.length:
        return value
    if value.shape[1] != run.frame.offset + run.frame.length:
        raise HookError(f"{site} cannot be captured in generation: its cache drops positions; use `trace`")
    return value[:, -run.frame.length :]


def _chunk(positions: Positions, frame: Frame | None) -> dict[int, int] | None:
    if positions == "all":
        return None
    return in_chunk(positions, _required_frame(frame))


def _required_frame(frame: Frame | None) -> Frame:
    if frame is None:
        raise HookError(
            "a part of the model was called on its own; positions are known only inside a call of the model"
        )
    return frame


def _changed(edit: Intervention, value: mx.array) -> mx.array:
    shape, dtype = value.shape, value.dtype
    new = edit.edit(value)
    if not isinstance(new, mx.array) or new.shape != shape or new.dtype != dtype:
        raise ValueError(
            f"{edit} returned {_described(new)}, not {tuple(shape)} {dtype} as there: return the array that takes "
            "the value's place, also where the edit wrote into the one it was given"
        )
    # An array of its own: the model may write into it, and it may be one that the edit keeps.
    return whole(new, Site.parse(edit.site).kind)


def _described(returned: Any) -> str:
    if isinstance(returned, mx.array):
        return f"{tuple(returned.shape)} {returned.dtype}"
    return "None" if returned is None else f"a {type(returned).__name__}"


def _check_met(run: _Run, edits: Sequence[Intervention]) -> None:
    for edit in edits:
        for position in _distinct_positions(edit.positions):
            if (edit, position) not in run.met:
                raise HookError(f"{edit} met nothing{_where(position)}: {_reason(run)}")
    for site, values in run.captures.seen.items():
        if not values:
            raise HookError(f"nothing was captured at {site}: {_reason(run)}")
        for position in _distinct_positions(run.positions):
            if position != "all" and (site, position) not in run.seen_at:
                raise HookError(f"nothing was captured at {site}{_where(position)}: {_reason(run)}")


def _distinct_positions(positions: Positions) -> tuple[Any, ...]:
    if isinstance(positions, tuple):
        return positions
    return ("all",) if positions == "all" else (-1,)


def _where(position: Any) -> str:
    return "" if position == "all" else f" at position {position}"


def _reason(run: _Run) -> str:
    if run.frame is None:
        return "the model was not called within"
    end = run.frame.offset + run.frame.length
    return f"the calls within did not compute it, and ended at position {end - 1}"
