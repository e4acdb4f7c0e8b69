"""The loaded model of a run, with its guide."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness.core.libraries import exact_float32
from harness.engine.ensemble import Ensemble
from harness.models.base import LoadRequest
from harness.models.compiled import Compiled
from harness.models.load import load
from harness.runs.plan import PlannedRun
from harness.runs.status import say

if TYPE_CHECKING:
    from harness.runs.folder import Settings


def open_models(
    job: PlannedRun, device: str, known: Ensemble | None = None, *, tf32: bool = False
) -> Ensemble:
    """The job's loaded model, with its guide. Raises HarnessError if they do not fit together.

    `known` has the model already, with another guide or none. float32 is exact in this process from
    now on, unless `tf32` lets a GPU round it.
    """
    exact_float32(device, tf32=tf32)
    guide = job.spec.guide and load(
        job.spec.guide, device=device, dtype=job.spec.dtype, size=job.spec.size
    )
    if known is not None:
        return known.guided_by(guide or None)
    model = job.entry.load(LoadRequest(job.model.params, device, job.spec.dtype, job.spec.size))
    return Ensemble(model, guide or None, job.spec.dtype, job.spec.pixels)


def compiled(models: Ensemble, settings: Settings) -> Compiled | None:
    """The compiled networks of loaded models, where settings ask for that; the first process says
    what compiling cost."""
    if settings.compile and models.compiled is None:
        first = os.environ.get("RANK", "0") == "0"
        models.compiled = Compiled(models.loaded, say if first else lambda text: None)
    return models.compiled if settings.compile else None
