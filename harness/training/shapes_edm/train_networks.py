"""Trains the EDM network of the shapes world's classes, and with it its unconditional partner.

Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", table 1:
ln(sigma) ~ N(-1.2, 1.2^2), loss weight (sigma^2 + sigma_data^2) / (sigma sigma_data)^2. Some labels
are left out, so that the network without labels is the unconditional one (Ho & Salimans 2022,
algorithm 1); `unconditional` makes it a network of its own.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.models.edm.build import build
from harness.training.shapes.common import (
    Average,
    Log,
    arguments,
    generator,
    restore,
    save,
    set_rate,
)
from harness.world.single_objects import CLASS_SIZE, CLASSES, draw_class

SEED = 81
PEAK = 2e-3
BATCH = 16
KEEP_EVERY = 250
DROPOUT = 0.15
"""Share of pictures whose label is left out."""
P_MEAN, P_STD, SIGMA_DATA = -1.2, 1.2, 0.5
CONFIGURATION = {
    "img_resolution": CLASS_SIZE,
    "img_channels": 3,
    "model_type": "SongUNet",
    "model_channels": 16,
    "channel_mult": [1, 2, 4],
    "channel_mult_noise": 4,
    "channel_mult_emb": 8,
    "num_blocks": 1,
    "attn_resolutions": [8],
    "dropout": 0.0,
}


def make(classes: int = CLASSES) -> nn.Module:
    """A network with untrained weights; of 0 classes, an unconditional one."""
    net = build("EDMPrecond", {**CONFIGURATION, "label_dim": classes})
    initialise(net)
    return net


@torch.no_grad()
def initialise(net: nn.Module) -> None:
    """Xavier-uniform weights, as EDM trains SongUNet from: residual branches begin near zero."""
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            gain = 1e-5 if _closes_a_branch(name) else sqrt(0.2) if name.endswith("qkv") else 1.0
            nn.init.xavier_uniform_(layer.weight, gain)
            if layer.bias is not None:
                layer.bias.zero_()


def _closes_a_branch(name: str) -> bool:
    return name.rsplit(".", 1)[-1].endswith(("conv1", "proj", "aux_conv", "out_conv"))


def batch(step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures [B, 3, 32, 32] in [-1, 1], unit noise, sigma [B, 1, 1, 1], labels [B, 48].

    They depend on the step alone, so that resuming changes nothing. Labels are one-hot
    rows, of zeros where they are left out.
    """
    rng = np.random.default_rng((SEED, step))
    chosen = rng.integers(CLASSES, size=BATCH)
    drawn = np.stack([draw_class(int(index), rng) for index in chosen])
    pixels = torch.from_numpy(drawn).float().div(127.5).sub(1)
    stream = generator(SEED, step)
    noise = torch.randn(pixels.shape, generator=stream)
    sigma = (P_MEAN + P_STD * torch.randn(BATCH, 1, 1, 1, generator=stream)).exp()
    labelled = torch.rand(BATCH, 1, generator=stream) >= DROPOUT
    return pixels, noise, sigma, F.one_hot(torch.from_numpy(chosen), CLASSES) * labelled


def loss_of(net: nn.Module, pixels: Tensor, noise: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
    """EDM's weighted error of the denoised pictures, one for each [B]."""
    weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
    denoised = net(pixels + sigma * noise, sigma.flatten(), labels)
    return (weight * (denoised - pixels) ** 2).mean((1, 2, 3))


def rate(step: int, steps: int) -> float:
    """Warm-up over 200 steps, constant, then linear to zero over the second half."""
    return PEAK * min(1.0, (step + 1) / 200, (steps - step) / (steps / 2))


def unconditional(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the unconditional network that equals this one at zero labels.

    The bias of the label layer is folded into that of the next layer.
    """
    merged = {name: value for name, value in weights.items() if ".map_label." not in name}
    bias = weights["model.map_label.bias"]
    first = "model.map_layer0"
    merged[f"{first}.bias"] = weights[f"{first}.bias"] + weights[f"{first}.weight"] @ bias
    return merged


def main() -> None:
    args = arguments(__doc__ or "", steps=16_000, stop=0)
    torch.manual_seed(SEED)
    net = make()
    average = Average(net, 0.999)
    optimiser = torch.optim.AdamW(
        net.parameters(), PEAK, betas=(0.9, 0.98), weight_decay=1e-4, fused=True
    )
    path = args.out / "network.pt"
    start = restore(path, net=net, average=average, optimiser=optimiser)
    log = Log(100)
    for step in range(start, args.stop or args.steps):
        set_rate(optimiser, rate(step, args.steps))
        pixels, noise, sigma, labels = batch(step)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(net, pixels, noise, sigma, labels).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        average.update(net, step)
        log.add(step, loss=loss.item())
        done = step + 1
        if done % 250 == 0 or done in (args.stop, args.steps):
            save(
                path,
                step=done,
                net=net.state_dict(),
                average=average.state_dict(),
                optimiser=optimiser.state_dict(),
            )
        if done % KEEP_EVERY == 0 or done == args.steps:
            torch.save(average.state_dict(), args.out / f"average-{done:06d}.pt")


if __name__ == "__main__":
    main()
