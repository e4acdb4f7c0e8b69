"""What a picture of a run costs, counted while one is made."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from harness.core.shards import Shard
from harness.engine.ensemble import Ensemble
from harness.engine.probes.macs import count_macs
from harness.runs.folder import Settings
from harness.runs.loaded import open_models
from harness.runs.plan import PlannedRun
from harness.store.run import Run


def measured(models: Ensemble, job: PlannedRun, shard: Shard) -> dict[str, Any]:
    """The content of `cost.json`, see `Run.cost`."""
    ends = {}
    if job.sigmas is not None:
        ends = {"sigma_max": float(job.sigmas[0]), "sigma_min": float(job.sigmas[-1])}
    return asdict(count_macs(models, job.spec, shard.prompts[0])) | ends | {"rehearsed": job.nfe}


def count_again(job: PlannedRun, run: Run, shard: Shard, settings: Settings) -> None:
    """Count anew what a picture of a run costs, for its `cost.json`."""
    torch.set_num_threads(settings.threads)
    run.set_cost(measured(open_models(job, settings.device, tf32=settings.tf32), job, shard))
