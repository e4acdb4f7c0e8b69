"""The page in a browser, from disk: quiet, sorted, filtered, moved by keys, on a narrow window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.reporting import write_report
from tests.reporting.examples import ATTACK, LONG, fair_comparison

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    return Path(write_report(fair_comparison(folder), str(folder / "a"))).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The opened page; what it complains of, and asks the network for, fails the test."""
    opened = browser.new_page(viewport={"width": 1400, "height": 900})
    opened.set_default_timeout(20_000)
    heard: list[str] = []
    opened.on("console", lambda message: heard.append(message.text))
    opened.on("pageerror", lambda error: heard.append(str(error)))
    opened.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
    opened.on("request", lambda request: heard.append(request.url))
    opened.goto(address)
    yield opened
    opened.close()
    assert [text for text in heard if text != address and not text.startswith("data:")] == []


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
        own, candidate = (float(text.split()[-1].replace("−", "-")) for text in captions)  # noqa: RUF001
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
    assert "baseline, matched cost" in sides.first.inner_text()
    page.check("#every")
    assert sides.count() == 4


@pytest.mark.parametrize("width", [360, 420, 1400])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
    page.check("#every")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
