"""Makes the missing shards of images of planned runs.

Pictures are encoded and written by threads of their own, so that the network does not wait for
them; on a GPU, they are also decoded while the next are sampled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.libraries import exact_float32
from harness.core.run_spec import RunSpec
from harness.core.shards import Shard
from harness.runs.costing import measured
from harness.runs.failures import told
from harness.runs.finishing import Finisher, Made
from harness.runs.folder import Settings
from harness.runs.maker import Maker
from harness.runs.plan import PlannedRun
from harness.runs.writing import write_shard
from harness.store.item_guidance import NOMINAL, image_scales, run_beside
from harness.store.run import Run

log = logging.getLogger(__name__)


def generate(
    work: Iterable[tuple[PlannedRun, Run, Shard]],
    settings: Settings,
    progress: Callable[[int, int], object] = lambda images, failed: None,
    first: Callable[[str], bool] = lambda name: True,
    texts: Iterable[str] = (),
) -> None:
    """Make the shards of `work` that are missing; the jobs are of one model and precision.

    Weights are loaded at the first missing shard, unless `settings.loaded` has them. `progress` is
    called with the numbers of images made, and of those that failed. What a picture costs is
    counted once a run: where several processes share the work, by the one that is `first` to ask
    for a name, while the others go on. That one also warns of those of the `texts`, all prompts of
    the work, that the model cuts.
    """
    torch.set_num_threads(settings.threads)
    exact_float32(settings.device, tf32=settings.tf32)  # whatever was computed in between
    makers: dict[str | None, Maker] = {}
    warned: set[str] = set()

    def written(run: Run, spec: RunSpec, shard: Shard, batches: list[Future[Made]]) -> None:
        made = [batch.result() for batch in batches]
        failed = [reason for batch in made for reason in batch.failed]
        if run.path not in warned and (text := told(failed, spec)):
            log.warning("%s; such a picture loses its pairs", text)
            warned.add(run.path)
        write_shard(run, shard, made, settings)

    with Finisher(progress, settings.threads) as finisher, ThreadPoolExecutor(1) as writer:
        pending: list[Future[None]] = []
        before = ""
        for job, run, shard in work:
            if (lacking := run.lacking(shard)) is None:
                continue
            shard = lacking
            if run.path != before:
                finisher.settle()  # no time of a run is charged to another one
            before = run.path
            scales = _scales(job.spec.sampler, run, shard)
            if (guide := job.spec.guide) not in makers:
                models = settings.loaded.models(job, settings)
                makers[guide] = Maker(job, models, settings, finisher)
                if first("prompts that are cut"):
                    makers[guide].models.warn_of_cut([*texts, job.spec.negative])
            maker = makers[guide]
            read = getattr(maker.model, "record", None)
            if read and first(f"pipeline of {run.path}"):
                run.set_pipeline(read)
            if job.sigmas is None:
                maker.try_out(run, job.spec, shard, first)
            if run.cost() is None and first(f"cost of {run.path}"):
                run.set_cost(measured(maker.models, job, shard))
            pictures = maker.shard(job.spec, shard, scales)
            pending.append(writer.submit(written, run, job.spec, shard, pictures))
            while len(pending) > 2:  # a bound on the pictures held in memory
                pending.pop(0).result()
        finisher.settle()
        for future in pending:
            future.result()


def _scales(call: Call, run: Run, shard: Shard) -> torch.Tensor | None:
    """The guidance scales of a shard's images [n] where they are those of another run's images.

    None for other samplers. Where the other image failed, the scale is the sampler's own.
    """
    like = call.params.get("guidance_like")
    if like is None:
        return None
    estimate = call.params.get("guidance_estimate", NOMINAL)
    other = run_beside(run.path, like)
    # A run of an earlier version may have cut its images otherwise.
    names = [shard.name] if other.layout == run.layout else [*other.places(shard.item_ids)]
    known = {k: v for name in names for k, v in image_scales(other, name, estimate).items()}
    if missing := [item for item in shard.item_ids if item not in known]:
        raise HarnessError(f"{like} holds no image {missing[0]}: generate it first")
    own = call.params["guidance"]
    values = [known[item] for item in shard.item_ids]
    return torch.tensor([own if v is None else v for v in values], dtype=torch.float64)
