"""The outcome of a pair: 1 where the candidate's image is better, 0 the baseline's, 1/2 a tie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WIN, TIE, LOSS = 1.0, 0.5, 0.0
OUTCOMES = (WIN, TIE, LOSS)


def outcome(ahead: Any) -> NDArray[np.float64]:
    """By how far the candidate is ahead [n], negative where behind; NaN where that is not known."""
    return LOSS + (np.sign(np.asarray(ahead, np.float64)) + 1) * TIE


def balance(outcomes: Any) -> Any:
    """1 for a win, 0 for a tie, -1 for a loss; a mean outcome in proportion."""
    return 2 * outcomes - 1


def turned(outcomes: Any) -> Any:
    """The same pairs from the baseline's side."""
    return WIN - outcomes
