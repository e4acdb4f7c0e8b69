"""What an experiment runs: a benchmark's settings, with the user's options in their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from harness.core.call import Call, parse_call
from harness.core.shards import Grid, asked_items, parse_seeds
from harness.engine.noise import check_seeds
from harness.experiments import benchmark as benchmarks
from harness.experiments.benchmark import Benchmark
from harness.experiments.fair_baselines import Fairness
from harness.experiments.inputs import decoded_in, names_of, seeds_text, size_of
from harness.experiments.options import Options, curve_weights
from harness.experiments.rivals import usable_verifier
from harness.metrics.base import ItemMetric, Metric
from harness.prompts.base import PromptSet, load_prompts
from harness.prompts.split import with_split
from harness.runs.folder import Settings
from harness.runs.plan import PlannedRun, Planner
from harness.runs.tracking import make_tracker

T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """What to run and how: the user's options, and the benchmark's values for all others.

    `sampler` is the one candidate's text, None where the benchmark has several; without `baseline`
    nothing is compared. Runs lie below `results`. `known` caches what was parsed and planned;
    orders that are made from this one by `replace` share it. `as_declared`: the prompts are the
    benchmark's, or a split of them.
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
    as_declared: bool = True

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        """The cached value of `key`, made at the first request."""
        value: T = self.known[key] if key in self.known else self.known.setdefault(key, make())
        return value

    def read(self, text: str) -> Call:
        """A sampler's or metric's text, parsed."""
        return self._once(("text", text), lambda: parse_call(text))

    def planner(self, model: str | None = None, guide: str | None = None) -> Planner:
        """The planner of all runs of a model; by default the order's model and guide."""
        model, guide = model or self.model, guide or self.guide

        def make() -> Planner:
            made = Planner(
                model,
                size=self.size,
                dtype=self.dtype,
                device=self.settings.device,
                noise_key=self.benchmark.noise_key,
                guide=guide,
            )
            check_seeds(parse_seeds(self.seeds), made.noise_key)
            return made

        return self._once((model, guide), make)

    def verifier(self, judges: Sequence[Metric]) -> ItemMetric | str | None:
        """The metric that chooses the best of several pictures, or why none can; None where the
        benchmark declares none."""
        declared = self.benchmark.best_of
        return usable_verifier(self.read(declared.verifier), judges) if declared else None

    @property
    def prompt_set(self) -> PromptSet:
        """The prompts, loaded at the first request."""
        return self._once(
            ("prompts", self.prompts),
            lambda: load_prompts(
                self.prompts, limit=self.limit, column=self.column, folder=self.prompts_folder
            ),
        )

    @property
    def planned(self) -> int | None:
        """How many images the benchmark declares of a run: its prompts by its seeds.

        None for prompts of the user's, and where no primary result is declared. Of one split it is
        the split's.
        """
        benchmark = self.benchmark
        if not self.as_declared or benchmark.primary is None:
            return None
        whole = replace(self, limit=benchmark.limit, known={})
        prompts = (self if self.limit == benchmark.limit else whole).prompt_set.prompts
        return len(prompts) * len(parse_seeds(benchmark.seeds))

    @property
    def root(self) -> str:
        """The folder of the runs' folders, named by the benchmark, or by prompts given instead."""
        named = self.benchmark.prompts == self.prompts
        return f"{self.results}/{self.benchmark.name if named else self.prompt_set.name}"

    def place(self, planned: PlannedRun) -> str:
        """A run's folder."""
        return f"{self.root}/{planned.folder}"

    @property
    def grid(self) -> Grid:
        """The work of a run: all its prompts and seeds."""
        return Grid(self.prompt_set.prompts, parse_seeds(self.seeds))

    @property
    def items(self) -> set[str]:
        """The ids of the images that are asked for."""
        return asked_items(list(self.prompt_set.prompts), parse_seeds(self.seeds))


def make_order(sampler: str | None = None, **given: Any) -> Order:
    """The order of a benchmark (the model's own by default), with the given Options in place of its
    settings."""
    plain: dict[str, Any] = {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}
    options = Options(**plain)
    benchmark = benchmarks.chosen(options.bench, options.model, options.tiny)
    settings = Settings.chosen(
        options.device,
        options.threads,
        options.batch_size,
        options.workers,
        tf32=options.tf32,
        compile=options.compile,
    )
    logs, root = options.log_folder, f"{options.results}/{benchmark.name}"
    settings = replace(settings, log_folder=logs, tracker=make_tracker(options.track, logs, [root]))
    prompts, baseline = options.prompts or benchmark.prompts, options.baseline or benchmark.baseline
    curve = benchmark.curve if options.curve == "auto" else curve_weights(options.curve)
    order = Order(
        benchmark=benchmark,
        model=decoded_in(options.model or benchmark.model, options.decode_dtype),
        sampler=sampler or benchmark.candidate,
        baseline=None,
        guide=options.guide or benchmark.guide,
        seeds=benchmark.seeds if options.seeds is None else seeds_text(options.seeds),
        prompts=with_split(prompts, options.split) if options.split else prompts,
        limit=options.limit if options.limit or options.prompts else benchmark.limit,
        metrics=names_of(options.metrics or benchmark.metrics),
        dtype=options.dtype or benchmark.dtype,
        size=size_of(options.size),
        prompts_folder=options.prompts_folder,
        column=options.column,
        results=options.results,
        settings=settings,
        fairness=Fairness(options.match, options.match_guidance, curve),
        as_declared=options.prompts in (None, benchmark.prompts),
    )
    return replace(order, baseline=order.read(baseline)) if baseline else order
