"""MMD, neighbours and FID-infinity: equal to their packages; jackknives equal to slow ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from harness.core.errors import HarnessError
from harness.metrics.frechet import FrechetInfinity, frechet_distance
from harness.metrics.mmd import Mmd, SubsetMmd, gaussian, polynomial
from harness.metrics.precision_recall import BallsWithImages, ImagesInBalls, ReferencesInBalls
from harness.metrics.set_statistics import BLOCKS, FeatureRows, LeavesOut, Reference, delete_one
from harness.metrics.undefined import Undefined
from tests.conftest import Certify

golden = pytest.mark.golden
WIDTH = 16


def reference(features: np.ndarray) -> Reference:
    return Reference(features.mean(0), np.cov(features.T), len(features), {}, features)


def sets(n: int = 210, m: int = 170) -> tuple[np.ndarray, Reference]:
    rng = np.random.default_rng(0)
    ours = rng.normal(0.3, 1.2, (n, WIDTH)).astype(np.float32)
    return ours, reference(rng.normal(0, 1, (m, WIDTH)).astype(np.float32))


def value(statistic: Any, features: np.ndarray) -> Any:
    return statistic.value(statistic.gather(features))


@golden
def test_kid_by_subsets_is_torch_fidelitys(certify: Certify) -> None:
    module = pytest.importorskip("torch_fidelity.metric_kid")
    ours, base = sets()
    assert base.features is not None
    expected = module.kid_features_to_metric(
        torch.from_numpy(ours).double(), torch.from_numpy(base.features).double(),
        kid_subsets=7, kid_subset_size=100, verbose=False,
    )["kernel_inception_distance_mean"]  # fmt: skip
    found = value(SubsetMmd(base, polynomial, 7, 100), ours)
    certify("metric kid", found, expected, atol=1e-12, rtol=1e-10, reference="torch-fidelity")


@golden
def test_kid_over_all_pairs_is_torchmetrics(certify: Certify) -> None:
    from torchmetrics.image.kid import poly_mmd

    ours, base = sets(150, 150)
    assert base.features is not None
    expected = poly_mmd(torch.from_numpy(ours).double(), torch.from_numpy(base.features).double())
    found = value(Mmd(base, polynomial, unbiased=True, scale=1), ours)
    certify("metric kid", found, expected, atol=1e-12, rtol=1e-10, reference="torchmetrics")


def test_kid_over_all_pairs_is_what_subsets_estimate() -> None:
    ours, base = sets()
    whole = value(Mmd(base, polynomial, unbiased=True, scale=1), ours)
    assert value(SubsetMmd(base, polynomial, 400, 60), ours) == pytest.approx(whole, rel=0.03)


def test_gaussian_mmd_is_its_formula_over_all_pairs() -> None:
    ours, base = sets(31, 23)
    assert base.features is not None
    x, y = ours.astype(float), base.features.astype(float)

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        squares = ((a[:, None] - b[None]) ** 2).sum(-1)
        return float(np.exp(-squares / 200).mean())

    expected = 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))
    assert value(Mmd(base, gaussian, unbiased=False, scale=1000), ours) == pytest.approx(expected)


@golden
@pytest.mark.parametrize("k", [3, 5])
def test_neighbours_are_prdcs(k: int, certify: Certify) -> None:
    prdc = pytest.importorskip("prdc")
    ours, base = sets()
    expected = prdc.compute_prdc(base.features, ours, k)
    statistics = {
        "precision": ImagesInBalls(base, k),
        "recall": ReferencesInBalls(base, k),
        "density": ImagesInBalls(base, k, density=True),
        "coverage": BallsWithImages(base, k),
    }
    for name, statistic in statistics.items():
        found = value(statistic, ours)
        assert 0 < found < 1.5
        certify(f"metric {name}", found, expected[name], atol=1e-12, reference="prdc")


STATISTICS = [
    lambda base: Mmd(base, polynomial, unbiased=True, scale=1),
    lambda base: Mmd(base, gaussian, unbiased=False, scale=1000),
    lambda base: ImagesInBalls(base, 3),
    lambda base: ImagesInBalls(base, 3, density=True),
    lambda base: BallsWithImages(base, 3),
    lambda base: ReferencesInBalls(base, 3),
]


@pytest.mark.parametrize("make", STATISTICS)
def test_a_jackknife_is_that_of_values_without_each_block(make: Any) -> None:
    ours, base = sets()
    statistic = make(base)
    blocks = np.arange(len(ours)) % BLOCKS
    blocks[:40] = 0  # one block larger, and all neighbours of some images in it
    ours[:40] = ours[0] + ours[:40] / 1e3
    states = [statistic.gather(ours[blocks == b]) for b in range(BLOCKS)]

    class Plain:
        def gather(self, features: np.ndarray) -> FeatureRows:
            return FeatureRows.of(features)

        def value(self, state: FeatureRows) -> Any:
            return value(statistic, state.array)

    plain = [FeatureRows.of(ours[blocks == b]) for b in range(BLOCKS)]
    expected = delete_one(Plain(), plain)
    assert not isinstance(expected, Undefined)
    assert expected.std() > 0
    found = delete_one(statistic, states)
    assert not isinstance(found, Undefined)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", STATISTICS)
def test_too_few_images_are_undefined_and_other_features_an_error(make: Any) -> None:
    ours, base = sets()
    assert isinstance(value(make(base), ours[:0]), Undefined)
    with pytest.raises(HarnessError, match="different encoders"):
        value(make(base), ours[:, :5])


def test_subsets_larger_than_the_images_are_undefined() -> None:
    ours, base = sets()
    found = value(SubsetMmd(base, polynomial, 5, 171), ours)
    assert isinstance(found, Undefined)
    assert "170 images are too few for subsets of 171" in found.reason


def test_infinity_is_nearer_to_the_distance_of_the_distributions() -> None:
    rng = np.random.default_rng(3)
    base = Reference(np.zeros(WIDTH), np.eye(WIDTH), 10**6, {})
    plain, infinite = [], []
    for _ in range(10):
        features = rng.normal(0, 1, (600, WIDTH))
        plain.append(frechet_distance(features.mean(0), np.cov(features.T), base))
        infinite.append(value(FrechetInfinity(base), features))
    assert np.mean(plain) > 0.05
    assert abs(np.mean(infinite)) < np.mean(plain) / 3


def test_infinity_needs_images_and_has_no_interval() -> None:
    base = Reference(np.zeros(WIDTH), np.eye(WIDTH), 10**6, {})
    statistic = FrechetInfinity(base)
    assert isinstance(statistic, LeavesOut)
    found = value(statistic, np.random.default_rng(0).normal(size=(33, WIDTH)))
    assert isinstance(found, Undefined)
    assert "at least 34" in found.reason
    assert isinstance(delete_one(statistic, [FeatureRows.of(np.zeros((2, WIDTH)))] * 20), Undefined)
