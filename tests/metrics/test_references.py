"""References: read in every published format, found by name, refused for other features."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import HarnessError
from harness.metrics import references
from harness.metrics.base import SetMetric, make_metric
from harness.metrics.dinov2 import Dinov2
from harness.metrics.encoders import ENCODERS, make_encoder
from harness.metrics.frechet import frechet_distance
from harness.metrics.inception import InceptionClean, InceptionTensorflow
from harness.metrics.references import find_reference, published, read_reference
from tests.conftest import Certify
from tests.metrics.random_weights import inception_script

GOLDEN = Path(__file__).parent.parent / "golden" / "metrics"
SIGMA = np.diag([1.0, 2.0, 3.0])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pickled(path: Path, **changes: object) -> Path:
    """EDM2's format."""
    parts = {
        "num_images": 50,
        "fid": {"mu": np.ones(3), "sigma": SIGMA},
        "fd_dinov2": {"mu": np.zeros(2), "sigma": np.asfortranarray([[1.0, 0.5], [0.25, 2.0]])},
        **changes,
    }
    path.write_bytes(pickle.dumps(parts, protocol=4))
    return path


def test_edm2s_pickle_holds_one_reference_an_encoder(tmp_path: Path) -> None:
    path = pickled(tmp_path / "img512.pkl")
    fid = find_reference("fid", str(path), InceptionTensorflow())
    assert (fid.n, fid.meta["encoder"]) == (50, "inception-tf")
    np.testing.assert_array_equal(fid.sigma, SIGMA)
    dino = find_reference("fd-dinov2", str(path), Dinov2())
    np.testing.assert_array_equal(dino.sigma, [[1.0, 0.5], [0.25, 2.0]])
    with pytest.raises(HarnessError, match=r"inception-tf, dinov2, not of dinov2\(resize=pil\)"):
        find_reference("fd-dinov2", str(path), Dinov2(resize="pil"))


class Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"fid": Payload()}, "names 'posix.mkdir'"),
        ({"fid": {"mu": np.ones(3)}}, "has no mu and sigma"),
        ({"fid": {"mu": np.ones(3), "sigma": np.ones((2, 2))}}, "mu has 3 features"),
        ({"fid": {"mu": np.array(["a"], object), "sigma": SIGMA}}, "not a plain number"),
    ],
)
def test_bad_pickles_are_refused_and_not_executed(
    changes: dict[str, object], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = pickled(tmp_path / "x.pkl", **changes)
    with pytest.raises(HarnessError, match=problem):
        read_reference(path, "inception-tf")
    assert not Path("executed").exists()


def test_files_of_edm_clean_fid_and_guided_diffusion_are_read(tmp_path: Path) -> None:
    edm = tmp_path / "cifar10-32x32.npz"
    np.savez(edm, mu=np.ones(3), sigma=SIGMA)
    assert read_reference(edm).n is None
    clean = tmp_path / "cifar10_clean_train_32.npz"
    np.savez(clean, mu=np.ones(3), sigma=SIGMA)
    assert read_reference(clean).meta == {"encoder": "inception-clean"}
    kid = tmp_path / "cifar10_legacy_tensorflow_train_32_kid.npz"
    features = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    np.savez(kid, feats=features)
    read = read_reference(kid)
    assert (read.n, read.meta["encoder"]) == (20, "inception-tf")
    np.testing.assert_allclose(read.sigma, np.cov(features.T.astype(float)), rtol=1e-12)
    adm = tmp_path / "VIRTUAL_imagenet256_labeled.npz"
    np.savez(adm, mu=np.ones(3), sigma=SIGMA, mu_s=np.ones(5), arr_0=np.zeros((2, 8, 8, 3)))
    assert read_reference(adm).features is None


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"mu": np.ones(3)}, "holds no sigma"),
        ({"mu": np.ones(3), "sigma": np.eye(2)}, "mu has 3"),
        ({"mu": np.full(3, np.nan), "sigma": SIGMA}, "not finite"),
        ({"mu": np.ones(3), "sigma": SIGMA, "features": np.ones((4, 2))}, r"features are \(4, 2\)"),
    ],
)
def test_bad_archives_are_named(
    arrays: dict[str, np.ndarray], problem: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(HarnessError, match=problem):
        read_reference(tmp_path / "x.npz")


def test_a_page_in_place_of_an_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_text("<!doctype html>")
    with pytest.raises(HarnessError, match=r"no \.npz of statistics"):
        read_reference(tmp_path / "x.npz")


def test_features_of_another_convention_are_refused_with_the_reason(tmp_path: Path) -> None:
    clean = tmp_path / "ffhq_clean_trainval70k_256.npz"
    np.savez(clean, mu=np.ones(3), sigma=SIGMA)
    with pytest.raises(HarnessError, match="features of inception-clean, and the images' are of"):
        find_reference("fid", str(clean), InceptionTensorflow())
    with pytest.raises(HarnessError, match="edm-cifar10 holds features of inception-tf"):
        find_reference("fid-clean", "edm-cifar10", InceptionClean())


def test_a_file_that_says_nothing_is_taken_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.savez(tmp_path / "mine.npz", mu=np.ones(3), sigma=SIGMA)
    with caplog.at_level(logging.WARNING):
        find_reference("fid", str(tmp_path / "mine.npz"), InceptionTensorflow())
    assert "does not say which features it was made of" in caplog.text


def test_other_weights_than_the_references_are_refused(tmp_path: Path) -> None:
    script = inception_script(tmp_path / "inception.pt")
    path = tmp_path / "mine.npz"
    call = f"fid(reference={path}, checkpoint={script})"
    metric = make_metric(call)
    np.savez(
        path, mu=np.ones(3), sigma=SIGMA, encoder="inception-tf", weights=metric.encoder.weights()
    )
    metric.check()
    np.savez(path, mu=np.ones(3), sigma=SIGMA, encoder="inception-tf", weights="0" * 64)
    with pytest.raises(HarnessError, match="made with other weights of inception-tf"):
        make_metric(call).check()


def test_metrics_say_what_they_lack(tmp_path: Path) -> None:
    encoder = InceptionTensorflow()
    with pytest.raises(HarnessError, match=r"fid needs something to measure against: fid\(ref"):
        find_reference("fid", "", encoder)
    with pytest.raises(HarnessError, match=r"fd\(net=dinov2, reference=NAME\).*'fd\(net=dinov2\)'"):
        find_reference("fd(net=dinov2)", "", encoder)
    with pytest.raises(HarnessError, match="did you mean 'edm-cifar10'"):
        find_reference("fid", "edm-cifar", encoder)
    with pytest.raises(HarnessError, match=r"there is no reference file a/b\.npz"):
        find_reference("fid", "a/b.npz", encoder)
    np.savez(tmp_path / "x.npz", mu=np.ones(3), sigma=SIGMA, encoder="inception-tf")
    with pytest.raises(HarnessError, match="kid needs the features themselves"):
        find_reference("kid", str(tmp_path / "x.npz"), encoder, features=True)


def test_references_built_here_are_found_by_name_and_encoder(cache: Path) -> None:
    folder = references.built_folder()
    folder.mkdir(parents=True)
    np.savez(folder / "mine.inception-tf.npz", mu=np.ones(3), sigma=SIGMA, encoder="inception-tf")
    assert find_reference("fid", "mine", InceptionTensorflow()).mu[0] == 1
    with pytest.raises(HarnessError, match="mine was built for inception-tf, not for inception-cl"):
        find_reference("fid-clean", "mine", InceptionClean())


def test_the_manifest_names_known_encoders() -> None:
    assert len(published()) >= 10
    for row in published().values():
        assert row.url.startswith("https://")
        assert row.url.endswith((".npz", ".pkl"))
        assert {make_encoder(text).name for text in row.encoders} <= set(ENCODERS.names())


@pytest.mark.parametrize(
    ("text", "convention"),
    [
        ("fid(checkpoint=x.pt)", "inception-tf"),
        ("fid-clean", "inception-clean"),
        ("fid-pytorch", "inception-pytorch"),
        ("fd-dinov2(resize=clean)", "dinov2(resize=clean)"),
        ("fd-clip", "clip"),
        ("fd(net=dinov2(model=vitb14))", "dinov2(model=vitb14)"),
        ("kid(net=inception-clean)", "inception-clean"),
        ("cmmd", "cmmd-clip"),
    ],
)
def test_metrics_are_of_their_encoders(text: str, convention: str) -> None:
    metric = make_metric(text)
    assert isinstance(metric, SetMetric)
    assert metric.features.convention == convention


def test_unknown_encoders_are_named() -> None:
    with pytest.raises(HarnessError, match="did you mean 'dinov2'"):
        make_metric("kid(net=dinov3)").encoder  # noqa: B018
    with pytest.raises(HarnessError, match="parameter resize='big'"):
        make_metric("fd(net=dinov2(resize=big))").encoder  # noqa: B018


@pytest.mark.golden
def test_statistics_and_distance_are_edm2s(certify: Certify) -> None:
    from harness.metrics.set_statistics import Moments, Reference

    recorded = np.load(GOLDEN / "metrics_edm2.npz")
    reference = Reference(recorded["ref_mu"], recorded["ref_sigma"], 61, {})
    found = frechet_distance(recorded["gen_mu"], recorded["gen_sigma"], reference)
    certify(
        "metric fid", found, 0.03242501514126157, atol=1e-8, rtol=1e-6,
        reference="EDM2's official code, recorded",
    )  # fmt: skip
    other = np.load(GOLDEN / "fid_restart.npz")
    for case in ("full", "lowrank"):
        ours = Moments.of(other[f"{case}.A"])
        base = Moments.of(other[f"{case}.B"])
        np.testing.assert_allclose(ours.covariance, other[f"{case}.sigmaA"], atol=1e-12)
        found = frechet_distance(
            ours.mean, ours.covariance, Reference(base.mean, base.covariance, base.n, {})
        )
        certify(
            "metric fid", found, other[f"{case}.fid_edm"], atol=1e-7, rtol=1e-6,
            reference="EDM's official code, recorded",
        )  # fmt: skip
