"""How many images a batch holds where nobody says: on a GPU, as many as fit and are of use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch

from harness.core.call import Call
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.engine.resolve import resolve
from harness.models.device_memory import CudaMemory, Memory

if TYPE_CHECKING:
    from harness.runs.folder import Settings
    from harness.runs.plan import PlannedRun

_PIXELS = 8 * 1024**2
"""Of a batch: beyond, a GPU gains little. 8 images of 1024x1024 are as fast each as 16, and 32 of
512x512 3 % faster than 16."""

_MOST = 64
_SHARE = 0.8  # of the memory: what is measured at 1 and 2 images is not all that a run needs


def images_at_once(models: Ensemble, job: PlannedRun, settings: Settings, text: str) -> int:
    """The batch size of the settings; else one that fits into a GPU's memory, which is tried on a
    prompt, and on other devices the model's own."""
    if settings.batch_size:
        return settings.batch_size
    device = models.model.device
    if device.type != "cuda":
        return job.entry.batch_size
    form = (job.spec.pixels, job.spec.guide)
    if form not in models.at_once:  # the model stays for several runs
        memory = CudaMemory(device)
        models.at_once[form] = found(memory, lambda n: _evaluate(models, job, text, n), job)
    return models.at_once[form]


def found(memory: Memory, evaluate: Callable[[int], object], job: PlannedRun) -> int:
    """The largest power of two that fits; `evaluate` is given how many images to make.

    What a batch needs is taken to grow evenly from 1 image to 2 and further.
    """
    height, width = job.spec.pixels
    most = min(_MOST, max(1, _PIXELS // (height * width)))
    free = memory.free()
    try:
        one, two = (memory.needed(partial(evaluate, count))[1] for count in (1, 2))
    except torch.OutOfMemoryError:
        return 1
    fitting = 1 + int(max(0.0, free * _SHARE - one) // max(1, two - one))
    return 2 ** (min(most, fitting).bit_length() - 1)


def _evaluate(models: Ensemble, job: PlannedRun, text: str, count: int) -> None:
    """Make pictures in one step, with all branches of guidance."""
    model, spec = models.model, job.spec
    guided = job.entry.unconditional or spec.guide is not None
    call = resolve(Call("ddim", {"steps": 1, "guidance": 2.0 if guided else 1.0}), {})
    shape = model.latent_shape(spec.pixels)
    keys = list(range(count))
    noise = NoiseStreams(keys, shape, dtype=model.state_dtype, device=model.device)
    batch = models.run(call, [text] * count, [spec.negative] * count, noise)
    model.decode(batch.native)
