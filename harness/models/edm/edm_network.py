"""The interface of the networks of EDM, PFGM++ and EDM2."""

from __future__ import annotations

from math import inf

import torch
from torch import nn


class EdmNetwork(nn.Module):
    """D(x; sigma) of pictures or latents [B, img_channels, img_resolution, img_resolution].

    `sigma_min` and `sigma_max` are the network's range, unbounded by default. `use_fp16` says that
    it was trained to compute in float16 on a GPU, which `compute_in` selects. `extra_dimensions`
    are PFGM++'s D, 0 elsewhere; `downsampling` is the factor from latents to pictures, 1 for
    networks of pixels. `state_dtype`, `steps` and `batch_size` are those of its paper's code.
    """

    img_resolution: int
    img_channels: int
    label_dim: int
    use_fp16: bool
    extra_dimensions: int = 0
    downsampling: int = 1
    sigma_min: float = 0.0
    sigma_max: float = inf
    state_dtype = torch.float64
    steps, batch_size = 18, 64

    def labels(
        self, class_labels: torch.Tensor | None, device: torch.device
    ) -> torch.Tensor | None:
        """The label input [B or 1, label_dim], float32; zeros where no class is given.

        None for a network without classes.
        """
        if not self.label_dim:
            return None
        if class_labels is None:
            return torch.zeros(1, self.label_dim, device=device)
        return class_labels.to(torch.float32).reshape(-1, self.label_dim)

    def round_sigma(self, sigma: torch.Tensor) -> torch.Tensor:
        """The network's levels nearest to `sigma`, in its dtype; by default `sigma` itself."""
        return sigma

    def compute_in(self, dtype: torch.dtype) -> None:
        """Let the costly layers compute in `dtype`."""
        raise NotImplementedError
