"""What a hooked run saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import mlx.core as mx

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.hooks.model_sites import resolve
from lazarus_probe.hooks.sites import Site, position_axis


class HookError(RuntimeError):
    """A hook whose site never ran, or a value that was not captured.

    Example:
        >>> from lazarus_probe import hooked
        >>> from lazarus_probe.hooks import HookError
        >>> from lazarus_probe.interventions import zero
        >>> try:
        ...     with hooked(subject, interventions=zero("mlp_out.3")):
        ...         pass  # the model never runs
        ... except HookError as error:
        ...     print(error)
        zero at mlp_out.3 met nothing: the model was not called within
    """


@dataclass(frozen=True, eq=False)
class Captures(Mapping[Site, mx.array]):
    """The values captured at the requested sites, after the interventions of the same context.

    Values are lazy: mlx computes what is evaluated, and nothing above the highest site that is.

    Example:
        >>> from lazarus_probe import hooked
        >>> from lazarus_probe.subject import as_tokens, forward
        >>> with hooked(subject, capture=["resid_post.0", "resid_post.7"]) as captures:
        ...     logits = forward(subject.model, as_tokens(subject, "7*8="))
        >>> sorted(map(str, captures))
        ['resid_post.0', 'resid_post.7']
        >>> captures["resid_post.7"].shape
        (1, 5, 128)
    """

    anatomy: Anatomy
    seen: dict[Site, list[mx.array]]

    def calls(self, site: Site | str) -> list[mx.array]:
        """The values at a site, one for every call of the model that met it.

        Raises:
            KeyError: the site was not captured; the message lists those that were.
        """
        resolved_site = resolve(site, self.anatomy)
        if resolved_site not in self.seen:
            names = ", ".join(str(site) for site in sorted(self.seen, key=str)) or "nothing"
            raise KeyError(f"{resolved_site} was not captured; captured: {names}")
        return self.seen[resolved_site]

    def __getitem__(self, site: Site | str) -> mx.array:
        """The value at a site; those of successive calls, as in generation, are joined along positions.

        Raises:
            KeyError: the site was not captured.
            HookError: it was never met, or its values cannot be joined.
        """
        values = self.calls(site)
        if len(values) == 1:
            return values[0]
        axis = position_axis(Site.parse(site))
        shapes = {tuple(size for at, size in enumerate(value.shape) if at != axis) for value in values}
        if len(shapes) != 1:
            raise HookError(f"{site} has {len(values)} values of different shapes; use calls({str(site)!r})")
        return mx.concatenate(values, axis=axis)

    def __contains__(self, site: object) -> bool:
        """Whether a site, or a text that names one, was captured.

        Raises:
            ValueError: a text that names no site of the model.
            IndexError: a layer or head that the model does not have.
        """
        return isinstance(site, Site | str) and resolve(site, self.anatomy) in self.seen

    def __iter__(self) -> Iterator[Site]:
        return iter(self.seen)

    def __len__(self) -> int:
        return len(self.seen)
