"""Nominal guidance scale of a run: the mean over its images of theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.core.nominal_scale import Evaluations, Profile, profile, run_scale
from harness.store.run import NO_GUIDANCE, Run
from harness.store.run_facts import NominalScale
from harness.store.scores import Selection, select

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


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
        if stored.notna().all() and (not _sd(stored.to_numpy()) or _kept_evaluations(selection)):
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

    An image's is that of all its evaluations at once, see core/nominal_scale.py. Where pushes are
    not known, outside a guidance interval, they are those of `reference`, a run of plain guidance
    over the same items.
    """
    return _scale(select(run, items), reference)


def _scale(selection: Selection, reference: Run | None) -> GuidanceScale:
    run = selection.run
    if (declared := run.spec.declared_guidance) is not None:
        return GuidanceScale(declared, len(selection.images))
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
        table = run.read("guidance", shard).to_pandas()
        sigma, curves = _column(table, "sigma")[0], _column(table, "scale")
        values, unknown = _image_scales(table, _pushes(reference, run, shard, table))
        if values is None:
            return GuidanceScale(None, 0, _OLDER)
        if unknown[asked].any():
            return GuidanceScale(None, 0, _UNKNOWN)
        means.append(values[asked])
        steps.append(curves[asked])
    values = np.concatenate(means)
    held = np.isfinite(values)
    if not held.any():
        return GuidanceScale(None, 0, _CANCEL)
    curve = np.stack([sigma, np.concatenate(steps)[held].mean(0)], axis=1)
    values = values[held]
    spread = float(np.ptp(values))
    return GuidanceScale(float(values.mean()), len(values), None, _sd(values), curve, spread)


_UNKNOWN = (
    "no guidance scale: it differs from step to step, and how far guidance moves each step is "
    "not known: neither this run nor the baseline's evaluated both branches at all of them"
)
_CANCEL = "no guidance scale: what its evaluations do cancels"
_OLDER = (
    "no guidance scale: the run is of an earlier version, whose scale depended on how a sampler is "
    "written: make it again"
)


def _image_scales(table: pd.DataFrame, others: Profile | None) -> tuple[Floats | None, Mask]:
    """The scales [n] of a shard's images, and which of them lack pushes; None where the shard does
    not tell its evaluations and scales are not those of its steps, all alike."""
    curves = _column(table, "scale")
    if not _tells_evaluations(table):
        alike = np.isclose(curves, curves[:, :1], rtol=1e-9).all()
        return (curves[:, 0] if alike else None), np.zeros(len(curves), bool)
    level, coefficient, weight, push = (
        _column(table, name) for name in ("level", "coefficient", "weight", "distance")
    )
    return run_scale(Evaluations(level[0], coefficient[0], weight.T, push.T), others)


def _kept_evaluations(selection: Selection) -> bool:
    """Whether the first and the last shard are of a version that keeps evaluations."""
    shards = [*selection.rows]
    return all(
        _tells_evaluations(selection.run.read("guidance", s).to_pandas())
        for s in (shards[0], shards[-1])
    )


def _tells_evaluations(table: pd.DataFrame) -> bool:
    return "level" in table and bool(table["level"].notna().all())


def _pushes(reference: Run | None, run: Run, shard: str, table: pd.DataFrame) -> Profile | None:
    """Those of another run's images of the same items; None where it has not all of them."""
    if reference is None:
        return None
    found = reference.read_items("guidance", table["item_id"].tolist(), run, shard)
    if found is None:
        return None
    other = found.to_pandas()
    if not _tells_evaluations(other):
        return Profile(_column(other, "sigma")[0], _column(other, "push").T)
    pushes = profile(_column(other, "level")[0], _column(other, "distance").T)
    seen = ~np.isnan(pushes.push).all(1)
    return Profile(pushes.level[seen], pushes.push[seen]) if seen.any() else None


def _column(table: pd.DataFrame, name: str) -> Floats:
    """A list of numbers an item as [n, length], as all items of a shard have as many."""
    return np.stack([np.asarray(row, np.float64) for row in table[name]])
