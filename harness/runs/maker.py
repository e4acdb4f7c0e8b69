"""A loaded model that makes the pictures of shards, batch by batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import cast

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
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
from harness.engine.resolve import resolve
from harness.engine.whole_pipelines.trying import Trial, try_out
from harness.models.pipelines.pipeline_model import PipelineModel
from harness.runs.failures import failures
from harness.runs.folder import Settings
from harness.runs.loaded import compiled
from harness.runs.plan import PlannedRun
from harness.samplers.base import SAMPLERS
from harness.store.rows import Guidance
from harness.store.run import Run

log = logging.getLogger(__name__)


@dataclass
class Made:
    """A batch as it is stored: pictures uint8 [B, 3, H, W], or the reason why there is none."""

    pixels: torch.Tensor
    failed: list[str | None]
    evaluations: Evaluations
    classes: list[int] | None
    guidance: Guidance | None
    seconds: float


class Maker:
    """A loaded model that makes shards."""

    def __init__(
        self,
        job: PlannedRun,
        models: Ensemble,
        settings: Settings,
        progress: Callable[[int, int], object],
    ) -> None:
        self.models, self.model = models, models.model
        self.job = job
        self.batch_size = settings.batch_size or job.entry.batch_size
        self.progress = progress
        self._compiled = compiled(models, settings)
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
        self.models.warm.add(spec.pixels)

    def shard(self, spec: RunSpec, shard: Shard, scales: torch.Tensor | None = None) -> list[Made]:
        """The shard's pictures, batch by batch.

        `scales` [n] is each picture's own guidance, where it has one.
        """
        if not SAMPLERS.get(spec.sampler.name).whole:  # such a function encodes by itself
            self.models.encode([prompt.text for prompt in shard.prompts], [spec.negative])
        if spec.pixels not in self.models.warm:
            self._warm_up(spec, shard.prompts[0].text)
        batches: list[Made] = []
        at = 0
        while at < len(shard.prompts):  # the batch may shrink on the way
            stop = min(at + self._at_once(len(shard.prompts)), len(shard.prompts))
            batches += self._batch(spec, shard, at, stop, scales)
            at = stop
        return batches

    def _at_once(self, count: int) -> int:
        """How many of `count` images a batch holds; where networks are compiled, ever the same."""
        most = self.batch_size
        return self._compiled.fit(count, most) if self._compiled else most

    def _batch(
        self, spec: RunSpec, shard: Shard, start: int, stop: int, scales: torch.Tensor | None
    ) -> list[Made]:
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
            with self._compiled.at(self.batch_size) if self._compiled else nullcontext():
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
            compiling = self._compiled.taken() if self._compiled else 0.0
            seconds = perf_counter() - began - compiling
            failed = failures(batch.native, pixels)
            self.progress(len(prompts), len(failed) - failed.count(None))
            guidance = self._guidance(spec, batch.applied)
            made = (batch.evaluations, batch.classes, guidance, seconds)
            return [Made(pixels, failed, *made)]
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
