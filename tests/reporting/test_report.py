import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from rich.console import Console

from harness.comparison import ComparisonTables, RunScore, compare, load_comparison
from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.reporting import (
    console_tables,
    figures,
    run_tables,
    tables,
    viewer,
    words,
    write_report,
)
from harness.reporting.best_guidance import best_by_metric
from harness.reporting.curve import against_best
from harness.reporting.headline import headline
from harness.reporting.markdown import escape
from harness.store.comparison_tables import Primary
from harness.store.run_facts import NominalScale
from tests.comparison.synthetic_runs import Item, make_run
from tests.conftest import harness
from tests.reporting.examples import (
    ATTACK,
    COST,
    FD,
    GOOD,
    LONG,
    declared_curve,
    fair_comparison,
    items,
)

EXPORTED = ("talk.svg", "talk.png", "column.svg", "column.pdf")


class Page(HTMLParser):
    """Checks that every element is closed, and keeps text, tags and addresses."""

    VOID = frozenset({"meta", "link", "br", "img", "input"})
    SVG_VOID = frozenset({"path", "use", "rect", "line"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.addresses.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.setdefault(self.open[-1] if self.open else "", []).append(data)


@pytest.fixture
def comparison(tmp_path) -> ComparisonTables:
    ddim = Call("ddim", {"steps": 20, "eta": 0.0})
    a = make_run(
        str(tmp_path / "a"), items(0.2, failing=True), Call("zigzag", {"steps": 20}), {"cond": 54}
    )
    own = make_run(str(tmp_path / "b"), items(0.0), ddim)
    matched = make_run(str(tmp_path / "c"), items(0.2), Call("ddim", {"steps": 27, "eta": 0.0}))
    scores = [RunScore("candidate", FD, 30.0, 23, 28.0, 33.0), RunScore("own", FD, 33.0, 24)]
    baselines = {"own": own, "matched cost": matched}
    commands = ["make bench SAMPLER=zigzag"]
    return compare(a, baselines, [GOOD, COST], str(tmp_path / "a"), scores, commands=commands)


@pytest.fixture
def page(comparison, tmp_path) -> str:
    path = write_report(comparison, str(tmp_path / "a"))
    assert path == str(tmp_path / "a" / "report" / "index.html")
    return (tmp_path / "a/report/index.html").read_text()


def embedded(page: str) -> dict:
    return json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', page, re.S)[1])


def test_the_page_is_whole_and_has_no_address_outside(page):
    parsed = Page(page)
    linked = {address for address in parsed.addresses if address.startswith("figures/")}
    assert linked == {f"figures/{name}" for name in EXPORTED}
    assert all(address.startswith(("#", "data:")) for address in {*parsed.addresses} - linked)
    assert not re.search(r"https?:|//\w+\.\w+|@import|url\((?!#)", page)
    assert parsed.tags.count("svg") == 3  # bars, and a map of categories a metric
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_prompts_and_categories_stay_text(page):
    parsed = Page(page)
    assert parsed.tags.count("script") == 2
    assert "b" in parsed.tags  # ours, in captions
    assert "bold" not in parsed.text.get("b", [])
    assert "alert(1)</script" not in page
    prompts = [pair["prompt"] for pair in embedded(page)["pairs"]]
    assert ATTACK in prompts
    assert LONG in prompts


def test_the_verdict_comes_first_in_words(page):
    parsed = Page(page)
    assert "".join(parsed.text["h1"]) == "zigzag beats ddim on Goodness at own settings"
    assert parsed.text["title"] == [f"{parsed.text['h1'][0]}; undecided at matched cost"]
    assert "Undecided at matched cost." in parsed.text["p"]
    lines = " ".join(Page(page).text["dd"])
    assert "95\u00a0% interval" in lines
    assert "24 pairs of 24 prompts" in lines
    assert "54 against 40" in lines


def test_every_winning_rate_has_n_direction_and_interval(comparison):
    for group in tables.winning_rates(comparison).groups:
        assert "NFE 54 vs 40" in group.title
        for metric, rate, _, n, *_ in group.rows:
            assert metric.endswith(("↑", "↓"))
            assert re.fullmatch(r"\d+\.\d\xa0% \[\d+\.\d, \d+\.\d\]", rate)
            assert n == "24 (24)"
    assert "A verdict takes" in tables.winning_rates(comparison).note


def test_set_scores_stand_with_n_interval_and_warning(comparison):
    table = tables.set_scores(comparison)
    assert table.groups[0].title == "Frechet distance\u00a0↓"
    assert table.groups[0].rows[0][1:3] == ["30.00 [28.00, 33.00]", words.NONE]
    assert table.groups[0].rows[0][table.columns.index("images")] == "23"
    assert "no interval" in table.groups[0].rows[1][1]
    assert table.groups[0].rows[1][2] == "not comparable: over 23 and 24 images"
    assert table.groups[0].rows[1][4] == "undefined"
    assert "not comparable" in table.note


def test_the_viewer_has_pictures_scores_and_failures(page):
    data = embedded(page)
    assert [run["role"] for run in data["runs"]] == ["candidate", "own", "matched cost"]
    assert data["total"] == len(data["pairs"]) == 24
    pair = next(pair for pair in data["pairs"] if pair["failed"])
    assert pair["failed"] == {"candidate": "not finite"}
    assert pair["images"]["candidate"] is None
    assert pair["images"]["own"].startswith("data:image/png;base64,iVBOR")
    assert pair["values"]["candidate"] == {"good": None, "cost": None}
    assert pair["outcomes"]["own"] == {"good": 0, "cost": 0}


def test_the_largest_wins_and_losses_are_chosen(comparison):
    chosen = viewer.choose(comparison, 4)
    pairs = comparison.pairs[comparison.pairs["comparison"] == "own"]
    good = pairs[pairs["metric"] == "good"].set_index("item_id")
    assert "p7/0" in chosen  # the failure is the largest loss
    gap = (good["a_value"] - good["b_value"]).max()
    assert good.loc[chosen[0], "a_value"] - good.loc[chosen[0], "b_value"] == pytest.approx(gap)
    everything = viewer.choose(comparison, 100)
    assert len(everything) == len(set(everything)) == 24


def test_large_pictures_shrink_and_broken_ones_are_none(tmp_path):
    from tests.comparison.synthetic_runs import picture

    large = viewer.data_address(picture("x", 0.5, side=1024))
    assert large.startswith("data:image/jpeg")
    assert len(large) < 60_000
    assert viewer.data_address(b"no picture") is None


def test_the_report_can_be_made_from_the_files_alone(page, tmp_path):
    write_report(load_comparison(str(tmp_path / "a")), str(tmp_path / "again"))
    again = (tmp_path / "again/report/index.html").read_text()
    assert again == page


def test_tables_without_their_runs_make_all_but_the_pictures(
    comparison, page, tmp_path, monkeypatch, capsys
):
    shutil.copytree(tmp_path / "a" / "compare", tmp_path / "far" / "away" / "compare")
    assert harness(monkeypatch, "report", str(tmp_path / "far" / "away")) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        f"No pairs are shown: none of the runs is where it was (the candidate: {tmp_path}" in said
    )
    bare = (tmp_path / "far" / "away" / "report" / "index.html").read_text()
    assert "No pairs are shown" in bare
    assert not any(part in bare for part in ("<script", "data:image", "noscript", 'id="stage"'))
    assert (tmp_path / "far/away/report.md").read_text() == (tmp_path / "a/report.md").read_text()
    other, *_, gone = comparison.runs
    kept = shutil.move(comparison.runs[gone].path, tmp_path / "moved")
    assert harness(monkeypatch, "report", str(tmp_path / "a")) == 0
    assert f"Pictures are missing: {words.run_names(comparison)[gone]} is not at" in " ".join(
        capsys.readouterr().out.split()
    )
    part = embedded((tmp_path / "a" / "report" / "index.html").read_text())
    images = [pair["images"] for pair in part["pairs"]]
    assert not any(each[gone] for each in images)
    assert any(each[other] for each in images)
    shutil.copytree(comparison.runs[other].path, comparison.runs[gone].path)  # another run there
    assert gone in viewer.gone(comparison)
    shutil.rmtree(comparison.runs[gone].path)
    shutil.move(kept, comparison.runs[gone].path)
    assert viewer.gone(comparison) == []


def test_markdown_holds_the_same_tables(page, tmp_path):
    text = (tmp_path / "a/report.md").read_text()
    assert text.startswith("# zigzag beats ddim on Goodness at own settings")
    assert "make bench SAMPLER=zigzag" in text
    assert "Winning rate by category on Goodness" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1
    assert "<b>" not in text


def test_markdown_escapes():
    assert escape("a|b *c*\n<d> & _e_") == r"a\|b \*c\* &lt;d&gt; &amp; \_e\_"


def test_the_terminal_shows_rate_counts_cost_and_verdict(comparison):
    console = Console(width=110, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in console_tables(comparison, ""):
        console.print(part)
    text = console.export_text()
    assert "NFE 54 vs 40, seconds an image 0.5 vs 0.5" in text
    assert re.search(
        r"Goodness\s↑\s+\d+\.\d\s% \[\d+\.\d, \d+\.\d\]\s+\d+ / \d+ / \d+\s+24 \(24\)", text
    )
    assert "own settings: wins. zigzag (20 steps) scores better than ddim (20 steps)" in text
    assert "Failed: 1 of 24 images of zigzag (20 steps)" in text


def _short(comparison, out="", width=80):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in console_tables(comparison, str(out), verbose=False):
        console.print(part)
    return [line.rstrip() for line in console.export_text().splitlines() if line.strip()]


def test_a_comparison_is_told_in_a_dozen_lines(fair, tmp_path):
    lines = _short(fair)
    assert len(lines) <= 13
    assert max(map(len, lines)) <= 80
    (own,) = [line for line in lines if line.startswith(" own settings")]
    row = fair.decided("own")
    assert f"{100 * row.winning_rate.value:.1f} [" in own
    assert own.endswith(row.verdict)
    assert f"{100 * row.decided_share:.0f} %" in own
    assert "\N{BLACK CIRCLE}" in own
    assert "Nothing is declared: all is exploratory" in " ".join(lines)


def test_failed_images_are_told_there_too(comparison):
    assert any("1 of 24 images of candidate failed" in line for line in _short(comparison))


def test_a_null_says_why_everywhere(tmp_path):
    one = [Item("p0", 0, {"good": None, "cost": 1.0}, category="c")]
    run, own = (make_run(str(tmp_path / name), one, seconds=None) for name in "ab")
    result = compare(run, {"own": own, "matched cost": None}, [GOOD, COST], str(tmp_path / "a"))
    path = write_report(result, str(tmp_path / "a"))
    page = open(path).read()  # noqa: SIM115
    Page(page)
    assert "cannot be compared" in page
    assert "no demand" in page
    assert "one prompt: no interval" in page
    assert "Not compared at matched cost: no baseline run." in page
    assert not re.search(r"\bnan\b|<NA>|None\b", page.split('<script id="data"')[0])


def test_runs_of_one_sampler_are_told_apart(tmp_path):
    def run(name, **params):
        return make_run(str(tmp_path / name), items(0), Call("zigzag", {"steps": 5, **params}))

    result = compare(run("a", w=0.0), {"own": run("b", w=2.0)}, [GOOD], str(tmp_path / "a"))
    assert words.run_names(result) == {
        "candidate": "zigzag(steps=5, w=0.0)",
        "own": "zigzag(steps=5, w=2.0)",
    }
    assert "zigzag(steps=5, w=0.0)" in headline(result)


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.12345, False, "0.123"),
        (-0.12345, True, "\N{MINUS SIGN}0.123"),
        (0.5, True, "+0.500"),
        (31.216, False, "31.22"),
        (1234.56, False, "1234.6"),
        (0.0000123, False, "1.2e\N{MINUS SIGN}05"),
        (0.0, False, "0.000"),
        (None, False, words.NONE),
        (pd.NA, False, words.NONE),
    ],
)
def test_numbers(value, signed, text):
    assert words.number(value, signed) == text


