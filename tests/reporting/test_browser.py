"""The page in a browser, from disk: quiet, sorted, filtered, moved by keys, on a narrow window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.reporting import write_report
from tests.browser import (
    HEIGHT,
    WIDTHS,
    first_screen,
    needs_browser,
    open_all,
    opened,
    too_wide,
)
from tests.reporting.examples import ATTACK, LONG, declared_curve, fair_comparison

pytestmark = needs_browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    return Path(write_report(fair_comparison(folder), str(folder / "a"))).as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The opened page; what it complains of, and asks the network for, fails the test."""
    with opened(browser, address) as page:
        yield page


def prompts(page: Any) -> list[str]:
    """Prompts of all pairs shown, in order, by going through them."""
    count = page.locator("#strip button").count()
    found = []
    for _ in range(count):
        found.append(page.locator("#prompt").inner_text())
        page.keyboard.press("ArrowRight")
    return found


def ahead(page: Any) -> list[float]:
    """How far the candidate is ahead, pair by pair, as the captions tell."""
    found = []
    for _ in range(page.locator("#strip button").count()):
        captions = page.locator("#pictures figcaption").all_inner_texts()
        candidate, own = (float(text.split()[-1].replace("−", "-")) for text in captions)  # noqa: RUF001
        found.append(round(candidate - own, 3))
        page.keyboard.press("ArrowRight")
    return found


def test_prompts_are_text(page: Any) -> None:
    shown = prompts(page)
    assert ATTACK in shown
    assert any(" ".join(text.split()) == " ".join(LONG.split()) for text in shown)
    assert page.locator("#prompt script").count() == 0
    assert page.locator("#prompt").evaluate("e => e.clientHeight") < 200  # the long one scrolls


def test_pairs_are_sorted_by_difference(page: Any) -> None:
    falling = ahead(page)
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > falling[-1]
    page.select_option("#order", "losses")
    assert ahead(page) == falling[::-1]


def test_pairs_are_filtered_by_category_and_metric(page: Any) -> None:
    everything = page.locator("#strip button").count()
    page.select_option("#category", label="plain | pipe")
    assert page.locator("#strip button").count() == everything // 2
    for _ in range(everything // 2):
        assert page.locator("#facts").inner_text().startswith("plain | pipe")
        page.keyboard.press("ArrowRight")
    page.select_option("#metric", "cost")
    assert page.locator("#result").inner_text().startswith("Roughness")


def test_keys_move(page: Any) -> None:
    where = page.locator("#position")
    last = page.locator("#strip button").count()
    page.keyboard.press("ArrowRight")
    assert where.inner_text() == f"2 of {last}"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert where.inner_text() == f"{last} of {last}"
    page.locator("#stage").focus()
    page.keyboard.press("Home")
    assert where.inner_text() == f"1 of {last}"
    page.keyboard.press("End")
    assert where.inner_text() == f"{last} of {last}"


def test_two_sides_are_shown_or_all(page: Any) -> None:
    sides = page.locator("#pictures figure")
    assert sides.count() == 2
    page.select_option("#comparison", "matched cost")
    assert "candidate" in sides.first.inner_text()
    assert "baseline, matched cost" in sides.last.inner_text()
    page.check("#every")
    assert sides.count() == 5  # the baseline at its best guidance, too


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    open_all(page)
    page.check("#every")
    assert too_wide(page) == []


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report that has the guidance curve as declared comparison."""
    folder = tmp_path_factory.mktemp("declared")
    comparison, _ = declared_curve(fair_comparison(folder), folder / "a")
    return Path(write_report(comparison, str(folder / "a"))).as_uri()


def test_the_first_screen_says_who_wins_and_shows_it(browser: Any, declared: str) -> None:
    with opened(browser, declared) as page:
        assert first_screen(page, "h1, .lead, .forest, .three .pair") == [True] * 6
        assert page.locator(".forest tbody tr").count() == 4
        assert "declared" in page.locator(".forest tr.declared").inner_text()
        assert page.locator(".three img").count() >= 4
        assert page.locator("dl.verdicts").is_hidden()
        page.locator("details.words summary").click()
        assert page.locator("dl.verdicts").is_visible()
        assert page.locator("#comparison").input_value() == "guidance curve"
        assert "best guidance at equal cost" in page.locator("#result").inner_text()


def test_a_dot_stands_where_its_rate_says(browser: Any, declared: str) -> None:
    with opened(browser, declared) as page:
        ends = [int(text.split()[0]) for text in page.locator(".axis span").all_inner_texts()]
        axis = page.locator(".axis").bounding_box()
        for row in page.locator(".forest tbody tr").all():
            dot = row.locator(".dot").bounding_box()
            rate = float(row.locator(".rate b").inner_text().split()[0])
            share = (rate - ends[0]) / (ends[2] - ends[0])
            middle = dot["x"] + dot["width"] / 2
            assert middle == pytest.approx(axis["x"] + share * axis["width"], abs=1.5)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_declared_curve_fits_every_window(browser: Any, declared: str, width: int) -> None:
    with opened(browser, declared, width) as page:
        open_all(page)
        page.check("#every")
        assert too_wide(page) == []


def test_what_does_not_fit_and_what_complains_is_found(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    wide = "<p id=b style='width:900px'>wide</p>"
    head = "<!doctype html><body style='margin:0'>"
    scrolling = f"<div style='overflow-x:auto'>{wide}</div>"
    page.write_text(f"{head}{scrolling}<p id=cut style='overflow:hidden'>{'x' * 300}</p>")
    with opened(browser, page.as_uri(), 500) as shown:
        (found,) = too_wide(shown)
        assert found.startswith("p cut")
        assert first_screen(shown, "div, #cut") == [True, True]
    page.write_text(f"{head}{wide}<p style='margin-top:2000px'>far</p>")
    with opened(browser, page.as_uri(), 500) as shown:
        assert len(too_wide(shown)) == 2
        assert first_screen(shown, "p") == [True, False]
    for bad in ("<script>console.log(1)</script>", "<img src='other.png'>"):
        page.write_text(f"{head}{bad}")
        with pytest.raises(AssertionError), opened(browser, page.as_uri()):
            pass
