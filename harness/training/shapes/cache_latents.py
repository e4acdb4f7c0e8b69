"""Encodes the U-Net's training set once: latents of fresh drawings, and every caption's text.

Written: `latents.npy` float16 [N, 16, 8, 8] (scaled), `captions.npy` int32 [N] (index into
`captions(held=False)`), `texts.npy` float16 [captions + 1, 16, 128], the empty caption last.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderTiny
from transformers import CLIPTextModel, CLIPTokenizer

from harness.training.shapes.common import arguments, pictures
from harness.training.shapes.train_text import tokenize
from harness.world.grammar import captions
from harness.world.scenes import training_scene

SEED = 41
BATCH = 256


def main() -> None:
    args = arguments(__doc__ or "", pictures=100_000, first=0, last=-1)
    words = CLIPTokenizer.from_pretrained(args.out / "text_encoder")
    texts = captions(held=False)
    if args.first == 0:
        encoder = CLIPTextModel.from_pretrained(args.out / "text_encoder").eval()
        states = []
        with torch.no_grad():
            for i in range(0, len(texts) + 1, BATCH):
                ids = tokenize(words, [*texts, ""][i : i + BATCH])
                states.append(encoder(ids).last_hidden_state.half().numpy())
        np.save(args.out / "texts.npy", np.concatenate(states))
    index = {text: i for i, text in enumerate(texts)}
    vae = AutoencoderTiny.from_pretrained(args.out / "vae").eval()
    vae = vae.to(memory_format=torch.channels_last)
    scale = vae.config.scaling_factor
    steps = -(-args.pictures // BATCH)
    path = args.out / "latents.npy"
    shape = (steps * BATCH, vae.config.latent_channels, 8, 8)
    mode = "r+" if path.exists() else "w+"
    latents = np.lib.format.open_memmap(path, mode, np.float16, shape)
    which = np.lib.format.open_memmap(args.out / "captions.npy", mode, np.int32, shape[:1])
    for step in range(args.first, steps if args.last < 0 else args.last):
        pixels, _, drawn_captions = pictures(training_scene, SEED, step, BATCH)
        pixels = pixels.to(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            encoded = vae.encode(pixels).latents.float() * scale
        rows = slice(step * BATCH, (step + 1) * BATCH)
        latents[rows] = encoded.numpy().astype(np.float16)
        which[rows] = [index[text] for text in drawn_captions]
        if step % 50 == 0:
            print(f"{step * BATCH} of {steps * BATCH} pictures", flush=True)
    latents.flush()
    which.flush()


if __name__ == "__main__":
    main()
