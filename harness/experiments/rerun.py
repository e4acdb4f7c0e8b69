"""A fair comparison of two runs that exist: what it needs beside them is made like them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness import evaluation
from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError
from harness.core.run_spec import RunSpec
from harness.core.shards import Prompt, Shard
from harness.experiments.bench import compare_fairly, usable_metrics
from harness.experiments.fair_baselines import Fair, Pair, check_fairness, fair_baselines
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import Job, plan
from harness.runs.progress import Progress
from harness.runs.workers import Ranks
from harness.store import files
from harness.store.comparison_tables import ComparisonTables
from harness.store.run import MODEL_AT, Run


@dataclass(frozen=True)
class Fairly:
    """How a fair comparison is made: see `fairness.fair_baselines` and generate.Settings."""

    settings: Settings
    unit: str = "macs"
    curve: Sequence[float] | None = None
    mode: str = "constant"


def compare_runs_fairly(
    candidate: Run,
    baseline: Run,
    metrics: Sequence[str],
    out: str,
    how: Fairly,
    say: Callable[[str], None],
) -> ComparisonTables:
    """Compare two runs of one model, and the baseline at the candidate's cost and guidance.

    The further runs lie beside the baseline's. They are of the shards that both runs hold. Raises
    HarnessError for runs of two models or settings, and for imported images, which cannot be made.
    """
    check_fairness(how.unit, how.mode)
    _check(candidate.spec, baseline.spec)
    usable = usable_metrics(metrics, say)
    held = set(baseline.shards())
    shards = [_shard(candidate, name) for name in candidate.shards() if name in held]
    items = {item for shard in shards for item in shard.item_ids}
    if not shards:
        raise HarnessError(f"{candidate.path} and {baseline.path} hold no shard in common")
    jobs = [_planned(run, _call(run), how.settings) for run in (candidate, baseline)]
    pair = Pair(jobs[0], jobs[1], (candidate, baseline))

    def planned(call: Call) -> Job:
        return _planned(baseline, call, how.settings)

    fair = fair_baselines(pair, planned, how.unit, how.curve, items, how.mode)
    for note in fair.notes:
        say(note)
    others = _made(fair, files.parent(baseline.path), shards, how.settings)
    everything = [candidate, baseline, *others.values()]
    _evaluate(everything, [str(metric.call) for metric in usable], how.settings)
    return compare_fairly(pair, fair, others, usable, out, items)[0]


def _check(a: RunSpec, b: RunSpec) -> None:
    for spec, role in ((a, "candidate"), (b, "baseline")):
        if spec.size is None:
            raise HarnessError(f"the {role}'s images are imported: they cannot be made again")
    for name in ("model", "guide", "size", "dtype", "noise_key", "negative"):
        one, two = getattr(a, name), getattr(b, name)
        if one != two:
            raise HarnessError(
                f"a fair comparison is of two samplers on one model: {name} is {one!r} in the "
                f"candidate and {two!r} in the baseline"
            )


def _call(run: Run) -> Call:
    """The run's sampler; a function of a file is that of the copy that the run keeps."""
    call = run.spec.sampler
    kept = "sampler file" in run.record["environment"]
    return Call(f"{run.path}/{call.name}", call.params) if kept else call


def _planned(run: Run, call: Call, settings: Settings) -> Job:
    spec, model = run.spec, parse_call(run.spec.model)
    where = run.record["environment"].get(MODEL_AT, model.name)
    return plan(
        str(Call(where, model.params)),
        call,
        size=spec.size,
        dtype=spec.dtype,
        device=settings.device,
        noise_key=spec.noise_key,
        negative=spec.negative,
        guide=spec.guide,
    )


def _shard(run: Run, name: str) -> Shard:
    """The shard of this name as it was planned, from its rows."""
    columns = ["prompt_id", "prompt", "category", "notes", "seed"]
    rows = run.read("images", name, columns).to_pylist()
    prompts = tuple(
        Prompt(r["prompt_id"], r["prompt"], r["category"], json.loads(r["notes"])) for r in rows
    )
    _, seed, index = name.rsplit("-", 2)
    consecutive = len({row["seed"] for row in rows}) > 1 or not rows[0]["prompt"]
    return Shard(int(seed), int(index), 32 * int(index), prompts, consecutive)


def _made(fair: Fair, folder: str, shards: list[Shard], settings: Settings) -> dict[str, Run]:
    jobs = fair.all_jobs
    runs = {
        name: open_run(job, f"{folder}/{job.spec.run_id}", settings) for name, job in jobs.items()
    }
    work = [
        (jobs[name], run, shard)
        for shard in shards
        for name, run in runs.items()
        if not run.has_images(shard)
    ]
    with Progress(Ranks(), "generate", sum(len(s.prompts) for _, _, s in work)) as progress:
        generate(work, settings, progress.add)
    return runs


def _evaluate(runs: Sequence[Run], metrics: Sequence[str], settings: Settings) -> None:
    for run in runs:
        evaluation.evaluate(run, metrics, device=settings.device, threads=settings.threads)
