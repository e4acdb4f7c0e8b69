"""DhariwalUNet: the network ADM of Dhariwal & Nichol 2021, as EDM trains it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from harness.models.edm.layers import (
    Conv,
    PositionalEmbedding,
    ResidualBlock,
    group_norm,
)
from harness.models.edm.unet_plan import decoder_plan, encoder_plan

_HEAD = 64  # channels of an attention head


class DhariwalUNet(nn.Module):
    """[B, in_channels, R, R] to [B, out_channels, R, R], R = `img_resolution`.

    Attention at `attn_resolutions` with one head for every 64 channels: none below 64. The
    published arguments `dropout` and `label_dropout` act in training only.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_emb: int = 4,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (32, 16, 8),
        dropout: float = 0.10,
        label_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        embedding = model_channels * channel_mult_emb
        self.map_noise = PositionalEmbedding(model_channels)
        self.map_augment = (
            nn.Linear(augment_dim, model_channels, bias=False) if augment_dim else None
        )
        self.map_layer0 = nn.Linear(model_channels, embedding)
        self.map_layer1 = nn.Linear(embedding, embedding)
        self.map_label = nn.Linear(label_dim, embedding, bias=False) if label_dim else None
        block: Any = partial(
            ResidualBlock,
            embedding=embedding,
            adaptive=True,
            eps=1e-5,
            residual_scale=1.0,
            dropout=dropout,
        )
        widths = [model_channels * mult for mult in channel_mult]
        self.enc = nn.ModuleDict(
            {f"{img_resolution}x{img_resolution}_conv": Conv(in_channels, widths[0], 3)}
        )
        kept = [widths[0]]
        for name, side, inputs, outputs, to in encoder_plan(
            img_resolution, widths[0], widths, num_blocks
        ):
            heads = outputs // _HEAD if "block" in name and side in attn_resolutions else 0
            self.enc[name] = block(inputs, outputs, to=to, heads=heads)
            kept.append(outputs)

        self.dec = nn.ModuleDict()
        plan = decoder_plan(img_resolution, widths, num_blocks, kept)
        for name, side, inputs, outputs, to in plan:
            attends = "in0" in name or ("block" in name and side in attn_resolutions)
            self.dec[name] = block(inputs, outputs, to=to, heads=outputs // _HEAD if attends else 0)
        self.out_norm = group_norm(widths[0], 1e-5)
        self.out_conv = Conv(widths[0], out_channels, 3)

    def forward(
        self,
        x: torch.Tensor,
        noise_labels: torch.Tensor,
        class_labels: torch.Tensor | None,
        augment_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """`noise_labels` [B] (or [1]), `class_labels` [B, label_dim] (or [1, label_dim])."""
        embedding = self._embedding(noise_labels, class_labels, augment_labels)
        kept: list[torch.Tensor] = []
        for layer in self.enc.values():
            x = layer(x, embedding) if isinstance(layer, ResidualBlock) else layer(x)
            kept.append(x)
        for name, layer in self.dec.items():
            x = torch.cat([x, kept.pop()], dim=1) if "block" in name else x
            x = layer(x, embedding)
        return self.out_conv(F.silu(self.out_norm(x)))

    def _embedding(
        self,
        noise_labels: torch.Tensor,
        class_labels: torch.Tensor | None,
        augment_labels: torch.Tensor | None,
    ) -> torch.Tensor:
        out = self.map_noise(noise_labels)
        if self.map_augment is not None and augment_labels is not None:
            out = out + self.map_augment(augment_labels)
        out = self.map_layer1(F.silu(self.map_layer0(out)))
        if self.map_label is not None and class_labels is not None:
            out = out + self.map_label(class_labels)
        return F.silu(out)
