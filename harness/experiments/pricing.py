"""What a candidate cost, and what an evaluation of its baseline costs, from what was recorded.

Costs are means over all images that were made: a sampler may decide image by image how often it
evaluates the network, so that neither a dry run nor a single picture tells.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from harness.comparison.cost import recorded_cost
from harness.experiments.matching import Price
from harness.runs.plan import PlannedRun
from harness.store.run import Run
from harness.store.run_facts import Cost

_BATCHES = 4
"""Seconds of fewer batches do not tell how noisy they are."""


@dataclass(frozen=True)
class FairPair:
    """A candidate and its baseline as it is, planned and made."""

    candidate: PlannedRun
    baseline: PlannedRun
    runs: tuple[Run, Run]


@dataclass
class Paid:
    """The candidate's cost an image, `least`, and the price of the baseline's evaluations.

    `notes` are for the user; `refused` is why cost is not matched.
    """

    least: float
    price: Price = field(default_factory=Price)
    notes: list[str] = field(default_factory=list)
    refused: str | None = None


def priced(pair: FairPair, unit: str, items: Collection[str] | None = None) -> Paid:
    """The costs of a pair in a unit (macs, nfe, seconds), over `items` (None: all images)."""
    ours, theirs = (recorded_cost(run, items) for run in pair.runs)
    jobs = (pair.candidate, pair.baseline)
    notes = [_differing(job, one) for job, one in zip(jobs, (ours, theirs), strict=True)]
    paid = _in_unit(pair, unit, ours, theirs)
    paid.notes = [note for note in notes if note] + paid.notes
    return paid


def _differing(job: PlannedRun, cost: Cost) -> str | None:
    """A note on a run that was evaluated otherwise than its dry run; None where it was not."""
    if None in (cost.nfe, job.nfe) or {cost.nfe_least, cost.nfe_most} == {job.nfe}:
        return None
    return (
        f"{job.spec.sampler} was evaluated {cost.nfe:.4g} times an image ({cost.nfe_least} to "
        f"{cost.nfe_most}), and {job.nfe} times in its dry run: costs are those recorded"
    )


def _in_unit(pair: FairPair, unit: str, ours: Cost, theirs: Cost) -> Paid:
    assert ours.nfe is not None, "the harness made it"
    assert theirs.nfe is not None, "the harness made it"
    if (planned := pair.baseline.nfe) is None:
        why = f"the steps of {pair.baseline.spec.sampler.name} are its own: it is a function"
        return Paid(0.0, refused=f"{why} of a pipeline")
    more = theirs.nfe / planned  # 1, unless the baseline decides image by image
    if unit == "seconds":
        return _in_seconds(pair, ours, theirs, planned)
    if unit == "macs":
        ledger = pair.runs[1].cost() or {}
        if ours.macs and theirs.macs and ledger.get("evaluation"):
            evaluation = ledger["evaluation"]
            guide = _guide(pair, theirs.macs / more, evaluation)
            return Paid(ours.macs, Price(evaluation * more, guide * more))
        note = (
            "cost is matched by network evaluations: the multiply-accumulates of this network "
            "cannot be counted"
        )
        return Paid(ours.nfe, Price(more, more), [note])
    return Paid(ours.nfe, Price(more, more))


def _guide(pair: FairPair, picture: float, evaluation: float) -> float:
    """The cost of an evaluation of the guide: the rest of a picture's cost, for each of them."""
    _, evaluations = pair.baseline.dry_run(pair.baseline.spec.sampler)
    guide = evaluations.get(("guide", "cond"), 0)
    main = sum(evaluations.values()) - guide
    return (picture - main * evaluation) / guide if guide else evaluation


def _in_seconds(pair: FairPair, ours: Cost, theirs: Cost, planned: int) -> Paid:
    """Medians over batches; refused where their noise is larger than what would be matched.

    The noise is how far the ratio moves from quartile to quartile. Matched is its distance from 1,
    in whole steps of the baseline: less than either, noise does no harm.
    """
    few = min(ours.timed_batches, theirs.timed_batches)
    if ours.seconds_quartiles is None or theirs.seconds_quartiles is None or few < _BATCHES:
        why = (
            f"seconds of too few batches ({few}) do not tell how noisy they are: at least "
            f"{_BATCHES} are needed; take more images, a smaller --batch-size, or --match macs"
        )
        return Paid(0.0, refused=why)
    (a_low, a, a_high), (b_low, b, b_high) = ours.seconds_quartiles, theirs.seconds_quartiles
    ratio, low, high = a / b, a_low / b_high, a_high / b_low
    measured = (
        f"{a:.3g} s an image [{a_low:.3g}, {a_high:.3g}] against {b:.3g} [{b_low:.3g}, "
        f"{b_high:.3g}], quartiles over {few} batches or more: {ratio:.2f} times [{low:.2f}, "
        f"{high:.2f}]"
    )
    if ours.macs and theirs.macs:
        measured += f", where multiply-accumulates say {ours.macs / theirs.macs:.2f}"
    noise = max(high - ratio, ratio - low) / ratio
    if noise > max(abs(ratio - 1), 1 / pair.baseline.spec.sampler.params["steps"]):
        why = f"seconds are noisier than what would be matched: {measured}; take --match macs"
        return Paid(0.0, refused=why)
    evaluation = b / planned
    return Paid(a, Price(evaluation, evaluation), [f"cost is matched by seconds: {measured}"])
