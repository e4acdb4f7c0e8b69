"""Kernel distances to a reference's features: KID and CMMD."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from harness.metrics.base import Encoder, metric
from harness.metrics.clip_features import CmmdFeatures
from harness.metrics.encoders import make_encoder
from harness.metrics.mmd import Mmd, SubsetMmd, gaussian, polynomial
from harness.metrics.referred import INCEPTION, WEIGHTS_LICENCE, Referred
from harness.metrics.set_statistics import Statistic


@metric(
    "kid",
    title="KID",
    direction="lower",
    model=f"{INCEPTION}, resized as TensorFlow does; others by kid(net=...)",
    paper="Binkowski et al. 2018, arXiv:1801.01401",
    licence=WEIGHTS_LICENCE,
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


@metric(
    "cmmd",
    title="CMMD",
    direction="lower",
    range=(0, inf),
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
