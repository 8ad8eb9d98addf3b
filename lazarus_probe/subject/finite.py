"""Numbers that are no numbers: seen at the logits, where one reduction tells, and traced to where they begin.

The greedy token of logits that are NaN is token 0, again and again: a claim about it would be one about nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.anatomy.finite_weights import OTHER_WEIGHTS, bad_weight, bad_weight_unseen
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.taps import Change, Inside, Tap, tapped

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

PARTS = {
    "attention": "attn_out",
    "mixer": "mixer_out",
    "router": "router_logits",
    "experts": "expert_out",
    "mlp": "mlp_out",
}
STEPS = ("queries", "keys", "values", "scores", "pattern")
# Where minus infinity is the mask of what must not be chosen.
MASKED = ("scores", "router_logits", "logits")


class NotFinite(ValueError):  # noqa: N818 - what was found, as StopIteration is
    """Values that are not finite, with where they begin and what to do.

    Attributes:
        what: what was looked at, such as the logits of a model.
        where: the weight, or the site, where the first of them is.
        remedy: what to do where no edit is to blame.
        edits: those that were acting, by name; `hooked` adds them.

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.interventions import scale
        >>> from lazarus_probe.subject import NotFinite
        >>> try:
        ...     trace(subject, "7*8=", interventions=scale("mlp_out.3", float("inf")))
        ... except NotFinite as error:
        ...     print(error.edits, error.where)
        ['scale at mlp_out.3'] the first such value is at mlp_out.3
    """

    def __init__(self, what: str, where: str, remedy: str) -> None:
        super().__init__(what, where, remedy)
        self.what, self.where, self.remedy, self.edits = what, where, remedy, list[str]()

    def __str__(self) -> str:
        under = f" under {', '.join(dict.fromkeys(self.edits))}" if self.edits else ""
        remedy = f"give a smaller edit or finite values, or {self.remedy}" if self.edits else self.remedy
        return f"{self.what} are not finite{under}: {self.where}; {remedy}"


def peak(logits: mx.array) -> mx.array:
    """The largest logit, lazily: finite exactly where none is NaN or plus infinity and no row of them is all masked.

    Minus infinity is what some models mask tokens out with.

    Args:
        logits: (..., V).
    """
    largest = logits.max(axis=-1)
    return largest.max() + 0 * largest.min()  # zero times minus infinity is NaN


def whole(value: mx.array, kind: str) -> mx.array:
    """A value of a kind of site as it is, or NaN all over where a number in it is not finite.

    What comes after may swallow one such number, so that the logits do not tell: a router chooses other experts, a
    clip ends it, a softmax of nothing but minus infinity looks at what is masked.
    """
    return mx.where(finite_at(value, kind), value, mx.nan)


def finite_at(value: mx.array, kind: str) -> mx.array:
    """Whether a value of a kind of site is finite, or minus infinity where that is a mask; lazily."""
    # A comparison with NaN does not hold; and abs is one kernel, where isfinite is six.
    return ((value if kind in MASKED else mx.abs(value)) < mx.inf).all()


def is_finite(largest: mx.array) -> bool:
    """Whether a `peak` is a number; it is evaluated."""
    number: Any = largest.item()
    return isfinite(number)


def require_finite(subject: Subject, tokens: mx.array, logits: mx.array) -> mx.array:
    """Logits as they are given, once it is sure that a token can be chosen by them.

    Args:
        subject: the model.
        tokens: (B, L) of the run that they come from, the cached ones included: it is made again to find the cause.
        logits: of any shape; they are evaluated.

    Raises:
        NotFinite: they are not.
    """
    if not is_finite(peak(logits)):
        refuse(subject, tokens)
    return logits


def require_finite_weights(subject: Subject) -> None:
    """Whether the weights are finite whose numbers the logits need not show.

    Raises:
        NotFinite: one is not.
    """
    if weight := bad_weight_unseen(subject.anatomy, subject.path):
        raise NotFinite(f"the weights of {subject.name}", weight, OTHER_WEIGHTS)


def refuse(subject: Subject, tokens: mx.array, what: str = "logits") -> NoReturn:
    """Say where the first value is that is not finite in a run of tokens (B, L); hooks around it act.

    Raises:
        NotFinite: always.
    """
    named = f"the {what} of {subject.name}"
    if weight := bad_weight(subject.model, subject.path):
        raise NotFinite(named, weight, OTHER_WEIGHTS)
    site = first_site(subject.anatomy, tokens)
    where = f"the first such value is at {site}" if site else "at a position all tokens are masked out"
    raise NotFinite(named, where, _remedy(subject.dtype))


def refuse_state(subject: Subject, states: mx.array, row: int) -> NoReturn:
    """Say what is not finite where one of some states (rows, ..., D) was read out by the model's tail.

    Raises:
        NotFinite: always.
    """
    named = f"the logits of {subject.name} read from state {row} of {len(states)}"
    if weight := bad_weight(subject.model, subject.path):
        raise NotFinite(named, weight, OTHER_WEIGHTS)
    if not mx.isfinite(states[row]).all().item():
        raise NotFinite(named, "the state itself is not", "look at what it was made from")
    where = "the state is, and what the final norm and the head make of it is not"
    raise NotFinite(named, where, _remedy(subject.dtype))


def refuse_new(subject: Subject, edits: Sequence[str]) -> NoReturn:
    """Say that the logits of a token that is generated are not finite, under edits of some rows.

    Raises:
        NotFinite: always.
    """
    error = NotFinite(
        f"the logits of {subject.name}", "in a token of its answer to a swept prompt", _remedy(subject.dtype)
    )
    error.edits += edits
    raise error


def _remedy(dtype: str) -> str:
    if dtype == "float16":
        return "run the model in float32 or bfloat16 (`subject.model.set_dtype(mx.float32)`): float16 ends at 65504"
    return f"look for what is too large for {dtype} there"


@dataclass(frozen=True, eq=False)
class _FiniteCheck:
    site: str
    finite: mx.array


def first_site(anatomy: Anatomy, tokens: mx.array) -> str | None:
    """The site of the first value that is not finite in a run of tokens (B, L), such as `mlp_out.3`, if any is."""
    checked: list[_FiniteCheck] = []
    with tapped(list(_looks(anatomy, checked))):
        forward(anatomy.model, tokens)
    if not checked:
        return None
    good = _good(anatomy, checked)
    return None if all(good) else checked[good.index(False)].site


def _good(anatomy: Anatomy, checked: list[_FiniteCheck]) -> list[bool]:
    """Which of some values are finite; where processes hold parts of a model, in all of them."""
    good: Any = mx.stack([value.finite for value in checked]).tolist()
    if anatomy.ranks is None:
        return list(good)
    layers = [value.site.split(".")[1:] for value in checked]
    elsewhere = [bool(layer) and not anatomy.ranks.holds(int(layer[0])) for layer in layers]
    return anatomy.ranks.all_hold([known or away for known, away in zip(good, elsewhere, strict=True)])


def _looks(anatomy: Anatomy, checked: list[_FiniteCheck]) -> Iterator[Tap]:
    yield Tap(anatomy.embedding, after=_look(checked, "embed"))
    yield Tap(anatomy.model, after=_look(checked, "logits"))
    for layer, (block, parts) in enumerate(zip(anatomy.blocks, anatomy.parts, strict=True)):
        yield Tap(block, before=_look(checked, f"resid_pre.{layer}"), argument=anatomy.resid_argument)
        yield Tap(block, after=_look(checked, f"resid_post.{layer}"))
        for part, kind in PARTS.items():
            if getattr(parts, part):
                tap = Tap(anatomy.own_part(part, layer), after=_look(checked, f"{kind}.{layer}"))
                flat = parts.flat and part in ("router", "experts")
                yield _within(anatomy.part("mlp", layer), tap) if flat else tap
        for projection, kind in (("down_proj", "neurons"), ("o_proj", "head_out"), ("mid", "resid_mid")):
            if getattr(parts, projection):
                yield Tap(anatomy.own_part(projection, layer), before=_look(checked, f"{kind}.{layer}"))
        if parts.heads and parts.attention:
            for step in STEPS:
                if parts.heads.fused or step in ("scores", "pattern"):
                    look = _look(checked, f"{step}.{layer}")
                    inside = Inside(step, look, fused=parts.heads.fused)  # type: ignore[arg-type]
                    yield Tap(anatomy.part("attention", layer), inside=inside)


def _within(outer: nn.Module, tap: Tap) -> Tap:
    """A tap put on for each call of an outer module, as hooks of a flat mixture are: so it sees what they changed."""

    def around(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with tapped([tap]):
            return call(*args, **kwargs)

    return Tap(outer, around=around)


def _look(checked: list[_FiniteCheck], site: str) -> Change:
    kind = site.split(".")[0]

    def look(value: mx.array) -> None:
        checked.append(_FiniteCheck(site, finite_at(value, kind)))

    return look
