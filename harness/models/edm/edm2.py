"""EDM2's denoiser: a magnitude-preserving U-Net and its preconditioning, for inference only.

Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models",
arXiv:2312.02696, configuration G (sections 2 and 3, appendix B). Module names are the published
checkpoints', so that their weights load by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from harness.models.edm import layers
from harness.models.edm.edm_network import EdmNetwork
from harness.models.edm.latents import DOWNSAMPLING
from harness.models.edm.unet_plan import decoder_plan, encoder_plan

UNIT_EPSILON = 1e-4
SILU_RMS = 0.596  # of silu(n), n unit normal


def unit(x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """`x` over its root mean square over `axes`, which is taken in float32."""
    norm = torch.linalg.vector_norm(x, dim=axes, keepdim=True, dtype=torch.float32)
    return x / (norm * sqrt(norm.numel() / x.numel()) + UNIT_EPSILON).to(x.dtype)


def activate(x: torch.Tensor) -> torch.Tensor:
    """SiLU that keeps the magnitude (equation 81)."""
    return functional.silu(x) / SILU_RMS


def blend(a: torch.Tensor, b: torch.Tensor, t: float) -> torch.Tensor:
    """The weighted sum (1 - t) a + t b, scaled to keep the magnitude (equation 88)."""
    return a.lerp(b, t) / sqrt((1 - t) ** 2 + t**2)


def concatenate(a: torch.Tensor, b: torch.Tensor, t: float) -> torch.Tensor:
    """Channels of both, b with share `t` of the magnitude (equation 103)."""
    wide, narrow = a.shape[1], b.shape[1]
    scale = sqrt((wide + narrow) / ((1 - t) ** 2 + t**2))
    return torch.cat([a * (scale * (1 - t) / sqrt(wide)), b * (scale * t / sqrt(narrow))], 1)


class Layer(nn.Module):
    """A linear layer or a convolution without bias, whose weight rows have unit magnitude.

    `weight` [out, in, *kernel] is as stored in checkpoints until `fix` normalises it.
    """

    def __init__(self, inputs: int, outputs: int, *kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *kernel), requires_grad=False)

    def fix(self, gain: torch.Tensor | float = 1.0) -> None:
        """Normalise the weight in place (equation 66), at the published precision.

        The gain over the fan-in is rounded to the gain's own dtype: float16 in published files.
        """
        raw = self.weight.float()
        rows = unit(raw, tuple(range(1, raw.ndim)))
        self.weight.data = rows * (gain / sqrt(raw[0].numel()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight.to(x.dtype)
        if weight.ndim == 2:
            return functional.linear(x, weight)
        return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)


class Fourier(nn.Module):
    """Random Fourier features [B, channels] of a scalar per sample [B]."""

    freqs: torch.Tensor
    phases: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.empty(channels))
        self.register_buffer("phases", torch.empty(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, None] * self.freqs.float() + self.phases.float()).cos() * sqrt(2)


class MPBlock(nn.Module):
    """A magnitude-preserving block of the encoder or the decoder; figure 21 of the paper."""

    kernel: torch.Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        emb_channels: int,
        *,
        decoder: bool = False,
        resample: layers.Resampling | None = None,
        attention: bool = False,
        resample_filter: Sequence[float] = (1, 1),
        channels_per_head: int = 64,
        dropout: float = 0.0,  # acts in training only
        res_balance: float = 0.3,
        attn_balance: float = 0.3,
        clip_act: float | None = 256,
    ) -> None:
        super().__init__()
        self.decoder, self.resample, self.clip = decoder, resample, clip_act
        self.res_balance, self.attn_balance = res_balance, attn_balance
        # a block narrower than one head has no attention, as published
        self.heads = outputs // channels_per_head if attention else 0
        self.taps = resample_filter
        self.register_buffer("kernel", None, persistent=False)  # not in checkpoints
        self.emb_gain = nn.Parameter(torch.empty([]), requires_grad=False)
        self.conv_res0 = Layer(outputs if not decoder else inputs, outputs, 3, 3)
        self.emb_linear = Layer(emb_channels, outputs)
        self.conv_res1 = Layer(outputs, outputs, 3, 3)
        self.conv_skip = Layer(inputs, outputs, 1, 1) if inputs != outputs else None
        self.attn_qkv = Layer(outputs, outputs * 3, 1, 1) if self.heads else None
        self.attn_proj = Layer(outputs, outputs, 1, 1) if self.heads else None

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        if self.resample is not None:
            x = layers.resample(x, self.kernel, self.resample)
        if not self.decoder:
            x = unit(self.conv_skip(x) if self.conv_skip else x, [1])
        residual = self.conv_res0(activate(x))
        scale = self.emb_linear(emb) + 1
        residual = self.conv_res1(activate(residual * scale[:, :, None, None]))
        if self.decoder and self.conv_skip:
            x = self.conv_skip(x)
        x = blend(x, residual, self.res_balance)
        if self.attn_qkv and self.attn_proj:
            attended = self._attention(self.attn_qkv(x))
            x = blend(x, self.attn_proj(attended.reshape(x.shape)), self.attn_balance)
        return x if self.clip is None else x.clip(-self.clip, self.clip)

    def fix(self) -> None:
        """Apply the linear layer's gain and make the resampling kernel [1, 1, taps, taps]."""
        self.emb_linear.fix(self.emb_gain)
        self.kernel = layers.kernel(self.taps).to(self.emb_gain.device)

    def _attention(self, qkv: torch.Tensor) -> torch.Tensor:
        """Cosine attention from channels ordered as (head, feature, q/k/v)."""
        parts = qkv.reshape(len(qkv), self.heads, -1, 3, qkv.shape[2] * qkv.shape[3])
        q, k, v = unit(parts, [2]).transpose(2, 4).unbind(3)  # each [B, heads, pixels, features]
        return functional.scaled_dot_product_attention(q, k, v).transpose(2, 3)


