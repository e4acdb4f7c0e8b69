"""A table of several samplers on disk, `survey.json`, and the same in memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from harness.errors import HarnessError
from harness.store import files
from harness.store.comparison import MetricInfo

FILE = "survey.json"


@dataclass(frozen=True)
class Score:
    """A run's score on a metric: over `n` images, with a 95 % interval where there is one."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None


@dataclass(frozen=True)
class Rate:
    """A winning rate in [0, 1] over a baseline of `nfe` evaluations an image; see RATES.

    `p_holm` is the p-value of a primary result among those of all candidates (Holm 1979), which the
    verdict goes by; null for exploratory ones.
    """

    setting: str  # own, matched cost
    metric: str
    value: float | None
    low: float | None
    high: float | None
    pairs: int
    verdict: str
    reason: str | None
    nfe: float | None
    role: str = "exploratory"
    p_value: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class Published:
    """A published number: a score, or a winning rate in [0, 1] over the paper's baseline."""

    metric: str
    value: float
    winning_rate: bool
    source: str


@dataclass(frozen=True)
class Row:
    """One run. `absent` says why a comparison (by its setting) was not made."""

    label: str
    sampler: str
    model: str
    guide: str | None
    path: str
    baseline: bool
    nfe: float | None
    images: int
    failed: int
    scores: dict[str, Score]
    rates: list[Rate] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)

    def rate(self, setting: str, metric: str) -> Rate | None:
        found = (r for r in self.rates if (r.setting, r.metric) == (setting, metric))
        return next(found, None)


@dataclass(frozen=True)
class Survey:
    """Baselines first, then the candidates in the benchmark's order.

    `headline` is the metric of the verdicts, None where nothing was paired; `notes` what was left
    out.
    """

    name: str
    title: str
    metrics: list[MetricInfo]
    headline: str | None
    rows: list[Row]
    notes: list[str]
    commands: list[str]

    def metric(self, name: str) -> MetricInfo:
        return next((m for m in self.metrics if m.name == name), MetricInfo(name, "higher"))

    def save(self, folder: str) -> None:
        files.write_json(files.join(folder, FILE), asdict(self))


def holds_survey(folder: str) -> bool:
    return files.exists(files.join(folder, FILE))


def load_survey(folder: str) -> Survey:
    """Read what `Survey.save(folder)` wrote; raises HarnessError if there is none."""
    if not holds_survey(folder):
        raise HarnessError(f"{folder} holds no {FILE}")
    data = files.read_json(files.join(folder, FILE))
    rows = [_row(row) for row in data["rows"]]
    return Survey(**{**data, "metrics": [MetricInfo(**m) for m in data["metrics"]], "rows": rows})


def _row(data: dict[str, Any]) -> Row:
    scores = {name: Score(**score) for name, score in data["scores"].items()}
    rates = [Rate(**rate) for rate in data["rates"]]
    published = [Published(**one) for one in data["published"]]
    return Row(**{**data, "scores": scores, "rates": rates, "published": published})
