"""Two samplers, compared fairly: as they are, at equal cost, at equal guidance.

Their runs are to be made, or exist already; what they need beside them is made like them.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.run_spec import RunSpec
from harness.experiments.experiment import (
    Contest,
    Experiment,
    declared,
    origins_of,
    planned_pair,
)
from harness.experiments.fair_baselines import OWN, Fairness
from harness.experiments.held_grid import HeldGrid
from harness.experiments.inputs import Say, to_stderr
from harness.experiments.options import curve_weights
from harness.experiments.order import Order
from harness.experiments.rivals import make_verifier
from harness.experiments.scoring import usable_metrics
from harness.runs.existing import planned_again
from harness.runs.folder import Settings
from harness.runs.plan import PlannedRun
from harness.store import files
from harness.store.comparison_tables import CANDIDATE, ComparisonTables
from harness.store.run import Run


def run_bench(order: Order, candidate: Call | PlannedRun, say: Say) -> tuple[ComparisonTables, str]:
    """The candidate against the order's baseline; the comparison and its folder, the candidate's.

    Everything that can be checked is checked before weights are loaded. The fair baselines are
    planned when the candidate and the baseline as it is are made: their cost is measured, and the
    candidate's guidance scale weighs its steps by what was seen at them.
    """
    contest = bench_contest(order, candidate)
    metrics = usable_metrics([order.read(name) for name in order.metrics], say)
    experiment = Experiment(
        [contest],
        metrics,
        order.grid,
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


def bench_contest(order: Order, candidate: Call | PlannedRun) -> Contest:
    """The candidate and the order's baseline, planned."""
    if order.baseline is None:
        raise HarnessError(f"benchmark {order.benchmark.name} has no baseline: give --baseline")
    pair, benchmark = (order.planner(), candidate, order.baseline), order.benchmark
    planned = planned_pair(*pair, benchmark.defaults)
    return Contest(planned, order.place, origins=origins_of(*pair, benchmark))


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
    batch_size: int | str | None = None,
    workers: int | None = None,
    verifier: str | None = None,
    say: Say = to_stderr,
) -> ComparisonTables:
    """Compare two runs of one model, and the baseline at the candidate's cost and guidance.

    The further runs lie beside the baseline's. They are of the images that both runs hold. With a
    `verifier`, the best of several pictures of the baseline is compared, too. The
    comparison is written into `out`, the candidate's folder where that is None. Raises HarnessError
    for runs of two models or settings, and for imported images, which cannot be made.
    """
    fairness = Fairness(match, match_guidance, curve_weights(curve))
    settings = Settings.chosen(device, threads, batch_size, workers)
    _check(candidate.spec, baseline.spec)
    usable = usable_metrics(metrics, say)
    grid = HeldGrid(candidate, baseline)
    runs = {CANDIDATE: candidate, OWN: baseline}
    folder = files.parent(baseline.path)

    def place(planned: PlannedRun) -> str:
        return f"{folder}/{planned.spec.run_id}"

    planned = {role: planned_again(run, settings) for role, run in runs.items()}
    contest = Contest(planned, place, runs=runs, out=out)
    experiment = Experiment([contest], usable, grid, grid.items, settings, fairness)
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
