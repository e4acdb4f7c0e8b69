"""Makes the missing shards of images of planned runs.

Pictures are encoded and written by a thread of their own, so that the network does not wait for
them.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from math import isfinite
from time import perf_counter
from typing import Any, cast

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.libraries import exact_float32
from harness.core.run_spec import RunSpec
from harness.core.shards import Shard
from harness.engine.applied import Applied
from harness.engine.batch import Evaluations, decoded_pictures
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams, stream_key
from harness.engine.probes.coefficients import (
    Coefficients,
    NotAffine,
    measured_guidance,
    sampler_coefficients,
)
from harness.engine.probes.ga_eval import ALTERING, GaEval
from harness.engine.probes.macs import count_macs
from harness.engine.resolve import resolve
from harness.engine.whole_pipelines.trying import Trial, try_out
from harness.models.base import LoadRequest
from harness.models.load import load
from harness.models.pipelines.pipeline_model import PipelineModel
from harness.runs.devices import device_name
from harness.runs.failures import failures, told
from harness.runs.folder import Settings
from harness.runs.plan import PlannedRun
from harness.samplers.base import SAMPLERS
from harness.store.item_guidance import NOMINAL, image_scales, run_beside
from harness.store.rows import Guidance, guidance_table, image_table, timing_table
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

    Weights are loaded at the first missing shard, and once more for runs of another guide, or
    without one. `progress` is called with the numbers of images made, and of those that failed.
    What a picture costs is counted once a run, by making one more: where several processes share
    the work, by the one that is `first` to ask for a name, while the others go on. That one also
    warns of those of the `texts`, all prompts of the work, that the model cuts.
    """
    torch.set_num_threads(settings.threads)
    makers: dict[str | None, _Maker] = {}
    warned: set[str] = set()
    with ThreadPoolExecutor(1) as writer:
        pending: list[Future[None]] = []
        for job, run, shard in work:
            if (lacking := run.lacking(shard)) is None:
                continue
            shard = lacking
            scales = _scales(job.spec.sampler, run, shard)
            if (guide := job.spec.guide) not in makers:
                makers[guide] = _Maker(job, settings, progress)
                if first("prompts that are cut"):
                    makers[guide].models.warn_of_cut([*texts, job.spec.negative])
            maker = makers[guide]
            read = getattr(maker.model, "record", None)
            if read and first(f"pipeline of {run.path}"):
                run.set_pipeline(read)
            if job.sigmas is None:
                maker.try_out(run, job.spec, shard, first)
            if run.cost() is None and first(f"cost of {run.path}"):
                run.set_cost(_measured(maker.models, job, shard))
            pictures = maker.shard(job.spec, shard, scales)
            failed = [reason for batch in pictures for reason in batch.failed]
            if run.path not in warned and (text := told(failed, job.spec)):
                log.warning("%s; such a picture loses its pairs", text)
                warned.add(run.path)
            pending.append(writer.submit(_write, run, shard, pictures, settings))
            while len(pending) > 2:  # a bound on the pictures held in memory
                pending.pop(0).result()
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


def _measured(models: Ensemble, job: PlannedRun, shard: Shard) -> dict[str, Any]:
    """The content of `cost.json`, see `Run.cost`."""
    ends = {}
    if job.sigmas is not None:
        ends = {"sigma_max": float(job.sigmas[0]), "sigma_min": float(job.sigmas[-1])}
    return asdict(count_macs(models, job.spec, shard.prompts[0])) | ends | {"rehearsed": job.nfe}


def count_again(job: PlannedRun, run: Run, shard: Shard, settings: Settings) -> None:
    """Count anew what a picture of a run costs, for its `cost.json`."""
    torch.set_num_threads(settings.threads)
    run.set_cost(_measured(open_models(job, settings.device), job, shard))


@dataclass
class _Pictures:
    """A batch as it is stored: pictures uint8 [B, 3, H, W], or the reason why there is none."""

    pixels: torch.Tensor
    failed: list[str | None]
    evaluations: Evaluations
    classes: list[int] | None
    guidance: Guidance | None
    seconds: float


