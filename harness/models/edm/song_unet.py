"""SongUNet: the networks DDPM++ and NCSN++ of Song et al. 2021, as EDM trains them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import sqrt
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from harness.models.edm.layers import (
    Conv,
    FourierEmbedding,
    PositionalEmbedding,
    ResidualBlock,
    group_norm,
)
from harness.models.edm.unet_plan import decoder_plan, encoder_plan


class SongUNet(nn.Module):
    """[B, in_channels, R, R] to [B, out_channels, R, R], R = `img_resolution`.

    DDPM++: embedding_type positional, encoder_type standard, resample_filter [1, 1].
    NCSN++: embedding_type fourier, encoder_type residual, resample_filter [1, 3, 3, 1],
    channel_mult_noise 2. Attention with one head at `attn_resolutions`. The published
    arguments `dropout` and `label_dropout` act in training only.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        channel_mult_emb: int = 4,
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        dropout: float = 0.10,
        label_dropout: float = 0.0,
        embedding_type: Literal["positional", "fourier"] = "positional",
        channel_mult_noise: int = 1,
        encoder_type: Literal["standard", "residual"] = "standard",
        decoder_type: Literal["standard"] = "standard",
        resample_filter: Sequence[float] = (1, 1),
    ) -> None:
        super().__init__()
        _check("embedding_type", embedding_type, ("positional", "fourier"))
        _check("encoder_type", encoder_type, ("standard", "residual"))
        _check("decoder_type", decoder_type, ("standard",))
        self.label_dim = label_dim
        embedding, noise = model_channels * channel_mult_emb, model_channels * channel_mult_noise
        self.map_noise: nn.Module = FourierEmbedding(noise)
        if embedding_type == "positional":
            self.map_noise = PositionalEmbedding(noise, endpoint=True)
        self.map_label = nn.Linear(label_dim, noise) if label_dim else None
        self.map_augment = nn.Linear(augment_dim, noise, bias=False) if augment_dim else None
        self.map_layer0 = nn.Linear(noise, embedding)
        self.map_layer1 = nn.Linear(embedding, embedding)
        block: Any = partial(
            ResidualBlock,
            embedding=embedding,
            taps=resample_filter,
            project_resampled=True,
            adaptive=False,
            eps=1e-6,
            residual_scale=sqrt(0.5),
            dropout=dropout,
        )
        widths = [model_channels * mult for mult in channel_mult]
        self.enc = nn.ModuleDict(
            {f"{img_resolution}x{img_resolution}_conv": Conv(in_channels, model_channels, 3)}
        )
        kept, aux = [model_channels], in_channels
        for name, side, inputs, outputs, to in encoder_plan(
            img_resolution, model_channels, widths, num_blocks
        ):
            heads = int("block" in name and side in attn_resolutions)
            self.enc[name] = block(inputs, outputs, to=to, heads=heads)
            kept.append(outputs)
            if to and encoder_type == "residual":
                shrink = Conv(aux, outputs, 3, to, resample_filter, fused=True)
                self.enc[f"{side}x{side}_aux_residual"] = shrink
                aux = outputs

        self.dec, last = nn.ModuleDict(), f"block{num_blocks}"
        plan = decoder_plan(img_resolution, widths, num_blocks, kept)
        for name, side, inputs, outputs, to in plan:
            heads = int("in0" in name or (name.endswith(last) and side in attn_resolutions))
            self.dec[name] = block(inputs, outputs, to=to, heads=heads)
        end = f"{img_resolution}x{img_resolution}_aux"
        self.dec[f"{end}_norm"] = group_norm(widths[0], 1e-6)
        self.dec[f"{end}_conv"] = Conv(widths[0], out_channels, 3)

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
        aux = x
        for name, layer in self.enc.items():
            if "aux_residual" in name:
                x = kept[-1] = aux = (x + layer(aux)) * sqrt(0.5)
                continue
            x = layer(x, embedding) if isinstance(layer, ResidualBlock) else layer(x)
            kept.append(x)
        for name, layer in self.dec.items():
            if "aux_norm" in name:
                x = F.silu(layer(x))
            elif "aux_conv" in name:
                x = layer(x)
            else:
                x = torch.cat([x, kept.pop()], dim=1) if "block" in name else x
                x = layer(x, embedding)
        return x

    def _embedding(
        self,
        noise_labels: torch.Tensor,
        class_labels: torch.Tensor | None,
        augment_labels: torch.Tensor | None,
    ) -> torch.Tensor:
        cos, sin = self.map_noise(noise_labels).chunk(2, dim=1)
        out = torch.cat([sin, cos], dim=1)
        if self.map_label is not None and class_labels is not None:
            out = out + self.map_label(class_labels * sqrt(self.label_dim))
        if self.map_augment is not None and augment_labels is not None:
            out = out + self.map_augment(augment_labels)
        return F.silu(self.map_layer1(F.silu(self.map_layer0(out))))


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} {value!r} is not one of {', '.join(known)}")
