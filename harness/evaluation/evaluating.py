"""Evaluate a run: compute missing score and feature shards from its image shards.

Whatever is missing is computed, nothing else: a stored shard is valid while it names the same items
as the image shard and was made by the same version, parameters and weights of the metric. A batch
is (a part of) one shard, so scores do not depend on ranks, order or interruptions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import attrgetter
from typing import Literal

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.evaluation.batches import batches
from harness.evaluation.jobs import MetricJob, make_jobs
from harness.evaluation.shard_results import ShardResults
from harness.metrics.base import ItemMetric, Metric, checks, make_metrics, named
from harness.store import scores
from harness.store.run import Run


@dataclass
class Outcome:
    """Counts of one metric's results on the shards of an evaluation.

    `undefined` counts the items without a number by reason; `truncated` those whose prompt is
    longer than the metric's window. For a metric of features these alone are stored (`encoded`); it
    is computed when runs are compared.
    """

    metric: str
    verb: Literal["scored", "encoded"] = "scored"
    computed_shards: int = 0
    reused_shards: int = 0
    scored: int = 0
    truncated: int = 0
    undefined: Counter[str] = field(default_factory=Counter)

    @property
    def items(self) -> int:
        return self.scored + self.undefined.total()

    def __str__(self) -> str:
        text = f"{self.metric}: {self.scored} of {self.items} images {self.verb}"
        text += "".join(f"; {n} not: {why}" for why, n in self.undefined.most_common(3))
        rest = len(self.undefined) - 3
        text += f"; and {rest} more reasons" if rest > 0 else ""
        return text + (f"; {self.truncated} prompts truncated" if self.truncated else "")

    def add(self, run: Run, shard: str, job: MetricJob, computed: bool) -> None:
        """Count a stored shard, which was computed now or before."""
        self.computed_shards += computed
        self.reused_shards += not computed
        reasons = Counter(run.read(job.kind, shard, ["reason"])["reason"].to_pylist())
        self.scored += reasons.pop(None, 0)
        self.undefined.update(reasons)
        self.truncated += int(scores.metadata(run, job.kind, shard)["truncated"])


@dataclass(frozen=True)
class EvaluationReport:
    """By metric label: counts of results, and why metrics could not run (what to download)."""

    outcomes: dict[str, Outcome]
    missing: dict[str, str]


@dataclass(frozen=True, eq=False)
class _Due:
    """A shard whose images have this key, and the jobs that have not run on them."""

    shard: str
    key: str
    jobs: list[MetricJob]


class _Behind:
    """The shard before, whose results are on their way from a GPU while the next is computed.

    It is stored when the next one's first batch is under way, and at the end, an error's included.
    """

    def __init__(self, store: Callable[[ShardResults], None]) -> None:
        self.store = store
        self.waiting: ShardResults | None = None

    def __enter__(self) -> _Behind:
        return self

    def __exit__(self, *error: object) -> None:
        self.finish()

    def take(self, results: ShardResults) -> None:
        """The shard is computed: stored at once, unless a GPU is still at it."""
        self.waiting = results
        if not results.pending:
            self.finish()

    def finish(self) -> None:
        """Store the shard that waits, if any."""
        results, self.waiting = self.waiting, None
        if results is not None:
            self.store(results)


def evaluate(
    run: Run,
    metrics: Sequence[str | Call | Metric],
    *,
    device: str = "cpu",
    batch_size: int = 64,
    progress: Callable[[int], object] = lambda images: None,
    shards: Iterable[str] | None = None,
    threads: int = 1,
) -> EvaluationReport:
    """Compute what `scores/` and `features/` of a run lack for `metrics` (`clip(model=ViT-B-32)`).

    Metrics of `make_metrics` keep their networks and embedded prompts from one run to the next.
    `progress` is called with numbers of images as they are done. `shards` yields the names of
    those to go through, one by one (None: all). `threads` is torch's number of threads, set for
    the whole process, since the last bits of a score on a CPU depend on it. With all shards gone
    through, the run's index is brought up to date.
    Raises HarnessError for unknown metrics and parameters, and if no metric can run here; where
    only some cannot, the report says why and the others run.
    """
    if not metrics:
        raise HarnessError("no metric is named: see `harness list metrics`")
    if not run.shards("images"):
        raise HarnessError(f"{run.path} holds no images to evaluate: generate them first")
    usable, missing = _usable(run, metrics)
    if not usable:
        raise HarnessError("\n".join(named(label, why) for label, why in missing.items()))
    jobs = make_jobs(usable)
    outcomes = [
        Outcome(str(metric.call), "scored" if isinstance(metric, ItemMetric) else "encoded")
        for metric in usable
    ]

    def count(shard: str, due: Sequence[MetricJob]) -> None:
        for job, outcome in zip(jobs, outcomes, strict=True):
            outcome.add(run, shard, job, computed=job in due)

    def due_shards() -> Iterator[_Due]:
        for shard in run.shards("images") if shards is None else shards:
            key = scores.images_key(run, shard)
            due = [job for job in dict.fromkeys(jobs) if not job.done(run, shard, key)]
            if due:
                yield _Due(shard, key, due)
                continue
            count(shard, due)
            progress(run.read("images", shard, ["item_id"]).num_rows)

    def finish(results: ShardResults) -> None:
        results.write()
        count(results.shard, results.jobs)

    stream = batches(due_shards(), lambda due: scores.image_rows(run, due.shard), batch_size)
    with closing(stream), _Behind(finish) as behind:
        for now, parts in groupby(stream, attrgetter("shard")):
            import torch  # not before a shard is due: it takes seconds

            torch.set_num_threads(threads)
            first = next(parts)
            results = ShardResults(
                run, now.shard, now.key, now.jobs, first.rows, first.broken, device
            )
            for batch in chain([first], parts):
                results.add(batch)
                behind.finish()
                progress(len(batch.places) + (len(batch.broken) if batch is first else 0))
            behind.take(results)
    if shards is None:
        run.update_index()
    labels = (metric.label for metric in usable)
    return EvaluationReport(dict(zip(labels, outcomes, strict=True)), missing)


def _usable(run: Run, texts: Sequence[str | Call | Metric]) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that can run here on this run's images, and why others cannot, by label."""
    metrics = make_metrics(texts)
    missing = checks(metrics, run.spec)
    prompted = [m for m in metrics if m.about.needs_prompts and m.label not in missing]
    if prompted and not _has_prompts(run):
        missing |= {
            metric.label: f"{metric.name} needs prompts, and the images of {run.path} have none: "
            "say which image is whose with --prompts, a table with the columns file,prompt,seed"
            for metric in prompted
        }
    return [metric for metric in metrics if metric.label not in missing], missing


def _has_prompts(run: Run) -> bool:
    return any(
        text and text.strip()
        for shard in run.shards("images")
        for text in run.read("images", shard, ["prompt"])["prompt"].to_pylist()
    )


def pending(run: Run, metrics: Sequence[str | Call | Metric]) -> list[str]:
    """Image shards without results of some metric that can run here."""
    usable, _ = _usable(run, metrics)
    jobs = set(make_jobs(usable))
    return [
        shard
        for shard in run.shards("images")
        if any(not job.done(run, shard, scores.images_key(run, shard)) for job in jobs)
    ]