def open_models(job: PlannedRun, device: str) -> Ensemble:
    """The job's loaded model, with its guide. Raises HarnessError if they do not fit together."""
    exact_float32(device)
    model = job.entry.load(LoadRequest(job.model.params, device, job.spec.dtype, job.spec.size))
    guide = job.spec.guide and load(
        job.spec.guide, device=device, dtype=job.spec.dtype, size=job.spec.size
    )
    return Ensemble(model, guide or None, job.spec.dtype, job.spec.pixels)


class _Maker:
    """A loaded model that makes shards."""

    def __init__(
        self, job: PlannedRun, settings: Settings, progress: Callable[[int, int], object]
    ) -> None:
        self.models = open_models(job, settings.device)
        self.model = self.models.model
        self.job = job
        self.batch_size = settings.batch_size or job.entry.batch_size
        self.progress = progress
        self.warm = False
        self._coefficients: dict[str, Coefficients | None] = {}

    def try_out(self, run: Run, spec: RunSpec, shard: Shard, first: Callable[[str], bool]) -> None:
        """Try a function of a pipeline on a few of its prompts, unless the run knows the result."""
        known, trials = run.trial(), self.models.trials
        if known is None and str(spec.sampler) not in trials:
            texts = [prompt.text for prompt in shard.prompts]
            trial = try_out(cast(PipelineModel, self.model), spec, texts)
            known = asdict(trial)
            if not trial.together:
                log.warning("%s makes pictures one by one: %s", spec.sampler.name, trial.why)
        if known is not None:
            trials[str(spec.sampler)] = Trial(**known)
        if run.trial() is None and first(f"trial of {run.path}"):
            run.set_trial(asdict(trials[str(spec.sampler)]))

    def _warm_up(self, spec: RunSpec, prompt: str) -> None:
        """One evaluation of one sample, so that no run is charged for the device's first steps."""
        shape = self.model.latent_shape(spec.pixels)
        noise = NoiseStreams([0], shape, dtype=self.model.state_dtype, device=self.model.device)
        call = resolve(Call("ddim", {"steps": 1, "guidance": 1.0}), {})
        self.model.decode(self.models.run(call, [prompt], [None], noise).native)
        self.warm = True

    def shard(
        self, spec: RunSpec, shard: Shard, scales: torch.Tensor | None = None
    ) -> list[_Pictures]:
        """The shard's pictures, batch by batch.

        `scales` [n] is each picture's own guidance, where it has one.
        """
        if not SAMPLERS.get(spec.sampler.name).whole:  # such a function encodes by itself
            self.models.encode([prompt.text for prompt in shard.prompts], [spec.negative])
        if not self.warm:
            self._warm_up(spec, shard.prompts[0].text)
        batches: list[_Pictures] = []
        at = 0
        while at < len(shard.prompts):  # the batch may shrink on the way
            stop = min(at + self.batch_size, len(shard.prompts))
            batches += self._batch(spec, shard, at, stop, scales)
            at = stop
        return batches

    def _batch(
        self, spec: RunSpec, shard: Shard, start: int, stop: int, scales: torch.Tensor | None
    ) -> list[_Pictures]:
        """Prompts `start` to `stop` of a shard; halved where they do not fit into memory."""
        prompts = shard.prompts[start:stop]
        texts = [prompt.text for prompt in prompts]
        noise = NoiseStreams(
            [
                stream_key(spec.noise_key, text, seed, place)
                for text, seed, place in zip(
                    texts, shard.seeds[start:stop], shard.places[start:stop], strict=True
                )
            ],
            self.model.latent_shape(spec.pixels),
            dtype=self.model.state_dtype,
            device=self.model.device,
        )
        negatives = [spec.negative] * len(texts)
        notes = [prompt.notes for prompt in prompts]
        own = None if scales is None else scales[start:stop]
        applied = self._noted(spec)  # analyses the sampler, the first time
        began = perf_counter()  # attempts that run out of memory are not counted
        try:
            batch = self.models.run(spec.sampler, texts, negatives, noise, notes, applied, own)
            pixels = decoded_pictures(self.model, batch)
        except torch.cuda.OutOfMemoryError:
            if len(prompts) == 1:
                raise HarnessError(
                    f"one image of {spec.pixels[0]}x{spec.pixels[1]} does not fit into the memory "
                    f"of {self.model.device}: take a smaller --size or --dtype float16"
                ) from None
            middle = (start + stop) // 2
        else:
            seconds = perf_counter() - began
            failed = failures(batch.native, pixels)
            self.progress(len(prompts), len(failed) - failed.count(None))
            guidance = self._guidance(spec, batch.applied)
            made = (batch.evaluations, batch.classes, guidance, seconds)
            return [_Pictures(pixels, failed, *made)]
        torch.cuda.empty_cache()
        self.batch_size = max(1, len(prompts) // 2)
        log.warning("out of memory at a batch of %d: going on with halves", len(prompts))
        first = self._batch(spec, shard, start, middle, scales)
        return first + self._batch(spec, shard, middle, stop, scales)

    def _noted(self, spec: RunSpec) -> Applied:
        """A recorder of the applied guidance, and of `ga_eval` where steps are altered."""
        altering = spec.sampler.name in ALTERING and spec.guide is None
        coefficients = self._coefficients_of(spec.sampler) if altering else None
        return GaEval(coefficients.step, self.model) if coefficients else Applied()

    def _guidance(self, spec: RunSpec, applied: Applied | None) -> Guidance | None:
        """A batch's nominal guidance; None where it is no weight of c - u of one network."""
        entry = self.job.entry
        if applied is None or spec.guide is not None or not entry.unconditional:
            return None
        coefficients = self._coefficients_of(spec.sampler)
        if coefficients is None or len(coefficients.step) != len(applied.scales):
            return None
        curve = measured_guidance(coefficients, applied)
        parts = (curve.sigma, curve.travel, curve.scale, curve.push, curve.mean)
        sigma, travel, scale, push, mean = (part.numpy() for part in parts)
        estimate = None
        if isinstance(applied, GaEval):
            estimate = applied.scale(spec.sampler.params["guidance"]).numpy()
        return Guidance(sigma, travel, scale, push, mean, curve.evaluations, estimate)

    def _coefficients_of(self, call: Call) -> Coefficients | None:
        """A sampler's coefficients, computed once; None where it is not affine."""
        key = str(call)
        if key not in self._coefficients:
            try:
                self._coefficients[key] = sampler_coefficients(self.job.planner.ladders, call)
            except NotAffine:
                self._coefficients[key] = None
        return self._coefficients[key]


def _write(run: Run, shard: Shard, batches: Sequence[_Pictures], settings: Settings) -> None:
    pngs: list[bytes | None] = []
    failed: list[str | None] = []
    classes: list[int | None] = []
    evaluations: list[dict[tuple[str, str], int]] = []
    for batch in batches:
        for row, reason in enumerate(batch.failed):
            pngs.append(None if reason else _png(batch.pixels[row]))
            failed.append(reason)
            classes.append(batch.classes[row] if batch.classes else None)
            evaluations.append({key: counts[row] for key, counts in batch.evaluations.items()})
    timed = [(len(batch.failed), batch.seconds) for batch in batches]
    timing = timing_table(shard, timed, device_name(settings.device), settings.threads)
    run.write("timing", shard.name, timing, shard.items_key)
    size = (batches[0].pixels.shape[2], batches[0].pixels.shape[3])
    known = [batch.guidance for batch in batches if batch.guidance]
    scales: list[float | None] = [run.spec.declared_guidance] * len(pngs)
    if known:
        run.write("guidance", shard.name, guidance_table(shard, known), shard.items_key)
        scales = [float(s) if isfinite(s) else None for batch in known for s in batch.mean]
    table = image_table(shard, pngs, failed, evaluations, size, classes, scales)
    run.write("images", shard.name, table, shard.items_key)


def _png(pixels: torch.Tensor) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(buffer, "PNG")
    return buffer.getvalue()
