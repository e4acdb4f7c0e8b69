"""Layers of EDM's U-Nets: resampling, convolutions, embeddings and residual blocks."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

Resampling = Literal["up", "down"]


def kernel(taps: Sequence[float]) -> torch.Tensor:
    """The separable resampling kernel [1, 1, k, k] of the given taps, of sum 1."""
    line = torch.tensor(list(taps), dtype=torch.float32)
    return (torch.outer(line, line) / line.sum() ** 2)[None, None]


def resample(
    x: torch.Tensor, taps: torch.Tensor, to: Resampling, *, pad: bool = True
) -> torch.Tensor:
    """Twice or half the resolution by the kernel `taps` [1, 1, k, k], each channel alone."""
    weight = taps.to(x.dtype).expand(x.shape[1], -1, -1, -1)
    padding = (taps.shape[-1] - 1) // 2 if pad else 0
    if to == "down":
        return F.conv2d(x, weight, stride=2, padding=padding, groups=x.shape[1])
    return F.conv_transpose2d(x, 4 * weight, stride=2, padding=padding, groups=x.shape[1])


class Resample(nn.Module):
    """Resampling alone; see `resample`."""

    resample_filter: torch.Tensor

    def __init__(self, to: Resampling, taps: Sequence[float]) -> None:
        super().__init__()
        self.to_size = to
        self.register_buffer("resample_filter", kernel(taps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return resample(x, self.resample_filter, self.to_size)


class Conv(nn.Conv2d):
    """A convolution that keeps the size, of an input that is resampled first if `to` is given.

    `fused` resamples after the convolution and pads once for both, which differs at the borders.
    """

    resample_filter: torch.Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int,
        to: Resampling | None = None,
        taps: Sequence[float] = (1, 1),
        *,
        fused: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, size, padding=size // 2)
        self.to_size, self.fused = to, fused
        if to:
            self.register_buffer("resample_filter", kernel(taps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.to_size is None:
            return super().forward(x)
        if not self.fused:
            return super().forward(resample(x, self.resample_filter, self.to_size))
        padding = self.kernel_size[0] // 2 + (self.resample_filter.shape[-1] - 1) // 2
        wide = F.conv2d(x, self.weight, self.bias, padding=padding)
        return resample(wide, self.resample_filter, self.to_size, pad=False)


def group_norm(channels: int, eps: float) -> nn.GroupNorm:
    """GroupNorm with up to 32 groups of at least four channels."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps=eps)


class PositionalEmbedding(nn.Module):
    """[B] to [B, channels]: cosines, then sines, of geometric frequencies from 1 to 1/10000.

    With `endpoint` the last frequency is 1/10000 itself.
    """

    def __init__(self, channels: int, *, endpoint: bool = False) -> None:
        super().__init__()
        self.channels, self.endpoint = channels, endpoint

    def forward(self, level: torch.Tensor) -> torch.Tensor:
        half = self.channels // 2
        ramp = torch.arange(half, dtype=torch.float32, device=level.device)
        frequency = (1 / 10000) ** (ramp / (half - int(self.endpoint)))
        return _waves(torch.outer(level, frequency.to(level.dtype)))


class FourierEmbedding(nn.Module):
    """[B] to [B, channels]: cosines, then sines, of fixed random frequencies."""

    freqs: torch.Tensor

    def __init__(self, channels: int, scale: float = 16.0) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.randn(channels // 2) * scale)

    def forward(self, level: torch.Tensor) -> torch.Tensor:
        return _waves(torch.outer(level, (2 * pi * self.freqs).to(level.dtype)))


def _waves(angle: torch.Tensor) -> torch.Tensor:
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class ResidualBlock(nn.Module):
    """A residual block conditioned on an embedding, with attention where `heads` is above 0.

    Conditions by scale and shift where `adaptive`, else by addition. Ho et al. 2020, appendix B;
    Dhariwal & Nichol 2021, section 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int,
        *,
        to: Resampling | None = None,
        heads: int = 0,
        taps: Sequence[float] = (1, 1),
        project_resampled: bool = False,
        adaptive: bool,
        eps: float,
        residual_scale: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.heads, self.adaptive, self.dropout = heads, adaptive, dropout
        self.residual_scale, self.out_channels = residual_scale, out_channels
        self.norm0 = group_norm(in_channels, eps)
        self.conv0 = Conv(in_channels, out_channels, 3, to, taps)
        self.affine = nn.Linear(embedding, out_channels * (2 if adaptive else 1))
        self.norm1 = group_norm(out_channels, eps)
        self.conv1 = Conv(out_channels, out_channels, 3)
        self.skip: nn.Module = nn.Identity()
        if in_channels != out_channels or (to and project_resampled):
            self.skip = Conv(in_channels, out_channels, 1, to, taps)
        elif to:
            self.skip = Resample(to, taps)
        if heads:
            self.norm2 = group_norm(out_channels, eps)
            self.qkv = Conv(out_channels, 3 * out_channels, 1)
            self.proj = Conv(out_channels, out_channels, 1)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        hidden = self.conv0(F.silu(self.norm0(x)))
        hidden = F.silu(self._conditioned(hidden, self.affine(embedding)[:, :, None, None]))
        hidden = self.conv1(F.dropout(hidden, self.dropout, training=self.training))
        x = (hidden + self.skip(x)) * self.residual_scale
        return (x + self._attention(x)) * self.residual_scale if self.heads else x

    def _conditioned(self, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        embedded = embedded.to(x.dtype)
        if not self.adaptive:
            return self.norm1(x + embedded)
        scale, shift = embedded.chunk(2, dim=1)
        return torch.addcmul(shift, self.norm1(x), scale + 1)

    def _attention(self, x: torch.Tensor) -> torch.Tensor:
        # channels of qkv are laid out [head, channel of the head, (q, k, v)]
        q, k, v = self.qkv(self.norm2(x)).unflatten(1, (self.heads, -1, 3)).flatten(4).unbind(3)
        mixed = F.scaled_dot_product_attention(*(part.transpose(2, 3) for part in (q, k, v)))
        return self.proj(mixed.transpose(2, 3).reshape(x.shape))
