"""The judge: a small network that detects a picture's objects and background.

It also gives the features for a Frechet distance and, with `grade`, the exact alignment of a
picture with its caption. Importing this module imports torch; `harness.world.grade` does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.world.grade import Seen, grade
from harness.world.grammar import BACKGROUNDS, COLOURS, SHAPES
from harness.world.scenes import SIZE

WEIGHTS = Path(__file__).parent / "weights" / "judge.safetensors"
BEHIND = ("soft", *BACKGROUNDS)
CELLS = 16
STRIDE = SIZE // CELLS
FEATURES = 64


def _block(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1), nn.GroupNorm(8, outside), nn.SiLU()
    )


class _Residual(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, 1, dilation, dilation)
        self.second = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(F.silu(self.first(F.silu(self.norm(x)))))
        return x + y


@dataclass(frozen=True)
class Judgement:
    """Detected objects and backgrounds of a batch; `features` [B, 64] float32."""

    objects: list[list[Seen]]
    backgrounds: list[str]
    features: Tensor


class Judge(nn.Module):
    """Pictures [B, 3, 64, 64] in [-1, 1] to maps [B, C, 16, 16] and features [B, 64].

    Channels of the map: the object-centre logit, its offset in the cell (x, y) and radius (these
    three in units of 4 pixels), then colour and shape logits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_block(3, 32), _block(32, 32, 2), _block(32, 64, 2))
        self.body = nn.Sequential(*(_Residual(64, d) for d in (1, 2, 4, 1)))
        self.out = nn.Sequential(nn.GroupNorm(8, 64), nn.SiLU())
        self.maps = nn.Conv2d(64, 4 + len(COLOURS) + len(SHAPES), 1)
        self.behind = nn.Linear(FEATURES, len(BEHIND))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps, background logits [B, 5] and features [B, 64]."""
        hidden = self.out(self.body(self.stem(pixels)))
        features = hidden.mean((2, 3))
        return self.maps(hidden), self.behind(features), features

    @torch.no_grad()
    def look(self, pictures: Tensor, batch: int = 128) -> Judgement:
        """Judge uint8 pictures [B, 3, H, W]; other sizes than 64 are averaged down to it."""
        objects: list[list[Seen]] = []
        backgrounds: list[str] = []
        features: list[Tensor] = []
        device = next(self.parameters()).device
        for part in pictures.split(batch):
            pixels = part.to(device).float().div(127.5).sub(1)
            if pixels.shape[-2:] != (SIZE, SIZE):
                pixels = F.interpolate(pixels, (SIZE, SIZE), mode="area")
            maps, behind, feature = self(pixels)
            objects += _objects(maps.float().cpu())
            backgrounds += [BEHIND[i] for i in behind.argmax(1).tolist()]
            features.append(feature.float().cpu())
        return Judgement(objects, backgrounds, torch.cat(features))


def _objects(maps: Tensor) -> list[list[Seen]]:
    """The objects at the peaks of the centre map above one half; no two within two cells."""
    centre = maps[:, 0]
    peak = (centre > 0) & (centre == F.max_pool2d(centre[:, None], 3, 1, 1)[:, 0])
    objects: list[list[Seen]] = [[] for _ in range(len(maps))]
    colours = tuple(COLOURS)
    for b, row, column in peak.nonzero().tolist():
        cell = maps[b, :, row, column]
        objects[b].append(
            Seen(
                colour=colours[int(cell[4 : 4 + len(colours)].argmax())],
                shape=SHAPES[int(cell[4 + len(colours) :].argmax())],
                x=(column + float(cell[1])) * STRIDE,
                y=(row + float(cell[2])) * STRIDE,
                radius=float(cell[3]) * STRIDE,
            )
        )
    return objects


@cache
def load_judge() -> Judge:
    """The trained judge, on the CPU, in evaluation mode."""
    from safetensors.torch import load_file

    judge = Judge()
    judge.load_state_dict({k: v.float() for k, v in load_file(WEIGHTS).items()})
    return judge.eval().requires_grad_(False)


def grades(judgement: Judgement, demands: Sequence[Sequence[object]]) -> list[tuple[float, bool]]:
    """`grade` for every picture of a batch."""
    return [
        grade(objects, background, list(wanted))  # type: ignore[arg-type]
        for objects, background, wanted in zip(
            judgement.objects, judgement.backgrounds, demands, strict=True
        )
    ]
