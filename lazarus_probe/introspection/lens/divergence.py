"""How spread out a next-token distribution is, and how far apart two of them are; in nats, from log probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def entropy(log_probs: NDArray[Any]) -> float:
    """Shannon entropy of a distribution (V,)."""
    log_p = np.asarray(log_probs, np.float64)
    return max(0.0, -_expected(log_p, log_p))


def kl_divergence(log_p: NDArray[Any], log_q: NDArray[Any]) -> float:
    """KL(p || q) of two distributions (V,); infinite where q rules out what p does not."""
    log_p, log_q = (np.asarray(values, np.float64) for values in (log_p, log_q))
    with np.errstate(invalid="ignore"):  # -inf minus -inf, where p is 0
        return max(0.0, _expected(log_p, log_p - log_q))


def kl_of_logits(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.float64]:
    """KL(before || after) of distributions (...) given as logits (..., V), in nats."""
    from scipy.special import log_softmax

    log_p, log_q = (log_softmax(np.asarray(logits, np.float64), axis=-1) for logits in (before, after))
    return np.asarray(np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=-1), 0.0))


def js_divergence(log_p: NDArray[Any], log_q: NDArray[Any]) -> float:
    """Jensen-Shannon divergence of two distributions (V,): at most log 2 (Lin 1991)."""
    log_p, log_q = (np.asarray(values, np.float64) for values in (log_p, log_q))
    middle = np.logaddexp(log_p, log_q) - np.log(2)
    return (kl_divergence(log_p, middle) + kl_divergence(log_q, middle)) / 2


def _expected(log_p: NDArray[Any], values: NDArray[Any]) -> float:
    p = np.exp(log_p)
    positive = p > 0
    return float(np.sum(p[positive] * values[positive]))