class UNet(nn.Module):
    """EDM2's raw network F; inputs are x, the noise level [B] and labels [B or 1, L] or None."""

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int,
        *,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_noise: int | None = None,
        channel_mult_emb: int | None = None,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (16, 8),
        label_balance: float = 0.5,
        concat_balance: float = 0.5,
        **block: Any,
    ) -> None:
        super().__init__()
        self.label_balance, self.concat_balance = label_balance, concat_balance
        widths = [model_channels * mult for mult in channel_mult]
        noise = model_channels * channel_mult_noise if channel_mult_noise is not None else widths[0]
        emb = model_channels * channel_mult_emb if channel_mult_emb is not None else max(widths)
        self.emb_fourier = Fourier(noise)
        self.emb_noise = Layer(noise, emb)
        self.emb_label = Layer(label_dim, emb) if label_dim else None
        self.out_gain = nn.Parameter(torch.empty([]), requires_grad=False)

        self.enc = nn.ModuleDict(
            {f"{img_resolution}x{img_resolution}_conv": Layer(img_channels + 1, widths[0], 3, 3)}
        )
        skips = [widths[0]]
        for name, side, inputs, outputs, to in encoder_plan(
            img_resolution, widths[0], widths, num_blocks
        ):
            attention = "block" in name and side in attn_resolutions
            self.enc[name] = MPBlock(
                inputs, outputs, emb, resample=to, attention=attention, **block
            )
            skips.append(outputs)

        self.dec, block = nn.ModuleDict(), {"decoder": True, **block}
        plan = decoder_plan(img_resolution, widths, num_blocks, skips)
        for name, side, inputs, outputs, to in plan:
            attention = "in0" in name or ("block" in name and side in attn_resolutions)
            self.dec[name] = MPBlock(
                inputs, outputs, emb, resample=to, attention=attention, **block
            )
        self.out_conv = Layer(widths[0], img_channels, 3, 3)

    def forward(
        self, x: torch.Tensor, noise_level: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        emb = self.emb_noise(self.emb_fourier(noise_level))
        if self.emb_label is not None and labels is not None:
            emb = blend(emb, self.emb_label(labels * sqrt(labels.shape[1])), self.label_balance)
        emb = activate(emb).to(x.dtype)
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        skips = []
        for module in self.enc.values():
            x = module(x, emb) if isinstance(module, MPBlock) else module(x)
            skips.append(x)
        for name, module in self.dec.items():
            if "block" in name:
                x = concatenate(x, skips.pop(), self.concat_balance)
            x = module(x, emb)
        return self.out_conv(x)


class EDM2Precond(EdmNetwork):
    """D(x; sigma) of EDM2, equation 4 of Karras et al. 2022; weights come by `load_state_dict`.

    Its range of sigma is unbounded. `logvar_*` estimate the loss in training and are unused here.
    """

    parts = (UNet, MPBlock)  # whose arguments `unet` may hold
    state_dtype = torch.float32
    steps, batch_size = 32, 32

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int,
        use_fp16: bool = True,
        sigma_data: float = 0.5,
        logvar_channels: int = 128,
        **unet: Any,
    ) -> None:
        super().__init__()
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.label_dim, self.use_fp16 = label_dim, bool(use_fp16)
        self.downsampling = DOWNSAMPLING if img_channels == 4 else 1
        self.sigma_data, self.dtype = sigma_data, torch.float32
        self.unet = UNet(img_resolution, img_channels, label_dim, **unet)
        self.logvar_fourier = Fourier(logvar_channels)
        self.logvar_linear = Layer(logvar_channels, 1)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = True
    ) -> Any:
        """Load a checkpoint's raw weights and normalise them.

        They keep their dtype until then: published gains are float16, and rounded as such.
        """
        result = super().load_state_dict(state_dict, strict, assign)
        self.unet.out_conv.fix(self.unet.out_gain)
        blocks = [module for module in self.modules() if isinstance(module, MPBlock)]
        for block in blocks:
            block.fix()
        gained = [self.unet.out_conv, *(block.emb_linear for block in blocks)]
        for module in self.modules():
            if isinstance(module, Layer) and module not in gained:
                module.fix()
        return result

    def compute_in(self, dtype: torch.dtype) -> None:
        """Let the U-Net's blocks compute in `dtype`; embeddings stay float32."""
        for part in (self.unet.enc, self.unet.dec, self.unet.out_conv):
            part.to(dtype)
        self.dtype = dtype

    def forward(
        self, x: torch.Tensor, sigma: torch.Tensor, class_labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """D [B, C, R, R], float32, at `x` of level `sigma` ([B], or one for all).

        `class_labels` [B or 1, label_dim] weigh the classes; none are zeros.
        """
        x = x.to(torch.float32)
        sigma = sigma.to(torch.float32).reshape(-1, 1, 1, 1)
        labels = self.labels(class_labels, x.device)
        total = sigma**2 + self.sigma_data**2
        c_skip, c_out = self.sigma_data**2 / total, sigma * self.sigma_data / total.sqrt()
        raw = self.unet((x / total.sqrt()).to(self.dtype), sigma.flatten().log() / 4, labels)
        return c_skip * x + c_out * raw.to(torch.float32)