def test_seeds_are_written_as_typed():
    assert run_tables.span([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"


def test_figures_repeat_exactly_and_name_their_numbers(comparison):
    bars, again = (figures.winning_rate_bars(comparison) for _ in range(2))
    assert (bars.inline(), bars.pdf) == (again.inline(), again.pdf)
    rate = comparison.rate("own", "good")
    assert words.rate(rate.winning_rate) in bars.inline()  # for readers who hear the page
    drawn = figures.category_map(comparison, GOOD).inline()
    assert "&lt;b&gt;" in drawn
    assert "<b>" not in drawn


@pytest.fixture
def fair(tmp_path) -> ComparisonTables:
    return fair_comparison(tmp_path)


def test_costs_stand_beside_each_other_in_evaluations_and_arithmetic(fair):
    (group,) = run_tables.costs(fair).groups
    candidate, own, *_ = group.rows
    cells = dict(zip(run_tables.costs(fair).columns, candidate, strict=True))
    assert cells["as pairs"] == "34"  # 17 calls, two branches each
    assert cells["MACs"] == "3\xa0G"
    assert cells["sigma"] == "14.6 to 0"
    assert cells["guidance scale"] == "9 (n 24)"
    cells = dict(zip(run_tables.costs(fair).columns, own, strict=True))
    assert cells["ratio"] == "3.00"
    assert cells["as pairs"] == cells["sigma"] == words.NONE
    assert "ratio 3.00" in tables.cost_line(fair, "own")
    assert "guidance 9 vs 5" in tables.cost_line(fair, "own")


def test_the_two_by_two_has_everything_in_a_cell(fair):
    table = tables.two_by_two(fair)
    assert [group.title[:-2] for group in table.groups] == ["Goodness", "Roughness"]
    own, matched = table.groups[0].rows
    for cell in (own[1], own[2], matched[1]):
        assert re.fullmatch(
            r"\d+\.\d\xa0% \[.+\]\n\d+ / \d+ / \d+, n 24 \(24\)\n"
            r"decided (all|\d+\.\d\xa0%: \d+\.\d\xa0%.*)\n(wins|undecided)",
            cell,
        )
    assert matched[2] == "not compared: ddim cannot"


def test_a_run_that_is_matched_already_fills_two_cells_and_is_told_once(tmp_path):
    a = make_run(str(tmp_path / "a"), items(0.2), Call("heun", {"steps": 5}))
    own = make_run(str(tmp_path / "b"), items(0.0), Call("ddim", {"steps": 5}))
    more = make_run(str(tmp_path / "c"), items(0.1), Call("ddim", {"steps": 9}))
    grid = {"own": own, "matched cost": more, "matched guidance": None}
    grid["matched cost and guidance"] = None
    same = {"matched guidance": "own", "matched cost and guidance": "matched cost"}
    primary = Primary("good", "matched cost and guidance")
    compare(a, grid, [GOOD], str(tmp_path / "a"), same=same, primary=primary)
    found = load_comparison(str(tmp_path / "a"))
    assert (found.same, found.absent, len(found.baselines)) == (same, {}, 2)
    assert found.rate("matched cost", "good").primary
    for row in tables.two_by_two(found).groups[0].rows:
        assert row[2].splitlines()[:4] == row[1].splitlines()
        assert row[2].splitlines()[4].startswith("the same run as at ")
    write_report(found, str(tmp_path / "a"))
    text = (tmp_path / "a/report.md").read_text()
    assert "matched cost, also matched cost and guidance, primary result" in text
    assert "the baseline is one run: own settings = matched guidance; matched cost = " in text


def test_without_matched_guidance_there_is_no_two_by_two(comparison):
    assert tables.two_by_two(comparison) is None


def test_the_guidance_curve_is_shown_and_written(fair, tmp_path):
    page = open(write_report(fair, str(tmp_path / "a"))).read()  # noqa: SIM115
    parsed = Page(page)
    assert parsed.tags.count("svg") == 3 + 3  # bars, two maps; two metrics and a set metric
    assert "Goodness of the baseline by guidance scale: at 1: 0." in page
    assert "candidate at its own, 9." in page
    names = {path.name for path in (tmp_path / "a/report/figures").iterdir()}
    assert {"guidance-good.svg", "guidance-fd.pdf", "winning-rates.pdf"} <= names
    assert (tmp_path / "a/report/figures/guidance-fd.pdf").read_bytes().startswith(b"%PDF")
    text = (tmp_path / "a/report.md").read_text()
    assert "](report/figures/guidance-good.svg)" in text


def test_no_point_of_the_curve_hides_its_best(fair, tmp_path):
    along = load_comparison(str(tmp_path / "a/curve"))
    rates = {name: along.rate(name, "good").winning_rate for name in along.baselines}
    least = min(rates, key=lambda name: rates[name].value)
    best_of_curve = against_best(along)
    verdict, line = best_of_curve.verdict, best_of_curve.line
    assert verdict == along.rate("guidance curve", "good").verdict
    assert f"scores better in {words.rate(rates[least])} of pairs" in line
    assert f" ({least}; " in line
    write_report(fair, str(tmp_path / "a"))
    report = (tmp_path / "a/report.md").read_text()
    said = "gainst the best guidance of the baseline at equal cost"
    assert f"- **best guidance at equal cost: {verdict}.** A{said}" in report
    assert "the best guidance of the baseline at equal cost" in report.splitlines()[0]
    assert "best guidance at equal cost (smallest rate)" in report
    assert (
        "best guidance at equal cost"
        in (tmp_path / "a/report/tables/winning_rates.tex").read_text()
    )
    console = Console(width=900, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in console_tables(fair, str(tmp_path / "a")):
        console.print(part)
    assert f"best guidance at equal cost: {verdict}. {line}" in console.export_text()


def test_the_declared_guidance_curve_leads_the_report(fair, tmp_path):
    write_report(declared_curve(fair, tmp_path / "a")[0], str(tmp_path / "a"))
    lines = (tmp_path / "a/report.md").read_text().splitlines()
    assert re.match(r"# zigzag .* the best guidance of ddim at equal cost on Goodness", lines[0])
    verdict, *_ = [line for line in lines if line.startswith("- ")]
    assert "**best guidance at equal cost, primary result: " in verdict
    assert "judged on the other, both ways" in verdict
    row, *_ = [line for line in lines if line.startswith("| best guidance at equal cost")]
    assert "(declared)" in row
    declared = "Declared as primary: Goodness ↑ against the best guidance of the baseline"
    assert any(declared in line.replace("\N{NO-BREAK SPACE}", " ") for line in lines)


def test_a_curve_that_an_earlier_version_judged_says_so(fair, tmp_path):
    where = tmp_path / "a/curve/compare/comparison.json"
    where.write_text(json.dumps(json.loads(where.read_text()) | {"curve": []}))
    write_report(fair, str(tmp_path / "a"))
    assert "without a verdict against the best guidance" in (tmp_path / "a/report.md").read_text()


def test_each_metric_has_its_own_best_guidance_and_the_curve_its_set_differences(fair, tmp_path):
    """Goodness grows with guidance to the last point; the Frechet distance is said apart."""
    along = load_comparison(str(tmp_path / "a/curve"))
    sets = [
        replace(row, value=replace(row.value, value=value))
        for row, value in zip(along.set_results, (30.0, 20.0, 25.0, 40.0), strict=True)
    ]
    text = best_by_metric(replace(along, set_results=sets))
    assert "12 on Goodness" in text
    assert "1 on Frechet distance" in text
    few = [row for row in along.set_results if row.run == "candidate"]
    assert "Frechet" not in best_by_metric(replace(along, set_results=few))
    page = open(write_report(fair, str(tmp_path / "a"))).read()  # noqa: SIM115
    assert "Scores of whole sets of images, by the baseline" in page
    assert "the baseline is best at a guidance scale of" in page


def test_a_curve_of_other_images_is_not_shown(fair, tmp_path):
    where = tmp_path / "a/curve/compare/comparison.json"
    record = json.loads(where.read_text())
    record["runs"]["candidate"]["images"] += 1
    where.write_text(json.dumps(record))
    page = open(write_report(fair, str(tmp_path / "a"))).read()  # noqa: SIM115
    assert Page(page).tags.count("svg") == 3
    assert "The guidance curve that is stored is of other images" in page


def test_a_comparison_of_another_version_is_refused(fair, tmp_path):
    where = tmp_path / "a/compare/comparison.json"
    record = json.loads(where.read_text())
    del record["runs"]["candidate"]["guidance"]
    where.write_text(json.dumps(record))
    with pytest.raises(HarnessError, match="another version"):
        load_comparison(str(tmp_path / "a"))


@pytest.mark.parametrize(
    ("parts", "text"),
    [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c and d"], "a, b, and c and d")],
)
def test_lists_in_words(parts, text):
    assert words.joined(parts) == text


def test_what_was_declared_to_decide_comes_first(tmp_path):
    run = make_run(str(tmp_path / "a"), items(0.2), Call("zigzag", {"steps": 5}))
    own = make_run(str(tmp_path / "b"), items(0.0), Call("ddim", {"steps": 5}))
    fair = make_run(str(tmp_path / "c"), items(0.2), Call("ddim", {"steps": 9}))
    baselines = {"own": own, "matched cost": fair}
    primary = Primary("good", "matched cost")
    result = compare(run, baselines, [GOOD], str(tmp_path / "a"), primary=primary)
    said = headline(result)
    assert said.startswith(
        "zigzag against ddim on Goodness: undecided at matched cost (winning rate "
    )
    assert said.endswith("); it wins at own settings")
    text = "".join(Page(open(write_report(result, str(tmp_path / "a"))).read()).text["dt"])  # noqa: SIM115
    assert text.index("matched cost, primary result") < text.index("own settings")


def test_guidance_of_each_image_is_told_as_such(tmp_path):
    a = make_run(str(tmp_path / "a"), items(0.2), Call("zigzag", {"steps": 5}))
    own = make_run(str(tmp_path / "b"), items(0.0), Call("ddim", {"steps": 5}))
    like = Call("ddim", {"steps": 5, "guidance_like": "zigzag-12345678"})
    matched = make_run(str(tmp_path / "c"), items(0.1), like)
    grid = {"own": own, "matched guidance": matched}
    compared = compare(a, grid, [GOOD], str(tmp_path / "a"))
    names = words.run_names(compared)
    assert names["own"] == "ddim (5 steps)"
    assert names["matched guidance"] == "ddim(steps=5, guidance_like=zigzag-12345678)"
    assert "each image the nominal guidance scale of the candidate's" in (
        tables.two_by_two(compared).note
    )
    varied = replace(compared.runs["own"], guidance=NominalScale(8.5, 24, None, 0.42))
    assert words.guidance(varied) == "8.5 (SD 0.42, n 24)"


def _headline(tmp_path, shifts, primary=None, names=None):
    run = make_run(str(tmp_path / "a"), items(0.2), Call("zigzag", {"steps": 5}))
    baselines = {
        role: make_run(
            str(tmp_path / f"b{at}"),
            items(shift),
            Call((names or {}).get(role, "ddim"), {"steps": 6 + at}),
        )
        for at, (role, shift) in enumerate(shifts.items())
    }
    declared = primary and Primary("good", primary)
    result = compare(run, baselines, [GOOD], str(tmp_path / "a"), primary=declared)
    return headline(result).replace("\u00a0", " ")


FOUR = ("own", "matched cost", "matched guidance", "matched cost and guidance")


def test_headlines(tmp_path):
    """Shifts of 0, 0.2 and 0.4 win, tie and lose."""
    cases = [
        ({"own": 0.0}, None, r"zigzag beats ddim on Goodness at own settings \(winning rate .*\)"),
        (
            dict.fromkeys(FOUR, 0.2),
            FOUR[3],
            r"zigzag against ddim on Goodness: undecided at matched cost and guidance "
            r"\(winning rate 50.0 % \[\d+.\d, \d+.\d\]\), as in the other 3 comparisons",
        ),
        (
            dict.fromkeys(FOUR, 0.4),
            None,
            "zigzag loses to ddim on Goodness in all 4 comparisons",
        ),
        (
            dict(zip(FOUR, (0.4, 0.2, 0.2, 0.0), strict=True)),
            FOUR[3],
            r"zigzag beats ddim on Goodness at matched cost and guidance \(winning rate .*\); it "
            r"loses at own settings; undecided at matched cost and matched guidance",
        ),
        (
            {"own": 0.2, "matched cost": 0.2},
            "own",
            r"zigzag against ddim on Goodness: undecided at own settings \(.*\), as in the other "
            "one",
        ),
    ]
    for at, (shifts, primary, expected) in enumerate(cases):
        assert re.fullmatch(expected, _headline(tmp_path / str(at), shifts, primary))


def test_headlines_of_several_samplers_name_them(tmp_path):
    names = {"x-1": "heun", "y-2": "euler", "z-3": "restart"}
    found = _headline(tmp_path, {"x-1": 0.0, "y-2": 0.2, "z-3": 0.0}, names=names)
    assert found == "zigzag beats heun and restart on Goodness; undecided against euler"


@pytest.mark.parametrize("value", [None, pd.NA, float("nan"), 0])
def test_multiply_accumulates_that_cannot_be_counted_are_a_dash(value: float | None) -> None:
    assert words.macs(value) == words.NONE
    assert words.macs(2.5e9) == f"2.5{words.SPACE}G"
