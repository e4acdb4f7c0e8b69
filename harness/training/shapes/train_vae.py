"""Trains the autoencoder: 64x64 pictures to 8x8 latents with unit moments, and back.

Noise on the latents in training makes the decoder forgive a sampler's small errors.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor

from harness.training.shapes.common import (
    Average,
    Log,
    arguments,
    cosine,
    generator,
    pictures,
    restore,
    save,
    set_rate,
)
from harness.world.scenes import any_scene, training_scene

SEED = 11
LATENT_NOISE = 0.1


def build(latent_channels: int, width: int) -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(width,) * 4,
        decoder_block_out_channels=(width,) * 4,
        num_encoder_blocks=(0, 1, 1, 2),
        num_decoder_blocks=(2, 2, 1, 0),
        latent_channels=latent_channels,
        scaling_factor=1.0,
    )


def decibels(vae: AutoencoderTiny, pixels: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each reconstruction [B]."""
    with torch.no_grad():
        shown = vae.decode(vae.encode(pixels).latents).sample.clamp(-1, 1)
    error = ((shown - pixels) / 2).square().mean((1, 2, 3))
    return -10 * error.clamp_min(1e-9).log10()


def main() -> None:
    args = arguments(__doc__ or "", steps=9000, batch=8, latent=16, width=32)
    torch.manual_seed(SEED)
    vae = build(args.latent, args.width).to(memory_format=torch.channels_last)
    average = Average(vae, 0.998)
    optimiser = torch.optim.AdamW(vae.parameters(), 2e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    path = args.out / "vae.pt"
    start = restore(path, vae=vae, average=average, optimiser=optimiser)
    log = Log(200)
    for step in range(start, args.steps):
        set_rate(optimiser, cosine(step, args.steps, 2e-3))
        pixels, _, _ = pictures(training_scene, SEED, step, args.batch)
        pixels = pixels.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(pixels).latents.float()
            noise = torch.randn(latents.shape, generator=generator(SEED, step)) * LATENT_NOISE
            shown = vae.decode(latents + noise).sample.float()
        mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        moments = mean.square().mean() + (spread - 1).square().mean()
        error = F.mse_loss(shown, pixels)
        loss = error + 0.1 * F.l1_loss(shown, pixels) + 0.01 * moments
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        average.update(vae, step)
        log.add(step, mse=error.item(), moments=moments.item())
        if (step + 1) % 1000 == 0 or step + 1 == args.steps:
            save(
                path,
                step=step + 1,
                vae=vae.state_dict(),
                average=average.state_dict(),
                optimiser=optimiser.state_dict(),
            )
    vae.load_state_dict(average.state_dict())
    pixels, _, _ = pictures(any_scene, SEED + 1, 0, 256)
    ratio = decibels(vae, pixels)
    latents = vae.encode(pixels).latents
    spread = float(latents.detach().std())
    print(f"PSNR {ratio.mean():.2f} dB, worst tenth {ratio.quantile(0.1):.2f}; spread {spread:.3f}")
    vae.register_to_config(scaling_factor=1 / spread)
    vae.save_pretrained(args.out / "vae")


if __name__ == "__main__":
    main()
