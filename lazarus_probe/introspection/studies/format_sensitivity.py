"""Does a space at the end of a prompt change what a model answers, more than another harmless change does?

The state at the last token differs between the two formats in any model, since the last token does. So what counts is
the answer, numbers parsed; and as any change of a prompt may change an answer, a space at its other end is the control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import logits, resid_post
from lazarus_probe.introspection.generation.answer_onset import expected_of
from lazarus_probe.introspection.generation.completions import generate, same_answer
from lazarus_probe.introspection.geometry.similarity import Clusters, clusters
from lazarus_probe.introspection.lens.divergence import kl_of_logits
from lazarus_probe.statistics.cosines import cosine_matrix
from lazarus_probe.statistics.measurement import Measurement, some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.tables import Table
from lazarus_probe.tasks.arithmetic import parse_number

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

LABELS = ("working", "broken")


@dataclass(frozen=True)
class FormatCompletion:
    """A prompt in one format.

    Attributes:
        prompt: in this format.
        tokens: it, in tokens.
        output: the model's completion.
        answer: the number that begins with, or None.
        right: whether that is the right one; None where no right one is known.
    """

    prompt: str
    tokens: tuple[str, ...]
    output: str
    answer: float | None
    right: bool | None


@dataclass(frozen=True)
class PromptFormats:
    """One prompt in the two formats, and with a space before it for comparison.

    Attributes:
        with_space: ending in one space.
        without: ending in none.
        control: without, but with a space before it.
        changed: whether the space at the end changes the answer.
        control_changed: whether the space before it does.
        kl: KL(without || with) of the next token, in nats. Where the answer begins with a space, that is large.
        control_kl: KL(without || control).
    """

    with_space: FormatCompletion
    without: FormatCompletion
    control: FormatCompletion
    changed: bool
    control_changed: bool
    kl: float
    control_kl: float


@dataclass(frozen=True)
class LayerFormats:
    """The states at the last token after one block.

    Attributes:
        layer: the block.
        clusters: of all prompts, those with a space `working` and those without `broken`.
        pair: the mean cosine of a prompt in the two formats.
        control: that of a prompt without a space and with one before it.
        others: that of different prompts without a space; None for one prompt.
    """

    layer: int
    clusters: Clusters
    pair: float
    control: float
    others: float | None


@dataclass(frozen=True, eq=False)
class FormatSensitivity:
    """What a space at the end does to N prompts."""

    prompts: tuple[PromptFormats, ...]
    layers: tuple[LayerFormats, ...]
    seed: int

    def why_untestable(self) -> str | None:
        """Why nothing can be measured; None where it can."""
        if len(self.prompts) < 2:
            return "one prompt cannot show it; give at least 5"
        if all(prompt.with_space.tokens == prompt.without.tokens for prompt in self.prompts):
            return "the tokenizer drops the space at the end, so both formats are the same to the model"
        if all(prompt.control.tokens == prompt.without.tokens for prompt in self.prompts):
            return "the tokenizer drops the space of the control, so there is nothing to compare with"
        return None

    def measurement(self) -> Measurement | None:
        """The share of prompts whose answer the space changes, and that of a leading space, if it is testable."""
        if self.why_untestable() is not None:
            return None
        changed = np.array([prompt.changed for prompt in self.prompts], dtype=np.float64)
        return rate(
            "share of answers changed",
            changed,
            [prompt.without.prompt for prompt in self.prompts],
            {
                "leading_space": np.array(
                    [prompt.control_changed for prompt in self.prompts], dtype=np.float64
                )
            },
            seed=self.seed,
            examples=some_examples(
                [prompt.with_space.prompt for prompt in self.prompts],
                [prompt.without.output for prompt in self.prompts],
                [prompt.with_space.output for prompt in self.prompts],
                changed > 0,
            ),
        )

    def right(self) -> tuple[int, int, int]:
        """How many are answered right with the space, and without, of how many whose answer is known."""
        scored = [prompt for prompt in self.prompts if prompt.without.right is not None]
        return (
            sum(bool(prompt.with_space.right) for prompt in scored),
            sum(bool(prompt.without.right) for prompt in scored),
            len(scored),
        )

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        with_space, without, scored = self.right()
        measured = self.measurement()
        return {
            "prompts": [prompt.without.prompt for prompt in self.prompts],
            "labels": list(LABELS),
            "layers": [formats.layer for formats in self.layers],
            "n": len(self.prompts),
            "results": [asdict(prompt) for prompt in self.prompts],
            "layer_results": [asdict(formats) for formats in self.layers],
            "summary": {
                "changed": sum(prompt.changed for prompt in self.prompts),
                "control_changed": sum(prompt.control_changed for prompt in self.prompts),
                "interval": None if measured is None else [measured.low, measured.high],
                "gain_over_control": None if measured is None else asdict(measured.controls[0]),
                "right_with_space": with_space,
                "right_without": without,
                "known_answers": scored,
                "mean_kl": float(np.mean([prompt.kl for prompt in self.prompts])),
                "control_mean_kl": float(np.mean([prompt.control_kl for prompt in self.prompts])),
                "missing": self.why_untestable(),
            },
        }

    def _repr_html_(self) -> str:
        rows = [
            (
                repr(prompt.without.prompt),
                repr(prompt.without.output),
                repr(prompt.with_space.output),
                "yes" if prompt.changed else "no",
            )
            for prompt in self.prompts
        ]
        return Table(("prompt", "without", "with", "changed"), rows, "A space at the end of a prompt").html()


def format_sensitivity(
    subject: Subject,
    prompts: Sequence[str],
    layers: Sequence[int],
    *,
    max_tokens: int = 8,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> FormatSensitivity:
    """Ask prompts with a space at their end and without, and with one before them as the control.

    Args:
        subject: the model.
        prompts: N texts; spaces at their end are dropped, and those that are the same then are prompt.
        layers: after which blocks to compare states.
        max_tokens: of an answer.
        seed: of intervals.
        check: called between two steps.

    Raises:
        ValueError: no prompts or layers, or a prompt of nothing but spaces.
    """
    bare = list(dict.fromkeys(prompt.rstrip(" ") for prompt in prompts))
    if "" in bare:
        raise ValueError("a prompt is nothing but spaces, and empty without them; give some text")
    count = len(bare)
    texts = [*(f"{prompt} " for prompt in bare), *bare, *(f" {prompt}" for prompt in bare)]
    outputs = [completion.text for completion in generate(subject, texts, max_tokens, check=check)]
    sites = [resid_post(layer) for layer in layers]
    activations = collect(subject, texts, [*sites, logits()])
    check()
    completions = [_completion(subject, text, output) for text, output in zip(texts, outputs, strict=True)]
    sides = activations[logits()].reshape(3, count, -1).swapaxes(0, 1)
    rows = zip(
        completions[:count], completions[count : 2 * count], completions[2 * count :], sides, strict=True
    )
    return FormatSensitivity(
        tuple(_formats(*row) for row in rows),
        tuple(
            _layer(layer, cosine_matrix(activations[site])) for layer, site in zip(layers, sites, strict=True)
        ),
        seed,
    )


def _completion(subject: Subject, prompt: str, output: str) -> FormatCompletion:
    expected = expected_of(prompt)
    number = parse_number(output)
    right = None if expected is None else number is not None and number == float(expected)
    tokens = tuple(subject.decode([token]) for token in subject.encode(prompt))
    return FormatCompletion(prompt, tokens, output, number, right)


def _formats(
    with_space: FormatCompletion, without: FormatCompletion, control: FormatCompletion, scores: NDArray[Any]
) -> PromptFormats:
    return PromptFormats(
        with_space,
        without,
        control,
        not same_answer(with_space.output, without.output),
        not same_answer(control.output, without.output),
        float(kl_of_logits(scores[1], scores[0])),
        float(kl_of_logits(scores[1], scores[2])),
    )


def _layer(layer: int, matrix: NDArray[np.float64]) -> LayerFormats:
    """From cosines (3N, 3N) between all prompts with a space, without, and with one before them."""
    count = len(matrix) // 3
    bare = matrix[count : 2 * count, count : 2 * count]
    return LayerFormats(
        layer,
        clusters(matrix[: 2 * count, : 2 * count], [LABELS[0]] * count + [LABELS[1]] * count),
        float(np.diag(matrix, count)[:count].mean()),
        float(np.diag(matrix, count)[count:].mean()),
        float(bare[np.triu_indices(count, 1)].mean()) if count > 1 else None,
    )
