"""`index.html`: one file with everything in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any

from harness.reporting import run_tables, tables, viewer, words
from harness.reporting.content import Content
from harness.reporting.drawing import Drawing
from harness.store.comparison_tables import Comparison

if TYPE_CHECKING:
    from jinja2 import Environment


def html_page(content: Content) -> str:
    """The whole page as text: styles, script, figures and pictures inline, no address outside."""
    from markupsafe import Markup

    folder, comparison = resources("harness.reporting"), content.comparison
    template = _environment().get_template("page.html.j2")
    seen = len(viewer.gone(comparison)) < len(comparison.runs)
    return template.render(
        style=Markup((folder / "page.css").read_text(encoding="utf-8")),
        script=Markup((folder / "page.js").read_text(encoding="utf-8")),
        data=Markup(embedded_json(viewer.viewer_data(comparison))) if seen else None,
        absence=viewer.absence(comparison),
        content=content,
        subtitle=_subtitle(comparison),
        headline=words.label(comparison.metrics[0]),
        drawn={drawing.name: Markup(drawing.inline()) for drawing in content.drawings},
        commands=comparison.commands,
    )


def tables_page(
    title: str,
    lines: Sequence[str],
    found: Sequence[tables.Table],
    drawings: Sequence[Drawing] = (),
    commands: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
) -> str:
    """A page of figures, then tables, in the same dress; `links` to other pages by their text."""
    from markupsafe import Markup

    folder = resources("harness.reporting")
    style = Markup((folder / "page.css").read_text(encoding="utf-8"))
    template = _environment().get_template("tables.html.j2")
    drawn = [(Markup(drawing.inline()), drawing.caption) for drawing in drawings]
    return template.render(
        style=style,
        title=title,
        lines=lines,
        tables=found,
        drawn=drawn,
        commands=commands,
        links=links or {},
    )


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("harness.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _subtitle(comparison: Comparison) -> str:
    run = comparison.candidate
    models = " and ".join(dict.fromkeys(each.model for each in comparison.runs.values()))
    seeds = f"seed{'s' if len(run.seeds) > 1 else ''} {run_tables.span(run.seeds)}"
    size = "" if run.size is None else f"{run.size[0]} by {run.size[1]} pixels, "
    alike = all(words.paired(comparison, role) for role in comparison.baselines)
    return (
        f"{models}, {size}{words.plural(run.prompts, 'prompt')}, {seeds}. "
        f"Same prompts{' and same noise' if alike else ''} on both sides."
    )


def embedded_json(value: Any) -> str:
    """JSON that is safe inside a `<script>`: it cannot close the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
