"""What is timed: the harness, diffusers' own pipeline, and loops with nothing around the network.

All draw the same pictures from the same noise and conditions, up to rounding. Prompts are encoded
before the clock starts: by the harness once a prompt, so diffusers is given the same embeddings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import lru_cache
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.perf.timing import clock, measured
from harness.core.shards import Prompt, plan_shards
from harness.engine.batch import decoded_pictures
from harness.engine.encodings import LIMIT
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.models.load import load
from harness.runs import kept_model
from harness.runs.finishing import Finisher
from harness.runs.folder import Settings, open_run
from harness.runs.loaded import open_models
from harness.runs.make import generate
from harness.runs.maker import Maker
from harness.runs.plan import plan

_COLOURS, _FORMS = ("red", "blue", "green", "yellow"), ("circle", "square", "triangle", "star")
CAPTIONS = [f"a {colour} {form}" for form in _FORMS for colour in _COLOURS]


class Harness:
    """The harness's own path: a planned run's model, sampler and noise, batch by batch."""

    def __init__(
        self, model: str, batch: int, device: str, guidance: float, guide: str | None = None
    ) -> None:
        self.device, self.batch, self.guidance = device, batch, guidance
        self._typed, self._guide = model, guide
        self.planned = self._plan("ddim", 2)
        self.ensemble = open_models(self.planned, device)
        self.model: Any = self.ensemble.model
        classes = self.model.classes
        names = [f"class {n}" for n in range(len(CAPTIONS))] if classes else CAPTIONS
        self.texts = [names[i % len(names)] for i in range(batch)]
        self.negatives: list[str | None] = [None] * batch

    @lru_cache  # noqa: B019  one for the whole process
    def _plan(self, sampler: str, steps: int) -> Any:
        head, _, rest = sampler.partition("(")
        text = f"{head}(steps={steps}, guidance={self.guidance}, {rest or ')'}"
        return plan(self._typed, text, device=self.device, guide=self._guide)

    def noise(self) -> NoiseStreams:
        shape = self.model.latent_shape(self.planned.spec.pixels)
        dtype = self.model.state_dtype
        return NoiseStreams(range(self.batch), shape, dtype=dtype, device=self.device)

    def nfe(self, sampler: str, steps: int) -> int:
        """Evaluations an image."""
        return int(self._plan(sampler, steps).nfe)

    def draws(
        self, sampler: str | Callable[[int], str] = "ddim", *, decode: bool = True
    ) -> Callable[..., Any]:
        """The work of `Ensemble.run`, and of decoding. A sampler may depend on the steps.

        A run is planned once, before the clock starts.
        """

        def stages(call: Any) -> Iterator[torch.Tensor]:
            found = self.ensemble.run(call, self.texts, self.negatives, self.noise())
            yield found.native
            if decode:
                yield decoded_pictures(self.model, found)

        def work(steps: int) -> Iterator[torch.Tensor]:
            text = sampler if isinstance(sampler, str) else sampler(steps)
            return stages(self._plan(text, steps).spec.sampler)

        return work

    def in_a_row(self, batches: int, sampler: str = "ddim") -> Callable[..., Any]:
        """The work of several batches as a run makes them, up to their PNG in memory: on a GPU a
        batch is decoded while the next one is sampled."""
        settings = Settings(self.device, torch.get_num_threads(), self.batch)
        prompts = [Prompt(str(i), text) for i, text in enumerate(self.texts * batches)]
        (shard,) = plan_shards(prompts, [0])

        def stages(planned: Any) -> Iterator[torch.Tensor]:
            with Finisher(lambda images, failed: None, settings.threads) as finisher:
                made = Maker(planned, self.ensemble, settings, finisher).shard(planned.spec, shard)
                pngs = [png for batch in made for png in batch.result().pngs if png]
                yield torch.tensor([len(png.result()) for png in pngs])

        return lambda steps: stages(self._plan(sampler, steps))

    def network_share(self, steps: int) -> float:
        """The network's part of the time of sampling a batch on a CPU, where both can be told."""
        inside, net = [0.0], self.model.net

        def enter(*_: Any) -> None:
            inside[0] -= clock(self.device)

        def leave(*_: Any) -> None:
            inside[0] += clock(self.device)

        hooks = [net.register_forward_pre_hook(enter), net.register_forward_hook(leave)]
        laps, _, _ = measured(self.draws(decode=False), steps, self.device)
        for hook in hooks:
            hook.remove()
        return inside[0] / laps[0]

    def encodes(self) -> Callable[..., Any]:
        """The work of encoding a batch's prompts, as the harness does: one by one."""

        def work(steps: int) -> Iterator[torch.Tensor]:
            for text in self.texts:
                found = self.model.encode([text])
            yield next(iter(found.values()))

        return work

    def makes_run(self, folder: Path, sampler: str, steps: int, images: int) -> None:
        """A run of so many images, pictures on disk and all, by the model that is loaded."""
        planned = self._plan(sampler, steps)
        loaded = Ensemble(self.model, None, planned.spec.dtype, planned.spec.pixels)
        settings = Settings(self.device, torch.get_num_threads(), self.batch)
        prompts = [Prompt(str(i), f"{CAPTIONS[i % 16]} {i}") for i in range(images)]
        run = open_run(planned, str(folder), settings)
        alone = patch.dict(os.environ, {LIMIT: "0"})  # its prompts are encoded
        with alone, patch.object(kept_model, "open_models", lambda *_, **__: loaded):
            generate(((planned, run, one) for one in plan_shards(prompts, [0])), settings)


