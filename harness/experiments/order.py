"""What an experiment is of: a benchmark, with what the options change in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from harness.core.call import Call, parse_call, split_list
from harness.core.run_spec import parse_size
from harness.core.shards import Shard, asked_items, parse_seeds, plan_shards
from harness.experiments import benchmark as benchmarks
from harness.experiments.benchmark import Benchmark
from harness.experiments.fair_baselines import Fairness
from harness.experiments.options import Options, curve_weights
from harness.prompts.base import PromptSet, load_prompts
from harness.prompts.split import with_split
from harness.runs.folder import Settings
from harness.runs.plan import PlannedRun, Planner

T = TypeVar("T")

Say = Callable[[str], object]
"""Tells the user what happens on the way."""


def to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


@dataclass(frozen=True)
class Order:
    """What to run and how: the benchmark's values, where nothing else was asked for.

    `sampler` is the one candidate's text, None where the benchmark has several; without `baseline`
    there is nothing to beat. Runs lie below `results`. Orders that are made from this one by
    `replace` share what is `known`: what was read and planned, once.
    """

    benchmark: Benchmark
    model: str
    sampler: str | None
    baseline: Call | PlannedRun | None
    guide: str | None
    seeds: str
    prompts: str
    limit: int | None
    metrics: Sequence[str]
    dtype: str | None
    size: tuple[int, int] | None
    prompts_folder: str | None
    column: str | None
    results: str
    settings: Settings
    fairness: Fairness
    known: dict[Any, Any] = field(default_factory=dict, repr=False)

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        found: T = self.known[key] if key in self.known else self.known.setdefault(key, make())
        return found

    def read(self, text: str) -> Call:
        return self._once(("text", text), lambda: parse_call(text))

    def planner(self, model: str | None = None, guide: str | None = None) -> Planner:
        """What plans runs of a model, the order's if no other is named; one for all its runs."""
        model, guide = model or self.model, guide or self.guide
        return self._once(
            (model, guide),
            lambda: Planner(
                model,
                size=self.size,
                dtype=self.dtype,
                device=self.settings.device,
                noise_key=self.benchmark.noise_key,
                guide=guide,
            ),
        )

    @property
    def prompt_set(self) -> PromptSet:
        return self._once(
            ("prompts", self.prompts),
            lambda: load_prompts(
                self.prompts, limit=self.limit, column=self.column, folder=self.prompts_folder
            ),
        )

    @property
    def root(self) -> str:
        """Where the runs' folders are: the benchmark's, or the other prompts' own."""
        named = self.benchmark.prompts == self.prompts
        return f"{self.results}/{self.benchmark.name if named else self.prompt_set.name}"

    def place(self, planned: PlannedRun) -> str:
        """A run's folder."""
        return f"{self.root}/{planned.folder}"

    @property
    def shards(self) -> list[Shard]:
        return plan_shards(list(self.prompt_set.prompts), parse_seeds(self.seeds))

    @property
    def items(self) -> set[str]:
        """The ids of the images that are asked for."""
        return asked_items(list(self.prompt_set.prompts), parse_seeds(self.seeds))


def make_order(sampler: str | None = None, **given: Any) -> Order:
    """What is given (see Options) replaces what the benchmark says; the default benchmark is the
    model's own."""
    options = Options(**given)
    found = benchmarks.chosen(options.bench, options.model, options.tiny)
    settings = Settings.chosen(options.device, options.threads, options.batch_size, options.workers)
    prompts, baseline = options.prompts or found.prompts, options.baseline or found.baseline
    curve = found.curve if options.curve == "auto" else curve_weights(options.curve)
    order = Order(
        benchmark=found,
        model=options.model or found.model,
        sampler=sampler or found.candidate,
        baseline=None,
        guide=options.guide or found.guide,
        seeds=options.seeds or found.seeds,
        prompts=with_split(prompts, options.split) if options.split else prompts,
        limit=options.limit if options.limit or options.prompts else found.limit,
        metrics=_listed(options.metrics) or found.metrics,
        dtype=options.dtype or found.dtype,
        size=parse_size(options.size) if isinstance(options.size, str) else options.size,
        prompts_folder=options.prompts_folder,
        column=options.column,
        results=options.results,
        settings=settings,
        fairness=Fairness(options.match, options.match_guidance, curve),
    )
    return replace(order, baseline=order.read(baseline)) if baseline else order


def _listed(texts: str | Sequence[str] | None) -> Sequence[str] | None:
    return split_list(texts) if isinstance(texts, str) else texts
