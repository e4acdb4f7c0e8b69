"""What an evaluation and a picture cost before they are made: as recorded earlier, or timed now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.engine.noise import NoiseStreams
from harness.engine.resolve import resolve
from harness.runs.batch_size import images_at_once
from harness.runs.devices import device_name
from harness.runs.folder import Settings
from harness.runs.loaded import open_models
from harness.runs.plan import PlannedRun
from harness.store import files
from harness.store.run import Run

_MOST_RUNS, _MOST_SHARDS = 24, 8
_SLOW = 2.0  # seconds of an evaluation, above which a batch is not tried


@dataclass
class Recorded:
    """What `runs` runs recorded on one `device`: seconds of evaluations, and bytes of images."""

    device: str
    seconds: float = 0.0
    evaluations: float = 0.0
    bytes: int = 0
    images: int = 0
    runs: int = 0

    @property
    def rate(self) -> float | None:
        """Seconds an evaluation."""
        return self.seconds / self.evaluations if self.evaluations else None


def recorded(results: str, job: PlannedRun, device: str) -> Recorded | None:
    """What runs of the job's model, precision and size recorded below `results`; None without any.

    On this machine's device, else on the one of most images, which is named.
    """
    found: dict[str, Recorded] = {}
    for run in _alike(results, job):
        _add(found, run)
    here = device_name(device)
    return found.get(here) or max(found.values(), key=lambda one: one.images, default=None)


def _alike(results: str, job: PlannedRun) -> Iterator[Run]:
    """Runs of the same model, precision and size, as far as they are in their usual places."""
    model, left = job.folder.rpartition("/")[0], _MOST_RUNS
    for benchmark in files.list_files(results, ""):
        folder = files.join(results, benchmark, model)
        for name in files.list_files(folder, ""):
            path = files.join(folder, name)
            if not left or not files.exists(files.join(path, "run.json")):
                continue
            run = Run.open(path)
            one, other = run.spec, job.spec
            if (one.model, one.dtype, one.size) == (other.model, other.dtype, other.size):
                left -= 1
                yield run


def _add(found: dict[str, Recorded], run: Run) -> None:
    """Add what a run's first shards recorded."""
    held = set(run.shards())
    names = [name for name in run.shards("timing") if name in held][:_MOST_SHARDS]
    evaluations = (run.cost() or {}).get("rehearsed")
    if not names or not evaluations:
        return
    timing = run.frame("timing", ["images", "seconds", "device"], names)
    for at, name in enumerate(names):
        images, device = int(timing["images"].iloc[at]), str(timing["device"].iloc[at])
        one = found.setdefault(device, Recorded(device))
        one.seconds += float(timing["seconds"].iloc[at])
        one.evaluations += images * evaluations
        one.images += images
        one.bytes += files.size(run.file("images", name))
        one.runs += at == 0


def timed(job: PlannedRun, settings: Settings, text: str) -> float:
    """Seconds of an evaluation of one sample, from a few on this machine, with weights loaded.

    In a batch as large as runs have, unless one sample takes long. Raises HarnessError where the
    model cannot be loaded.
    """
    torch.set_num_threads(settings.threads)
    models = open_models(job, settings.device, tf32=settings.tf32)
    call = resolve(Call("ddim", {"steps": 1, "guidance": 1.0}), {})

    def seconds(count: int) -> float:
        shape, model = models.model.latent_shape(job.spec.pixels), models.model
        keys = list(range(count))
        noise = NoiseStreams(keys, shape, dtype=model.state_dtype, device=model.device)
        began = perf_counter()
        batch = models.run(call, [text] * count, [None] * count, noise)
        batch.native.cpu()  # waits for the device
        return (perf_counter() - began) / count

    models.encode([text], [None])
    first = seconds(1)
    if first > _SLOW:
        return first
    count = images_at_once(models, job, settings, text)
    try:
        return min(seconds(count), seconds(count))
    except torch.cuda.OutOfMemoryError:
        raise HarnessError(f"a batch of {count} does not fit into memory: --batch-size") from None