class Pipeline:
    """diffusers' own call, and the bare loop, on the networks that the harness has loaded."""

    def __init__(self, harness: Harness) -> None:
        self.harness, model = harness, harness.model
        # The harness may decode in another precision: diffusers gets a decoder of its own.
        parts = {**model.pipeline.components, "vae": deepcopy(model.pipeline.vae)}
        kind, settings = type(model.pipeline), {}
        if "safety_checker" in parts:
            settings["requires_safety_checker"] = False
        if getattr(model.pipeline.config, "force_zeros_for_empty_prompt", False):
            settings["force_zeros_for_empty_prompt"] = True
        self.pipeline = kind(**parts, **settings)
        self.pipeline.set_progress_bar_config(disable=True)
        self.net, self.vae = model.net, deepcopy(model.pipeline.vae)
        self.dtype = model.net.dtype
        self.is_xl = "text_encoder_2" in parts
        if self.is_xl and self.dtype == torch.float16:
            self.vae.to(torch.float32)  # as its pipeline does
        self.condition, self.negative = self.conditions()
        self.size = harness.planned.spec.pixels

    def conditions(self) -> tuple[Any, Any]:
        """The harness's own encodings of its prompts and negative prompts."""
        model = self.harness.model
        return model.encode(self.harness.texts), model.encode_negative(self.harness.negatives)

    def first(self) -> torch.Tensor:
        return self.harness.noise()().to(self.harness.device, self.dtype)

    def call(self, rows: int | None = None) -> Callable[..., Any]:
        """The pipeline's own call for the first `rows` of the batch, or all of it."""

        def work(steps: int) -> Iterator[torch.Tensor]:
            given = {
                "prompt_embeds": self.condition["text"][:rows],
                "negative_prompt_embeds": self.negative["text"][:rows],
            }
            if self.is_xl:
                given["pooled_prompt_embeds"] = self.condition["pooled"][:rows]
                given["negative_pooled_prompt_embeds"] = self.negative["pooled"][:rows]
            found = self.pipeline(
                **given,
                latents=self.first()[:rows],
                num_inference_steps=steps,
                guidance_scale=self.harness.guidance,
                height=self.size[0],
                width=self.size[1],
                output_type="pt",
            )
            yield as_bytes(found.images)

        return work

    def encodes(self) -> Callable[..., Any]:
        """The pipeline's own encoding of a batch's prompts, all at once."""

        def work(steps: int) -> Iterator[torch.Tensor]:
            yield self.pipeline.encode_prompt(
                self.harness.texts,
                device=self.harness.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
            )[0]

        return work

    @torch.inference_mode()
    def bare(self, steps: int) -> Iterator[torch.Tensor]:
        """DDIM with guidance: the network on the pair, two multiplications, and the decoder."""
        z = self.first()
        pair = {k: torch.cat([self.negative[k], self.condition[k]]) for k in self.condition}
        extra: dict[str, Any] = {}
        if self.is_xl:
            ids = z.new_tensor([*self.size, 0, 0, *self.size]).expand(2 * len(z), -1)
            extra = {"added_cond_kwargs": {"text_embeds": pair["pooled"], "time_ids": ids}}
        schedule = ddim_schedule(self.pipeline.scheduler, steps)
        times = torch.tensor([time for time, _, _ in schedule], device=z.device)
        for time, (_, keep, move) in zip(times, schedule, strict=True):
            both = torch.cat([z, z])
            out = self.net(both, time, pair["text"], return_dict=False, **extra)[0]
            u, c = out.chunk(2)
            z = keep * z + move * (u + self.harness.guidance * (c - u))
        yield z
        config = self.vae.config
        latents = z.to(self.vae.dtype) / config.scaling_factor
        picture = self.vae.decode(latents, return_dict=False)[0]
        yield as_bytes((picture / 2 + 0.5).clamp(0, 1))


