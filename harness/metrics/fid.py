"""Frechet distances by the names that papers use: each an encoder and a reference."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from harness.metrics.base import Encoder, metric
from harness.metrics.clip_features import ClipFeatures
from harness.metrics.dinov2 import Dinov2, Resize
from harness.metrics.encoders import make_encoder
from harness.metrics.frechet import Frechet, FrechetInfinity
from harness.metrics.inception import InceptionClean, InceptionPytorch, InceptionTensorflow
from harness.metrics.referred import INCEPTION, USUAL, WEIGHTS_LICENCE, Referred
from harness.metrics.set_statistics import Statistic

_FID = "Heusel et al. 2017, arXiv:1706.08500"


class _Distance(Referred):
    """A Frechet distance."""

    infinity: bool
    allow_few: bool
    enough = USUAL

    def statistic(self) -> Statistic[Any]:
        if self.infinity:
            return FrechetInfinity(self.referred())
        return Frechet(self.referred(), self.allow_few)


@dataclass
class _InceptionDistance(_Distance):
    """Parameters of the three conventions of FID."""

    reference: str = ""
    infinity: bool = False
    allow_few: bool = False
    checkpoint: str = ""


@metric(
    "fid",
    title="FID",
    direction="lower",
    range=(0, inf),
    model=f"{INCEPTION}, resized as TensorFlow does",
    paper=f"{_FID}; as in EDM, EDM2, StyleGAN, guided-diffusion, torch-fidelity",
    licence=WEIGHTS_LICENCE,
)
class Fid(_InceptionDistance):
    """Frechet distance of Inception features by NVIDIA's convention, of most diffusion papers.

    `reference`: a name of `harness refs list`, or a file. `infinity`: FID-infinity in place of the
    value at this number of images. `allow_few`: also for no more images than features, where the
    value is mostly bias. `checkpoint`: the file of the weights, where it is not downloaded.
    """

    def build_encoder(self) -> Encoder:
        return InceptionTensorflow(self.checkpoint)


@metric(
    "fid-clean",
    title="FID (clean)",
    direction="lower",
    range=(0, inf),
    model=f"{INCEPTION}, resized by Pillow's antialiased bicubic",
    paper=f"Parmar et al. 2022, arXiv:2104.11222; {_FID}",
    licence=WEIGHTS_LICENCE,
)
class FidClean(_InceptionDistance):
    """Frechet distance of Inception features by clean-fid's convention; parameters as of fid."""

    def build_encoder(self) -> Encoder:
        return InceptionClean(self.checkpoint)


@metric(
    "fid-pytorch",
    title="FID (PyTorch)",
    direction="lower",
    range=(0, inf),
    model=f"{INCEPTION}, resized by PyTorch's bilinear",
    paper=f"pytorch-fid, github.com/mseitzer/pytorch-fid; {_FID}",
    licence=WEIGHTS_LICENCE,
)
class FidPytorch(_InceptionDistance):
    """Frechet distance of Inception features by pytorch-fid's convention; parameters as of fid."""

    def build_encoder(self) -> Encoder:
        return InceptionPytorch(self.checkpoint)


@metric(
    "fd-dinov2",
    title="FD-DINOv2",
    direction="lower",
    range=(0, inf),
    model="DINOv2 ViT-L/14, 1024 features",
    paper="Stein et al. 2023, arXiv:2306.04675; Karras et al. 2024, arXiv:2312.02696",
    licence=WEIGHTS_LICENCE,
)
@dataclass
class FdDinov2(_Distance):
    """Frechet distance of DINOv2's class tokens; `resize`: edm2, pil or clean.

    The three ways to 224x224 differ by a few per cent: `edm2` is that of EDM2's code and published
    references, `pil` that of the guidance interval's and of Stein et al.'s tables (dgm-eval's
    default), `clean` dgm-eval's --clean_resize. Others as of fid.
    """

    reference: str = ""
    resize: Resize = "edm2"
    infinity: bool = False
    allow_few: bool = False
    checkpoint: str = ""

    def build_encoder(self) -> Encoder:
        return Dinov2(resize=self.resize, checkpoint=self.checkpoint)


@metric(
    "fd-clip",
    title="FD-CLIP",
    direction="lower",
    range=(0, inf),
    model="open_clip ViT-B-32, openai, 512 features; others by fd-clip(model=..., pretrained=...)",
    paper="Kynkaanniemi et al. 2023, arXiv:2203.06026",
    licence="MIT (openai weights)",
)
@dataclass
class FdClip(_Distance):
    """Frechet distance of CLIP's image features; others as of fid."""

    reference: str = ""
    model: str = "ViT-B-32"
    pretrained: str = "openai"
    infinity: bool = False
    allow_few: bool = False

    def build_encoder(self) -> Encoder:
        return ClipFeatures(self.model, self.pretrained)


@metric(
    "fd",
    title="Frechet distance",
    direction="lower",
    range=(0, inf),
    model="any encoder, for example fd(net=dinov2)",
    paper="Dowson and Landau 1982",
    licence="-",
)
@dataclass
class Fd(_Distance):
    """Frechet distance of the features of `net`, any encoder, such as dinov2(model=vitb14).

    Encoders: inception-tf, inception-clean, inception-pytorch, dinov2, clip, cmmd-clip; their
    parameters as those of fd-dinov2 and fd-clip, and `checkpoint`. Others as of fid.
    """

    reference: str = ""
    net: str = "inception-tf"
    infinity: bool = False
    allow_few: bool = False

    def build_encoder(self) -> Encoder:
        return make_encoder(self.net)
