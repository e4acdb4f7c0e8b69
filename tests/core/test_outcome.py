"""The outcome of a pair."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.outcome import LOSS, OUTCOMES, TIE, WIN, balance, outcome, turned


def test_who_is_ahead_wins_and_a_tie_is_one_half():
    found = outcome([0.1, 0, -3, np.inf, -np.inf, np.nan])
    assert found[:5].tolist() == [WIN, TIE, LOSS, WIN, LOSS] == [1, 0.5, 0, 1, 0]
    assert np.isnan(found[5])


@pytest.mark.parametrize("ahead", [-2.0, 0.0, 0.5])
def test_the_other_side_sees_the_rest(ahead):
    (ours,), (theirs,) = outcome([ahead]), outcome([-ahead])
    assert turned(ours) == theirs
    assert ours + theirs == WIN + LOSS
    assert balance(ours) == -balance(theirs) == np.sign(ahead)
    assert ours in OUTCOMES
