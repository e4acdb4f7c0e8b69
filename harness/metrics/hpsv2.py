"""Human Preference Score v2 and v2.1 on open_clip, equal to the hpsv2 package's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from harness.fetch import hub_files, weights
from harness.metrics import ItemRow, metric, normalised, per_batch, to_device
from harness.metrics.base import Scores
from harness.metrics.cosine import CosineMetric
from harness.metrics.hpsv2_package import HpsPackage
from harness.metrics.open_clip_encoder import OpenClip

if TYPE_CHECKING:
    import torch

_REPO = "xswu/HPSv2"
_MODEL = "open_clip ViT-H-14, fine-tuned on HPDv2"
_PAPER = "Wu et al. 2023, arXiv:2306.09341"
_LICENCE = "Apache-2.0"


@dataclass
class HpsEncoder(OpenClip):
    """ViT-H-14 with an official checkpoint, `{"state_dict": ...}`, in float32.

    Pictures become tensors in [0, 1] first, then their longer side is resized (bicubic) to the
    network's, and the shorter one padded with black. torchvision resizes tensors with `antialias`
    from 0.17 on, and did so without before: the package's scores depend on its version.
    """

    model: str = "ViT-H-14"
    pretrained: str = ""
    file: str = ""
    antialias: bool = True

    name = "hpsv2"

    @cached_property
    def checkpoint(self) -> str:
        return checkpoint(self.pretrained, self.file)

    @per_batch
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as F

        side = self.network.visual.image_size[0]
        height, width = images.shape[-2:]
        scale = side / max(height, width)
        pixels = to_device(images, self.device).float() / 255
        if scale != 1:
            size = [round(height * scale), round(width * scale)]
            pixels = F.resize(pixels, size, InterpolationMode.BICUBIC, antialias=self.antialias)
        down, across = (side - pixels.shape[-2], side - pixels.shape[-1])
        pixels = F.pad(
            pixels, [across // 2, down // 2, across - across // 2, down - down // 2], fill=0
        )
        pixels = normalised(pixels, self.network.visual.image_mean, self.network.visual.image_std)
        features: torch.Tensor = self.network.encode_image(pixels, normalize=True)
        return features.float()


def checkpoint(path: str, file: str) -> str:
    """Path of the local checkpoint `path`, or of the official `file`, downloaded if need be."""
    if path:
        return weights.named_file(path, "HPSv2 weights")
    parameter = f"{'hpsv2.1' if '2.1' in file else 'hpsv2'}(checkpoint=PATH)"
    return hub_files.fetch_files(f"the HPSv2 weights {file}", _REPO, [file], parameter)[0]


@metric(
    "hpsv2",
    title="HPSv2",
    direction="higher",
    range=(-1, 1),
    model=_MODEL,
    paper=_PAPER,
    licence=_LICENCE,
    needs_prompts=True,
)
@dataclass
class Hpsv2(CosineMetric):
    """Human Preference Score v2: cosine of picture and prompt, not scaled (about 0.2 to 0.35).

    `checkpoint`: a local HPS_v2_compressed.pt. `backend=package` runs the hpsv2 package's own
    `score` where it is installed: many times slower, in half precision on a GPU. `antialias=false`
    is what it gave with torchvision before 0.17.
    """

    checkpoint: str = ""
    backend: Literal["open_clip", "package"] = "open_clip"
    antialias: bool = True

    release = "v2.0"
    file = "HPS_v2_compressed.pt"

    def build_encoder(self) -> HpsEncoder:
        return HpsEncoder(pretrained=self.checkpoint, file=self.file, antialias=self.antialias)

    @cached_property
    def package(self) -> HpsPackage:
        return HpsPackage(self.release)

    @property
    def towers(self) -> HpsEncoder:
        assert isinstance(self.encoder, HpsEncoder)
        return self.encoder

    def check(self) -> None:
        super().check()
        if self.backend == "package":
            self.package.check(self.antialias)

    def load(self, device: str) -> None:
        if self.backend == "package":
            self.package.load(self.towers.checkpoint, device)
        else:
            super().load(device)

    def prepare(self, prompts: Sequence[str]) -> None:
        if self.backend == "open_clip":
            super().prepare(prompts)

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Scores:
        if self.backend == "package":
            return self.package.score(images, [row.prompt for row in rows])
        return self.cosines(images, rows)


@metric(
    "hpsv2.1",
    title="HPSv2.1",
    direction="higher",
    range=(-1, 1),
    model=_MODEL,
    paper=_PAPER,
    licence=_LICENCE,
    needs_prompts=True,
)
@dataclass
class Hpsv21(Hpsv2):
    """Human Preference Score v2.1: as hpsv2, with the weights of HPS_v2.1_compressed.pt."""

    release = "v2.1"
    file = "HPS_v2.1_compressed.pt"
