"""Two samplers, compared fairly: as they are, at equal cost, at equal guidance.

Their runs are to be made, or exist already; what they need beside them is made like them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError
from harness.core.run_spec import RunSpec
from harness.core.shards import Prompt, Shard
from harness.experiments.experiment import Contest, Experiment, declared, planned_pair
from harness.experiments.fair_baselines import OWN, Fairness
from harness.experiments.inputs import Say, to_stderr
from harness.experiments.options import curve_weights
from harness.experiments.order import Order
from harness.experiments.rivals import make_verifier
from harness.experiments.scoring import usable_metrics
from harness.runs.folder import Settings
from harness.runs.plan import PlannedRun, Planner
from harness.store import files
from harness.store.comparison_tables import CANDIDATE, ComparisonTables
from harness.store.run import MODEL_AT, Run


def run_bench(order: Order, candidate: Call | PlannedRun, say: Say) -> tuple[ComparisonTables, str]:
    """The candidate against the order's baseline; the comparison and its folder, the candidate's.

    Everything that can be checked is checked before weights are loaded. The fair baselines are
    planned when the candidate and the baseline as it is are made: their cost is measured, and the
    candidate's guidance scale weighs its steps by what was seen at them.
    """
    if order.baseline is None:
        raise HarnessError(f"benchmark {order.benchmark.name} has no baseline: give --baseline")
    planned = planned_pair(order.planner(), candidate, order.baseline, order.benchmark.defaults)
    contest = Contest(planned, order.place)
    metrics = usable_metrics([order.read(name) for name in order.metrics], say)
    experiment = Experiment(
        [contest],
        metrics,
        order.shards,
        order.items,
        order.settings,
        order.fairness,
        declared(order.benchmark, metrics),
        order.benchmark.margin,
        population=order.benchmark.population,
        planned=order.planned,
        verifier=order.verifier(metrics),
    )
    return compared(experiment, say), contest.runs[CANDIDATE].path


def compared(experiment: Experiment, say: Say) -> ComparisonTables:
    """Conduct an experiment of one contest; its comparison."""
    if not experiment.paired:
        raise HarnessError("name a metric that scores single images: see 'harness list metrics'")
    experiment.conduct(say, say)
    (contest,) = experiment.contests
    assert contest.comparison is not None
    return contest.comparison


def compare_fairly(
    candidate: Run,
    baseline: Run,
    *,
    metrics: Sequence[str],
    out: str | None = None,
    match: str = "macs",
    match_guidance: str = "constant",
    curve: str | Sequence[float] = "auto",
    device: str | None = None,
    threads: int = 1,
    batch_size: int | None = None,
    workers: int | None = None,
    verifier: str | None = None,
    say: Say = to_stderr,
) -> ComparisonTables:
    """Compare two runs of one model, and the baseline at the candidate's cost and guidance.

    The further runs lie beside the baseline's. They are of the shards that both runs hold. With a
    `verifier`, the best of several pictures of the baseline is compared, too. The
    comparison is written into `out`, the candidate's folder where that is None. Raises HarnessError
    for runs of two models or settings, and for imported images, which cannot be made.
    """
    fairness = Fairness(match, match_guidance, curve_weights(curve))
    settings = Settings.chosen(device, threads, batch_size, workers)
    _check(candidate.spec, baseline.spec)
    usable = usable_metrics(metrics, say)
    shards = _shared_shards(candidate, baseline)
    runs = {CANDIDATE: candidate, OWN: baseline}
    folder = files.parent(baseline.path)

    def place(planned: PlannedRun) -> str:
        return f"{folder}/{planned.spec.run_id}"

    planned = {role: _planned(run, settings) for role, run in runs.items()}
    contest = Contest(planned, place, runs=runs, out=out)
    items = {item for shard in shards for item in shard.item_ids}
    experiment = Experiment([contest], usable, shards, items, settings, fairness)
    if verifier is not None:
        experiment.verifier = make_verifier(verifier, usable)
    return compared(experiment, say)


def _check(a: RunSpec, b: RunSpec) -> None:
    """Raise HarnessError unless two runs differ in nothing but their samplers."""
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


def _planned(run: Run, settings: Settings) -> PlannedRun:
    """The plan of an existing run; a sampler from a file is that of the copy in its folder."""
    spec, about = run.spec, run.record["environment"]
    model, call = parse_call(spec.model), spec.sampler
    planner = Planner(
        Call(about.get(MODEL_AT, model.name), model.params),
        size=spec.size,
        dtype=spec.dtype,
        device=settings.device,
        noise_key=spec.noise_key,
        negative=spec.negative,
        guide=spec.guide,
    )
    return planner.plan(
        Call(f"{run.path}/{call.name}", call.params) if "sampler file" in about else call
    )


def _shared_shards(candidate: Run, baseline: Run) -> list[Shard]:
    """The shards that both runs hold, as they were planned, from the candidate's rows."""
    held, names = set(baseline.shards()), candidate.shards()
    if not held.intersection(names):
        raise HarnessError(f"{candidate.path} and {baseline.path} hold no shard in common")
    columns = ["prompt_id", "prompt", "category", "notes", "seed"]
    rows = {name: candidate.read("images", name, columns).to_pylist() for name in names}
    size = max(map(len, rows.values()))
    return [_shard(name, rows[name], size) for name in names if name in held]


def _shard(name: str, rows: Sequence[dict[str, Any]], size: int) -> Shard:
    """The shard of this name; the run's are of `size` items, but for the last of a seed."""
    prompts = tuple(
        Prompt(r["prompt_id"], r["prompt"], r["category"], json.loads(r["notes"])) for r in rows
    )
    _, seed, index = name.rsplit("-", 2)
    consecutive = len({row["seed"] for row in rows}) > 1 or not rows[0]["prompt"]
    return Shard(int(seed), int(index), size * int(index), prompts, consecutive)
