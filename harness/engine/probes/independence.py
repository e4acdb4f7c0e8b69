"""Check that a sampler makes each image of a batch independently of the others.

An image is a function of model, sampler, prompt and seed. A sampler that takes a mean or a norm
over a whole batch, or decides for all of it, makes it depend on its neighbours as well, and so on
the batch size. A few made-up images, sampled together and apart, show it without a network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.engine.denoiser import Denoiser
from harness.engine.noise import NoiseStreams
from harness.engine.rehearsal import rehearsed
from harness.models.base import Ladders

_SEEDS = range(4)
_ROUNDING = 1e-4  # of a sampler that works in float32, with a wide margin


def check_independent(
    ladders: Ladders, call: Call, *, unconditional: bool = True, guided: bool = False
) -> None:
    """Raise HarnessError if an image of a resolved sampler depends on its batch."""
    how = {"unconditional": unconditional, "guided": guided}
    together = dry_images(ladders, call, _SEEDS, **how)
    apart = torch.cat([dry_images(ladders, call, [seed], **how) for seed in _SEEDS])
    size = float(apart[apart.isfinite()].abs().max()) if apart.isfinite().any() else 0.0
    if not torch.allclose(together, apart, rtol=0.0, atol=_ROUNDING * size, equal_nan=True):
        raise HarnessError(
            f"{call.name} must make each image by itself, but in a dry run some came out "
            "otherwise together than one at a time: by a mean, norm or decision over the whole "
            "batch, perhaps, or random numbers of its own. Reduce over an image's own axes, as "
            "x.mean((1, 2, 3), keepdim=True) does, and draw with noise()"
        )


def dry_images(
    ladders: Ladders,
    call: Call,
    seeds: Sequence[int],
    *,
    unconditional: bool = True,
    guided: bool = False,
) -> torch.Tensor:
    """A sampler's results [len(seeds), 4, 2, 2] without a network, each from its own noise."""
    noise = NoiseStreams(seeds, (_WIDTH, 2, 2), dtype=torch.float64)
    how = {"unconditional": unconditional, "guided": guided}
    return rehearsed(_OwnEstimate, ladders, call, _WIDTH, noise=noise, **how)[2]


_WIDTH = 4


class _OwnEstimate(Denoiser):
    """A denoiser whose estimate, in (-1, 1), is elementwise in each image's own state."""

    def __call__(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor | float,
        guidance: torch.Tensor | float = 1.0,
        time: torch.Tensor | float | None = None,
        step: torch.Tensor | float | None = None,
    ) -> torch.Tensor:
        super().__call__(x, sigma, guidance, time, step)
        return torch.tanh(x / (1 + torch.as_tensor(sigma).to(x) ** 2).sqrt())
