"""The interval of a mean that holds whenever one looks, so that one may stop looking when one likes.

By the bets of `statistics.betting` (Waudby-Smith & Ramdas 2024, arXiv:2010.09686).
"""

from __future__ import annotations

from math import log

import numpy as np

from lazarus_probe.statistics.betting import CASH, STAKES
from lazarus_probe.statistics.clusters import Floats
from lazarus_probe.statistics.intervals import checked_level

GRID = 399  # means that a sequence bets on


class MeanSequence:
    """The interval of a bounded mean after every further score: all of them hold at once, at the given level.

    One may look after each score and stop when one likes. For every mean on a grid two bets run, that the true mean is
    above it and that it is below; a mean is ruled out for good when the wealth of a bet on one side reaches 2/alpha.
    Fixed intervals of the same scores are narrower by about a quarter, but hold only where nobody looked before.

    Attributes:
        low: lower end so far, in the units of the scores; never falls.
        high: upper end; never rises.
    """

    def __init__(self, least: float = 0.0, most: float = 1.0, level: float = 0.95) -> None:
        if not least < most:
            raise ValueError(f"the range is {least:g} to {most:g}: give a lowest value below the highest")
        self.least, self.most, self.low, self.high = least, most, least, most
        self._means = np.linspace(0, 1, GRID + 2)[1:-1]
        self._enough = log(2 / (1 - checked_level(level)))
        self._bets = np.zeros(
            (2, len(STAKES), GRID)
        )  # log wealth of each stake, for scores and for 1 less them

    def add(self, score: float) -> None:
        """Take a further score, independent of those before.

        Raises:
            ValueError: a score outside the range, or not finite.
        """
        share = (score - self.least) / (self.most - self.least)
        if not 0 <= share <= 1:
            raise ValueError(f"the score is {score:g}: give one from {self.least:g} to {self.most:g}")
        for side, value in enumerate((share, 1 - share)):
            with np.errstate(divide="ignore"):
                self._bets[side] += np.log1p(np.multiply.outer(STAKES, (value - self._means) / self._means))
            beaten = self._means[self._wealth(side) >= self._enough]
            if len(beaten):
                end = (self.most - self.least) * float(beaten.max())
                self.low, self.high = (
                    (max(self.low, self.least + end), self.high)
                    if side == 0
                    else (self.low, min(self.high, self.most - end))
                )

    def _wealth(self, side: int) -> Floats:
        """(GRID,) the log wealth of all strategies together: each stake with each share of cash."""
        stakes = np.logaddexp.reduce(self._bets[side], axis=0) - log(len(STAKES))
        cash = float(np.mean(CASH))
        return np.asarray(np.logaddexp(log(cash), log(1 - cash) + stakes))
