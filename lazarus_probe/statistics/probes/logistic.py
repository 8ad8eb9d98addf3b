"""Logistic regression for many small fits: scikit-learn's optimum, without what it spends besides the optimisation.

On the few hundred rows of a probe scikit-learn takes longer to check its input than to fit, and starts from nothing.
Here a fit starts from its first Newton step, which is a ridge in closed form, and L-BFGS finishes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.statistics.clusters import Floats, Ints
from lazarus_probe.statistics.probes.linear import solve_shifted


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression.

    Attributes:
        weights: (D, C), or (D, 1) of the second of two classes.
        intercepts: (C,), or (1,).
    """

    weights: Floats
    intercepts: Floats

    def scores(self, features: Floats) -> Floats:
        """(N, C) of each class, up to a constant in each row."""
        return _for_all(features @ self.weights + self.intercepts)

    def probabilities(self, features: Floats) -> Floats:
        """(N, C) of each class."""
        return _softmax(self.scores(features))[0]


def fit_logistic(
    features: Floats,
    codes: Ints,
    strength: float,
    shares: Floats | None = None,
    tolerance: float = 1e-3,
) -> Logistic:
    """Fit with an L2 penalty, as `sklearn.linear_model.LogisticRegression(C=strength)` does.

    Args:
        features: (N, D) with columns of mean 0.
        codes: (N,) classes, each of 0 to C - 1 at least once, C at least 2.
        strength: the inverse penalty.
        shares: (C,) how much each class is to weigh; as many as it has rows, if left out.
        tolerance: the largest slope of the mean loss at which it stops.
    """
    from scipy.optimize import fmin_l_bfgs_b

    indicators = indicate(codes)
    here = indicators.mean(0)
    weights = np.ones(len(codes)) if shares is None else (shares / here)[codes]
    start = _first_step(features, indicators, strength)
    loss = _loss(features, indicators, weights / weights.sum(), 1 / (strength * weights.sum()))
    optimum = fmin_l_bfgs_b(loss, start.ravel(), pgtol=tolerance, factr=64, maxls=50)[0].reshape(start.shape)
    return Logistic(optimum[:-1], optimum[-1])


def indicate(codes: Ints) -> Floats:
    """(N, C) 1 in the column of each row's class."""
    return np.eye(int(codes.max()) + 1)[codes]


def curvature(classes: int) -> float:
    """The inverse of the second derivative of the loss in a class's score, where all classes are as likely."""
    return 4.0 if classes == 2 else float(classes)


def _loss(
    features: Floats, indicators: Floats, weights: Floats, penalty: float
) -> Callable[[Floats], tuple[float, Floats]]:
    """The mean loss and its slope, as a function of weights with the intercepts as their last row, flat."""
    columns = _columns(indicators)

    def at(flat: Floats) -> tuple[float, Floats]:
        parameters = flat.reshape(-1, columns)
        slopes = parameters[:-1]
        scores = _for_all(features @ slopes + parameters[-1])
        probabilities, logarithm = _softmax(scores)
        value = float(weights @ (logarithm - (scores * indicators).sum(1))) + penalty / 2 * float(
            np.vdot(slopes, slopes)
        )
        away = (weights[:, None] * (probabilities - indicators))[:, -columns:]
        return value, np.concatenate([features.T @ away + penalty * slopes, away.sum(0)[None]]).ravel()

    return at


def _first_step(features: Floats, indicators: Floats, strength: float) -> NDArray[np.float64]:
    """Where Newton's method leads from no weights: (D + 1, columns), the intercepts last."""
    classes, share = indicators.shape[1], indicators.mean(0)
    away = curvature(classes) * (indicators - share)
    shift = curvature(classes) / strength
    if features.shape[1] < len(features):
        steps = solve_shifted(features.T @ features, shift, features.T @ away)
    else:
        steps = features.T @ solve_shifted(features @ features.T, shift, away)
    intercepts = np.log(share) - (np.log(share[0]) if classes == 2 else 0.0)
    return np.concatenate([steps, intercepts[None]])[:, -_columns(indicators) :]


def _columns(indicators: Floats) -> int:
    """How many columns of weights are free: one for two classes."""
    return 1 if indicators.shape[1] == 2 else indicators.shape[1]


def _for_all(scores: Floats) -> Floats:
    """The scores of all classes: of two, the first has none of its own."""
    return np.concatenate([np.zeros_like(scores), scores], axis=1) if scores.shape[1] == 1 else scores


def _softmax(scores: Floats) -> tuple[Floats, Floats]:
    """Probabilities (N, C), and the logarithm of what they were divided by (N,)."""
    top = scores.max(1, keepdims=True)
    powers = np.exp(scores - top)
    total = powers.sum(1, keepdims=True)
    return powers / total, (np.log(total) + top)[:, 0]
