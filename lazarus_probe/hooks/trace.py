"""A run of the model's own code, watched and edited at sites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.captures import Captures
from lazarus_probe.hooks.context import hooked, several
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.model_sites import resolve
from lazarus_probe.hooks.positions import Positions, check_positions, check_range, check_rows, rows_of
from lazarus_probe.hooks.sites import Site
from lazarus_probe.subject.batches import by_length, encode_some
from lazarus_probe.subject.dealt import dealt
from lazarus_probe.subject.finite import is_finite, peak, refuse
from lazarus_probe.subject.subject import Subject

__all__ = ["Part", "Trace", "hooked", "trace"]


@dataclass(frozen=True, eq=False)
class Part:
    """What one forward of prompts of equal length gave.

    Attributes:
        rows: (B,) which of the prompts.
        tokens: (B, L).
        logits: (B, L, V).
        captures: by site what was captured.
    """

    rows: tuple[int, ...]
    tokens: mx.array
    logits: mx.array
    captures: Captures


@dataclass(frozen=True, eq=False)
class Trace:
    """A forward pass of some prompts: their tokens and logits, and by site what was captured.

    Prompts of unequal length run in parts of equal length, nothing is padded. A value whose shape does not depend on
    the length, as at one position of each prompt, is one array; of any value `of` gives one array a prompt.

    Attributes:
        parts: one for each length.

    Example:
        >>> from lazarus_probe import trace
        >>> run = trace(subject, ["7*8=", "12*12="], capture="resid_post.5")
        >>> [tuple(resid.shape) for resid in run.of("resid_post.5")]
        [(5, 128), (5, 128)]
    """

    parts: tuple[Part, ...]

    @property
    def tokens(self) -> mx.array:
        """(B, L)."""
        return self._joined("tokens", [part.tokens for part in self.parts])

    @property
    def logits(self) -> mx.array:
        """(B, L, V)."""
        return self._joined("logits", [part.logits for part in self.parts])

    @property
    def captures(self) -> Captures:
        """What was captured, of prompts of one length.

        Raises:
            ValueError: the prompts are of several lengths.
        """
        if len(self.parts) > 1:
            raise ValueError("prompts of unequal length were captured apart; see `parts`")
        return self.parts[0].captures

    def __getitem__(self, site: Site | str) -> mx.array:
        """The value captured at a site, such as `trace["resid_post.3"]`; see `Site` for shapes.

        Raises:
            KeyError: the site was not captured.
            ValueError: its shape depends on the prompt's length.
        """
        return self._joined(str(site), [part.captures[site] for part in self.parts])

    def of(self, site: Site | str) -> list[mx.array]:
        """The value at a site of each prompt, without the axis over prompts."""
        return self._by_prompt([part.captures[site] for part in self.parts])

    def logits_of(self) -> list[mx.array]:
        """The logits (L, V) of each prompt."""
        return self._by_prompt([part.logits for part in self.parts])

    def __contains__(self, site: object) -> bool:
        """Whether a site, or a text that names one, was captured.

        Raises:
            ValueError: a text that names no site of the model.
            IndexError: a layer or head that the model does not have.
        """
        return site in self.parts[0].captures

    def __iter__(self) -> Iterator[Site]:
        """The sites that were captured."""
        return iter(self.parts[0].captures)

    def __len__(self) -> int:
        return len(self.parts[0].captures)

    def _by_prompt(self, values: Sequence[mx.array]) -> list[mx.array]:
        rows = [row for part in self.parts for row in part.rows]
        by_row = [value[index] for value in values for index in range(len(value))]
        return [value for _, value in sorted(zip(rows, by_row, strict=True), key=lambda pair: pair[0])]

    def _joined(self, name: str, values: Sequence[mx.array]) -> mx.array:
        if len(values) == 1:
            return values[0]
        shapes = sorted({tuple(value.shape[1:]) for value in values})
        if len(shapes) > 1:
            way = "`logits_of()`" if name == "logits" else f"`of({name!r})`"
            raise ValueError(
                f"{name} of prompts of unequal length are {shapes[0]} to {shapes[-1]} a prompt; "
                f"read {way}, one array a prompt, or give positions"
            )
        rows = [row for part in self.parts for row in part.rows]
        order = sorted(range(len(rows)), key=rows.__getitem__)
        return mx.concatenate(list(values))[mx.array(order)]


def trace(
    subject: Subject,
    prompts: Any,
    capture: Site | str | Iterable[Site | str] = (),
    interventions: Intervention | Iterable[Intervention] = (),
    positions: Positions = "all",
) -> Trace:
    """Run prompts through the model, once.

    Args:
        subject: the model.
        prompts: a text, token ids, several of either, or an array (L,) or (B, L). Those of unequal length run apart.
        capture: sites to keep; their values are those after the interventions.
        interventions: edits, made in this order where they share a site. Values with a row for each prompt, as of
            `patch`, go to that prompt also where prompts run apart; another edit gets the rows that run together.
        positions: positions to keep at the captured sites; every value keeps its position axis. `[[1], [4]]` are
            positions of each prompt, as many for each; interventions take such positions too.

    Raises:
        ValueError: an empty prompt, an unknown site, a value that does not fit, or positions by row that are not those
            of as many prompts.
        IndexError: a layer, head or position that does not exist.
        NotFinite: the logits are not finite; the error names the weight or the site where that begins.

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.interventions import patch
        >>> source = trace(subject, "7*8=", capture="resid_post.5", positions="last")
        >>> source["resid_post.5"].shape
        (1, 1, 128)
        >>> target = trace(subject, "7+8=", interventions=patch("resid_post.5", source["resid_post.5"], "last"))
        >>> subject.decode([target.logits[0, -1].argmax().item()])
        '56'
    """
    encoded = encode_some(subject, prompts)
    edits, sites = several(interventions, Intervention), several(capture, (Site, str))
    checked_positions = check_positions(positions)
    for wanted in (checked_positions, *(edit.positions for edit in edits)):
        check_rows(wanted, len(encoded))
    batches = list(by_length(encoded, sum(map(len, encoded))))

    def run(batch: tuple[list[int], mx.array]) -> tuple[mx.array, list[mx.array]]:
        rows, tokens = batch
        some = [edit.of_rows(rows, len(encoded)) if len(rows) < len(encoded) else edit for edit in edits]
        return _values(subject, tokens, sites, some, rows_of(checked_positions, rows))

    resolved = list(dict.fromkeys(resolve(site, subject.anatomy) for site in sites))
    parts = []
    for (rows, tokens), (logits, values) in zip(batches, dealt(subject, batches, run), strict=True):
        seen = {site: [value] for site, value in zip(resolved, values, strict=True)}
        parts.append(Part(tuple(rows), tokens, logits, Captures(subject.anatomy, seen)))
    return Trace(tuple(parts))


def _values(
    subject: Subject,
    tokens: mx.array,
    sites: Sequence[Site | str],
    edits: Sequence[Intervention],
    positions: Positions,
) -> tuple[mx.array, list[mx.array]]:
    """The logits, and what was captured at each site."""
    for wanted in (positions, *(edit.positions for edit in edits)):
        check_range(wanted, tokens.shape[1])
    with hooked(subject, sites, edits, positions) as captures:
        logits = forward(subject.model, tokens)
    largest = peak(logits)
    values = [captures[site] for site in captures]
    mx.eval(logits, largest, *values)
    if not is_finite(largest):
        with hooked(subject, (), edits):
            refuse(subject, tokens)
    return logits, values
