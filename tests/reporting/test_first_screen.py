"""The first screen of a pair's report: forest plot, three pairs, and figures to take elsewhere."""

from __future__ import annotations

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from harness.comparison import ComparisonTables, load_comparison
from harness.reporting import words, write_report
from harness.reporting.figures import category_map, winning_rate_bars
from harness.reporting.first_screen import first_screen
from harness.reporting.forest import Forest, forest
from harness.reporting.forest_figure import exports
from harness.reporting.shown_pairs import shown_pairs
from harness.reporting.three_pairs import three_pairs
from harness.reporting.viewer import viewer_data
from harness.store.curve_rule import GUIDANCE_CURVE
from tests.reporting.examples import declared_curve, fair_comparison


@pytest.fixture
def fair(tmp_path: Path) -> ComparisonTables:
    return fair_comparison(tmp_path)


@pytest.fixture
def along(fair: ComparisonTables, tmp_path: Path) -> ComparisonTables:
    return load_comparison(str(tmp_path / "a/curve"))


def test_the_forest_has_a_row_for_each_comparison(
    fair: ComparisonTables, along: ComparisonTables
) -> None:
    plot = forest(fair, along)
    names = ["own settings", "matched cost", "matched guidance", words.BEST_GUIDANCE]
    assert [row.names[0] for row in plot.rows] == names
    assert [row.evaluations for row in plot.rows] == 4 * ["40 : 40"]
    assert plot.rows[1].about == "ddim, 15 steps, guidance 5"
    assert re.fullmatch(r"ddim, 15 steps, guidance \d+ \(hardest of 3\)", plot.rows[-1].about)
    assert plot.rows[0].result == fair.decided("own")
    assert plot.rows[-1].result == along.decided(GUIDANCE_CURVE)
    assert "Goodness\xa0↑ (higher is better)" in plot.note
    assert "interval over prompts" in plot.note
    (group,) = plot.table.groups
    assert [row[-1] for row in group.rows] == [row.result.verdict for row in plot.rows]


def test_all_intervals_are_on_the_axis(fair: ComparisonTables) -> None:
    plot = forest(fair)
    places = [plot.place(end) for row in plot.rows for end in (row.result.winning_rate.ends or ())]
    assert len(places) == 6
    assert 0 < min(places) < max(places) < 100
    assert plot.place(0.5) == 50
    assert (plot.place(0.5 - plot.reach), plot.place(0.5 + plot.reach)) == (0, 100)


def test_the_declared_comparison_is_marked_and_looked_at(
    fair: ComparisonTables, tmp_path: Path
) -> None:
    fair, along = declared_curve(fair, tmp_path / "a")
    plot = forest(fair, along)
    assert [row.result.primary for row in plot.rows] == [False, False, False, True]
    assert "(declared)" in plot.table.groups[0].rows[-1][0]
    assert "(best of 3)" in plot.rows[-1].about
    shown = shown_pairs(fair, along)
    assert shown.opens == GUIDANCE_CURVE
    data = viewer_data(shown)
    assert data is not None
    assert data["opens"] == GUIDANCE_CURVE
    first = first_screen(fair, along, shown)
    assert first.headline.startswith("zigzag")
    assert "the best guidance of ddim" in first.headline
    assert first.seen.startswith(words.BEST_GUIDANCE)
    assert forest(fair).note.endswith("Nothing is declared: all is exploratory.")


def test_three_pairs_are_the_ends_and_a_tie(fair: ComparisonTables) -> None:
    win, tie, loss = three_pairs(shown_pairs(fair, None))
    pairs = fair.pairs[(fair.pairs["comparison"] == "own") & (fair.pairs["metric"] == "good")]
    ahead = pairs["a_value"] - pairs["b_value"]
    best = pairs.loc[ahead.idxmax()]
    assert [side.score for side in win.sides] == [
        words.number(best["a_value"]),
        words.number(best["b_value"]),
    ]
    assert [side.name for side in win.sides] == ["zigzag", "ddim"]
    assert len(win.prompt) <= 110
    assert all((side.address or "").startswith("data:image/png") for side in win.sides)
    assert len({side.score for side in tie.sides}) == 1
    assert (loss.kind, loss.sides) == ("largest loss", ())  # nothing is lost here


