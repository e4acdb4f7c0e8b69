"""Statistics of paired comparisons: winning rates, mean differences, intervals, costs."""

from harness.comparison.comparing import compare, tabulate
from harness.store.comparison_tables import (
    ComparisonTables,
    MetricInfo,
    Primary,
    RunScore,
    load_comparison,
)

__all__ = [
    "ComparisonTables",
    "MetricInfo",
    "Primary",
    "RunScore",
    "compare",
    "load_comparison",
    "tabulate",
]
