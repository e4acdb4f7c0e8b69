"""A model, a sampler and its guidance policy brought together for one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from harness.models.base import Condition, Ladders, Model
from harness.models.denoiser import Denoiser
from harness.samplers.base import SAMPLERS, Noise, split_parameters
from harness.samplers.guidance import make_guidance
from harness.spec import Call

Evaluations = dict[tuple[str, str], list[int]]
"""(network, branch): evaluations of each sample."""


@dataclass
class Batch:
    """What sampling gives: `native` [B, C, h, w] in the model's own variables, and its cost."""

    native: torch.Tensor
    evaluations: Evaluations


@torch.inference_mode()
def run_sampler(
    model: Model,
    call: Call,
    condition: Condition,
    negative: Condition | None,
    noise: Noise,
) -> Batch:
    """Run a resolved sampler on a batch; `noise()` gives unit normals [B, *latent_shape]."""
    sigmas, policy, own = _parts(model, call)
    asked = SAMPLERS.get(call.name).variants(call.params)
    denoise = Denoiser(model, condition, negative, policy, model.variants(asked) if asked else None)
    x = model.start(noise(), sigmas[0])
    x = SAMPLERS.get(call.name).run(denoise, x, sigmas, noise, **own)
    return Batch(
        model.native(x, sigmas[-1]),
        {key: count.tolist() for key, count in denoise.evaluations.items()},
    )


def _parts(ladders: Ladders, call: Call) -> tuple[torch.Tensor, Any, dict[str, Any]]:
    ladder, policy, own = split_parameters(call)
    sigmas = ladders.ladder(**ladder)
    return sigmas, make_guidance(sigmas, **policy), own


def rehearse(ladders: Ladders, call: Call) -> tuple[torch.Tensor, dict[tuple[str, str], int]]:
    """A sampler's ladder [N+1] and its evaluations per sample, without a network.

    Raises HarnessError for what is wrong with the sampler on this ladder, so it is also the check
    before any weights are loaded.
    """
    sigmas, policy, own = _parts(ladders, call)
    row = {"row": torch.zeros(1)}
    denoise = Denoiser(_Stub(), row, row, policy)
    x = torch.zeros(1, 1, 2, 2)
    SAMPLERS.get(call.name).run(denoise, x, sigmas, lambda shape=None: torch.zeros_like(x), **own)
    return sigmas, {key: int(count[0]) for key, count in denoise.evaluations.items()}


class _Stub:
    """A network that sees nothing and says zero."""

    name = "rehearsal"

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        return torch.zeros_like(x)

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return output


@dataclass
class Prompts:
    """Conditions of prompts on the CPU, each distinct text encoded once and alone.

    Alone, because what a text encoder gives in a batch depends in its last bits on the batch.
    """

    encode: Callable[[list[Any]], Condition | None]
    device: torch.device
    _known: dict[Any, Condition | None] = field(default_factory=dict)

    def batch(self, texts: list[Any]) -> Condition | None:
        """The conditions [len(texts), ...] on the model's device; None where the model has none."""
        parts = []
        for text in texts:
            if text not in self._known:
                condition = self.encode([text])
                self._known[text] = condition and {k: v.cpu() for k, v in condition.items()}
            part = self._known[text]
            if part is None:
                return None
            parts.append(part)
        return {key: torch.cat([part[key] for part in parts]).to(self.device) for key in parts[0]}
