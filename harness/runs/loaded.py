"""The loaded model of a run, with its guide."""

from __future__ import annotations

from harness.core.libraries import exact_float32
from harness.engine.ensemble import Ensemble
from harness.models.base import LoadRequest
from harness.models.load import load
from harness.runs.plan import PlannedRun


def open_models(job: PlannedRun, device: str, known: Ensemble | None = None) -> Ensemble:
    """The job's loaded model, with its guide. Raises HarnessError if they do not fit together.

    `known` has the model already, with another guide or none.
    """
    exact_float32(device)
    guide = job.spec.guide and load(
        job.spec.guide, device=device, dtype=job.spec.dtype, size=job.spec.size
    )
    if known is not None:
        return known.guided_by(guide or None)
    model = job.entry.load(LoadRequest(job.model.params, device, job.spec.dtype, job.spec.size))
    return Ensemble(model, guide or None, job.spec.dtype, job.spec.pixels)
