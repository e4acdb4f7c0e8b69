"""Trains the U-Net on cached latents and texts: v-prediction, in one or more synchronous workers.

Every worker draws the same batch and takes its share of it, so the number of workers changes
nothing but rounding. The learning rate is constant and falls to zero in the last third. An average
of the weights is kept every 1,000 steps, so that an earlier, weaker model remains.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from harness.training.shapes.common import (
    Average,
    Log,
    arguments,
    generator,
    restore,
    save,
    set_rate,
)

SEED = 51
DROPOUT = 0.12
"""Share of captions replaced by the empty one, which classifier-free guidance starts from."""
PEAK = 1e-3
KEEP_EVERY = 1000


def build() -> UNet2DConditionModel:
    """8x8 latents throughout: at this size a second level saves little and blurs positions."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        block_out_channels=(128,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=32,
        use_linear_projection=True,
    )


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


def rate(step: int, steps: int) -> float:
    """Warm-up over 300 steps, constant, then linear to zero over the last third."""
    return PEAK * min(1.0, (step + 1) / 300, (steps - step) / (steps / 3))


class Data:
    """The cached training set; a batch is a function of (step, batch size)."""

    def __init__(self, folder: Path) -> None:
        self.latents = torch.from_numpy(np.load(folder / "latents.npy", mmap_mode="c"))
        self.which = torch.from_numpy(np.load(folder / "captions.npy")).long()
        self.texts = torch.from_numpy(np.load(folder / "texts.npy"))
        self.signal = scheduler().alphas_cumprod

    def batch(self, step: int, size: int, share: slice) -> tuple[Tensor, ...]:
        """Noisy latents, times, texts, v targets and loss weights of one worker's share."""
        rng = generator(SEED, step)
        rows = torch.randint(len(self.which), (size,), generator=rng)
        times = (1000 * torch.rand(size, generator=rng) ** 0.7).long()
        dropped = torch.rand(size, generator=rng) < DROPOUT
        noise = torch.randn(size, *self.latents.shape[1:], generator=rng)[share]
        rows, times, dropped = rows[share], times[share], dropped[share]
        clean = self.latents[rows].float()
        captions = torch.where(dropped, len(self.texts) - 1, self.which[rows])
        signal = self.signal[times][:, None, None, None]
        noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
        target = signal.sqrt() * noise - (1 - signal).sqrt() * clean
        # The decoder forgives noise of 0.3: the times of levels below it are drawn and weigh less.
        ratio = (signal / (1 - signal)).flatten()
        return noisy, times, self.texts[captions].float(), target, 4 / (4 + ratio)


def average_gradients(weights: list[torch.nn.Parameter], workers: int) -> None:
    flat = torch.cat([w.grad.flatten() for w in weights if w.grad is not None])
    dist.all_reduce(flat)
    flat /= workers
    start = 0
    for w in weights:
        assert w.grad is not None
        w.grad.copy_(flat[start : start + w.numel()].view_as(w))
        start += w.numel()


def work(rank: int, args: argparse.Namespace) -> None:
    """One worker; the first one also keeps the average, logs and saves."""
    torch.set_num_threads(args.threads)
    if args.workers > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(
            "gloo", f"file://{args.meet.resolve()}", rank=rank, world_size=args.workers
        )
    torch.manual_seed(SEED)
    unet = build().to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # faster than the fused one on a CPU's backward pass
    fast = torch.compile(unet) if args.compile else unet
    weights = [w for w in unet.parameters() if w.requires_grad]
    average = Average(unet, 0.9995)
    optimiser = torch.optim.AdamW(weights, PEAK, betas=(0.9, 0.98), weight_decay=1e-3, fused=True)
    path = args.out / "unet.pt"
    start = restore(path, unet=unet, average=average, optimiser=optimiser)
    data = Data(args.out)
    each = args.batch // args.workers
    share = slice(rank * each, (rank + 1) * each)
    log = Log(100)
    for step in range(start, args.stop or args.steps):
        set_rate(optimiser, rate(step, args.steps))
        noisy, times, texts, target, weight = data.batch(step, args.batch, share)
        with torch.autocast("cpu", torch.bfloat16):
            output = fast(noisy.to(memory_format=torch.channels_last), times, texts).sample
        error = (output.float() - target).square().mean((1, 2, 3))
        loss = (weight * error).mean()
        optimiser.zero_grad()
        loss.backward()
        if args.workers > 1:
            average_gradients(weights, args.workers)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        if rank:
            continue
        average.update(unet, step)
        high = times >= 500
        values = {"loss": loss.item(), "v": error.mean().item()}
        if high.any() and not high.all():
            values |= {"high": error[high].mean().item(), "low": error[~high].mean().item()}
        log.add(step, **values)
        done = step + 1
        if done % 250 == 0 or done in (args.stop, args.steps):
            save(
                path,
                step=done,
                unet=unet.state_dict(),
                average=average.state_dict(),
                optimiser=optimiser.state_dict(),
            )
        if done % KEEP_EVERY == 0 or done == args.steps:
            half = {k: v.half() for k, v in average.state_dict().items()}
            torch.save(half, args.out / f"average-{done:06d}.pt")
    if args.workers > 1:
        dist.destroy_process_group()


def main() -> None:
    args = arguments(__doc__ or "", steps=12000, batch=48, workers=1, compile=0, stop=0)
    if args.workers == 1:
        work(0, args)
        return
    args.meet = args.out / "meet"
    args.meet.unlink(missing_ok=True)
    mp.spawn(work, (args,), args.workers)


if __name__ == "__main__":
    main()
