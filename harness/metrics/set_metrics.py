"""Set metrics by the names that papers use: each an encoder, a statistic and a reference."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from harness.metrics import neighbours
from harness.metrics.base import Encoder, SetMetric, set_metric
from harness.metrics.clip_features import ClipFeatures, CmmdFeatures
from harness.metrics.dinov2 import Dinov2
from harness.metrics.encoders import make_encoder
from harness.metrics.frechet import Frechet, FrechetInfinity, Reference
from harness.metrics.inception import (
    CLASSES,
    InceptionClean,
    InceptionPytorch,
    InceptionTensorflow,
)
from harness.metrics.inception_score import Diversity
from harness.metrics.mmd import Mmd, SubsetMmd, gaussian, polynomial
from harness.metrics.references import check_weights, find_reference
from harness.metrics.statistics import Statistic

USUAL = 10_000
"""Fewer images than this, and a distance is far from what papers report (of 50,000)."""

_INF = float("inf")
_INCEPTION = "Inception-v3 of 2015-12-05, 2048 features"
_FID = "Heusel et al. 2017, arXiv:1706.08500"
_WEIGHTS_LICENCE = "Apache-2.0 (weights)"


class Referred(SetMetric):
    """A set metric against reference statistics, `reference`: a name or a file."""

    reference: str
    keeps_features: ClassVar[bool] = False
    """Whether it needs the reference's features, not only their mean and covariance."""

    def referred(self) -> Reference:
        return find_reference(
            self.name, self.reference, self.features, features=self.keeps_features
        )

    def check(self) -> None:
        reference = self.referred()  # before weights are downloaded for nothing
        self.features.check()
        check_weights(self.reference, reference, self.features)


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


@set_metric(
    "fid",
    title="FID",
    direction="lower",
    range=(0, _INF),
    model=f"{_INCEPTION}, resized as TensorFlow does",
    paper=f"{_FID}; as in EDM, EDM2, StyleGAN, guided-diffusion, torch-fidelity",
    licence=_WEIGHTS_LICENCE,
)
class Fid(_InceptionDistance):
    """Frechet distance of Inception features by NVIDIA's convention, of most diffusion papers.

    `reference`: a name of `harness refs list`, or a file. `infinity`: FID-infinity in place of the
    value at this number of images. `allow_few`: also for no more images than features, where the
    value is mostly bias. `checkpoint`: the file of the weights, where it is not downloaded.
    """

    def build_encoder(self) -> Encoder:
        return InceptionTensorflow(self.checkpoint)


@set_metric(
    "fid-clean",
    title="FID (clean)",
    direction="lower",
    range=(0, _INF),
    model=f"{_INCEPTION}, resized by Pillow's antialiased bicubic",
    paper=f"Parmar et al. 2022, arXiv:2104.11222; {_FID}",
    licence=_WEIGHTS_LICENCE,
)
class FidClean(_InceptionDistance):
    """Frechet distance of Inception features by clean-fid's convention; parameters as of fid."""

    def build_encoder(self) -> Encoder:
        return InceptionClean(self.checkpoint)


@set_metric(
    "fid-pytorch",
    title="FID (PyTorch)",
    direction="lower",
    range=(0, _INF),
    model=f"{_INCEPTION}, resized by PyTorch's bilinear",
    paper=f"pytorch-fid, github.com/mseitzer/pytorch-fid; {_FID}",
    licence=_WEIGHTS_LICENCE,
)
class FidPytorch(_InceptionDistance):
    """Frechet distance of Inception features by pytorch-fid's convention; parameters as of fid."""

    def build_encoder(self) -> Encoder:
        return InceptionPytorch(self.checkpoint)


@set_metric(
    "fd-dinov2",
    title="FD-DINOv2",
    direction="lower",
    range=(0, _INF),
    model="DINOv2 ViT-L/14, 1024 features",
    paper="Stein et al. 2023, arXiv:2306.04675; Karras et al. 2024, arXiv:2312.02696",
    licence=_WEIGHTS_LICENCE,
)
@dataclass
class FdDinov2(_Distance):
    """Frechet distance of DINOv2's class tokens; `resize`: edm2, pil or dgm-eval.

    The three ways to 224x224 differ by a few per cent: `edm2` is that of EDM2's code and published
    references, `pil` that of the guidance interval's, `dgm-eval` that of Stein et al. Others as of
    fid.
    """

    reference: str = ""
    resize: Literal["edm2", "pil", "dgm-eval"] = "edm2"
    infinity: bool = False
    allow_few: bool = False
    checkpoint: str = ""

    def build_encoder(self) -> Encoder:
        return Dinov2(resize=self.resize, checkpoint=self.checkpoint)


