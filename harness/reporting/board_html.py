"""A page of several samplers as one HTML file, which opens without a network."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files as resources

from markupsafe import Markup

from harness.reporting.board import BoardPage
from harness.reporting.html_page import environment


def board_html(page: BoardPage) -> str:
    """The page as HTML text: styles, script, figures and pictures inline, no external address.

    Its policy lets run the one script that sorts columns and chooses pictures, known by its hash,
    and nothing that a label or a prompt might smuggle in.
    """
    folder = resources("harness.reporting")
    style, own, script = (
        (folder / name).read_text(encoding="utf-8")
        for name in ("page.css", "board.css", "board.js")
    )
    script = f"\n{script}"
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .get_template("board.html.j2")
        .render(
            page=page,
            style=Markup(style + own),
            script=Markup(script),
            script_hash=known,
            drawn={drawing.name: Markup(drawing.inline()) for drawing in page.drawings},
        )
    )
