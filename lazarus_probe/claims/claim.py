"""A claim as data: the statement, its source, and the thresholds set before anyone looks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PrivateAttr, ValidationError, model_validator

from lazarus_probe.spelling import choices_in, first_to_tell, one_of
from lazarus_probe.subject.relative_depth import layer_at

Kind = Literal[
    "decodability",
    "causal_necessity",
    "causal_sufficiency",
    "invariance",
    "absence",
    "emergence",
    "training_effect",
    "circuit",
]
# Kinds whose controls are positive: what the instrument does find, so that its silence says something.
POSITIVE: tuple[Kind, ...] = ("absence", "invariance")
# What a circuit must be beyond faithful, each past a value that its claim declares.
CIRCUIT_PARTS = ("minimality", "stability")
Need = Literal["moe", "tuned pair", "chat template", "training"]


class NotApplicable(Exception):  # noqa: N818 - no error: the claim's precondition fails on this model
    """The claim says nothing about this model."""


class ClaimError(ValueError):
    """A claim that cannot be tested as it is written.

    Example:
        >>> from pathlib import Path
        >>> from lazarus_probe.claims import ClaimError, read_claims
        >>> claim = read_claims(Path("expectations"))["answers-products"]
        >>> try:
        ...     claim.layer_for("organism", num_layers=8)
        ... except ClaimError as error:
        ...     print(error)
        claim 'answers-products' names no layer for organism of 8 layers: declare its `depth`, from 0 to 1
    """


class Published(BaseModel):
    """What was published for one model.

    Attributes:
        layer: counted from 0.
        layers: how many the model has.
        value: in the unit of the claim's score.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    layer: int | None = Field(default=None, ge=0)
    layers: int | None = Field(default=None, ge=1)
    value: float | None = None

    @model_validator(mode="after")
    def _holds_its_layer(self) -> Self:
        if self.layer is not None and (self.layers is None or self.layer >= self.layers):
            raise ValueError(
                f"layer {self.layer} needs `layers`, the model's number of them, and to be below it"
            )
        return self