@set_metric(
    "fd-clip",
    title="FD-CLIP",
    direction="lower",
    range=(0, _INF),
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


@set_metric(
    "fd",
    title="Frechet distance",
    direction="lower",
    range=(0, _INF),
    model="any encoder, for example fd(encoder=dinov2)",
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


@set_metric(
    "kid",
    title="KID",
    direction="lower",
    model=f"{_INCEPTION}, resized as TensorFlow does; others by kid(net=...)",
    paper="Binkowski et al. 2018, arXiv:1801.01401",
    licence=_WEIGHTS_LICENCE,
)
@dataclass
class Kid(Referred):
    """Kernel distance: unbiased squared MMD of features by the kernel (x y / F + 1)^3, not scaled.

    Over all pairs of images: exactly what the usual mean over random subsets estimates, with no
    chance in it. `subsets`: that mean over so many subsets of `subset_size` images, drawn as
    torch-fidelity draws them; without an interval. `net`: an encoder, as of fd.
    """

    reference: str = ""
    net: str = "inception-tf"
    subsets: int = 0
    subset_size: int = 1000
    keeps_features = True

    def build_encoder(self) -> Encoder:
        return make_encoder(self.net)

    def statistic(self) -> Statistic[Any]:
        if self.subsets:
            return SubsetMmd(self.referred(), polynomial, self.subsets, self.subset_size)
        return Mmd(self.referred(), polynomial, unbiased=True, scale=1)


@set_metric(
    "cmmd",
    title="CMMD",
    direction="lower",
    range=(0, _INF),
    model="open_clip ViT-L-14-336, openai, 768 features",
    paper="Jayasumana et al. 2024, arXiv:2401.09603",
    licence="MIT (openai weights)",
)
@dataclass
class Cmmd(Referred):
    """CLIP maximum mean discrepancy: 1000 times the squared MMD by a Gaussian kernel of sigma 10.

    Of unit CLIP features, by the estimator of least variance, as the paper's code.
    """

    reference: str = ""
    model: str = "ViT-L-14-336"
    pretrained: str = "openai"
    keeps_features = True

    def build_encoder(self) -> Encoder:
        return CmmdFeatures(self.model, self.pretrained)

    def statistic(self) -> Statistic[Any]:
        return Mmd(self.referred(), gaussian, unbiased=False, scale=1000)


@set_metric(
    "inception-score",
    title="Inception score",
    direction="higher",
    range=(1, CLASSES),
    model=f"{_INCEPTION}, resized as TensorFlow does",
    paper="Salimans et al. 2016, arXiv:1606.03498",
    licence=_WEIGHTS_LICENCE,
)
@dataclass
class InceptionScore(SetMetric):
    """Inception score: mean over `splits` shuffled parts of exp(KL of classes given an image).

    Logits without the bias, ten splits, shuffled with seed 2020: the convention of the original
    code and of torch-fidelity. Needs no reference. `checkpoint` as of fid.
    """

    splits: int = 10
    checkpoint: str = ""
    enough = USUAL

    def build_encoder(self) -> Encoder:
        return InceptionTensorflow(self.checkpoint)

    def statistic(self) -> Statistic[Any]:
        self.features.check()
        return Diversity(_head(self.checkpoint), self.splits)


@lru_cache(maxsize=2)
def _head(checkpoint: str) -> NDArray[np.float32]:
    return InceptionTensorflow(checkpoint).head()


class _Neighbours(Referred):
    """A share of images or references within the k-nearest-neighbour balls of the others."""

    keeps_features = True
    enough = USUAL
    net: str

    def build_encoder(self) -> Encoder:
        return make_encoder(self.net)


_PR = "Kynkaanniemi et al. 2019, arXiv:1904.06991; as in Naeem et al.'s prdc"
_DC = "Naeem et al. 2020, arXiv:2002.09797"
_NET = f"{_INCEPTION}, resized as TensorFlow does; others by (net=...)"


@set_metric(
    "precision",
    title="Precision",
    direction="higher",
    range=(0, 1),
    model=_NET,
    paper=_PR,
    licence=_WEIGHTS_LICENCE,
)
@dataclass
class Precision(_Neighbours):
    """Share of images within a reference's ball to its `k`-th nearest reference (fidelity).

    `k`: 5 as in prdc; Kynkaanniemi et al. have 3. `net`: an encoder, as of fd.
    """

    reference: str = ""
    net: str = "inception-tf"
    k: int = 5

    def statistic(self) -> Statistic[Any]:
        return neighbours.Precision(self.referred(), self.k)


@set_metric(
    "recall",
    title="Recall",
    direction="higher",
    range=(0, 1),
    model=_NET,
    paper=_PR,
    licence=_WEIGHTS_LICENCE,
)
@dataclass
class Recall(_Neighbours):
    """Share of references within an image's ball to its `k`-th nearest image (variety).

    Parameters as of precision.
    """

    reference: str = ""
    net: str = "inception-tf"
    k: int = 5

    def statistic(self) -> Statistic[Any]:
        return neighbours.Recall(self.referred(), self.k)


@set_metric(
    "density",
    title="Density",
    direction="higher",
    range=(0, _INF),
    model=_NET,
    paper=_DC,
    licence=_WEIGHTS_LICENCE,
)
@dataclass
class Density(_Neighbours):
    """Mean number of references' balls that hold an image, over `k`; parameters as of precision."""

    reference: str = ""
    net: str = "inception-tf"
    k: int = 5

    def statistic(self) -> Statistic[Any]:
        return neighbours.Density(self.referred(), self.k)


@set_metric(
    "coverage",
    title="Coverage",
    direction="higher",
    range=(0, 1),
    model=_NET,
    paper=_DC,
    licence=_WEIGHTS_LICENCE,
)
@dataclass
class Coverage(_Neighbours):
    """Share of references whose ball holds an image; parameters as of precision."""

    reference: str = ""
    net: str = "inception-tf"
    k: int = 5

    def statistic(self) -> Statistic[Any]:
        return neighbours.Coverage(self.referred(), self.k)
