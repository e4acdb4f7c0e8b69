"""Trains the autoencoder's decoder on, with the encoder and so all latents unchanged.

The noise on the latents now varies up to a third of their spread, as the latents that samplers end
in are imperfect, and the error is absolute and relative to each picture's contrast: squared errors
leave small shapes on backgrounds of like brightness blurred.
"""

from __future__ import annotations

import shutil

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny

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
from harness.training.shapes.train_vae import decibels
from harness.world.scenes import any_scene, training_scene

SEED = 13
MOST_NOISE = 0.35


def main() -> None:
    args = arguments(__doc__ or "", steps=12000, batch=8)
    before = args.out / "vae-first"
    if not before.exists():
        shutil.copytree(args.out / "vae", before)
    vae = AutoencoderTiny.from_pretrained(before).to(memory_format=torch.channels_last)
    vae.encoder.requires_grad_(False)
    weights = list(vae.decoder.parameters())
    average = Average(vae.decoder, 0.998)
    optimiser = torch.optim.AdamW(weights, 1e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    path = args.out / "decoder.pt"
    start = restore(path, decoder=vae.decoder, average=average, optimiser=optimiser)
    log = Log(200)
    for step in range(start, args.steps):
        set_rate(optimiser, cosine(step, args.steps, 1e-3))
        pixels, _, _ = pictures(training_scene, SEED, step, args.batch)
        pixels = pixels.to(memory_format=torch.channels_last)
        rng = generator(SEED, step)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                latents = vae.encode(pixels).latents.float()
            width = MOST_NOISE * torch.rand(len(latents), 1, 1, 1, generator=rng)
            noisy = latents + width * torch.randn(latents.shape, generator=rng)
            shown = vae.decode(noisy).sample.float()
        contrast = pixels.std((2, 3), keepdim=True).amax(1, keepdim=True)
        error = ((shown - pixels).abs() / (contrast + 0.05)).mean()
        loss = error + F.mse_loss(shown, pixels)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        average.update(vae.decoder, step)
        log.add(step, error=error.item())
        if (step + 1) % 1000 == 0 or step + 1 == args.steps:
            save(
                path,
                step=step + 1,
                decoder=vae.decoder.state_dict(),
                average=average.state_dict(),
                optimiser=optimiser.state_dict(),
            )
    vae.decoder.load_state_dict(average.state_dict())
    pixels, _, _ = pictures(any_scene, SEED + 1, 0, 256)
    ratio = decibels(vae, pixels)
    print(f"PSNR {ratio.mean():.2f} dB, worst tenth {ratio.quantile(0.1):.2f}")
    vae.save_pretrained(args.out / "vae")


if __name__ == "__main__":
    main()
