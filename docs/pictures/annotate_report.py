"""The picture of docs/reading-a-report.md: the first screen of a pair's report, its parts numbered.

    python -m docs.pictures.annotate_report results/.../report/index.html

It needs playwright (`pip install -e .[dev]`) and a Chromium.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

PICTURE = Path(__file__).parent / "report-parts.png"
WIDTH, HEIGHT = 1400, 900

PARTS = {
    "what it rests on": "header .rests",
    "headline": "header h1",
    "what else was found": "header .lead",
    "the declared comparison": ".forest .declared th",
    "interval": ".forest .declared .picture",
    "winning rate": ".forest .declared .rate",
    "decided share": ".forest .declared .decided",
    "evaluations": ".forest .declared .cost",
    "verdict": ".forest .declared .said",
    "in words": "details.words summary",
    "three pairs": ".three h2",
}
"""The parts by name, in the order of their numbers, with where they are on the page."""

_MARK = """([element, number]) => {
    const box = element.getBoundingClientRect(), mark = document.createElement("div");
    const cell = element.tagName === "TD";  // marked above its middle, others at their left
    const left = cell ? (box.left + box.right) / 2 - 11 : Math.max(2, box.left - 24);
    mark.textContent = number;
    Object.assign(mark.style, {
        position: "absolute", left: `${left}px`, width: "22px", height: "22px",
        top: `${Math.max(2, box.top - (cell ? 11 : 6))}px`,
        borderRadius: "50%", background: "#c2185b", color: "#fff", textAlign: "center",
        font: "bold 13px/22px sans-serif", zIndex: 9,
    });
    document.body.append(mark);
}"""


def annotate(report: Path, picture: Path = PICTURE) -> None:
    """Write the picture of a report's page; raises ValueError for a page that lacks a part."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(report.resolve().as_uri())
        for number, (part, place) in enumerate(PARTS.items(), 1):
            found = page.query_selector(place)
            if found is None:
                raise ValueError(f"{report} has no part {part!r} ({place})")
            page.evaluate(_MARK, [found, number])
        end = page.evaluate("document.querySelector('header').getBoundingClientRect().bottom")
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": end}
        page.screenshot(path=str(picture), clip=clip, full_page=True)
        browser.close()


if __name__ == "__main__":
    annotate(Path(sys.argv[1]))
