"""The baseline at the candidate's cost, at its guidance scale, at both, and its guidance curve."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite

import numpy as np
import torch

from harness.comparison.guidance_scales import GuidanceScale, guidance_scale
from harness.core.call import Call
from harness.core.errors import HarnessError, unknown
from harness.engine.probes.coefficients import nominal_guidance, sampler_coefficients
from harness.experiments.matching import match_cost, match_guidance, with_parameters
from harness.experiments.pricing import FairPair, Paid, priced
from harness.runs.plan import PlannedRun
from harness.store import files
from harness.store.item_guidance import GA_EVAL, NOMINAL, image_scales
from harness.store.run import Run

OWN, MATCHED = "own", "matched cost"
GUIDED, BOTH = "matched guidance", "matched cost and guidance"
UNITS = ("macs", "nfe", "seconds")
MODES = ("constant", "schedule", "per_image", "ga_eval")

Planned = Callable[[Call], PlannedRun]
"""Plans the run of a call on the order's model."""


@dataclass(frozen=True)
class Fairness:
    """Settings of a fair comparison: the unit of equal cost, the mode of equal guidance, and the
    guidance weights of the baseline's curve; see `fair_baselines`. Raises HarnessError."""

    unit: str = "macs"
    mode: str = "constant"
    curve: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise unknown("unit of cost", self.unit, UNITS)
        if self.mode not in MODES:
            raise unknown("mode of guidance matching", self.mode, MODES)


@dataclass
class Fair:
    """Further baselines: `jobs` by comparison, `curve` by guidance weight, and why any is `absent`.

    `same` names comparisons whose run is that of another one: what is matched was equal already.
    `scale` is the candidate's guidance scale that is matched, nominal unless it is `ga_eval` by
    name, where it has one; `notes` are for the user.
    """

    jobs: dict[str, PlannedRun] = field(default_factory=dict)
    curve: dict[float, PlannedRun] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    scale: float | None = None
    notes: list[str] = field(default_factory=list)

    def leave_out(self, role: str) -> None:
        """Drop a comparison; another one of the same run keeps that."""
        job = self.jobs.pop(role, None)
        self.absent.pop(role, None)
        self.same.pop(role, None)
        heirs = [name for name, other in self.same.items() if other == role]
        if heirs and job is not None:
            del self.same[heirs[0]]
            self.jobs[heirs[0]] = job
            self.same |= dict.fromkeys(heirs[1:], heirs[0])

    @property
    def points(self) -> dict[str, PlannedRun]:
        """The curve's jobs by name."""
        return {f"guidance {weight:g}": job for weight, job in self.curve.items()}

    @property
    def all_jobs(self) -> dict[str, PlannedRun]:
        """All further runs by name: of the comparisons and of the curve."""
        return {**self.jobs, **self.points}


def fair_baselines(
    pair: FairPair,
    planned: Planned,
    how: Fairness | None = None,
    items: Collection[str] | None = None,
) -> Fair:
    """Plan the further runs of a fair comparison: each is an ordinary run of the baseline.

    Cost is in `how.unit`: multiply-accumulates, network evaluations, or seconds as both were timed.
    The curve is at matched cost, at the guidance weights `how.curve`; None: some around those that
    are compared, none where it is empty. Guidance is matched by `how.mode`: the candidate's mean
    scale (constant), its schedule over sigma, or in every image the scale of the candidate's own
    (per_image; ga_eval, the published protocol's, is per image too).
    """
    how = how or Fairness()
    candidate, baseline = pair.runs
    paid = priced(pair, how.unit, items)
    scale = guidance_scale(candidate, baseline, items)
    if how.mode in _ESTIMATES and scale.value is not None:
        scale = _per_image(candidate, how.mode, items, scale)
    guided = partial(_guided, pair.baseline.spec.sampler, scale, how.mode, pair.runs)
    return _further((pair.candidate, pair.baseline), planned, how.curve, paid, scale, guided)


def expected_baselines(
    candidate: PlannedRun, baseline: PlannedRun, planned: Planned, how: Fairness
) -> Fair:
    """What `fair_baselines` may plan, before either is made: an estimate.

    Cost is that of dry runs, and guidance moves every evaluation as far as any other.
    """
    own, scale = baseline.spec.sampler, _dry_scale(candidate)

    def guided() -> Call:
        assert scale.value is not None
        return match_guidance(own, scale.value)

    jobs = (candidate, baseline)
    return _further(jobs, planned, how.curve, Paid(float(candidate.nfe or 0)), scale, guided)


def _dry_scale(job: PlannedRun) -> GuidanceScale:
    """A run's nominal guidance scale where guidance moves all its evaluations alike."""
    if (distilled := job.spec.distilled_guidance) is not None:
        return GuidanceScale(distilled, 0, declared=True)
    if job.spec.guide is not None or not job.entry.unconditional:
        return GuidanceScale(None, 0, "its network has no unconditional branch")
    try:
        found = sampler_coefficients(job.planner.ladders, job.spec.sampler)
    except HarnessError as error:
        return GuidanceScale(None, 0, str(error))
    scales = found.guidance[:, None]
    value = float(nominal_guidance(found, scales, torch.ones_like(scales)).mean)
    return GuidanceScale(value if isfinite(value) else None, 0, "its evaluations cancel")


