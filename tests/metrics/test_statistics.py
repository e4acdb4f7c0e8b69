"""Moments add up, the Frechet distance has its closed form, the jackknife covers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import linalg

from harness.core.errors import HarnessError
from harness.metrics.frechet import Frechet, frechet_distance
from harness.metrics.references import read_reference
from harness.metrics.set_statistics import BLOCKS, Moments, Reference, deal, delete_one, jackknife
from harness.metrics.undefined import Undefined


def reference(mu: np.ndarray, sigma: np.ndarray) -> Reference:
    return Reference(np.asarray(mu, float), np.asarray(sigma, float), 1000, {})


def covariance(rng: np.random.Generator, width: int) -> np.ndarray:
    root = rng.normal(size=(width, width))
    return root @ root.T / width + 0.01 * np.eye(width)


@pytest.mark.parametrize("cuts", [[1, 2, 50], [0, 0, 99], [37]])
def test_moments_of_pieces_are_those_of_the_whole(cuts: list[int]) -> None:
    features = np.random.default_rng(0).normal(1000.0, 1.0, (100, 7)).astype(np.float32)
    whole = Moments.of(features)
    pieces = [Moments.of(piece) for piece in np.split(features, cuts)]
    merged = sum(pieces[1:], pieces[0])
    assert merged.n == 100
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(whole.covariance, np.cov(features.T.astype(float)), rtol=1e-10)


def test_frechet_distance_of_diagonal_gaussians_is_the_closed_form() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0.1, 3, (2, 9))
    mu = rng.normal(size=(2, 9))
    expected = ((mu[0] - mu[1]) ** 2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    found = frechet_distance(mu[0], np.diag(a), reference(mu[1], np.diag(b)))
    assert found == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_to_itself_is_zero_even_if_singular() -> None:
    rng = np.random.default_rng(2)
    thin = rng.normal(size=(16, 4))
    for sigma in (covariance(rng, 16), thin @ thin.T, np.zeros((16, 16))):
        mu = rng.normal(size=16)
        assert abs(frechet_distance(mu, sigma, reference(mu, sigma))) < 1e-6 * (1 + np.trace(sigma))


def test_frechet_distance_equals_the_general_matrix_root_and_is_symmetric() -> None:
    rng = np.random.default_rng(3)
    s1, s2 = covariance(rng, 40), covariance(rng, 40)
    m1, m2 = rng.normal(size=(2, 40))
    root = linalg.sqrtm(s1 @ s2)
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2) - 2 * np.trace(root).real
    found = frechet_distance(m1, s1, reference(m2, s2))
    assert found == pytest.approx(expected, rel=1e-6)
    assert found == pytest.approx(frechet_distance(m2, s2, reference(m1, s1)), rel=1e-9)


def test_too_few_images_are_refused_unless_asked_for() -> None:
    rng = np.random.default_rng(4)
    base = reference(np.zeros(8), np.eye(8))
    few, enough = rng.normal(size=(8, 8)), rng.normal(size=(9, 8))
    refused = Frechet(base).value(Frechet(base).gather(few))
    assert isinstance(refused, Undefined)
    assert "8 images" in refused.reason
    assert "at least 9" in refused.reason
    assert isinstance(Frechet(base).value(Moments.of(enough)), float)
    assert isinstance(Frechet(base, allow_few=True).value(Moments.of(few)), float)


def test_features_of_another_encoder_are_refused() -> None:
    with pytest.raises(HarnessError, match="different encoders"):
        Frechet(reference(np.zeros(8), np.eye(8))).gather(np.zeros((5, 7)))


def test_references_are_read_and_bad_ones_named(tmp_path: Path) -> None:
    good = tmp_path / "good.npz"
    np.savez(good, mu=np.ones(3), sigma=np.eye(3), n=77, encoder="tiny")
    read = read_reference(good)
    assert (read.n, read.meta) == (77, {"encoder": "tiny"})
    np.savez(tmp_path / "bad.npz", mu=np.ones(3), n=77)
    with pytest.raises(HarnessError, match="holds no sigma"):
        read_reference(tmp_path / "bad.npz")
    np.savez(tmp_path / "odd.npz", mu=np.ones(3), sigma=np.eye(2), n=77)
    with pytest.raises(HarnessError, match="mu has 3"):
        read_reference(tmp_path / "odd.npz")


def test_blocks_keep_groups_together_and_depend_on_their_names_alone() -> None:
    groups = [f"p{i % 45}" for i in range(90)]
    blocks = deal(groups)
    assert blocks is not None
    assert set(blocks) == set(range(BLOCKS))
    by_name = dict(zip(groups, blocks, strict=True))
    assert [by_name[g] for g in groups] == list(blocks)
    again = deal(groups[::-1])
    assert again is not None
    assert dict(zip(groups[::-1], again, strict=True)) == by_name
    assert deal([f"p{i}" for i in range(BLOCKS - 1)]) is None


class Mean:
    """The mean of one feature, whose jackknife interval is the t interval of block means."""

    def gather(self, features: np.ndarray) -> Moments:
        return Moments.of(features)

    def value(self, state: Moments) -> float:
        return float(state.mean[0])


def test_jackknife_of_a_mean_is_the_t_interval() -> None:
    from scipy import stats

    values = np.random.default_rng(5).normal(size=BLOCKS)
    states = [Moments.of(np.array([[v]])) for v in values]
    interval = jackknife(float(values.mean()), delete_one(Mean(), states))
    expected = stats.t.interval(0.95, BLOCKS - 1, values.mean(), stats.sem(values))
    assert interval == pytest.approx(expected, rel=1e-9)


def test_jackknife_of_a_frechet_distance_covers_its_expectation() -> None:
    rng = np.random.default_rng(6)
    width, prompts, seeds, repeats = 6, 80, 4, 300
    statistic = Frechet(reference(np.full(width, 0.4), np.diag(np.linspace(0.5, 2, width))))
    groups = [f"p{i}" for i in range(prompts) for _ in range(seeds)]
    blocks = deal(groups)
    values, intervals = [], []
    for _ in range(repeats):
        shared = rng.normal(size=(prompts, 1, width))
        own = rng.normal(size=(prompts, seeds, width))
        features = (0.5 * shared + own).reshape(-1, width)
        values.append(statistic.value(statistic.gather(features)))
        states = [statistic.gather(features[blocks == b]) for b in range(BLOCKS)]
        intervals.append(jackknife(values[-1], delete_one(statistic, states)))
    centre = np.mean(values)
    covered = np.mean([low <= centre <= high for low, high in intervals])
    assert 0.92 <= covered <= 0.98


def test_jackknife_of_a_difference_covers_it_and_uses_what_runs_share() -> None:
    """Two runs of the same prompts and noise: the interval is far below that of unpaired ones."""
    rng = np.random.default_rng(7)
    width, prompts, seeds, repeats = 5, 80, 2, 300
    statistic = Frechet(reference(np.full(width, 0.4), np.diag(np.linspace(0.5, 2, width))))
    blocks = deal([f"p{i}" for i in range(prompts) for _ in range(seeds)])
    values, intervals, apart = [], [], []
    for _ in range(repeats):
        shared = 0.5 * rng.normal(size=(prompts, 1, width)) + rng.normal(
            size=(prompts, seeds, width)
        )
        sides = []
        for scale in (1.0, 1.1):
            own = 0.2 * rng.normal(size=shared.shape)
            features = (scale * shared + own).reshape(-1, width)
            value = statistic.value(statistic.gather(features))
            states = [statistic.gather(features[blocks == b]) for b in range(BLOCKS)]
            sides.append((value, delete_one(statistic, states)))
        (a, without_a), (b, without_b) = sides
        values.append(a - b)
        intervals.append(jackknife(a - b, without_a - without_b))
        alone = [np.diff(jackknife(*side))[0] for side in sides]
        apart.append(np.hypot(*alone))
    centre = np.mean(values)
    covered = np.mean([low <= centre <= high for low, high in intervals])
    assert 0.92 <= covered <= 0.98
    assert np.mean([high - low for low, high in intervals]) < 0.6 * np.mean(apart)
