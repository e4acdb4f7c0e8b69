"""The outcome of a pair: 1 where the candidate's image is better, 0 the baseline's, 1/2 a tie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WIN, TIE, LOSS = 1.0, 0.5, 0.0
OUTCOMES = (WIN, TIE, LOSS)


def outcome(ahead: Any) -> NDArray[np.float64]:
    """Outcomes [n] of the candidate's leads [n], negative where behind; NaN where not known."""
    return LOSS + (np.sign(np.asarray(ahead, np.float64)) + 1) * TIE


def balance(outcomes: Any) -> Any:
    """Outcomes rescaled to [-1, 1]: 1 for a win, 0 for a tie, -1 for a loss."""
    return 2 * outcomes - 1


def turned(outcomes: Any) -> Any:
    """The outcomes of the same pairs with candidate and baseline exchanged."""
    return WIN - outcomes
