"""A loaded model that makes the pictures of shards, batch by batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from typing import cast

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.run_spec import RunSpec
from harness.core.shards import Shard
from harness.engine.applied import Applied
from harness.engine.batch import decoded_pictures
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
from harness.runs.batch_size import images_at_once
from harness.runs.decoding import Decoding, Pending
from harness.runs.failures import reasons
from harness.runs.finishing import Finisher, Made
from harness.runs.folder import Settings
from harness.runs.loaded import compiled
from harness.runs.plan import PlannedRun
from harness.samplers.base import SAMPLERS
from harness.store.rows import Guidance
from harness.store.run import Run

log = logging.getLogger(__name__)


class Maker:
    """A loaded model that makes shards."""

    def __init__(
        self,
        job: PlannedRun,
        models: Ensemble,
        settings: Settings,
        finisher: Finisher,
    ) -> None:
        self.models, self.model = models, models.model
        self.job = job
        self.batch_size, self._fitted = settings.batch_size or job.entry.batch_size, False
        self._finisher, self._decoding = finisher, Decoding(self.model)
        self._settings, self._compiled = settings, compiled(models, settings)
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
        decoded_pictures(self.model, self.models.run(call, [prompt], [None], noise))
        self.models.warm.add(spec.pixels)

    def shard(
        self, spec: RunSpec, shard: Shard, scales: torch.Tensor | None = None
    ) -> list[Future[Made]]:
        """The shard's pictures, batch by batch; on a GPU, the last are still to come.

        `scales` [n] is each picture's own guidance, where it has one.
        """
        if not SAMPLERS.get(spec.sampler.name).whole:  # such a function encodes by itself
            self.models.encode([prompt.text for prompt in shard.prompts], [spec.negative])
        if spec.pixels not in self.models.warm:
            self._warm_up(spec, shard.prompts[0].text)
        if not self._fitted:
            text = shard.prompts[0].text
            self.batch_size = images_at_once(self.models, self.job, self._settings, text)
            self._fitted = True
        batches: list[Future[Made]] = []
        at = 0
        while at < len(shard.prompts):  # the batch may shrink on the way
            most = self.batch_size
            size = self._compiled.fit(len(shard.prompts), most) if self._compiled else most
            stop = min(at + size, len(shard.prompts))
            batches += self._batch(spec, shard, at, stop, scales)
            at = stop
        return batches

    def _batch(
        self, spec: RunSpec, shard: Shard, start: int, stop: int, scales: torch.Tensor | None
    ) -> list[Future[Made]]:
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
        self._finisher.make_room()
        began = self._decoding.begin()  # attempts that run out of memory are not counted
        try:
            with self._compiled.at(self.batch_size) if self._compiled else nullcontext():
                batch = self.models.run(spec.sampler, texts, negatives, noise, notes, applied, own)
            compiling = self._compiled.taken() if self._compiled else 0.0
            pending = self._decoding.start(batch, began, compiling)
        except torch.cuda.OutOfMemoryError:
            pass
        else:
            known = self._recorded_by(spec, batch.applied)
            finish = partial(self._made, spec, pending, known)
            return [self._finisher.add(finish, later=self._decoding.apart)]
        return self._with_less(spec, shard, start, stop, scales)

    def _with_less(
        self, spec: RunSpec, shard: Shard, start: int, stop: int, scales: torch.Tensor | None
    ) -> list[Future[Made]]:
        """A batch that did not fit into memory: by itself, if another one was being decoded, or in
        two halves."""
        alone = self._finisher.settle()
        torch.cuda.empty_cache()
        if alone:
            self._decoding.in_order()
            log.warning("out of memory: from now on a batch is decoded before the next one begins")
            return self._batch(spec, shard, start, stop, scales)
        if stop - start == 1:
            raise HarnessError(
                f"one image of {spec.pixels[0]}x{spec.pixels[1]} does not fit into the memory "
                f"of {self.model.device}: take a smaller --size or --dtype float16"
            )
        self.batch_size, middle = max(1, (stop - start) // 2), (start + stop) // 2
        log.warning("out of memory at a batch of %d: going on with halves", stop - start)
        first = self._batch(spec, shard, start, middle, scales)
        return first + self._batch(spec, shard, middle, stop, scales)

    def _made(self, spec: RunSpec, pending: Pending, known: Coefficients | None) -> Made:
        """A batch that the device is done with, or after waiting for it."""
        pending.wait()
        failed = reasons(pending.finite, pending.pixels)
        height, width = pending.pixels.shape[2:]
        return Made(
            self._finisher.encode(pending.pixels, failed),
            (height, width),
            failed,
            pending.batch.evaluations,
            None if pending.labels is None else pending.labels.tolist(),
            None if known is None else _guidance(spec, known, pending.batch.applied),
            pending.seconds,
        )

    def _noted(self, spec: RunSpec) -> Applied:
        """A recorder of the applied guidance, and of `ga_eval` where steps are altered."""
        altering = spec.sampler.name in ALTERING and spec.guide is None
        coefficients = self._coefficients_of(spec.sampler) if altering else None
        return GaEval(coefficients.step, self.model) if coefficients else Applied()

    def _recorded_by(self, spec: RunSpec, applied: Applied | None) -> Coefficients | None:
        """What tells a batch's nominal guidance; None where it is no weight of c - u of one
        network."""
        entry = self.job.entry
        if applied is None or spec.guide is not None or not entry.unconditional:
            return None
        known = self._coefficients_of(spec.sampler)
        return known if known and len(known.step) == len(applied.scales) else None

    def _coefficients_of(self, call: Call) -> Coefficients | None:
        """A sampler's coefficients, computed once; None where it is not affine."""
        key = str(call)
        if key not in self._coefficients:
            try:
                self._coefficients[key] = sampler_coefficients(self.job.planner.ladders, call)
            except NotAffine:
                self._coefficients[key] = None
        return self._coefficients[key]


def _guidance(spec: RunSpec, known: Coefficients, applied: Applied | None) -> Guidance:
    """A batch's nominal guidance."""
    assert applied is not None
    curve = measured_guidance(known, applied)
    parts = (curve.sigma, curve.travel, curve.scale, curve.push, curve.mean)
    sigma, travel, scale, push, mean = (part.numpy() for part in parts)
    estimate = None
    if isinstance(applied, GaEval):
        estimate = applied.scale(spec.sampler.params["guidance"]).numpy()
    return Guidance(sigma, travel, scale, push, mean, curve.evaluations, estimate)
