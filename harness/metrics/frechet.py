"""Frechet distances of Gaussians fitted to two sets of features: FID, FD-DINOv2, FD-CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.metrics import (
    Encoder,
    FeatureRows,
    Moments,
    Reference,
    ReferenceMetric,
    RowStatistic,
    Statistic,
    Undefined,
    make_encoder,
    metric,
)
from harness.metrics.clip_features import ClipFeatures
from harness.metrics.dinov2 import Dinov2, Resize
from harness.metrics.inception import (
    INCEPTION,
    WEIGHTS_LICENCE,
    InceptionClean,
    InceptionPytorch,
    InceptionTensorflow,
)

POINTS = 15
"""Numbers of images to which FID-infinity fits its line, as in the paper."""

_FID = "Heusel et al. 2017, arXiv:1706.08500"


def frechet_distance(
    mu: NDArray[np.float64], sigma: NDArray[np.float64], reference: Reference
) -> float:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), Dowson and Landau 1982.

    S1 S2 has the eigenvalues of the symmetric R^T S1 R, where S2 = R R^T. So the trace of its root
    is a sum of real roots: defined for singular covariances, without any rounding of imaginary
    parts, and many times faster than a general matrix square root.
    """
    inner = reference.root.T @ sigma @ reference.root
    values = np.linalg.eigvalsh((inner + inner.T) / 2)
    cross = np.sqrt(np.clip(values, 0, None)).sum()
    step = mu - reference.mu
    return float(step @ step + np.trace(sigma) + np.trace(reference.sigma) - 2 * cross)


@dataclass(frozen=True)
class Frechet:
    """Frechet distance of features to a reference.

    With no more images than features the covariance is singular and the distance mostly bias: it
    is undefined unless `allow_few`.
    """

    reference: Reference
    allow_few: bool = False

    def gather(self, features: NDArray[Any]) -> Moments:
        return Moments.of(self.reference.accept(features))

    def value(self, state: Moments) -> float | Undefined:
        width = len(self.reference.mu)
        if state.n < 2 or (state.n <= width and not self.allow_few):
            return Undefined(
                f"{state.n} images are too few for a Frechet distance in {width} features "
                f"(at least {width + 1}, or allow_few=true)"
            )
        return frechet_distance(state.mean, state.covariance, self.reference)


@dataclass(frozen=True)
class FrechetInfinity(RowStatistic):
    """The Frechet distance extrapolated to infinitely many images (FID-infinity).

    Chong and Forsyth 2020 (arXiv:1911.07023): the distance's bias is linear in 1/N, so a line
    through POINTS numbers of images, from a tenth of them on, is read off at 1/N = 0. Its smaller
    sets are the beginnings of one shuffling of the images (seed 0).
    """

    def value(self, state: FeatureRows) -> float | Undefined:
        width, n = len(self.reference.mu), state.n
        least = max(n // 10, width + 1)
        if n < 2 * least:
            return Undefined(
                f"{n} images are too few for FID-infinity in {width} features: it needs the "
                f"distance at several numbers of images above {width}, so at least {2 * width + 2}"
            )
        shuffled = state.array[np.random.RandomState(0).permutation(n)]
        sizes = np.linspace(least, n, POINTS).astype(int)
        moments = Moments.of(shuffled[:0])
        values = []
        for start, stop in zip([0, *sizes[:-1]], sizes, strict=True):
            moments = moments + Moments.of(shuffled[start:stop])
            values.append(frechet_distance(moments.mean, moments.covariance, self.reference))
        _, intercept = np.polyfit(1 / sizes, values, 1)
        return float(intercept)

    def left_out(self, states: Any) -> Undefined:
        return Undefined("no interval: that of FID-infinity is not known; fid has one at its n")


class FrechetMetric(ReferenceMetric):
    """A set metric by the Frechet distance, or, with `infinity`, by FID-infinity in its place."""

    infinity: bool
    allow_few: bool

    def statistic(self) -> Statistic[Any]:
        if self.infinity:
            return FrechetInfinity(self.target())
        return Frechet(self.target(), self.allow_few)


@metric(
    "fid",
    title="FID",
    direction="lower",
    range=(0, inf),
    model=f"{INCEPTION}, resized as TensorFlow does",
    paper=f"{_FID}; as in EDM, EDM2, StyleGAN, guided-diffusion, torch-fidelity",
    licence=WEIGHTS_LICENCE,
)
@dataclass
class Fid(FrechetMetric):
    """Frechet distance of Inception features by NVIDIA's convention, of most diffusion papers.

    `reference`: a name of `harness refs list`, or a file. `infinity`: FID-infinity in place of the
    value at this number of images. `allow_few`: also for no more images than features, where the
    value is mostly bias. `checkpoint`: the file of the weights, where it is not downloaded.
    """

    reference: str = ""
    infinity: bool = False
    allow_few: bool = False
    checkpoint: str = ""

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
class FidClean(Fid):
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
class FidPytorch(Fid):
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
class FdDinov2(FrechetMetric):
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
class FdClip(FrechetMetric):
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
class Fd(FrechetMetric):
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