class Assumption(BaseModel):
    """Something that must hold if the score is to say what the statement does.

    Attributes:
        that: one sentence.
        tested_by: what varies it: a control, a kind of units or a part of the claim, or the id of another claim beside
            it, which is the same without it; "" if nothing does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    that: str = Field(min_length=1)
    tested_by: str = ""


class Claim(BaseModel):
    """What is claimed, and what would support or refute it.

    Attributes:
        id: in lower case, unique in its folder.
        statement: one sentence.
        source: where it was published.
        family: the claims that are corrected together; a claim without one is a family of its own.
        kind: `decodability`, `causal_necessity`, `causal_sufficiency`, `emergence`, `training_effect` and `circuit`
            want a score of at least the threshold, `absence` of at most, `invariance` within it on either side of 0.
        threshold: on the score, in [-1, 1].
        effect: the score that is expected where the claim is true, for its power; the least that would be
            supported if left out: the threshold and a margin.
        margin: the smallest gain over a control that counts; for `absence` and `invariance`, of the positive control
            over the score.
        controls: that must be measured.
        generalises_over: the kinds of independent units that the claim generalises over, as in
            `[phrasing, family]`; the measurement's `units` must count each, and its interval holds for all of them.
        minimum_groups: independent units (operand families, templates, seeds) below which it is inconclusive; of
            each kind that is generalised over.
        failing_share: of a claim that holds everywhere, the largest share of strata that may fail; it is supported
            only where the exact upper bound on that share is below it.
        parts: of a `circuit`, the least `minimality` and the least `stability` that it must have as well.
        alpha: the false-alarm rate allowed, and the rate of false discoveries in the family.
        cases: how many sets of parameters its test has; `layers` is one for each.
        depth: where to look in a model that nothing is published for, as a share of its layers; see `layer_at`.
        published: by model.
        needs: what a model must have for the claim to apply.
        assumes: what is taken for granted, and what tests it. No verdict depends on this text, so the hash leaves it
            out.
        parameters: whatever else the test reads.

    Example:
        >>> from lazarus_probe import Claim
        >>> claim = Claim(
        ...     id="operation-readable",
        ...     statement="The operation is linearly readable after layer 4, beyond what the tokens give.",
        ...     source="my notes",
        ...     kind="decodability",
        ...     threshold=0.9,
        ...     margin=0.05,
        ...     controls=("majority", "bag_of_tokens", "untrained"),
        ... )
        >>> claim.reaches(low=0.93, high=0.99), claim.misses(low=0.70, high=0.85)
        (True, True)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    statement: str = Field(min_length=1)
    source: str = Field(min_length=1)
    family: str = Field(default_factory=lambda data: data.get("id", ""), min_length=1)
    kind: Kind
    threshold: float = Field(ge=-1, le=1)
    effect: float | None = Field(default=None, ge=-1, le=1)
    margin: float = Field(default=0.05, gt=0, le=1)
    controls: tuple[str, ...] = Field(min_length=1)
    generalises_over: tuple[str, ...] = ()
    minimum_groups: int = Field(default=10, ge=2)
    failing_share: float | None = Field(default=None, gt=0, lt=1)
    parts: Mapping[str, Annotated[float, Field(ge=0, le=1)]] = {}
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    cases: Literal["layers"] | int = 1
    depth: float | None = Field(default=None, ge=0, le=1)
    published: Mapping[str, Published] = {}
    needs: tuple[Need, ...] = ()
    assumes: tuple[Assumption, ...] = ()
    parameters: Mapping[str, JsonValue] = {}
    # Of a run, not of what was pre-registered: no file can set it, and the hash leaves it out.
    _scores_only: bool = PrivateAttr(default=False)

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if self.cases != "layers" and self.cases < 1:
            raise ValueError(f"cases is {self.cases}: give 1 or more, or `layers`")
        if self.kind == "invariance" and self.threshold <= 0:
            raise ValueError(
                f"threshold is {self.threshold:g}: an invariance holds within a threshold above 0"
            )
        if set(self.parts) != set(CIRCUIT_PARTS if self.kind == "circuit" else ()):
            raise ValueError(
                f"parts are {sorted(self.parts)}: a claim of kind circuit declares {' and '.join(CIRCUIT_PARTS)}, "
                "and no other kind has parts"
            )
        if self.effect is not None and not self.reaches(self.effect, self.effect):
            raise ValueError(
                f"effect is {self.effect:g}: a score that would not meet the threshold, {self.threshold:g}"
            )
        return self

    @property
    def hash(self) -> str:
        """Of everything pre-registered: a report keeps it, so that a moved threshold shows."""
        fields = self.model_dump(mode="json", exclude={"assumes"})
        if not self.parts:  # claims that were declared before there were parts are what they were
            del fields["parts"]
        text = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def expected(self) -> float:
        """The score that its power is reckoned at."""
        if self.effect is not None:
            return self.effect
        if self.kind == "invariance":
            return 0.0
        return self.threshold - self.margin if self.kind == "absence" else self.threshold + self.margin

    @property
    def scores_only(self) -> bool:
        """Whether its score is measured without the controls that other models are run for; see `of_scores_only`."""
        return self._scores_only

    def of_scores_only(self) -> Claim:
        """The claim, measured without the controls that other models are run for: for versions side by side.

        Where its outcome depends on these, it is inconclusive.
        """
        claim = self.model_copy()
        claim._scores_only = True
        return claim

    def reaches(self, low: float, high: float) -> bool:
        """Whether a whole interval of the score is past the threshold."""
        if self.kind == "absence":
            return high <= self.threshold
        if self.kind == "invariance":
            return -self.threshold <= low and high <= self.threshold
        return low >= self.threshold

    def misses(self, low: float, high: float) -> bool:
        """Whether a whole interval of the score is on the wrong side of the threshold."""
        if self.kind == "absence":
            return low > self.threshold
        if self.kind == "invariance":
            return low > self.threshold or high < -self.threshold
        return high < self.threshold

    def count(self, num_layers: int) -> int:
        """How many sets of parameters its test has on a model."""
        return num_layers if self.cases == "layers" else self.cases

    def layer_for(self, model: str, num_layers: int) -> int:
        """Where to look in a model: at the published layer, or at the relative depth.

        A model is known by the last part of its name up to what distinguishes versions of it:
        `mlx-community/Llama-3.2-1B-Instruct-bf16` is `Llama-3.2-1B`, if it has as many layers.

        Raises:
            ClaimError: nothing is published for it and no depth is declared.
            NotApplicable: it has one layer, and so none before its last one.
        """
        name = _plain_name(model)
        for published_name, value in self.published.items():
            if (
                value.layer is not None
                and value.layers == num_layers
                and name.startswith(_plain_name(published_name))
            ):
                return value.layer
        if self.depth is None:
            raise ClaimError(
                f"claim {self.id!r} names no layer for {model} of {num_layers} layers: declare its `depth`, from 0 to 1"
            )
        try:
            return layer_at(self.depth, num_layers)
        except ValueError:
            raise NotApplicable(f"has {num_layers} layer, and so none before its last one") from None


def _plain_name(model: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", model.rpartition("/")[2].lower())


def make_claim(fields: Mapping[str, Any], where: str, lines: Mapping[str, int] | None = None) -> Claim:
    """Validate a claim.

    Args:
        fields: of the claim.
        where: the file.
        lines: of each field in it, and of the claim itself under "".

    Raises:
        ClaimError: names the place, the field and what is wrong, in one line.
    """
    try:
        return Claim.model_validate(dict(fields))
    except ValidationError as error:
        first = first_to_tell(error.errors())
        field = str(first["loc"][0]) if first["loc"] else ""
        line = (lines or {}).get(field) or (lines or {}).get("")
        location = f"{where}:{line}" if line else where
        raise ClaimError(
            f"{location}: claim {fields.get('id', '?')!r}: {_wrong(first['type'], first)}"
        ) from None


def _wrong(kind: str, error: Mapping[str, Any]) -> str:
    name = ".".join(map(str, error["loc"]))
    if name == "controls" and kind in ("missing", "too_short"):
        return "it has no controls; a claim needs at least one"
    if kind == "missing":
        return f"field {name!r} is missing"
    if kind == "extra_forbidden":
        nested: dict[str, type[BaseModel]] = {"published": Published, "assumes": Assumption}
        schema = nested.get(str(error["loc"][0]), Claim) if len(error["loc"]) > 1 else Claim
        return f"field {name!r} is unknown; {one_of(str(error['loc'][-1]), schema.model_fields)}"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if choices := choices_in(error):
        return f"field {name!r} is {error['input']!r}; {one_of(str(error['input']), choices)}"
    if kind == "string_pattern_mismatch":
        right = "lower-case letters and digits, with - or _ between words, as in 'digits-in-order'"
        return f"field {name!r} is {error['input']!r}; give {right}"
    return f"field {name!r}: {error['msg']}, not {error['input']!r}"
