"""Every run's pictures of the same prompts and seeds, side by side."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Collection
from typing import TYPE_CHECKING

from harness.reporting import words
from harness.reporting.drawing import SOFT, WIDTH, Drawing, cut, new_figure
from harness.reporting.shown_runs import pictures_of, run_of_row
from harness.store.survey_table import Pictured, Row, SurveyTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

_LARGEST_SIDE = 192
_NAMES = 1.5  # inches for the runs' names
_CELL = 1.05  # inches, of the widest cell
_SAID = 6


def picture_sheet(survey: SurveyTable) -> list[Drawing]:
    """A line a run and a column a prompt and seed; none where the benchmark asks for no pictures,
    or no run is where it was."""
    wanted = {one.item for one in survey.pictures}
    drawn = {row.label: _pictures(row, wanted) for row in survey.rows} if wanted else {}
    if not any(drawn.values()):
        return []
    across, down = len(survey.pictures), len(survey.rows)
    several = len({_candidate(row) for row in survey.rows}) > 1
    cell = min(_CELL, (WIDTH - _NAMES) / across)
    with new_figure(0.45 + cell * down, _NAMES + cell * across) as figure:
        grid = figure.subplots(down, across, squeeze=False)
        for row, line in zip(survey.rows, grid, strict=True):
            for shown, axes in zip(survey.pictures, line, strict=True):
                _show(axes, drawn[row.label].get(shown.item))
            line[0].set_ylabel(
                _name(row, several),
                rotation=0,
                ha="right",
                va="center",
                size=8,
                multialignment="right",
            )
        for shown, axes in zip(survey.pictures, grid[0], strict=True):
            axes.set_title(_heading(shown), size=7, color=SOFT)
    return [Drawing("pictures", figure, f"Pictures. {_spoken(survey)}", _spoken(survey))]


def _candidate(row: Row) -> str:
    """The label without what was varied."""
    return row.label.rsplit(": ", 1)[0] if row.point else row.label


def _name(row: Row, several: bool) -> str:
    """The label on short lines; of varied runs of one candidate, what was varied."""
    name = textwrap.fill(cut(_candidate(row), 48), 20)
    varied = "\n".join(cut(f"{key} {value}", 24) for key, value in row.point.items())
    if not varied:
        return name
    return f"{name}\n{varied}" if several else varied


def _show(axes: Axes, picture: Image | None) -> None:
    """One picture, or a word where there is none."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if picture is None:
        axes.text(0.5, 0.5, words.NONE, ha="center", va="center", color=SOFT)
    else:
        axes.imshow(picture, interpolation="nearest")


def _heading(shown: Pictured) -> str:
    named = textwrap.fill(cut(shown.prompt, 36), 18)
    return f"{named}\nseed {shown.seed}".strip()


def _spoken(survey: SurveyTable) -> str:
    prompts = list(dict.fromkeys(f"'{one.prompt}'" for one in survey.pictures if one.prompt))
    named = f" of {words.joined([cut(text, 60) for text in prompts[:_SAID]])}" if prompts else ""
    many = f" and {len(prompts) - _SAID} more" if len(prompts) > _SAID else ""
    return (
        f"A line a run, a column a prompt and seed{named}{many}. The first of the benchmark's, not "
        "chosen; a column is of one noise where the runs are of one model."
    )


def _pictures(row: Row, wanted: Collection[str]) -> dict[str, Image]:
    """A run's readable pictures by item, downsized; none where the run is gone."""
    if (run := run_of_row(row)) is None:
        return {}
    found = {item: _opened(data) for item, data in pictures_of(run, wanted).items()}
    return {item: picture for item, picture in found.items() if picture is not None}


def _opened(data: bytes) -> Image | None:
    """A stored picture; None for one that is broken."""
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, OSError):
        return None
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    return picture
