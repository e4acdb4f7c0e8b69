"""Alignment of a trained pipeline on held-out prompts, by guidance scale and category.

`--pipeline FOLDER` or, without it, the newest kept average in the working folder.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from harness.training.shapes.export_pipeline import average, pipeline
from harness.world.grammar import CATEGORIES, benchmark_prompts, parse
from harness.world.judge import grades, load_judge


@torch.no_grad()
def generate(
    pipe: StableDiffusionPipeline,
    prompts: list[str],
    guidance: float,
    steps: int = 20,
    seed: int = 0,
    batch: int = 64,
) -> Tensor:
    """Pictures uint8 [B, 3, 64, 64] by DDIM; the same noise for every guidance scale."""
    schedule = DDIMScheduler.from_config(pipe.scheduler.config)
    words, out = pipe.tokenizer, []
    noise = torch.randn(
        len(prompts),
        pipe.unet.config.in_channels,
        pipe.unet.config.sample_size,
        pipe.unet.config.sample_size,
        generator=torch.Generator().manual_seed(seed),
    )

    def encode(texts: list[str]) -> Tensor:
        ids = words(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return pipe.text_encoder(ids).last_hidden_state

    empty = encode([""])
    for start in range(0, len(prompts), batch):
        text = encode(prompts[start : start + batch])
        z = noise[start : start + batch]
        schedule.set_timesteps(steps)
        for t in schedule.timesteps:
            if guidance == 1.0:
                v = pipe.unet(z, t, text).sample
            else:
                both = torch.cat([empty.expand_as(text), text])
                uncond, cond = pipe.unet(torch.cat([z, z]), t, both).sample.chunk(2)
                v = uncond + guidance * (cond - uncond)
            z = schedule.step(v, t, z).prev_sample
        shown = pipe.vae.decode(z / pipe.vae.config.scaling_factor).sample
        out.append(shown.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8))
    return torch.cat(out)


def grid(pictures: Tensor, columns: int = 20) -> Image.Image:
    rows = [torch.cat(list(row), 2) for row in pictures.split(columns) if len(row) == columns]
    return Image.fromarray(torch.cat(rows, 1).permute(1, 2, 0).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("train-shapes"))
    parser.add_argument("--pipeline", type=Path)
    parser.add_argument("--kept", type=Path, help="one average-*.pt of the working folder")
    parser.add_argument("--prompts", type=int, default=320)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 3.0, 5.5, 7.5])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=Path, help="folder for a sheet of each guidance scale")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.pipeline:
        pipe = StableDiffusionPipeline.from_pretrained(args.pipeline, local_files_only=True)
    else:
        kept = args.kept or sorted(args.out.glob("average-*.pt"))[-1]
        print(kept.name)
        pipe = pipeline(args.out, average(kept))
    rows = benchmark_prompts()[: args.prompts]
    texts = [row["text"] for row in rows]
    judge, wanted = load_judge(), [parse(text) for text in texts]
    print(f"n {len(rows)}, {args.steps} steps, seed {args.seed}; exact alignment in percent")
    print("guidance  all  graded  " + "  ".join(CATEGORIES))
    for guidance in args.guidance:
        pictures = generate(pipe, texts, guidance, args.steps, args.seed)
        verdicts = grades(judge.look(pictures), wanted)
        by: dict[str, list[bool]] = defaultdict(list)
        for row, (_, exact) in zip(rows, verdicts, strict=True):
            by[row["category"]].append(exact)
        exact = np.mean([e for _, e in verdicts]) * 100
        graded = np.mean([g for g, _ in verdicts]) * 100
        each = "  ".join(f"{np.mean(by[c]) * 100:.0f}" for c in CATEGORIES)
        print(f"{guidance:8}  {exact:.1f}  {graded:.1f}  {each}", flush=True)
        if args.pictures:
            args.pictures.mkdir(parents=True, exist_ok=True)
            grid(pictures).save(args.pictures / f"g{guidance}.png")


if __name__ == "__main__":
    main()
