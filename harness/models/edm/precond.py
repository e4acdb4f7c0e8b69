"""Preconditioned denoisers D(x; sigma) around a raw network. Karras et al. 2022, table 1."""

from __future__ import annotations

from functools import cached_property
from math import inf
from typing import Any

import torch
from torch import nn

from harness.models.edm.dhariwal_unet import DhariwalUNet
from harness.models.edm.edm_network import EdmNetwork
from harness.models.edm.grids import cosine_levels
from harness.models.edm.song_unet import SongUNet

UNETS: dict[str, type[nn.Module]] = {"SongUNet": SongUNet, "DhariwalUNet": DhariwalUNet}


class Precond(EdmNetwork):
    """D = c_skip x + c_out F(c_in x; c_noise), in float32 around a network `model`."""

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int,
        use_fp16: bool,
        model_type: str,
        unet: dict[str, Any],
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.label_dim, self.use_fp16 = label_dim, bool(use_fp16)
        self.dtype = torch.float32
        self.model = UNETS[model_type](
            img_resolution=img_resolution,
            in_channels=img_channels,
            out_channels=img_channels * outputs,
            label_dim=label_dim,
            **unet,
        )

    def scalings(
        self, sigma: torch.Tensor
    ) -> tuple[torch.Tensor | float, torch.Tensor, torch.Tensor, torch.Tensor]:
        """c_skip, c_out, c_in and c_noise at `sigma` [B, 1, 1, 1]."""
        raise NotImplementedError

    def compute_in(self, dtype: torch.dtype) -> None:
        """Let convolutions and normalisations compute in `dtype`; embeddings stay float32."""
        for layer in self.model.modules():
            if isinstance(layer, nn.Conv2d | nn.GroupNorm):
                layer.to(dtype)
        self.dtype = dtype

    def forward(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor,
        class_labels: torch.Tensor | None = None,
        augment_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """D [B, C, R, R], float32, at `x` of level `sigma` ([B], or one for all).

        `class_labels` are one-hot rows [B, label_dim]; none are zeros.
        """
        x = x.to(torch.float32)
        sigma = sigma.to(torch.float32).reshape(-1, 1, 1, 1)
        labels = self.labels(class_labels, x.device)
        c_skip, c_out, c_in, c_noise = self.scalings(sigma)
        raw = self.model((c_in * x).to(self.dtype), c_noise.flatten(), labels, augment_labels)
        return c_skip * x + c_out * raw[:, : self.img_channels].to(torch.float32)


class EDMPrecond(Precond):
    """EDM's preconditioning, for images of standard deviation `sigma_data`; also PFGM++'s.

    Networks of PFGM++ set `pfgmpp` and the number `D` of extra dimensions; sigma = r / sqrt(D).
    """

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        use_fp16: bool = False,
        sigma_min: float = 0.0,
        sigma_max: float = inf,
        sigma_data: float = 0.5,
        model_type: str = "DhariwalUNet",
        pfgmpp: bool = False,
        D: int = 128,
        N: int | None = None,
        **unet: Any,
    ) -> None:
        super().__init__(img_resolution, img_channels, label_dim, use_fp16, model_type, unet)
        self.sigma_min, self.sigma_max, self.sigma_data = sigma_min, sigma_max, sigma_data
        self.extra_dimensions = int(D) if pfgmpp else 0

    def scalings(
        self, sigma: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        total = sigma**2 + self.sigma_data**2
        c_out = sigma * self.sigma_data / total.sqrt()
        return self.sigma_data**2 / total, c_out, 1 / total.sqrt(), sigma.log() / 4


class VPPrecond(Precond):
    """Preconditioning of the variance-preserving SDE of Song et al. 2021."""

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        use_fp16: bool = False,
        beta_d: float = 19.9,
        beta_min: float = 0.1,
        M: int = 1000,
        epsilon_t: float = 1e-5,
        model_type: str = "SongUNet",
        **unet: Any,
    ) -> None:
        super().__init__(img_resolution, img_channels, label_dim, use_fp16, model_type, unet)
        self.beta_d, self.beta_min, self.M = beta_d, beta_min, M
        self.sigma_min, self.sigma_max = self._sigma(epsilon_t), self._sigma(1.0)

    def _sigma(self, t: float) -> float:
        # in float32, as published: the lowest level then is 0.0009765625, not 0.0010005
        time = torch.tensor(t, dtype=torch.float32, device="cpu")
        return float((((self.beta_d * time**2) / 2 + self.beta_min * time).exp() - 1).sqrt())

    def scalings(
        self, sigma: torch.Tensor
    ) -> tuple[float, torch.Tensor, torch.Tensor, torch.Tensor]:
        log_total = (sigma**2 + 1).log()
        root = (self.beta_min**2 + 2 * self.beta_d * log_total).sqrt()
        time = (root - self.beta_min) / self.beta_d
        return 1.0, -sigma, 1 / (sigma**2 + 1).sqrt(), (self.M - 1) * time


class VEPrecond(Precond):
    """Preconditioning of the variance-exploding SDE of Song et al. 2021."""

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        use_fp16: bool = False,
        sigma_min: float = 0.02,
        sigma_max: float = 100.0,
        model_type: str = "SongUNet",
        **unet: Any,
    ) -> None:
        super().__init__(img_resolution, img_channels, label_dim, use_fp16, model_type, unet)
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def scalings(
        self, sigma: torch.Tensor
    ) -> tuple[float, torch.Tensor, torch.Tensor, torch.Tensor]:
        return 1.0, sigma, torch.ones_like(sigma), (0.5 * sigma).log()


class IDDPMPrecond(Precond):
    """Improved DDPM (Nichol & Dhariwal 2021): M levels `u`, and a variance that is not used."""

    u: torch.Tensor

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        use_fp16: bool = False,
        C_1: float = 0.001,
        C_2: float = 0.008,
        M: int = 1000,
        model_type: str = "DhariwalUNet",
        **unet: Any,
    ) -> None:
        super().__init__(
            img_resolution, img_channels, label_dim, use_fp16, model_type, unet, outputs=2
        )
        self.M = M
        self.register_buffer("u", cosine_levels(M, C_1, C_2, torch.float32))
        self.sigma_min, self.sigma_max = float(self.u[M - 1]), float(self.u[0])

    def scalings(
        self, sigma: torch.Tensor
    ) -> tuple[float, torch.Tensor, torch.Tensor, torch.Tensor]:
        c_noise = self.M - 1 - _nearest(sigma, self.u).to(torch.float32)
        return 1.0, -sigma, 1 / (sigma**2 + 1).sqrt(), c_noise

    def round_sigma(self, sigma: torch.Tensor) -> torch.Tensor:
        u = self.u if sigma.device == self.u.device else self._levels
        return u[_nearest(sigma, u)].to(sigma.dtype)

    @cached_property
    def _levels(self) -> torch.Tensor:
        """The levels on the CPU, where a run's sigmas are, so that no step synchronises."""
        return self.u.cpu()


def _nearest(sigma: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    # by cdist in float32, as published: an exact search differs at the midpoints
    levels = sigma.to(u).reshape(1, -1, 1)
    return torch.cdist(levels, u.reshape(1, -1, 1)).argmin(2).reshape(sigma.shape)
