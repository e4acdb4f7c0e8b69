"""What `generate` makes: samplers over prompts and seeds, checked before anything is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.core.errors import HarnessError, NotHere
from harness.core.layout import Layout
from harness.core.shards import Grid, Shard
from harness.experiments.dry_run import forecast_here, published_count
from harness.experiments.inputs import Say
from harness.fetch.download import without_downloads
from harness.prompts.base import PromptSet, load_prompts
from harness.prompts.split import with_split
from harness.runs.folder import Settings
from harness.runs.forecast import Forecast, ForeseenRun, Work, forecast, foreseen
from harness.runs.plan import PlannedRun, Planner, check_prompts
from harness.store import files


@dataclass(frozen=True)
class ImageOrder:
    """Samplers by their `texts`, one run each, over the prompts and `seeds`.

    `prompts`, `split`, `limit`, `column` and `folder` as of `load_prompts`; `part` is (i, n), one
    of n parts. Runs lie below `results`, one alone in `out`.
    """

    planner: Planner
    texts: Sequence[str]
    seeds: list[int]
    settings: Settings
    prompts: str | None = None
    split: str | None = None
    limit: int | None = None
    column: str | None = None
    folder: str | None = None
    results: str | None = None
    out: str | None = None
    part: tuple[int, int] = (0, 1)

    @cached_property
    def jobs(self) -> list[PlannedRun]:
        """The planned runs; texts that mean the same are one."""
        return list({id(job): job for job in map(self.planner.plan, self.texts)}.values())

    @property
    def prompts_named(self) -> str:
        """The prompt set's text: by default the embedded one, or none for a model of classes."""
        own = "shapes" if self.planner.entry.classes is None else "unprompted"
        chosen = self.prompts or own
        return with_split(chosen, self.split) if self.split else chosen

    @cached_property
    def prompt_set(self) -> PromptSet:
        """The prompts, which the model takes; else a HarnessError."""
        found = load_prompts(
            self.prompts_named, limit=self.limit, column=self.column, folder=self.folder
        )
        try:
            check_prompts(self.planner.entry, found.prompts)
        except HarnessError as error:
            hint = f"; {found.name} is the default, name a set or a file with --prompts"
            raise HarnessError(f"{error}{'' if self.prompts else hint}") from None
        return found

    @cached_property
    def grid(self) -> Grid:
        """All prompts and seeds."""
        return Grid(self.prompt_set.prompts, self.seeds)

    def shards(self, layout: Layout) -> list[Shard]:
        """The work of a run of this layout, or this part of it."""
        return self.grid.shards(layout)[self.part[0] :: self.part[1]]

    @property
    def root(self) -> str:
        """The folder of the runs."""
        return self.results or f"results/{self.prompt_set.name}"

    def place(self, job: PlannedRun) -> str:
        """A run's folder."""
        return self.out or f"{self.root}/{job.folder}"

    def announce(
        self, shares: Sequence[Sequence[Shard]], due: Sequence[Sequence[Shard]], say: Say
    ) -> None:
        """Say what is made, where its settings come from, and what it takes: of the shards in
        `shares`, a run each, those that are `due`."""
        for text in self.texts:
            job = self.planner.plan(text)
            say(f"{job.spec.sampler}, {job.cost_text}")
            say(f"  {self.planner.origins(text)}")
        runs = []
        for job, share, left in zip(self.jobs, shares, due, strict=True):
            total, count = (sum(shard.count for shard in shards) for shards in (share, left))
            runs.append(ForeseenRun(job.spec.sampler.name, job, total, total - count))
        for line in forecast(runs, self.settings, self._beside).lines:
            say(line)

    @without_downloads()
    def forecast(self) -> Forecast:
        """What would be made, and what of it is not on this machine."""
        try:
            runs, prompts = self._runs(self.shards), self.grid.prompts
            return forecast_here(runs, self.settings, self._beside, prompts, [])
        except NotHere as error:
            count = published_count(self.prompts_named, self.limit) * len(self.seeds)
            runs = self._runs(count // self.part[1])
            missing = [f"prompts {self.prompts_named}: {error}"]
            return forecast_here(runs, self.settings, "results", [], missing)

    def _runs(self, work: Work | int) -> list[ForeseenRun]:
        here = not isinstance(work, int)
        return [
            foreseen(job.spec.sampler.name, job, self.place(job) if here else job.folder, work)
            for job in self.jobs
        ]

    @property
    def _beside(self) -> str:
        """Where other runs' records of time are looked for."""
        return files.parent(self.root) if self.out is None else "results"
