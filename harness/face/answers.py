"""Results of comparisons: a verdict, tables as DataFrames, and how a notebook shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from harness.store import files
from harness.store.comparison_tables import ComparisonTables
from harness.store.matrix_table import MatrixTable
from harness.store.survey_table import SurveyTable

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

T = TypeVar("T", ComparisonTables, SurveyTable, MatrixTable)


@dataclass(frozen=True, repr=False)
class Answer(Generic[T]):
    """The result of a comparison: `tables` as stored in `folder`, where the report is written.

    `root` is the folder of all results, whose page of runs is brought up to date with the report.
    """

    tables: T
    folder: str
    root: str | None = field(default=None, kw_only=True)

    @property
    def verdict(self) -> str:
        """The answer in a sentence (of several candidates: one for each)."""
        from harness.reporting import brief

        page = brief(self.tables, self.folder)
        return page.title or "\n".join(page.lines)

    @property
    def page(self) -> Path | str:
        """The path of the report's page, or its URL as a text, once it is written."""
        from harness.reporting import brief

        return _place(files.join(self.folder, brief(self.tables, self.folder).html))

    def report(self, say: Callable[[str], object] = lambda text: None) -> Path | str:
        """Write the report (a page that opens without a network, Markdown, figures, LaTeX, CSV);
        the page's path, or its URL as a text. Each of several parts is told to `say` as it begins.
        """
        from harness.reporting import write_report

        page = _place(write_report(self.tables, self.folder, say))
        if self.root:
            from harness.runs.catalogue import write_catalogue

            write_catalogue(self.root)
        return page

    def terminal(self, verbose: bool = True) -> list[RenderableType]:
        """For rich's Console: all tables; if not `verbose`, a dozen lines or two."""
        from harness.reporting import console_tables

        return console_tables(self.tables, self.folder, verbose)

    def _repr_html_(self) -> str:
        from harness.reporting import brief
        from harness.reporting.html_page import html_fragment

        return html_fragment(brief(self.tables, self.folder))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in {self.folder}: {self.verdict}>"


def _place(path: str) -> Path | str:
    return path if "://" in path else Path(path)  # which would make s3:/ of s3://


class Comparison(Answer[ComparisonTables]):
    """A candidate against its baselines."""

    @property
    def rates(self) -> pd.DataFrame:
        """A row a comparison, metric and category: winning rate and mean difference with 95 %
        intervals, n, p, wins, ties, losses, verdict."""
        return self.tables.rates

    @property
    def summary(self) -> pd.DataFrame:
        """A row a run and metric: the mean score with its interval, and what an image cost."""
        return self.tables.summary

    @property
    def set_scores(self) -> pd.DataFrame:
        """A row a run and metric of whole sets of images (FID), with its interval."""
        return self.tables.set_scores

    @property
    def agreement(self) -> pd.DataFrame:
        """A row a comparison with votes and metric: how often the metric prefers what people do."""
        return self.tables.agreement

    @property
    def pairs(self) -> pd.DataFrame:
        """Every pair of images with both scores."""
        return self.tables.pairs


@dataclass(frozen=True, repr=False)
class Tuned(Comparison):
    """Two samplers tuned alike: each the best of `trials` on the dev split, compared on the test
    split."""

    candidate: str
    baseline: str
    trials: int


class Survey(Answer[SurveyTable]):
    """Several samplers, each against its baseline."""

    @property
    def points(self) -> pd.DataFrame:
        """A row a run and metric: the score with its interval, and what an image cost."""
        return self.tables.points()


class Matrix(Answer[MatrixTable]):
    """Every run against every other one."""

    @property
    def duels(self) -> pd.DataFrame:
        """A row a pair of samplers and metric: the winning rate with its interval."""
        return self.tables.matrix

    @property
    def ranking(self) -> pd.DataFrame:
        """A row a sampler and metric: its mean winning rate and Bradley-Terry strength."""
        return self.tables.ranking
