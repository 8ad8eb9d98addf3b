"""`lazarus introspect path-patch`: the direct effect of one component on another, all other paths frozen."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Model, Output
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output
from lazarus_probe.cli.patching.pairs import Answer, Other, Pairs, Source, Target, described, pairs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazarus_probe.introspection.patching.encoded_pairs import EncodedPair, Tokens
    from lazarus_probe.introspection.patching.path_patching import PathEffects
    from lazarus_probe.subject.subject import Subject


class Mlps(StrEnum):
    """Treatment of the MLPs between sender and receiver."""

    recomputed = "recomputed"
    frozen = "frozen"


def path_patch(
    model: Model,
    source: Source = None,
    target: Target = None,
    pairs: Pairs = None,
    adapter: Adapter = None,
    sender: Annotated[
        str, typer.Option(help="Sites, as in head_out.3.1,mlp_out.2; or all, for every head and MLP.")
    ] = "all",
    receiver: Annotated[
        str,
        typer.Option(
            help="One of logits, queries.L.H, keys.L.G, values.L.G, head_out.L.H, mlp_out.L, resid_post.L."
        ),
    ] = "logits",
    mlps: Annotated[
        Mlps,
        typer.Option(help="MLPs between sender and receiver: recomputed, or frozen at the target's values."),
    ] = Mlps.recomputed,
    position: Annotated[
        int | None, typer.Option(help="Patch the sender at this position only.", show_default="all positions")
    ] = None,
    answer: Answer = None,
    other: Other = None,
    top: Annotated[int, typer.Option(min=1, help="Number of senders to show; the JSON data has all.")] = 15,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Measure the direct effect of senders on one receiver, with all other paths frozen.

    Wang et al. 2022 (arXiv:2211.00593). The sender's output comes from the source, all other attention after it is
    frozen at the target's values, and what then reaches the receiver is patched into an otherwise free run of the
    target.
    """
    check_output(output)
    prompt_pairs = pairs_of(source, target, pairs, answer, other)
    from lazarus_probe.hooks.sites import Site

    senders = None if sender == "all" else [Site.parse(name.strip()) for name in sender.split(",")]
    end = Site.parse(receiver)
    from lazarus_probe.introspection.patching import path_patching
    from lazarus_probe.introspection.patching.encoded_pairs import encode_pairs, tokens_of
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.sweep.metrics import logit_diff

    subject = Subject.load(model, adapter)
    encoded = encode_pairs(subject, prompt_pairs)
    tokens = tokens_of(subject, encoded)
    result = path_patching.path_patch(
        subject,
        [pair.target.ids for pair in encoded],
        [pair.source.ids for pair in encoded],
        path_patching.senders_below(subject, end) if senders is None else senders,
        end,
        logit_diff(tokens.answers, tokens.others),
        hold_mlps=mlps == Mlps.frozen,
        position=position,
    )
    data = {
        "pairs": [{"source": pair.source, "target": pair.target} for pair in prompt_pairs],
        "answer_id": list(tokens.answers),
        "other_id": list(tokens.others),
        "position": position,
    }
    text = as_text(subject, result, encoded, tokens, top)
    deliver(result.as_data() | data | {"about": about(subject)}, text, as_json=as_json, output=output)


def as_text(
    subject: Subject, result: PathEffects, pairs: Sequence[EncodedPair], tokens: Tokens, top: int
) -> str:
    """The senders by the size of their effect."""
    data, table = result.as_data(), result.table(top)
    lines = [title(f"PATH PATCHING to {result.receiver}: {subject.name}")]
    lines.append(described(subject, pairs, tokens))
    lines.append(
        f"Target {data['target']:+.3f}, source {data['source']:+.3f}; MLPs between: {data['mlps']}\n"
    )
    lines.append(table.text(gap=1))
    if len(data["senders"]) > top:
        lines.append(f"... and {len(data['senders']) - top} more with smaller effects")
    lines.append("\nShare is of the difference between source and target.")
    if "Other source" in table.headings:
        lines.append(
            "Other source: the effect with another pair's source; what goes beyond it is of the pair's own."
        )
    if len(pairs) < 2:
        lines.append("One pair shows no more than that pair; give several with --pairs for an interval.")
    return "\n".join(lines)
