"""A model, a sampler and its guidance policy brought together for one batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.engine.applied import Applied
from harness.engine.branches import Conditioned
from harness.engine.denoiser import Denoiser, Objects
from harness.engine.policies import make_guidance
from harness.models.base import Condition, Ladders, Model
from harness.models.class_labels import DRAWN
from harness.samplers.base import SAMPLERS, Noise, split_parameters

Evaluations = dict[tuple[str, str], list[int]]
"""(network, branch): evaluations of each sample."""


class Streams(Noise, Protocol):
    """Each sample's own noise, and integers for what else is drawn."""

    def integers(self, high: int) -> torch.Tensor: ...


@dataclass
class Batch:
    """What sampling gives: `native` [B, C, h, w] in the model's own variables, and its cost.

    `classes` are those of a model of classes, given or drawn; `applied` is what guidance did.
    """

    native: torch.Tensor
    evaluations: Evaluations
    classes: list[int] | None = None
    applied: Applied | None = None


@torch.inference_mode()
def run_sampler(
    model: Model,
    call: Call,
    condition: Condition,
    negative: Condition | None,
    noise: Streams,
    guide: Conditioned | None = None,
    others: Mapping[str, Conditioned] | None = None,
    objects: Objects | None = None,
    applied: Applied | None = None,
    scales: torch.Tensor | None = None,
) -> Batch:
    """Run a resolved sampler on a batch; `noise()` gives unit normals [B, *latent_shape].

    Guidance leads away from `guide` where there is one; `others` are the sampler's variants that
    are models of their own; `objects` are those of the batch's prompts. What guidance does is noted
    in `applied`, or a new one. `scales` [B] are those that `guidance_like` gives the samples.
    """
    if scales is None:
        check_alone(call)
    sigmas, policy, own = parts_of(model, call, scales)
    first = noise()
    variants = dict(others or {})
    if model.classes:
        condition = _with_classes(condition, noise, model.classes)
        guide = Conditioned(guide.network, condition) if guide else None
        variants = {name: Conditioned(one.network, condition) for name, one in variants.items()}
    lora = {k: v for k, v in variants_of(call).items() if "lora" in v}
    for name, network in (model.variants(lora) if lora else {}).items():
        variants[name] = Conditioned(network, condition, negative)
    denoise = Denoiser(model, condition, negative, policy, variants, guide, None, objects, applied)
    x = model.start(first, sigmas[0])
    x = SAMPLERS.get(call.name).run(denoise, x, sigmas, noise, **own)
    return Batch(
        model.native(x, sigmas[-1]),
        {key: count.tolist() for key, count in denoise.evaluations.items()},
        condition["class"].tolist() if "class" in condition else None,
        denoise.applied,
    )


def check_alone(call: Call) -> None:
    """Raise HarnessError for a sampler that needs another run beside the one that is made."""
    if like := call.params.get("guidance_like"):
        raise HarnessError(
            f"guidance_like={like} names a run in the same folder, which has each image's scale: "
            "it goes with harness generate and harness bench, not with single pictures"
        )


def variants_of(call: Call) -> dict[str, dict[str, Any]]:
    """The networks that a resolved sampler asks for by name, with their settings."""
    return SAMPLERS.get(call.name).variants(call.params)


def _with_classes(condition: Condition, noise: Streams, classes: int) -> Condition:
    """The condition with classes drawn where none are given.

    A class is drawn even where one is given, as the published code does, so that later draws do not
    depend on it.
    """
    given = condition["class"]
    given = torch.where(given == DRAWN, noise.integers(classes).to(given), given)
    if bool((given == DRAWN).any()):
        raise HarnessError("recorded noise tells no class: name each picture's (--class)")
    return {"class": given}


def parts_of(
    ladders: Ladders, call: Call, scales: torch.Tensor | None = None
) -> tuple[torch.Tensor, Any, dict[str, Any]]:
    ladder, policy, own = split_parameters(call)
    sigmas, factors = ladders.ladder(**ladder), None
    if policy.pop("guidance_like", None):
        policy.pop("guidance_estimate", None)
        factors = (ANY_SCALE if scales is None else scales) / own["guidance"]
    return sigmas, make_guidance(sigmas, **policy, factors=factors), own


ANY_SCALE = torch.tensor([2.0], dtype=torch.float64)
"""Stands for an image's own guidance scale where there is no image: it takes both branches."""
