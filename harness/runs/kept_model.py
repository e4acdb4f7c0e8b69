"""The loaded model, kept from one run to the next."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import torch

from harness.engine.encodings import Encodings, limit
from harness.engine.ensemble import Ensemble
from harness.models.base import MODELS
from harness.models.pipelines.capture.captured_model import CapturedModel
from harness.models.pipelines.pipeline_model import PipelineModel
from harness.runs.loaded import open_models

if TYPE_CHECKING:
    from harness.runs.folder import Settings
    from harness.runs.plan import PlannedRun


class Loaded:
    """The model of the latest run, for the next runs of it; that of another one takes its place.

    Runs that differ in their guide share the model. It goes with the settings that hold it: one for
    each command, and in processes that do several one that is handed to all of them.
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._models: dict[str | None, Ensemble] = {}

    def models(self, job: PlannedRun, settings: Settings) -> Ensemble:
        """The job's loaded model, with its guide; see `open_models`."""
        key = (str(job.model), job.spec.dtype, job.spec.size, settings)
        if key != self._key:
            self.drop()
            self._key = key
        if (guide := job.spec.guide) not in self._models:
            known = next(iter(self._models.values()), None)
            models = open_models(job, settings.device, known, tf32=settings.tf32)
            if known is None:
                _keep_encodings(models, job)
            self._models[guide] = models
        return self._models[guide]

    def drop(self) -> None:
        """Give the memory back."""
        self._key = None
        self._models.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _keep_encodings(models: Ensemble, job: PlannedRun) -> None:
    """Let encoded prompts outlast this process: of pipelines that are written out, and registered
    everywhere."""
    model: Any = models.model
    written_out = isinstance(model, PipelineModel) and not isinstance(model, CapturedModel)
    if limit() and written_out and not MODELS.only_here(job.entry.load):
        about = {"model": str(job.model), "revision": job.entry.revision()}
        models.keep_encodings(Encodings({**about, "dtype": job.spec.dtype}, model.device))
