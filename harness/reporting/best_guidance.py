"""Where each metric finds the baseline's guidance best: one may be past its best, another not."""

from __future__ import annotations

from harness.reporting import words
from harness.reporting.curve import weight
from harness.store.comparison_tables import ComparisonTables


def best_by_metric(along: ComparisonTables) -> str:
    """A sentence on the baseline's guidance scale of the best score, by metric; empty without."""
    scales = {role: weight(along, role) for role in along.baselines}
    parts = []
    for metric in [*along.metrics, *along.set_metrics]:
        known = {
            role: metric.sign * value
            for role, scale in scales.items()
            if scale is not None
            and (score := along.scores(role).get(metric.name)) is not None
            and (value := score.value) is not None
        }
        if len(known) > 1:
            best = max(known, key=lambda role: known[role])
            parts.append(f"{words.scale(scales[best])} on {words.label(metric)}")
    if not parts:
        return ""
    return f"By these scores the baseline is best at a guidance scale of {words.joined(parts)}."
