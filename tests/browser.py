"""Pages in a browser: what a page complains of, what does not fit the window, what is seen first.

from tests.browser import WIDTHS, first_screen, needs_browser, open_all, opened, too_wide

@needs_browser
@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_fits_its_window(browser, width):  # `browser` is a fixture of all tests
    with opened(browser, path.as_uri(), width) as page:  # a message or a request fails it
        open_all(page)
        assert too_wide(page) == []
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WIDTHS = (1400, 500, 360)
"""Of a screen, a narrow window and a telephone, in pixels."""
HEIGHT = 900

needs_browser = pytest.mark.skipif(
    CHROMIUM is None or find_spec("playwright") is None,
    reason="needs chromium and the package playwright",
)

_TOO_WIDE = """() => {
  const wide = document.documentElement.clientWidth;
  const scrolls = (e) => ["auto", "scroll"].includes(getComputedStyle(e).overflowX);
  const found = [];
  const visit = (element) => {
    const box = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    const seen = box.width > 1 && box.height > 1 && style.visibility !== "hidden";
    const out = box.right > wide + 1 || box.left < -1;
    const cut = ["hidden", "clip"].includes(style.overflowX) && element.clientWidth > 1
      && element.scrollWidth > element.clientWidth + 1;
    const what = `${element.tagName.toLowerCase()} ${element.id} ${element.getAttribute("class")}`;
    const text = (element.textContent || "").trim().slice(0, 40);
    if (seen && (out || cut)) {
      found.push(`${what}: ${Math.round(box.left)} to ${Math.round(box.right)}`
        + `${cut ? ", cut" : ""} (${text})`);
    }
    if (scrolls(element) || element.tagName === "svg") return;
    for (const child of element.children) visit(child);
  };
  visit(document.body);
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; a module at a time, as playwright's event loop is in the way of other loops."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def opened(browser: Any, address: str, width: int = 1400, height: int = HEIGHT) -> Iterator[Any]:
    """The page at the address in a window of this size (playwright's `Page`).

    On leaving it asserts that the page was quiet: no message in the console (an error of its
    Content-Security-Policy is one), no dialog, no request to another file or host.
    """
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(20_000)
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
    page.on(
        "request", lambda asked: _own(asked.url, address) or heard.append(f"request: {asked.url}")
    )
    try:
        page.goto(address)
        yield page
    finally:
        page.close()
    assert heard == []


def _own(url: str, address: str) -> bool:
    """Whether a request is for data inside the page, the page itself, or its own server."""
    one, other = urlsplit(url), urlsplit(address)
    here = one.scheme.startswith("http") and (one.scheme, one.netloc) == (
        other.scheme,
        other.netloc,
    )
    return here or url.startswith(("data:", "blob:")) or url.split("#")[0] == address.split("#")[0]


def open_all(page: Any) -> None:
    """Open all that is folded away."""
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")


def too_wide(page: Any) -> list[str]:
    """Elements that reach beyond the window or cut off their content, in words; none is well.

    What lies in an element that scrolls sideways is let be, if that element fits. Of a drawing only
    its outer frame counts.
    """
    wide: list[str] = page.evaluate(_TOO_WIDE)
    sideways = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return [*wide, *([f"the page scrolls sideways by {sideways}"] if sideways > 1 else [])]


def first_screen(page: Any, selector: str) -> list[bool]:
    """For each element that matches, whether the first screen shows the whole of it."""
    height = page.viewport_size["height"]
    boxes = [each.bounding_box() for each in page.locator(selector).all()]
    return [
        box is not None and box["y"] >= 0 and box["y"] + box["height"] <= height for box in boxes
    ]
