"""The README is short, and its numbers and pictures are those of the published tables."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from harness.reporting import console_tables
from harness.store.comparison_tables import ComparisonTables, load_comparison
from harness.store.curve_rule import GUIDANCE_CURVE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PUBLISHED = ROOT / "results" / "published"
ANSWER = README.partition("## Why")[2].partition("## Install")[0]
AGAINST = ("1-z-sampling-vs-ddim", "2-z-sampling-vs-dpm-2m")
ROWS = {
    "own settings: {nfe} evaluations": "own",
    "equal guidance: {scale}": "matched guidance",
    "equal cost: {nfe} evaluations": "matched cost",
    "equal cost and guidance": "matched cost and guidance",
    "its best guidance at equal cost, *declared to decide*": GUIDANCE_CURVE,
    "the better of two of its pictures: {nfe} evaluations": "best of N",
}


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 1400


def told(folder: Path, role: str) -> tuple[str, str]:
    """A comparison's cell in the table, and what its row is about."""
    tables = load_comparison(str(folder))
    along = role == GUIDANCE_CURVE
    found = (load_comparison(str(folder / "curve")) if along else tables).decided(role)
    rate = found.winning_rate
    assert rate.value is not None
    assert rate.ends is not None
    low, high = (f"{100 * end:.1f}" for end in rate.ends)
    verdict = found.verdict if found.verdict == "undecided" else f"**{found.verdict}**"
    nfe = None if along else tables.runs[role].cost.nfe
    scale = tables.candidate.guidance.value
    label = next(label for label, its in ROWS.items() if its == role)
    return f"{100 * rate.value:.1f} [{low}, {high}] {verdict}", label.format(
        nfe=f"{nfe:.0f}" if nfe else "", scale=f"{scale:.1f}" if scale else ""
    )


@pytest.mark.parametrize("role", ROWS.values())
def test_the_table_is_the_published_one(role: str) -> None:
    cells = [told(PUBLISHED / "fair-shapes" / against, role) for against in AGAINST]
    (label,) = {label for _, label in cells}
    assert f"| {label} | {' | '.join(cell for cell, _ in cells)} |" in ANSWER


def test_the_words_about_it_hold_no_other_numbers() -> None:
    """Every number around the table is the benchmark's, a cell's, or of Restart's report."""
    words = re.sub(r"\]\(.*?\)|^\|.*$|DPM\+\+ 2M", "", ANSWER, flags=re.M)
    tables = load_comparison(str(PUBLISHED / "fair-shapes" / "6-restart-vs-dpm-2m"))
    restart = tables.decided("own").winning_rate.value
    assert restart is not None
    known = {f"{100 * restart:.1f}", "300", "2", "10", "5.5", "95"}
    asked = tables.runs["own"].sampler.params
    assert (asked["steps"], asked["guidance"]) == (10, 5.5)
    assert (tables.decided("own").pairs, tables.decided("own").winning_rate.n) == (600, 300)
    numbers = re.findall(r"\d+(?:\.\d+)?", words)
    assert [
        number for number in numbers if number not in known and f" {number} [" not in ANSWER
    ] == []


def written(svg: str) -> Iterator[str]:
    """The words of an SVG, without blanks: rich sets each run of a style on its own."""
    for text in re.findall(r"<text[^>]*>(.*?)</text>", svg, re.S):
        yield "".join(html.unescape(text).split())


def small() -> tuple[ComparisonTables, str]:
    folder = str(PUBLISHED / "shapes")
    return load_comparison(folder), folder


def test_the_terminal_shows_the_published_tables() -> None:
    console = Console(width=80, file=io.StringIO())
    tables, folder = small()
    console.print(*console_tables(tables, folder, verbose=False), sep="\n")
    assert isinstance(console.file, io.StringIO)
    expected = "".join(console.file.getvalue().split())
    shown = "".join(written((ROOT / "docs" / "pictures" / "terminal.svg").read_text()))
    assert expected in shown


def test_the_strip_has_three_wins_a_tie_and_three_losses() -> None:
    tables, _ = small()
    text = (ROOT / "docs" / "pictures" / "draw.py").read_text()
    prompts = re.findall(r'^    "(.*)",$', text.partition("PROMPTS = (")[2].partition(")")[0], re.M)
    assert tables.primary is not None
    pairs = tables.pairs[tables.pairs.comparison.eq(tables.primary.comparison)]
    pairs = pairs[pairs.metric.eq(tables.primary.metric)].set_index("prompt")
    assert pairs.outcome.loc[prompts].tolist() == [1.0] * 3 + [0.5] + [0.0] * 3
