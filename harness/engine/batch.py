"""Sampling one batch: a sampler run with a model and its guidance policy."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.engine.applied import Applied
from harness.engine.branches import Conditioned
from harness.engine.denoiser import Denoiser
from harness.engine.needs import apply
from harness.engine.policies.classifier_free import ClassifierFree, make_guidance
from harness.engine.policies.like import check_alone
from harness.engine.resolve import split_parameters
from harness.models.base import Condition, Ladders, Model
from harness.models.class_labels import DRAWN
from harness.models.ladders import given_ladder
from harness.samplers.base import SAMPLERS, FindTargets, Noise

Evaluations = dict[tuple[str, str], list[int]]
"""(network, branch): evaluations of each sample."""


class Streams(Noise, Protocol):
    """Each sample's own noise, and integers for what else is drawn."""

    def integers(self, high: int) -> torch.Tensor: ...


@dataclass
class Batch:
    """A sampled batch: latents `native` [B, C, h, w] in the model's own variables, and their cost.

    `labels` are the classes [B] of a class-conditional model, given or drawn, perhaps on the
    model's device; `applied` is the guidance.
    `pixels` are pictures uint8 [B, 3, H, W] of a function of a pipeline that returns these; they
    are then `native`, too.
    """

    native: torch.Tensor
    evaluations: Evaluations
    labels: torch.Tensor | list[int] | None = None
    applied: Applied | None = None
    pixels: torch.Tensor | None = None

    @property
    def classes(self) -> list[int] | None:
        """The labels; where they are on a GPU, this waits for it."""
        return self.labels.tolist() if isinstance(self.labels, torch.Tensor) else self.labels


def decoded_pictures(model: Model, batch: Batch) -> torch.Tensor:
    """A batch's pictures, uint8 [B, 3, H, W] on the CPU."""
    return (model.decode(batch.native) if batch.pixels is None else batch.pixels).cpu()


@torch.inference_mode()
def run_sampler(
    model: Model,
    call: Call,
    condition: Condition,
    negative: Condition | None,
    noise: Streams,
    guide: Conditioned | None = None,
    others: Mapping[str, Conditioned] | None = None,
    targets: FindTargets | None = None,
    applied: Applied | None = None,
    scales: torch.Tensor | None = None,
) -> Batch:
    """Sample a batch with a resolved sampler; `noise()` returns unit normals [B, *latent_shape].

    Guidance leads away from `guide` where there is one; `others` are the sampler's variants that
    are models of their own; `targets` finds the objects of the batch's prompts. Guidance is
    recorded in `applied`, or a new one. `scales` [B] are each image's own, for `guidance_like`.
    """
    if scales is None:
        check_alone(call)
    sigmas, policy, own = parts_of(model, call, scales)
    first = noise()
    variants = dict(others or {})
    if model.classes:
        condition = with_classes(condition, noise, model.classes)
        guide = Conditioned(guide.network, condition) if guide else None
        variants = {name: Conditioned(one.network, condition) for name, one in variants.items()}
    lora = {k: v for k, v in variants_of(call).items() if "lora" in v}
    for name, network in (model.variants(lora) if lora else {}).items():
        variants[name] = Conditioned(network, condition, negative)
    denoise = Denoiser(model, condition, negative, policy, variants, guide, applied)
    start = model.start(first, sigmas[0]), sigmas, noise
    x = apply(SAMPLERS.get(call.name), denoise, start, own, model, targets)
    return Batch(
        model.native(x, sigmas[-1]),
        {key: count.tolist() for key, count in denoise.evaluations.items()},
        condition.get("class"),
        denoise.applied,
    )


def variants_of(call: Call) -> dict[str, dict[str, Any]]:
    """The further networks of a resolved sampler: settings by name."""
    return SAMPLERS.get(call.name).variants(call.params)


def with_classes(condition: Condition, noise: Streams, classes: int) -> Condition:
    """The condition, with random classes where none are given.

    A class is drawn even where one is given, as the published code does, so that later draws do not
    depend on it.
    """
    given, drawn = condition["class"], noise.integers(classes)
    unknown = bool((drawn == DRAWN).any())  # of recorded noise
    given = torch.where(given == DRAWN, drawn.to(given, non_blocking=True), given)
    if unknown and bool((given == DRAWN).any()):
        raise HarnessError("recorded noise tells no class: name each picture's (--class)")
    return {"class": given}


def parts_of(
    ladders: Ladders, call: Call, scales: torch.Tensor | None = None
) -> tuple[torch.Tensor, ClassifierFree, dict[str, Any]]:
    """A resolved sampler's ladder, its guidance, and the parameters of its function."""
    ladder, policy, own = split_parameters(call)
    sigmas = ladder_of(ladders, ladder)
    guidance = make_guidance(sigmas, guidance=own.get("guidance"), scales=scales, **policy)
    return sigmas, guidance, own


def ladder_of(ladders: Ladders, params: dict[str, Any]) -> torch.Tensor:
    """The sigmas [N+1] of a resolved sampler's parameters of the ladder."""
    if "sigmas" in params:
        return given_ladder(ladders, params["sigmas"])
    if "shift" in params and "shift" not in inspect.signature(ladders.ladder).parameters:
        raise HarnessError(
            f"shift={params['shift']:g} is for the times of a flow, which this model does not have"
        )
    return ladders.ladder(**params)
