"""The best of several pictures, and people's votes, in every report."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.comparison import ComparisonTables, compare
from harness.comparison.best_of import Rival
from harness.core.call import Call
from harness.reporting import brief, console_tables, write_report
from harness.reporting.cheapest_rival import rival_lines, rival_table
from harness.reporting.people import agreement_lines, agreement_table
from harness.store.comparison_tables import BEST_OF, load_comparison
from tests.comparison.synthetic_runs import Item, make_run
from tests.reporting.examples import COST, GOOD


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[ComparisonTables, str]:
    """A candidate of 30 evaluations against the best of 2 of 12; people agree on 14 of 16."""
    folder = tmp_path_factory.mktemp("rival")
    runs = []
    for name, nfe, lead in (("zigzag", 30, 0.1), ("ddim", 12, 0.0)):
        items = [
            Item(f"p{p}", s, {"good": 0.01 * p + 0.3 * (s == p % 3) + lead, "cost": 1.0 + 0.1 * s})
            for p in range(16)
            for s in range(3)
        ]
        run = make_run(str(folder / name), items, Call(name, {"steps": 6}), {"cond": nfe}, side=8)
        run.set_cost({"picture": 1e9 * nfe, "evaluation": 1e9, "calls": nfe})
        runs.append(run)
    votes = {(f"p{p}/0", f"p{p}/0"): float(p > 1) for p in range(16)}
    out = str(folder / "out")
    rival = Rival(runs[1], COST, {"cost": "cost is the verifier itself"}, 4e9)
    found = compare(
        runs[0], {"own": runs[1]}, [GOOD, COST], out, rival=rival, opinions={"own": votes}
    )
    return found, out


def test_the_pair_page_and_markdown_tell_both(told: tuple[ComparisonTables, str]) -> None:
    found, out = told
    page = Path(write_report(found, out)).read_text()
    markdown = Path(out, "report.md").read_text()
    for text in (page, markdown):
        assert "best of 2 of ddim (6 steps)" in text
        assert "not judged: cost is the verifier itself" in text
        assert "Against the best of several pictures" in text
        assert "Do people agree?" in text
    assert (Path(out) / "report/tables/agreement.csv").read_text().count("\n") == 3
    assert markdown.startswith("# zigzag beats ddim on Goodness")
    assert write_report(load_comparison(out), out)
    assert Path(out, "report.md").read_text() == markdown


def test_the_table_has_rate_share_n_and_evaluations_of_either_side(
    told: tuple[ComparisonTables, str],
) -> None:
    table = rival_table(told[0])
    assert table is not None
    row = dict(zip(table.columns, table.groups[0].rows[0], strict=True))
    result = told[0].rate(BEST_OF, "good")
    assert (row["NFE"], row["NFE of best"], row["verdict"]) == ("30", "24", result.verdict)
    assert row["pairs (prompts)"] == "48 (16)"
    share = (result.wins + result.losses) / result.pairs
    assert row["decided"].startswith(f"{100 * share:.1f}")
    assert row["winning rate"].count("[") == 1


def test_what_is_left_over_and_what_choosing_costs_is_said(
    told: tuple[ComparisonTables, str],
) -> None:
    (line,) = rival_lines(told[0])
    assert "of every 2 pictures of a prompt" in line
    assert "Roughness keeps one (16 pictures kept, 16 pictures in no group)" in line
    assert (
        "Choosing costs 8\N{NO-BREAK SPACE}G multiply-accumulates, which are counted; with them"
        in line
    )
    assert "1.07 times as much" in line  # 2 * (12 + 4) G against 30 G
    facts = told[0].runs[BEST_OF]
    assert facts.choice is not None
    choice = replace(facts.choice, macs=None, reason="no weights", left_over=0)
    unknown = replace(told[0], runs={**told[0].runs, BEST_OF: replace(facts, choice=choice)})
    (line,) = rival_lines(unknown)
    assert "(16 pictures kept). What choosing costs is not known (no weights)" in line
    assert rival_lines(told[0].without(BEST_OF)) == []
    assert rival_table(told[0].without(BEST_OF)) is None


def test_the_terminal_shows_both(told: tuple[ComparisonTables, str]) -> None:
    console = Console(file=io.StringIO(), width=200)
    for part in console_tables(*told):
        console.print(part)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "zigzag (6 steps) vs best of 2 of ddim (6 steps)" in text
    assert "best of N: " in text
    assert "prefers the image that people prefer in" in text
    assert "; it beats the best of 2 of ddim (6 steps)" in brief(*told).title


def test_agreement_is_told_with_interval_n_and_verdicts(told: tuple[ComparisonTables, str]) -> None:
    table = agreement_table(told[0])
    assert table is not None
    good, cost = (dict(zip(table.columns, row, strict=True)) for row in table.groups[0].rows)
    assert good["agreement"].startswith("87.5")
    assert good["pairs (prompts)"] == "16 (16)"
    assert (good["metric's verdict"], good["people's, too"]) == ("wins", "yes")
    assert cost["metric ties"] == "16"
    assert cost["people's, too"] == "open: metric undecided"
    assert table.groups[0].title.endswith("People: wins")
    (line,) = agreement_lines(told[0])
    assert "its verdict is wins, the people's wins" in line
    assert agreement_table(replace(told[0], agreements=[])) is None


def test_pictures_of_the_rival_are_not_in_the_viewer(told: tuple[ComparisonTables, str]) -> None:
    page = Path(write_report(*told)).read_text()
    assert '"comparisons": [{"name": "own"' in page
    assert '"name": "best of N"' not in page
