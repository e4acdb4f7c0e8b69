"""Trains the dual encoder (a CLIPModel), whose score is one of the embedded world's metrics.

Its text tower starts from the pipeline's text encoder and is trained on, so that the metric does
not read captions through the very tower that made the picture. The loss is contrastive with hard
negatives: captions with one fact changed, such as a flipped relation or swapped colours.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer

from harness.training.shapes.common import Log, arguments, cosine, pictures, restore, save, set_rate
from harness.training.shapes.train_text import OPPOSITE, configuration, tokenize
from harness.world.grammar import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    SHAPES,
    SIZES,
    Group,
    Spec,
    held_out,
    read,
    write,
)
from harness.world.scenes import Scene, training_scene

SEED = 61
NEGATIVES = 3


def build(words: CLIPTokenizer) -> CLIPModel:
    vision = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 8,
        "projection_dim": 64,
    }
    config = CLIPConfig(
        text_config=configuration(words).to_dict(), vision_config=vision, projection_dim=64
    )
    model = CLIPModel(config)
    model.set_attn_implementation("eager")  # faster than the fused one on a CPU's backward pass
    return model


class ImageProbes(nn.Module):
    """Linear probes that keep the picture embedding [B, 64] readable."""

    def __init__(self) -> None:
        super().__init__()
        self.there = nn.Linear(64, 48)
        self.where = nn.Linear(64, 96)
        self.behind = nn.Linear(64, 5)

    def forward(self, embedded: Tensor, scenes: list[Scene]) -> Tensor:
        """Which colour-shape pairs are there and where their centres are, and the background."""
        there = torch.zeros(len(scenes), 48)
        where = torch.zeros(len(scenes), 48, 2)
        names = ("soft", *BACKGROUNDS)
        behind = torch.tensor([names.index(scene.background) for scene in scenes])
        for i, scene in enumerate(scenes):
            for obj in scene.objects:
                pair = tuple(COLOURS).index(obj.colour) * 6 + SHAPES.index(obj.shape)
                there[i, pair] += 1
                where[i, pair] += torch.tensor([obj.x, obj.y]) / 32 - 1
        where /= there.clamp_min(1)[..., None]
        error = (self.where(embedded).unflatten(1, (48, 2)) - where).square().sum(-1)
        return (
            5 * F.smooth_l1_loss(self.there(embedded), there)
            + 2 * (error * (there > 0)).sum() / (there > 0).sum()
            + 0.5 * F.cross_entropy(self.behind(embedded), behind)
        )


def spoil(spec: Spec, rng: np.random.Generator) -> Spec:
    """The spec with one fact changed, so that its picture no longer fits; never a held-out one."""
    groups = list(spec.groups)
    i = int(rng.integers(len(groups)))
    group = groups[i]
    kinds = ["colour", "shape"]
    if len(groups) == 2:
        kinds += ["swap", "swap"]
    kinds += [k for k in ("relation", "place", "background") if getattr(spec, k)] * 3
    kinds += ["size"] * 2 if group.size else []
    kinds += ["count"] * 3 if group.count > 1 else []

    def other(options: tuple[str, ...], now: str | None) -> str:
        rest = [option for option in options if option != now]
        return rest[rng.integers(len(rest))]

    kind = kinds[rng.integers(len(kinds))]
    change = dataclasses.replace
    if kind == "swap":
        a, b = groups
        swapped = (
            Group(b.colour, a.shape, a.count, a.size),
            Group(a.colour, b.shape, b.count, b.size),
        )
        made = change(spec, groups=swapped)
        same = {g.name for g in swapped} == {g.name for g in groups}
        if same:
            return spoil(spec, rng)
    elif kind == "relation":
        flipped = OPPOSITE[str(spec.relation)]
        turned = flipped if rng.random() < 0.6 else other(tuple(OPPOSITE), spec.relation)
        made = change(spec, relation=turned)
    elif kind == "place":
        made = change(spec, place=other(tuple(PLACES.values()), spec.place))
    elif kind == "background":
        made = change(spec, background=other(tuple(BACKGROUNDS), spec.background))
    else:
        options = {"colour": tuple(COLOURS), "shape": SHAPES, "size": SIZES}
        if kind == "count":
            counts = [n for n in (2, 3, 4) if n != group.count and not (group.size and n > 2)]
            if not counts:
                return spoil(spec, rng)
            groups[i] = change(group, count=counts[rng.integers(len(counts))])
        else:
            groups[i] = change(group, **{kind: other(options[kind], getattr(group, kind))})
        made = change(spec, groups=tuple(groups))
    names = [g.name for g in made.groups]
    clash = len(set(names)) < len(names) or (
        made.category == "counting" and made.groups[0].size == "large" and made.groups[0].count > 2
    )
    return spoil(spec, rng) if clash or held_out(made) else made


def names(spec: Spec) -> tuple[str, ...]:
    return tuple(sorted(g.name for g in spec.groups for _ in range(g.count)))


def embeddings(model: CLIPModel, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Picture and caption embeddings [B, 64], not normalised."""
    image = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    text = model.text_projection(model.text_model(input_ids=ids).pooler_output)
    return image.float(), text.float()


