"""Comparisons made by hand, with prompts that attack the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.comparison import (
    ComparisonTables,
    MetricInfo,
    RunScore,
    compare,
    load_comparison,
)
from harness.comparison.guidance_curve import with_curve
from harness.core.call import Call
from harness.store.comparison_tables import Primary
from harness.store.curve_rule import GUIDANCE_CURVE
from tests.comparison.synthetic_runs import Item, make_run

ATTACK = "<script>alert(1)</script> & \"q\" 'a' --> </script><!-- | * `"
LONG = "a very long prompt, " * 250
GOOD = MetricInfo("good", "higher", "Goodness")
COST = MetricInfo("cost", "lower", "Roughness")
FD = MetricInfo("fd", "lower", "Frechet distance")


def items(shift: float, failing: bool = False) -> list[Item]:
    texts = [ATTACK, LONG, *(f"shape {i}" for i in range(22))]
    return [
        Item(
            f"p{i}",
            0,
            {"good": 0.3 + 0.02 * i % 0.3 + shift * (i != 5), "cost": 1.0 - 0.1 * (i % 3) * shift},
            prompt=text,
            category="<b>bold</b>" if i % 2 else "plain | pipe",
            failed="not finite" if failing and i == 7 else None,
        )
        for i, text in enumerate(texts)
    ]


def fair_comparison(folder: Path) -> ComparisonTables:
    """The four fair comparisons, and three points of the guidance curve beside them."""
    a = make_run(str(folder / "a"), items(0.2), Call("zigzag", {"steps": 5}), guidance=9.0)
    a.set_cost({"picture": 3e9, "evaluation": 1e8, "calls": 17, "sigma_max": 14.6, "sigma_min": 0})

    def ddim(steps, weight, shift):
        call = Call("ddim", {"steps": steps, "guidance": weight})
        path = str(folder / f"ddim-{steps}-{weight}")
        run = make_run(path, items(shift), call, guidance=weight)
        run.set_cost({"picture": 2e8 * steps, "evaluation": 1e8})
        return run

    grid = {
        "own": ddim(5, 5.0, 0.0),
        "matched cost": ddim(15, 5.0, 0.1),
        "matched guidance": ddim(5, 9.0, 0.1),
        "matched cost and guidance": None,
    }
    along = {f"guidance {w:g}": ddim(15, w, 0.02 * w) for w in (1.0, 4.0, 12.0)}
    scores = [RunScore(r, FD, 30.0, 24, 28.0, 33.0) for r in ("candidate", *along)]
    compare(a, along, [GOOD, COST], str(folder / "a/curve"), scores, finish=with_curve)
    absent = {"matched cost and guidance": "ddim cannot"}
    return compare(a, grid, [GOOD, COST], str(folder / "a"), absent=absent)


def declared_curve(
    comparison: ComparisonTables, folder: Path
) -> tuple[ComparisonTables, ComparisonTables]:
    """`fair_comparison` in its candidate's folder, as if its guidance curve had been declared."""
    along = load_comparison(str(folder / "curve"))
    rows = [row for row in along.results if row.comparison != GUIDANCE_CURVE]
    primary = Primary("good", GUIDANCE_CURVE)
    along = with_curve(replace(along, results=rows, primary=primary, curve=[]))
    along.save(str(folder / "curve"))
    return replace(comparison, primary=primary), along