def _further(
    jobs: tuple[PlannedRun, PlannedRun],
    planned: Planned,
    curve: Sequence[float] | None,
    paid: Paid,
    scale: GuidanceScale,
    guided: Callable[[], Call],
) -> Fair:
    """The further runs for a candidate and its baseline: at what the candidate `paid`, and at its
    `scale` as `guided` sets it."""
    fair = Fair(scale=scale.value, notes=[*paid.notes])
    candidate, baseline = jobs
    own = baseline.spec.sampler

    def at_cost(call: Call) -> PlannedRun:
        if paid.refused:
            raise HarnessError(paid.refused)
        sigmas = candidate.sigmas
        return planned(match_cost(baseline.dry_run, call, sigmas, paid.least, paid.price))

    def at_weight(weight: float) -> PlannedRun:
        return at_cost(match_guidance(own, weight))

    asked: dict[str, Callable[[], PlannedRun]] = {MATCHED: lambda: at_cost(own)}
    if scale.value is None:
        fair.absent |= dict.fromkeys((GUIDED, BOTH), str(scale.reason))
    elif scale.declared:  # an input of the network, so it is matched already
        asked |= {GUIDED: lambda: baseline, BOTH: asked[MATCHED]}
    else:
        asked[GUIDED] = lambda: planned(guided())
        asked[BOTH] = lambda: at_cost(guided())
    for name, make in asked.items():
        job = _attempt(make)
        if isinstance(job, str):
            fair.absent[name] = job
        elif job.spec == candidate.spec:
            fair.absent[name] = f"{job.spec.sampler} is the candidate itself"
        elif other := _known(job, baseline, fair):
            fair.same[name] = other
        else:
            fair.jobs[name] = job
    weights = _weights(own, scale) if curve is None else curve
    if paid.refused and weights:
        fair.notes.append(f"no guidance curve: {paid.refused}")
    for weight in [] if paid.refused else weights:
        job = _attempt(partial(at_weight, weight))
        if isinstance(job, str):
            fair.notes.append(f"no point of the guidance curve at {weight:g}: {job}")
        else:
            fair.curve[weight] = job
    return fair


_ESTIMATES = {"per_image": NOMINAL, "ga_eval": GA_EVAL}


def _per_image(
    run: Run, mode: str, items: Collection[str] | None, scale: GuidanceScale
) -> GuidanceScale:
    """The mean and the spread of the images' own scales; why there is none where one lacks it."""
    asked = None if items is None else set(items)
    values: list[float] = []
    for shard in run.shards():
        try:
            scales = image_scales(run, shard, _ESTIMATES[mode])
        except HarnessError as error:
            return GuidanceScale(None, 0, str(error))
        values += [s for i, s in scales.items() if s is not None and (asked is None or i in asked)]
    if not values:
        return GuidanceScale(None, 0, "no guidance scale: every image failed")
    return replace(scale, value=float(np.mean(values)), n=len(values), spread=float(np.ptp(values)))


def _guided(own: Call, scale: GuidanceScale, mode: str, runs: tuple[Run, Run]) -> Call:
    """The baseline's call at the candidate's guidance; one for all images where they are alike."""
    assert scale.value is not None
    candidate, baseline = runs
    if mode in _ESTIMATES and scale.spread > _ALIKE * abs(scale.value):
        beside = files.join(files.parent(baseline.path), candidate.spec.run_id)
        if not files.same_place(candidate.path, beside):
            raise HarnessError(
                f"guidance per image is read from the candidate's run beside the baseline's: "
                f"{candidate.path} would have to be {beside}"
            )
        estimate = {} if mode == "per_image" else {"guidance_estimate": _ESTIMATES[mode]}
        match_guidance(own, scale.value)  # whether that can be set
        return with_parameters(own, guidance_like=candidate.spec.run_id, **estimate)
    course = scale.curve.tolist() if mode == "schedule" and scale.curve is not None else None
    return match_guidance(own, scale.value, course)


_ALIKE = 1e-4  # scales are set in four digits


def _known(job: PlannedRun, baseline: PlannedRun, fair: Fair) -> str | None:
    """The comparison that has this run already."""
    runs = {OWN: baseline, **fair.jobs}
    return next((name for name, other in runs.items() if other.spec == job.spec), None)


def _attempt(make: Callable[[], PlannedRun]) -> PlannedRun | str:
    """A planned run, or the reason why it cannot be planned."""
    try:
        return make()
    except HarnessError as error:
        return str(error)


def _weights(own: Call, candidate: GuidanceScale) -> list[float]:
    """Six weights and more: those that are compared, 1, and a geometric grid to beyond them."""
    if "guidance" not in own.params or candidate.declared:
        return []
    scale = candidate.value
    compared = [float(own.params["guidance"]), *([float(f"{scale:.4g}")] if scale else [])]
    top = max(compared)
    if top <= 1:
        return sorted(set(compared))
    grid = [float(f"{weight:.2g}") for weight in np.geomspace(1, 1.4 * top, 6)]
    near = [g for g in grid if all(abs(np.log(g / c)) > 0.1 for c in compared if c > 0)]
    return sorted({*near, *compared})
