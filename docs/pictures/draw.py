"""Draws the README's pictures from a run of its first command, and publishes that run's tables.

    make pictures            # five minutes on two cores; needs Chromium for the report's screenshot

`strip.png`: named prompts and seeds, candidate above baseline, with their scores.
`terminal.svg`: what the command prints last, in a terminal of 80 columns.
`report.png`: the first screen of the report's page.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import sync_playwright
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

import harness
from harness.store.comparison_tables import ComparisonTables, load_comparison
from harness.store.pictures import Broken, decode

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PUBLISHED = ROOT / "results" / "published" / "shapes"
TYPED = "make bench SAMPLER=zigzag"
COMMAND = ("-m", "harness", "bench", "zigzag")
COLUMNS = 80

# Losses, ties and wins of the declared comparison, as they came out; all of seed 0.
PROMPTS = (
    "a large red cross",
    "a pink cross and a green star",
    "two large red crosses",
    "a small green star on a black background",
    "a blue ring to the left of a purple square",
    "a green star and a yellow cross",
    "four red crosses",
)
ABOVE, BELOW = "Z-Sampling", "DDIM"
OUTCOMES = {1.0: "wins", 0.5: "tie", 0.0: "loses"}

# A light page's colours: rich's own are those of a dark window.
INKS = [(31, 35, 40), (190, 35, 45), (17, 99, 41), (125, 78, 0), (9, 105, 218), (130, 80, 223)]
INKS += [(27, 124, 131), (110, 119, 129)]
THEME = TerminalTheme((255, 255, 255), INKS[0], INKS, INKS)


def printed(folder: Path) -> str:
    """What the command prints in `folder` on a terminal of 80 columns, with colours."""
    path = {"PYTHONPATH": str(ROOT), "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
    done = subprocess.run(
        [sys.executable, *COMMAND],
        cwd=folder,
        env=os.environ | path,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def draw_terminal(shown: str, file: Path) -> None:
    """The answer, which begins with the first bold words, without a font from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "dim"), TYPED), "")
    console.print(Text.from_ansi(shown[shown.index("\x1b[1m") :].rstrip()))
    layout = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = console.export_svg(title="", theme=THEME, code_format=layout, unique_id="terminal")
    file.write_text(svg)


def draw_strip(tables: ComparisonTables, file: Path) -> None:
    """The pictures of `PROMPTS` with their scores: a column each, the candidate's above."""
    assert tables.primary is not None
    sides = [load_run(tables, role) for role in ("candidate", tables.primary.comparison)]
    chosen = list(pairs(tables))
    figure, axes = plt.subplots(2, len(chosen), figsize=(2 * len(chosen), 5), layout="constrained")
    for column, pair in zip(axes.T, chosen, strict=True):
        column[0].set_title(fill(pair.prompt, 20), fontsize=11)
        scores = (f"{pair.a_value:.2f}  {OUTCOMES[pair.outcome]}", f"{pair.b_value:.2f}")
        for axis, pictures, score in zip(column, sides, scores, strict=True):
            axis.imshow(pictures[pair.item_id], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(score, fontsize=11)
    for axis, name in zip(axes[:, 0], (ABOVE, BELOW), strict=True):
        axis.set_ylabel(name, fontsize=12)
    figure.savefig(file, dpi=110)


def pairs(tables: ComparisonTables) -> Iterator[Any]:
    """The rows of `PROMPTS` on the declared metric, in the declared comparison."""
    assert tables.primary is not None
    rows = tables.pairs
    rows = rows[rows.metric.eq(tables.primary.metric)]
    rows = rows[rows.comparison.eq(tables.primary.comparison)].set_index("prompt", drop=False)
    return (rows.loc[prompt] for prompt in PROMPTS)


def load_run(tables: ComparisonTables, role: str) -> dict[str, NDArray[np.uint8]]:
    """A run's pictures by item."""
    frame = harness.load_run(tables.runs[role].path).frame("images", ["item_id", "image"])
    return {
        item: pixels(image["bytes"]) for item, image in zip(frame.item_id, frame.image, strict=True)
    }


def pixels(data: bytes) -> NDArray[np.uint8]:
    found = decode(data)
    assert not isinstance(found, Broken)
    return found.transpose(1, 2, 0)


def draw_report(page: Path, file: Path) -> None:
    """The top of the page in a window of 1400 x 900, above the viewer."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        window = browser.new_page(viewport={"width": 1400, "height": 900})
        window.goto(page.resolve().as_uri())
        window.screenshot(path=file, clip={"x": 0, "y": 0, "width": 1400, "height": 740})
        browser.close()
    Image.open(file).convert("P", palette=Image.Palette.ADAPTIVE).save(file, optimize=True)


def publish(run: Path) -> None:
    """Keep the run's tables beside the others' that are published."""
    shutil.rmtree(PUBLISHED, ignore_errors=True)
    for folder in ("compare", "curve/compare"):
        shutil.copytree(run / folder, PUBLISHED / folder)
    shutil.copy(run / "report.md", PUBLISHED)
    for name in re.findall(r"\]\((report/figures/.+?)\)", (run / "report.md").read_text()):
        (PUBLISHED / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run / name, PUBLISHED / name)


def main(folder: Path) -> None:
    shown = printed(folder)
    (run,) = (folder / "results" / "shapes" / "shapes").glob("zigzag-*")
    tables = load_comparison(str(run))
    draw_terminal(shown, HERE / "terminal.svg")
    draw_strip(tables, HERE / "strip.png")
    draw_report(run / "report" / "index.html", HERE / "report.png")
    publish(run)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the run is made, or continued")
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as passing:
        main(given or Path(passing))