def test_each_half_of_the_prompts_has_the_baseline_that_it_is_judged_by(
    along: ComparisonTables, fair: ComparisonTables
) -> None:
    against = ["guidance 4", "guidance 12"]
    rule = replace(along.curve[0], crossed=True, against=against)
    shown = shown_pairs(fair, replace(along, curve=[rule]))
    assert sorted(shown.weights.values()).count("guidance 4") == 12  # of 24 prompts
    stored = along.pairs.set_index(["comparison", "metric", "item_id"])["b_value"]
    rows = shown.tables.pairs[shown.tables.pairs["comparison"] == GUIDANCE_CURVE]
    assert len(rows) == 48  # on two metrics
    for row in rows.itertuples():
        assert row.b_value == stored[shown.weights[row.item_id], row.metric, row.item_id]
        facts = along.runs[shown.weights[row.item_id]]
        assert shown.facts(GUIDANCE_CURVE, row.item_id) == facts
    data = viewer_data(shown)
    assert data is not None
    named = [pair["names"].get(GUIDANCE_CURVE) for pair in data["pairs"]]
    assert named.count("ddim(steps=15, guidance=4.0)") == 12  # the others: as the role's run
    assert all(pair["images"][GUIDANCE_CURVE] for pair in data["pairs"])


def test_cross_fitted_pairs_are_those_that_were_judged(
    fair: ComparisonTables, tmp_path: Path
) -> None:
    fair, along = declared_curve(fair, tmp_path / "a")
    judged = along.pairs[along.pairs["comparison"] == GUIDANCE_CURVE].set_index("item_id")
    shown = shown_pairs(fair, along).tables.pairs
    shown = shown[(shown["comparison"] == GUIDANCE_CURVE) & (shown["metric"] == "good")]
    assert len(judged) == 24
    assert shown.set_index("item_id")["b_value"].to_dict() == judged["b_value"].to_dict()


def test_without_pictures_the_rest_is_there(fair: ComparisonTables, tmp_path: Path) -> None:
    for run in fair.runs.values():
        shutil.rmtree(Path(run.path) / "images")
        (Path(run.path) / "run.json").unlink()
    page = Path(write_report(fair, str(tmp_path / "b"))).read_text()
    assert 'class="three"' not in page
    assert page.count('class="interval') == 3


def test_figures_are_understood_without_the_page(fair: ComparisonTables, tmp_path: Path) -> None:
    path = Path(write_report(fair, str(tmp_path / "a")))
    folder = path.parent / "figures"
    for name in ("talk", "column"):
        text = re.sub(r"<[^>]+>", " ", (folder / f"{name}.svg").read_text())
        text = " ".join(text.replace("&#8593;", "↑").split())
        for part in (
            "Zigzag",
            f"Model {fair.candidate.model}",
            "24 prompts",
            "24 pairs",
            "Goodness ↑",
            "higher is better",
            "95 % interval",
            "over prompts",
            "own settings",
            words.rate(fair.decided("own").winning_rate).replace("\xa0", " "),
        ):
            assert part in text, f"{part} in {name}"
    with Image.open(io.BytesIO((folder / "talk.png").read_bytes())) as png:
        assert png.size == (1920, 1080)
    assert (folder / "column.pdf").read_bytes().startswith(b"%PDF")
    width = re.search(r'width="([\d.]+)pt"', (folder / "column.svg").read_text())
    assert width is not None
    assert 230 < float(width[1]) < 252  # a column is about 3.3 inches wide
    markdown = (tmp_path / "a/report.md").read_text()
    assert "(report/figures/talk.png)" in markdown
    assert "(report/figures/column.pdf)" in markdown


def test_a_talk_is_16_to_9_however_much_is_compared(fair: ComparisonTables) -> None:
    plot = forest(fair)
    many = Forest(plot.title, plot.rows * 5, plot.note)
    talk, column = exports(many, "A title", "About it")
    assert talk.figure.get_size_inches() == pytest.approx((40 / 3, 7.5))
    assert column.figure.get_size_inches()[1] > 5
    axes, *_ = talk.figure.axes
    bottom = axes.get_position().y0
    foot = min(text.get_position()[1] for text in talk.figure.texts)
    assert bottom > foot > 0  # the small print is below the plot and on the figure


def test_rates_without_a_value_have_their_reason_and_no_mark(fair: ComparisonTables) -> None:
    first, *others = forest(fair).rows
    none = replace(first.result.winning_rate, value=None, low=None, high=None, reason="no pairs")
    undefined = replace(first, result=replace(first.result, winning_rate=none, verdict="undefined"))
    plot = Forest("Title", [undefined, *others], "Note")
    talk, _ = exports(plot, "A title", "About it")
    assert "undefined: no pairs" in [text.get_text() for text in talk.figure.texts]
    assert len(talk.figure.axes[0].lines) == 1 + 2 * len(others)


def test_every_line_of_a_label_is_aligned_by_itself(fair: ComparisonTables) -> None:
    metric = replace(fair.metrics[0], title="A metric of a very long and quite unwieldy name")
    long = replace(fair, metrics=[metric, *fair.metrics[1:]])
    texts = [text.get_text() for text in winning_rate_bars(long).figure.axes[0].texts]
    assert "A metric of a very" in texts
    drawn = category_map(fair, fair.metrics[0])
    assert drawn is not None
    assert not any("\n" in text.get_text() for text in drawn.figure.axes[0].texts)
