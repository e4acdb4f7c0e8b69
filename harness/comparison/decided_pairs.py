"""The share of wins among the pairs that are decided, which ties do not draw towards one half."""

from __future__ import annotations

import numpy as np

from harness.comparison.score_test import ScoreTest
from harness.comparison.statistics import Codes, Floats, prompt_means, scored
from harness.core.outcome import LOSS, WIN
from harness.store.results import Estimate

_PSEUDO_PROMPTS = 0.25


def decided_rate(outcomes: Floats, prompts: Codes) -> Estimate:
    """Wins over wins and losses, in [0, 1], every prompt of the same weight; ties do not count.

    `outcomes` [n], `prompts` [n] codes >= 0. The mean over prompts of their shares of wins, over
    that of their shares of decided pairs. The interval is Wilson's with Student's t over the
    prompts with a decided pair, which `n` counts; its variance is that of a ratio, linearised, with
    a quarter of a pseudo-prompt as in `statistics.score`. Null where every pair ties.
    """
    if not len(outcomes):
        return Estimate(None, None, None, 0, "no pairs")
    wins, _ = prompt_means((outcomes == WIN).astype(np.float64), prompts)
    losses, _ = prompt_means((outcomes == LOSS).astype(np.float64), prompts)
    known = (decided := wins + losses) > 0
    if (count := int(known.sum())) == 0:
        return Estimate(None, None, None, 0, "every pair ties")
    share = float(wins.sum() / decided.sum())
    if count == 1:
        return Estimate(share, None, None, 1, "decided in one prompt: no interval")
    rest = wins[known] - share * decided[known]
    between = count * float((rest**2).sum()) / float(decided.sum()) ** 2
    pseudo = _PSEUDO_PROMPTS / count * (share**2 + (1 - share) ** 2) / 2
    one = share * (1 - share)
    test = ScoreTest(share, 1 - share, (between + pseudo) / (one + pseudo) / count)
    found = scored(test, count, count - 1)
    return Estimate(found.value, found.low, found.high, count)
