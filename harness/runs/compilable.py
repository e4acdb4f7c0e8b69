"""Which runs `--compile` is for: those whose network is one, and always the same."""

from __future__ import annotations

from harness.core.errors import HarnessError
from harness.engine.batch import variants_of
from harness.engine.policies.base import GuidancePolicy, policies
from harness.models.edm.edm_model import EdmLevels
from harness.models.pipelines.capture.captured_schedule import CapturedSchedule
from harness.runs.plan import PlannedRun
from harness.samplers.base import SAMPLERS

_PLACED = ("quantize", "offload", "device_map")


def check_compilable(job: PlannedRun) -> None:
    """Raise HarnessError for a run whose network cannot be compiled, before weights are loaded."""
    if reason := _of_sampler(job) or _of_model(job):
        raise HarnessError(f"--compile: {reason}; leave it out")


def _of_sampler(job: PlannedRun) -> str | None:
    call = job.spec.sampler
    entry = SAMPLERS.get(call.name)
    if entry.whole:
        return f"{call.name} calls its pipeline by itself"
    if entry.abilities:
        return f"{call.name} reads and changes layers of the network while it runs"
    if variants_of(call):
        return f"{call.name} changes the network's weights, or takes a second network"
    for policy in policies():
        altering = policy.make.altered is not GuidancePolicy.altered
        given = [name for name in policy.parameters if call.params.get(name) is not None]
        if altering and given:
            return f"{given[0]} changes layers of the network"
    return None


def _of_model(job: PlannedRun) -> str | None:
    for name in _PLACED:
        if value := job.model.params.get(name):
            return f"with {name}={value} the network is not computed as it stands"
    ladders = job.planner.ladders
    if isinstance(ladders, CapturedSchedule):
        return f"{job.entry.name} is a captured pipeline, whose texts are of many lengths"
    if not job.entry.pipeline and not isinstance(ladders, EdmLevels):
        return f"{job.entry.name} has no network that torch could compile"
    return None
