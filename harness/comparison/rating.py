"""The numbers of one metric's pairs: winning rate, difference, effect sizes, with intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from harness.comparison import effects, statistics, two_way
from harness.comparison.decisions import verdict
from harness.comparison.pairs import Joined
from harness.comparison.sample_size import detectable
from harness.comparison.statistics import Codes, Estimate, Floats, Mask
from harness.store.comparison_tables import MetricInfo


@dataclass(frozen=True)
class Pairs:
    """Some pairs as arrays [n]; `outcome` is nan where a pair is left out (`reasons` says why).

    `shared`: the noise depends on the seed alone, so that prompts share it. `crossed`: all pairs of
    a prompt's images, whose noise differs.
    """

    outcome: Floats
    a: Floats
    b: Floats
    a_failed: Mask
    b_failed: Mask
    prompts: Codes
    seeds: Codes
    reasons: pd.Series
    shared: bool
    crossed: bool

    @classmethod
    def of(cls, frame: pd.DataFrame, joined: Joined, shared: bool) -> Pairs:
        """All pairs of a table as PAIRS, which are those of `joined` in order."""
        return cls(
            frame["outcome"].to_numpy(float),
            frame["a_value"].to_numpy(float),
            frame["b_value"].to_numpy(float),
            frame["a_failed"].notna().to_numpy(bool),
            frame["b_failed"].notna().to_numpy(bool),
            joined.prompts,
            joined.seeds,
            frame["left_out"],
            shared and not joined.crossed,
            joined.crossed,
        )

    def part(self, kept: Mask) -> Pairs:
        return Pairs(
            self.outcome[kept],
            self.a[kept],
            self.b[kept],
            self.a_failed[kept],
            self.b_failed[kept],
            self.prompts[kept],
            self.seeds[kept],
            self.reasons[kept],
            self.shared,
            self.crossed,
        )

    @property
    def binary(self) -> bool:
        """Whether all scores are 0 or 1."""
        known = np.concatenate([self.a, self.b])
        known = known[~np.isnan(known)]
        return bool(len(known)) and bool(((known == 0) | (known == 1)).all())


def rates(
    frame: pd.DataFrame,
    joined: Joined,
    metric: MetricInfo,
    shared: bool,
    role: str,
    margin: float | None,
) -> Iterator[dict[str, Any]]:
    """Rows of the winning rates (see RATES): over all, then by category in alphabetical order.

    Categories are always exploratory.
    """
    everything = Pairs.of(frame, joined, shared)
    common = {
        "comparison": frame["comparison"].iloc[0],
        "metric": metric.name,
        "direction": metric.direction,
    }
    yield {
        **common,
        **rate(everything, metric, margin),
        "role": role,
        "a_unpaired": joined.a_alone,
        "b_unpaired": joined.b_alone,
    }
    for code, category in enumerate(joined.category_names):
        part = everything.part(joined.categories == code)
        yield {
            **common,
            **rate(part, metric, margin),
            "category": category,
            "role": "exploratory",
            "a_unpaired": 0,
            "b_unpaired": 0,
        }


def rate(pairs: Pairs, metric: MetricInfo, margin: float | None = None) -> dict[str, Any]:
    counts = ~np.isnan(pairs.outcome)
    outcome = pairs.outcome[counts]
    found, p_value, p_method = _winning_rate(pairs.part(counts))
    seeds = statistics.distinct(pairs.seeds[counts])
    return {
        "prompts": statistics.distinct(pairs.prompts[counts]),
        "seeds": seeds,
        "pairs": len(outcome),
        "wins": int((outcome == 1).sum()),
        "ties": int((outcome == 0.5).sum()),
        "losses": int((outcome == 0).sum()),
        "a_failed": int(pairs.a_failed.sum()),
        "b_failed": int(pairs.b_failed.sum()),
        "left_out": int((~counts).sum()),
        "winning_rate": found.value,
        "low": found.low,
        "high": found.high,
        "effective": found.effective,
        "p_value": p_value,
        "p_method": p_method,
        "verdict": verdict(found, p_value, margin),
        "detectable": found.effective and detectable(found.effective, found.prompts - 1),
        "reason": _why(found, pairs),
        "warning": two_way.seed_warning(found.prompts, seeds) if pairs.shared and seeds else None,
        **_difference(pairs, metric),
        **_effects(pairs, 1.0 if metric.direction == "higher" else -1.0),
    }


def _winning_rate(pairs: Pairs) -> tuple[Estimate, float | None, str]:
    """For pairs that count, with p-value and its method."""
    if pairs.shared:
        return two_way.shared_rate(pairs.outcome, pairs.prompts, pairs.seeds)
    found = statistics.winning_rate(pairs.outcome, pairs.prompts)
    return found, *statistics.sign_flip_p(pairs.outcome, pairs.prompts)


def _difference(pairs: Pairs, metric: MetricInfo) -> dict[str, Any]:
    """Mean difference over pairs with a score on both sides.

    Of a binary metric it is the risk difference: half of it and one half is a winning rate, whose
    interval and p-value serve (McNemar's exact test for one seed; with more, that by prompts).
    """
    gap = pairs.a - pairs.b
    scored = ~np.isnan(gap)
    gap, both = gap[scored], pairs.part(scored)
    row: dict[str, Any] = {"difference_pairs": len(gap), "binary": pairs.binary}
    if pairs.binary:
        moved = replace(both, outcome=(gap + 1) / 2)
        half, row["mcnemar_p"], _ = _winning_rate(moved)
        row |= {"only_a": int((gap == 1).sum()), "only_b": int((gap == -1).sum())}
        found = half.through(lambda rate: 2 * rate - 1)
    elif pairs.shared:
        found = two_way.shared_mean(gap, both.prompts, both.seeds)
    else:
        found = statistics.mean(gap, both.prompts)
    if metric.least is not None and metric.most is not None:
        found = found.within(metric.least - metric.most, metric.most - metric.least)
    return row | _estimate("difference", found, n="difference_prompts")


def _effects(pairs: Pairs, sign: float) -> dict[str, Any]:
    if pairs.crossed:
        none = Estimate(None, None, None, 0, "images are not paired")
        return {
            **_estimate("effect", none),
            **_estimate("correlation", none),
            **_estimate("crossed", none, n="crossed_prompts"),
        }
    scored = ~(np.isnan(pairs.a) | np.isnan(pairs.b))
    a, b, prompts = pairs.a[scored], pairs.b[scored], pairs.prompts[scored]
    counts = ~np.isnan(pairs.outcome)
    crossed = effects.unpaired_rate(
        pairs.a[counts],
        pairs.b[counts],
        pairs.a_failed[counts],
        pairs.b_failed[counts],
        sign,
        pairs.prompts[counts],
    )
    return {
        **_estimate("effect", _apart(effects.standardised_difference(a, b, prompts), pairs.shared)),
        **_estimate("correlation", _apart(effects.pair_correlation(a, b, prompts), pairs.shared)),
        **_estimate("crossed", _apart(crossed, pairs.shared), n="crossed_prompts"),
    }


def _apart(found: Estimate, shared: bool) -> Estimate:
    """Without its interval over prompts where prompts share their noise."""
    if not shared or found.low is None:
        return found
    reason = "no interval: prompts share their noise"
    return Estimate(found.value, None, None, found.prompts, reason)


def _estimate(name: str, found: Estimate, n: str | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: found.value,
        f"{name}_low": found.low,
        f"{name}_high": found.high,
        f"{name}_reason": found.reason,
    }
    return row | ({n: found.prompts} if n else {})


def _why(found: Estimate, pairs: Pairs) -> str | None:
    """The reason of a null; where every pair was left out, the commonest reason for that."""
    reasons = pairs.reasons.dropna()
    if found.value is None and len(reasons):
        return f"no pair has a score on both sides ({reasons.mode().iloc[0]})"
    return found.reason
