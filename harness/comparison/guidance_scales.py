"""Nominal guidance scale of a run: the mean over its images of their means over steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.store.comparison_tables import NominalScale
from harness.store.run import NO_GUIDANCE, Run
from harness.store.scores import Selection, select

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GuidanceScale(NominalScale):
    """A run's nominal guidance scale, and how it varies over steps and images.

    `curve` is the mean over images at each step: its sigma and its scale, [steps, 2]. `spread` is
    the range of the images' own scales, maximum less minimum. `declared`: the scale is an input of
    a distilled network that has no guidance of the sampler's.
    """

    curve: Floats | None = None
    spread: float = 0.0
    declared: bool = False


def run_guidance(selection: Selection, reference: Run | None = None) -> NominalScale:
    """As `guidance_scale`, without the curve, from the images' stored scales if there are any."""
    if selection.run.imported:
        return NominalScale(None, 0, "no guidance scale: its images were made elsewhere")
    if selection.run.shards("guidance"):
        stored = selection.frame(["guidance_scale"])["guidance_scale"]
        if stored.notna().all():
            return NominalScale(float(stored.mean()), len(stored), None, _sd(stored.to_numpy()))
    scale = _scale(selection, reference)
    return NominalScale(scale.value, scale.n, scale.reason, scale.sd)


def _sd(values: Floats) -> float | None:
    """Standard deviation over images; 0 where all are equal but for rounding."""
    if len(values) < 2:
        return None
    return 0.0 if np.allclose(values, values[0], rtol=1e-9) else float(values.std(ddof=1))


def guided_run(runs: Sequence[Run]) -> Run:
    """The first run with guidance at every step, to serve as `reference`; else the first."""
    return next((run for run in runs if _guides_every_step(run.spec.sampler.params)), runs[0])


def _guides_every_step(params: Mapping[str, Any]) -> bool:
    parts = params.get("interval") or params.get("interval_steps")
    return params.get("guidance") not in (0, 1) and not parts


def guidance_scale(
    run: Run, reference: Run | None = None, items: Collection[str] | None = None
) -> GuidanceScale:
    """A run's nominal guidance scale over the items that `items` names (None: all).

    An image's is the mean over its steps, weighted by |d sigma| * ||c - u||. Where a step did not
    evaluate both branches (outside a guidance interval), ||c - u|| of all steps is taken from
    `reference`, a run of plain guidance over the same items, linear in log sigma.
    """
    return _scale(select(run, items), reference)


def _scale(selection: Selection, reference: Run | None) -> GuidanceScale:
    run = selection.run
    if reason := run.record["environment"].get(NO_GUIDANCE):
        return GuidanceScale(None, 0, reason)
    if not run.shards("guidance"):
        if (declared := run.spec.distilled_guidance) is not None:
            return GuidanceScale(declared, len(selection.images), declared=True)
        why = (
            f"guidance leads away from another network ({run.spec.guide})"
            if run.spec.guide
            else "its network has no unconditional branch, or the run is of an older version"
        )
        return GuidanceScale(None, 0, f"no guidance scale: {why}")
    means: list[Floats] = []
    steps: list[Floats] = []
    for shard, asked in selection.rows.items():
        ids, (levels, travel, scale, push) = _read(run, shard)
        if np.isnan(push).any() and not _constant(scale).all():
            if reference is None or shard not in reference.shards("guidance"):
                return GuidanceScale(None, 0, _UNKNOWN)
            others, (known, _, _, pushes) = _read(reference, shard)
            if others != ids:
                return GuidanceScale(None, 0, _UNKNOWN)
            push = _at(levels[0], known[0], pushes)
        weight = travel * push
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (weight * scale).sum(1) / weight.sum(1)
        means.append(np.where(_constant(scale), scale[:, 0], mean)[asked])
        steps.append(scale[asked])
        sigma = levels[0]
    values = np.concatenate(means)
    held = np.isfinite(values)
    if not held.any():
        return GuidanceScale(None, 0, _UNKNOWN)
    curve = np.stack([sigma, np.concatenate(steps)[held].mean(0)], axis=1)
    values = values[held]
    spread = float(np.ptp(values))
    return GuidanceScale(float(values.mean()), len(values), None, _sd(values), curve, spread)


_UNKNOWN = (
    "no guidance scale: it differs from step to step, and how far guidance moves each step is "
    "not known: neither this run nor the baseline's evaluated both branches at all of them"
)


def _read(run: Run, shard: str) -> tuple[list[str], list[Floats]]:
    """A shard's items, and sigma, travel, scale and push of their steps: each [n, steps], as all
    items have as many."""
    table = run.read("guidance", shard).to_pandas()
    names = ("sigma", "travel", "scale", "push")
    columns = [np.stack([np.asarray(row, np.float64) for row in table[name]]) for name in names]
    return table["item_id"].tolist(), columns


def _constant(scale: Floats) -> NDArray[np.bool_]:
    return np.all(np.isclose(scale, scale[:, :1], rtol=1e-9), axis=1)


def _at(sigma: Floats, known: Floats, values: Floats) -> Floats:
    """`values` [n, known] at levels `known` [known], decreasing, at other levels `sigma`: linear in
    log sigma, and constant beyond the ends."""
    rows = np.eye(len(known))
    x, grid = np.log(sigma), np.log(known[::-1])
    weights = np.stack([np.interp(x, grid, row[::-1]) for row in rows])
    return values @ weights
