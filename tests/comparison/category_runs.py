"""Comparisons made by hand whose verdict rests on one category, or on none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.comparison import ComparisonTables, MetricInfo, compare
from tests.comparison.synthetic_runs import Item, make_run

GOOD = MetricInfo("good", "higher", "Goodness", "", 0, 1)


def contest(
    tmp_path: Path, names: list[str], losing: str = "", noise_key: str = "prompt", **more: Any
) -> ComparisonTables:
    """20 prompts a category: all win but for those of one category, which lose."""

    def run(name, value):
        items = [
            Item(f"{c}{i}", 0, {"good": value(c, i)}, category=c) for c in names for i in range(20)
        ]
        return make_run(str(tmp_path / name), items, noise_key=noise_key)

    a = run("a", lambda c, i: 0.2 if c == losing else 0.5 + 0.2 * (i % 3 - 1))
    baselines = {"own": run("b", lambda c, i: 0.5)}
    return compare(a, baselines, [GOOD], str(tmp_path / "a"), **more)
