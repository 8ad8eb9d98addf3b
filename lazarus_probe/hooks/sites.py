"""Where to look or touch inside a model: the places, their names and the shapes found there."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from lazarus_probe.anatomy.site_kinds import PER_LAYER

WHOLE_MODEL = ("embed", "logits")
KINDS = ("embed", *PER_LAYER, "logits")
# The axis over heads, of the kinds that have one.
HEAD_AXIS = {"queries": 2, "keys": 2, "values": 2, "head_out": 2, "scores": 1, "pattern": 1}


@dataclass(frozen=True, order=True)
class Site:
    """A place in a model, written `resid_post.3`, `head_out.3.2`, `embed` or `logits`.

    | kind | value | shape |
    |---|---|---|
    | embed | output of the token embedding | (B, L, D) |
    | resid_pre | residual stream entering the block | (B, L, D), or (B, L, N, D) with N streams |
    | queries | queries, as the attention kernel reads them | (B, L, H, Dh) |
    | keys, values | keys and values, cached ones included | (B, S, G, Dh) |
    | scores | attention scores, scaled and masked, before the softmax | (B, H, L, S) |
    | pattern | attention weights, after the softmax | (B, H, L, S) |
    | head_out | each head's output, as the output projection reads it | (B, L, H, Dh) |
    | attn_out | output of the attention module | (B, L, D) |
    | mixer_out | output of a state space, linear attention or convolution | (B, L, D) |
    | resid_mid | residual stream after attention was added, before the MLP is | (B, L, D) |
    | router_logits | the router's logits over E experts | (B, L, E) |
    | expert_out | output of each of the k experts chosen, before their weights | (B, L, k, D) |
    | neurons | MLP activations, as the down projection reads them | (B, L, F) |
    | mlp_out | output of the MLP, or of the mixture of experts | (B, L, D) |
    | resid_post | residual stream leaving the block | (B, L, D), or (B, L, N, D) |
    | logits | output of the model | (B, L, V) |

    Not every block has every kind; `kinds_at` says which it has. With a head, the axis over heads is left out. The
    output of attention or MLP need not be what is added to the residual stream: some models normalise or scale it
    first (`self_check` says so).

    Attributes:
        kind: one of the above.
        layer: the block, from 0; negative counts from the last. None for embed and logits.
        head: one head, of queries, keys, values, scores, pattern or head_out; negative counts from the last.

    Raises:
        ValueError: an unknown kind, or a layer or head that the kind does not have or lacks.

    Example:
        >>> from lazarus_probe import Site, trace
        >>> site = Site.parse("head_out.3.2")
        >>> site.kind, site.layer, site.head
        ('head_out', 3, 2)
        >>> trace(subject, "7*8=", capture=site)[site].shape
        (1, 5, 32)
    """

    kind: str
    layer: int | None = None
    head: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            close = get_close_matches(str(self.kind), KINDS, n=1)
            guess = f"did you mean {close[0]}?" if close else f"the kinds are {', '.join(KINDS)}"
            raise ValueError(f"unknown site {str(self.kind)!r}: {guess}")
        if self.kind in WHOLE_MODEL and self.layer is not None:
            raise ValueError(f"{self.kind} has no layers; write {self.kind!r}")
        if self.kind in PER_LAYER and self.layer is None:
            raise ValueError(f"{self.kind} needs a layer; write for instance '{self.kind}.0'")
        if self.head is not None and self.kind not in HEAD_AXIS:
            raise ValueError(f"{self.kind} has no heads; {', '.join(HEAD_AXIS)} have, as in 'head_out.0.2'")

    def __str__(self) -> str:
        return ".".join(str(part) for part in (self.kind, self.layer, self.head) if part is not None)

    @classmethod
    def parse(cls, text: str | Site) -> Site:
        """The site a text stands for; a Site is returned as it is.

        Raises:
            ValueError: the text is not `kind`, `kind.layer` or `kind.layer.head`.
        """
        if isinstance(text, Site):
            return text
        kind, *numbers = text.split(".")
        if len(numbers) > 2:
            raise ValueError(f"{text!r} has too many parts; write kind, kind.layer or kind.layer.head")
        try:
            return cls(kind, *(int(number) for number in numbers))
        except ValueError as error:
            if "invalid literal" not in str(error):
                raise
            raise ValueError(f"{text!r} has a layer or head that is no number; write {kind}.0") from None


def embed() -> Site:
    """Output of the token embedding (B, L, D).

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import embed
        >>> trace(subject, "7*8=", capture=embed())[embed()].shape
        (1, 5, 128)
    """
    return Site("embed")


def resid_pre(layer: int) -> Site:
    """Residual stream entering a block (B, L, D).

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import resid_post, resid_pre
        >>> run = trace(subject, "7*8=", capture=[resid_post(2), resid_pre(3)])
        >>> bool((run[resid_post(2)] == run[resid_pre(3)]).all())
        True
    """
    return Site("resid_pre", layer)


def queries(layer: int, head: int | None = None) -> Site:
    """Queries of a block (B, L, H, Dh), as the attention kernel reads them, or of one head (B, L, Dh).

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import queries
        >>> trace(subject, "7*8=", capture=queries(3))[queries(3)].shape
        (1, 5, 4, 32)
    """
    return Site("queries", layer, head)


def keys(layer: int, head: int | None = None) -> Site:
    """Keys of a block (B, S, G, Dh), cached ones included, or of one key head (B, S, Dh).

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import keys
        >>> trace(subject, "7*8=", capture=keys(3, head=1))[keys(3, head=1)].shape
        (1, 5, 32)
    """
    return Site("keys", layer, head)


def values(layer: int, head: int | None = None) -> Site:
    """Values of a block (B, S, G, Dh), cached ones included, or of one key head (B, S, Dh).

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import values
        >>> trace(subject, "7*8=", capture=values(3))[values(3)].shape
        (1, 5, 2, 32)
    """
    return Site("values", layer, head)


def scores(layer: int, head: int | None = None) -> Site:
    """Attention scores of a block (B, H, L, S), scaled and masked, or of one of its heads (B, L, S).

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import pattern, scores
        >>> run = trace(subject, "7*8=", capture=[scores(3), pattern(3)])
        >>> np.allclose(mx.softmax(run[scores(3)], axis=-1), run[pattern(3)], atol=1e-5)
        True
    """
    return Site("scores", layer, head)


def mixer_out(layer: int) -> Site:
    """Output of a block's state space, linear attention or convolution (B, L, D).

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import mixer_out
        >>> trace(mamba, [1, 2, 3, 4], capture=mixer_out(0))[mixer_out(0)].shape
        (1, 4, 32)
    """
    return Site("mixer_out", layer)


def resid_mid(layer: int) -> Site:
    """Residual stream of a block (B, L, D) once attention was added to it; a parallel block has none.

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import attn_out, resid_mid, resid_pre
        >>> run = trace(subject, "7*8=", capture=[resid_pre(3), attn_out(3), resid_mid(3)])
        >>> np.allclose(run[resid_pre(3)] + run[attn_out(3)], run[resid_mid(3)], atol=1e-4)
        True
    """
    return Site("resid_mid", layer)


def router_logits(layer: int) -> Site:
    """A mixture's router logits over its E experts (B, L, E).

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import router_logits
        >>> router = trace(mixture, [1, 2, 3, 4], capture=router_logits(0))[router_logits(0)]
        >>> router.shape
        (1, 4, 4)
    """
    return Site("router_logits", layer)


def expert_out(layer: int) -> Site:
    """Output of each of the k experts chosen (B, L, k, D), before their weights.

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import expert_out
        >>> trace(mixture, [1, 2, 3, 4], capture=expert_out(0))[expert_out(0)].shape
        (1, 4, 2, 32)
    """
    return Site("expert_out", layer)


def attn_out(layer: int) -> Site:
    """Output of a block's attention (B, L, D).

    Example:
        >>> from lazarus_probe import collect
        >>> from lazarus_probe.sites import attn_out
        >>> collect(subject, ["7*8=", "12*12="], [attn_out(3)])[attn_out(3)].shape
        (2, 128)
    """
    return Site("attn_out", layer)


def head_out(layer: int, head: int | None = None) -> Site:
    """Output of a block's heads (B, L, H, Dh), or of one of them (B, L, Dh), before the output projection.

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import head_out
        >>> trace(subject, "7*8=", capture=head_out(3))[head_out(3)].shape
        (1, 5, 4, 32)
        >>> trace(subject, "7*8=", capture=head_out(3, head=2))[head_out(3, head=2)].shape
        (1, 5, 32)
    """
    return Site("head_out", layer, head)


def pattern(layer: int, head: int | None = None) -> Site:
    """Attention weights of a block (B, H, L, S), or of one of its heads (B, L, S).

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import pattern
        >>> weights = trace(subject, "7*8=", capture=pattern(3))[pattern(3)]
        >>> weights.shape
        (1, 4, 5, 5)
        >>> np.allclose(weights.sum(axis=-1), 1, atol=1e-5)
        True
    """
    return Site("pattern", layer, head)


def mlp_out(layer: int) -> Site:
    """Output of a block's MLP (B, L, D).

    Example:
        >>> from lazarus_probe import trace
        >>> from lazarus_probe.sites import mlp_out, resid_mid, resid_post
        >>> run = trace(subject, "7*8=", capture=[resid_mid(3), mlp_out(3), resid_post(3)])
        >>> np.allclose(run[resid_mid(3)] + run[mlp_out(3)], run[resid_post(3)], atol=1e-4)
        True
    """
    return Site("mlp_out", layer)


def neurons(layer: int) -> Site:
    """Activations of a block's MLP neurons (B, L, F), before the down projection.

    Example:
        >>> from lazarus_probe import collect
        >>> from lazarus_probe.sites import neurons
        >>> activations = collect(subject, ["7*8=", "6*9="], [neurons(5)])[neurons(5)]
        >>> activations.shape
        (2, 384)
    """
    return Site("neurons", layer)


def resid_post(layer: int) -> Site:
    """Residual stream leaving a block (B, L, D).

    Example:
        >>> from lazarus_probe import collect
        >>> from lazarus_probe.sites import resid_post
        >>> sites = [resid_post(layer) for layer in range(subject.num_layers)]
        >>> activations = collect(subject, ["7*8=", "6*9="], sites)
        >>> activations[resid_post(4)].shape
        (2, 128)
    """
    return Site("resid_post", layer)


def logits() -> Site:
    """Output of the model (B, L, V).

    Example:
        >>> from lazarus_probe import collect
        >>> from lazarus_probe.sites import logits
        >>> next_token = collect(subject, ["7*8=", "6*9="], [logits()])[logits()].argmax(axis=-1)
        >>> [subject.decode([token]) for token in next_token]
        ['56', '54']
    """
    return Site("logits")


def position_axis(site: Site) -> int:
    """The axis of the site's value that runs over positions; for `scores` and `pattern`, the queries'."""
    return 2 if site.kind in ("scores", "pattern") and site.head is None else 1