def as_bytes(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 on the CPU, of [0, 1]."""
    return (pictures.float() * 255).round().to("cpu", torch.uint8)


def ddim_schedule(scheduler: Any, steps: int) -> list[tuple[int, float, float]]:
    """(time, a, b) of every step z <- a z + b out, of diffusers' DDIM scheduler (Song et al. 2021,
    equation 12, eta 0)."""
    scheduler = deepcopy(scheduler)
    scheduler.set_timesteps(steps)
    alphas = scheduler.alphas_cumprod.double()
    stride = scheduler.config.num_train_timesteps // steps
    found = []
    for time in scheduler.timesteps.tolist():
        after = time - stride
        a = float(alphas[time])
        b = float(alphas[after] if after >= 0 else scheduler.final_alpha_cumprod)
        if scheduler.config.prediction_type == "v_prediction":
            # x0 = sqrt(a) z - sqrt(1-a) v, eps = sqrt(a) v + sqrt(1-a) z
            keep = sqrt(b * a) + sqrt((1 - b) * (1 - a))
            move = sqrt((1 - b) * a) - sqrt(b * (1 - a))
        else:
            keep = sqrt(b / a)
            move = sqrt(1 - b) - keep * sqrt(1 - a)
        found.append((time, keep, move))
    return found


class Heun:
    """The bare loop of an EDM network and its guide: Karras et al. 2022, algorithm 1."""

    def __init__(self, harness: Harness, guide: str) -> None:
        self.harness, model = harness, harness.model
        self.net = model.net
        dtype = harness.planned.spec.dtype
        self.guide: Any = load(guide, device=harness.device, dtype=dtype)
        chosen = model.encode(harness.texts)["class"]
        self.labels = torch.nn.functional.one_hot(chosen, model.net.label_dim).float()

    @torch.inference_mode()
    def bare(self, steps: int) -> Iterator[torch.Tensor]:
        ladder = self.harness.model.ladder(steps)
        sigmas, x = ladder.float().to(self.harness.device), self.harness.noise()()
        x = x.to(torch.float32) * float(ladder[0])
        for at, (s, t) in enumerate(pairwise(sigmas)):
            slope = (x - self._guided(x, s)) / s
            ahead = x + (t - s) * slope
            if at + 1 < steps:
                slope = (slope + (ahead - self._guided(ahead, t)) / t) / 2
            x = x + (t - s) * slope
        yield x

    def _guided(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        u = self.guide.net(x, sigma)
        return u + self.harness.guidance * (self.net(x, sigma, self.labels) - u)
