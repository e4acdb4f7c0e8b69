"""Power analysis: prompts and seeds needed to detect a winning rate, and the rate they detect.

Normal approximations (Student's quantiles) of the score test behind the intervals. An outcome is 1,
1/2 or 0: with a share t of ties its variance is (1 - t) / 4 - (rate - 1/2)^2, and seeds of a prompt
whose outcomes share the part s of that variance count 1 / (1 + (seeds - 1) s) each.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

from scipy import stats

from harness.core.errors import HarnessError

POWER = 0.8
_MOST_PROMPTS = 10_000_000


@dataclass(frozen=True)
class Plan:
    """Assumptions of a power analysis.

    `ties` is the share of tied pairs, `prompt_share` the prompts' part of the outcomes' variance
    (0: seeds are as good as prompts; 1: more seeds add nothing), `alpha` the two-sided level; all
    in [0, 1).
    """

    ties: float = 0.0
    prompt_share: float = 0.2
    alpha: float = 0.05

    def __post_init__(self) -> None:
        for name in ("ties", "prompt_share", "alpha"):
            value = getattr(self, name)
            if not 0 <= value < 1 or (name == "alpha" and value == 0):
                least = "above 0" if name == "alpha" else "at least 0"
                raise HarnessError(
                    f"{name.replace('_', ' ')} is {value:g}: it must be {least} and below 1"
                )

    def flips(self, prompts: int, seeds: int) -> float:
        """Effective sample size: fair coin flips worth the pairs of these prompts and seeds."""
        return prompts * seeds / (1 + (seeds - 1) * self.prompt_share) / (1 - self.ties)

    def power(self, rate: float, prompts: int, seeds: int) -> float:
        """Probability that a true winning rate is significantly unlike one half, in [0, 1]."""
        self._possible(rate)
        if prompts < 2:
            return 0.0
        away, n = abs(rate - 0.5), self.flips(prompts, seeds)
        null = math.sqrt(0.25 / n)
        true = math.sqrt(max(0.0, 0.25 - away**2 / (1 - self.ties)) / n)
        beyond = away - float(stats.t.ppf(1 - self.alpha / 2, prompts - 1)) * null
        if not true:
            return float(beyond > 0)
        return float(stats.t.cdf(beyond / true, prompts - 1))

    def prompts(self, rate: float, seeds: int) -> int:
        """The fewest prompts that detect this winning rate with 80 % power."""
        self._possible(rate)
        if rate == 0.5:
            raise HarnessError("a winning rate of one half is no difference: nothing can show it")
        every = range(2, _MOST_PROMPTS + 1)
        at = bisect_left(every, POWER, key=lambda prompts: self.power(rate, prompts, seeds))
        if at == len(every):
            raise HarnessError(
                f"a winning rate of {rate:g} takes more than {_MOST_PROMPTS:,} prompts"
            )
        return every[at]

    def rate(self, prompts: int, seeds: int) -> float | None:
        """The smallest winning rate above one half that these detect with 80 % power."""
        rate = detectable(self.flips(prompts, seeds), prompts - 1, self.alpha)
        return None if rate is None or rate > 1 - self.ties / 2 else rate

    def _possible(self, rate: float) -> None:
        most = 1 - self.ties / 2
        if not 1 - most <= rate <= most:
            raise HarnessError(
                f"a winning rate of {rate:g} is not possible with a share {self.ties:g} of ties: "
                f"it lies between {1 - most:g} and {most:g}"
            )


def detectable(n: float, degrees: float, alpha: float = 0.05) -> float | None:
    """The smallest winning rate above one half that n coin flips detect with 80 % power.

    Solves (rate - 1/2) sqrt(n) = t_{1 - alpha/2} / 2 + t_{0.8} sqrt(rate (1 - rate)). None where
    even a rate of one would be missed.
    """
    if degrees < 1:
        return None
    sure, often = (float(stats.t.ppf(q, degrees)) for q in (1 - alpha / 2, POWER))
    if n <= sure**2:
        return None
    under = n * sure**2 - (n + often**2) * (sure**2 - often**2)
    return 0.5 + (math.sqrt(n) * sure + math.sqrt(under)) / (2 * (n + often**2))
