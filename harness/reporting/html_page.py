"""The report of a pair as one self-contained HTML file, which opens without a network."""

from __future__ import annotations

import json
from importlib.resources import files as resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.reporting import words
from harness.reporting.page import Page


def html_page(page: Page) -> str:
    """The page as HTML text: styles, script, figures and pictures inline, no external address."""
    folder = resources("harness.reporting")
    style, own = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.css", "first_screen.css")
    )
    data = page.viewer and page.viewer.data
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            style=Markup(style + own),
            script=Markup((folder / "page.js").read_text(encoding="utf-8")),
            data=Markup(embedded_json(data)) if data else None,
            drawn={drawing.name: Markup(drawing.inline()) for drawing in page.drawings},
            ties=words.TIES,
            percent=words.percent,
            bounds=words.bounds,
            rate=words.rate,
        )
    )


def html_fragment(page: Page) -> str:
    """Title, verdicts, sentences and tables, to be shown inside another page (a notebook's)."""
    return environment().get_template("fragment.html.j2").render(page=page)


def environment() -> Environment:
    return Environment(
        loader=PackageLoader("harness.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def embedded_json(value: Any) -> str:
    """JSON that is safe inside a `<script>`: it cannot close the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