def contrastive(
    image: Tensor, text: Tensor, spoilt: Tensor, scale: Tensor, specs: list[Spec]
) -> tuple[Tensor, Tensor]:
    """Symmetric InfoNCE; captions of the same objects elsewhere in the batch are masked.

    image, text [B, D]; spoilt [B, K, D]. Also returns the share of hard negatives that score lower.
    """
    image, text, spoilt = (F.normalize(v, dim=-1) for v in (image, text, spoilt))
    keys = [hash(names(spec)) for spec in specs]
    key = torch.tensor(keys)
    same = (key[:, None] == key[None]) & ~torch.eye(len(key), dtype=torch.bool)
    logits = (scale * image @ text.T).masked_fill(same, -1e4)
    hard = scale * torch.einsum("bd,bkd->bk", image, spoilt)
    target = torch.arange(len(key))
    loss = F.cross_entropy(torch.cat([logits, hard], 1), target) + F.cross_entropy(logits.T, target)
    lower = (logits.diagonal()[:, None] > hard).float().mean()
    return loss / 2, lower


@torch.no_grad()
def measure(model: CLIPModel, words: CLIPTokenizer, seed: int) -> tuple[float, float, float]:
    """Retrieval@1 of 100; shares of hard negatives and of flipped relations that score lower."""
    pixels, _, captions = pictures(training_scene, seed, 0, 500)
    specs = [read(caption) for caption in captions]
    image, text = embeddings(model, pixels, tokenize(words, captions))
    rng = np.random.default_rng(seed)
    spoilt = [write(spoil(s, rng)) for s in specs]
    _, wrong = embeddings(model, pixels[:1], tokenize(words, spoilt))
    flips = [i for i, s in enumerate(specs) if s.relation]
    turned = [
        write(dataclasses.replace(specs[i], relation=OPPOSITE[str(specs[i].relation)]))
        for i in flips
    ]
    _, flipped = embeddings(model, pixels[:1], tokenize(words, turned))
    image, text, wrong, flipped = (F.normalize(v, dim=-1) for v in (image, text, wrong, flipped))
    right = (image * text).sum(1)
    best = [
        captions[start + int(i)] == captions[start + k]
        for start in range(0, 500, 100)
        for k, i in enumerate((image[start : start + 100] @ text[start : start + 100].T).argmax(1))
    ]
    lower = right > (image * wrong).sum(1)
    turned_lower = right[flips] > (image[flips] * flipped).sum(1)
    return float(np.mean(best)), float(lower.float().mean()), float(turned_lower.float().mean())


def main() -> None:
    args = arguments(__doc__ or "", steps=2000, batch=64)
    torch.manual_seed(SEED)
    words = CLIPTokenizer.from_pretrained(args.out / "text_encoder")
    model = build(words)
    tower = CLIPTextModel.from_pretrained(args.out / "text_encoder")
    weights_of_tower = tower.state_dict()
    model.text_model.load_state_dict(
        {name.removeprefix("text_model."): value for name, value in weights_of_tower.items()}
    )
    readers = ImageProbes()
    weights = [*model.parameters(), *readers.parameters()]
    optimiser = torch.optim.AdamW(weights, 1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    path = args.out / "dual.pt"
    start = restore(path, model=model, readers=readers, optimiser=optimiser)
    log = Log(50)
    for step in range(start, args.steps):
        rng = np.random.default_rng((SEED, step, 1))
        set_rate(optimiser, cosine(step, args.steps, 1e-3))
        pixels, scenes, captions = pictures(training_scene, SEED, step, args.batch)
        specs = [read(caption) for caption in captions]
        wrong = [write(spoil(spec, rng)) for spec in specs for _ in range(NEGATIVES)]
        with torch.autocast("cpu", torch.bfloat16):
            image, text = embeddings(model, pixels, tokenize(words, captions + wrong))
        spoilt = text[args.batch :].unflatten(0, (-1, NEGATIVES))
        scale = model.logit_scale.exp().clamp(max=100)
        pairs, lower = contrastive(image, text[: args.batch], spoilt, scale, specs)
        shown = readers(image, scenes)
        optimiser.zero_grad()
        (pairs + shown).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        log.add(step, pairs=pairs.item(), shown=shown.item(), lower=lower.item())
        if (step + 1) % 250 == 0 or step + 1 == args.steps:
            save(
                path,
                step=step + 1,
                model=model.state_dict(),
                readers=readers.state_dict(),
                optimiser=optimiser.state_dict(),
            )
    model.save_pretrained(args.out / "dual_encoder")
    words.save_pretrained(args.out / "dual_encoder")
    first, below, flipped = measure(model.eval(), words, SEED + 1)
    print(
        f"retrieval@1 of 100: {first:.3f}; hard negatives lower: {below:.3f}, flips {flipped:.3f}"
    )


if __name__ == "__main__":
    main()
