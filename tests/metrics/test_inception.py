"""Inception in its three conventions, equal to the packages that define them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.core.errors import HarnessError
from harness.metrics.encoders import Encoder
from harness.metrics.inception import (
    InceptionClean,
    InceptionPytorch,
    InceptionTensorflow,
    embedded_script,
)
from harness.metrics.inception_score import ClassDivergence
from harness.metrics.resizing import resize_pillow, resize_tensorflow
from tests.conftest import Certify
from tests.metrics.random_weights import inception_script, inception_state

golden = pytest.mark.golden


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inception_state(tmp_path_factory.mktemp("inception") / "state.pth")


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inception_script(tmp_path_factory.mktemp("script") / "inception-2015-12-05.pt")


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    """Noise with edges, at a size that is neither square nor near 299."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 3, 60, 80), np.uint8)
    pictures[1, :, :30] = 255
    return torch.from_numpy(pictures)


def features(encoder: Encoder, images: torch.Tensor) -> np.ndarray:
    encoder.check()
    encoder.load("cpu")
    with torch.inference_mode():
        return encoder.encode(images).numpy()


@golden
def test_tensorflow_convention_is_torch_fidelitys(
    state: Path, images: torch.Tensor, certify: Certify
) -> None:
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    theirs = module.FeatureExtractorInceptionV3(
        "test", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(state)
    )
    with torch.inference_mode():
        expected, logits = theirs(images)
    encoder = InceptionTensorflow(str(state))
    found = features(encoder, images)
    assert found.std() > 0.01
    certify("metric fid", found, expected, atol=2e-5, rtol=2e-5, reference="torch-fidelity")
    certify(
        "metric inception-score", found @ encoder.head(), logits,
        atol=1e-4, rtol=1e-5, reference="torch-fidelity",
    )  # fmt: skip


@golden
def test_pytorch_convention_is_pytorch_fids(
    state: Path, images: torch.Tensor, certify: Certify, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cleanfid import inception_pytorch
    from cleanfid.resize import build_resizer

    weights = torch.load(state, weights_only=True)
    monkeypatch.setattr(inception_pytorch, "load_state_dict_from_url", lambda *_, **__: weights)
    theirs = inception_pytorch.InceptionV3(output_blocks=[3], resize_input=False).eval()
    resize = build_resizer("legacy_pytorch")
    resized = np.stack([resize(image.permute(1, 2, 0).numpy()) for image in images])
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(resized).permute(0, 3, 1, 2) / 255)[0][..., 0, 0]
    found = features(InceptionPytorch(str(state)), images)
    certify(
        "metric fid-pytorch", found, expected, atol=2e-5, rtol=2e-5, reference="clean-fid"
    )  # fmt: skip


@golden
@pytest.mark.parametrize("side", ["larger", "smaller"])
def test_clean_convention_is_clean_fids(
    script: Path, images: torch.Tensor, certify: Certify, side: str
) -> None:
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import build_resizer

    if side == "larger":
        images = torch.nn.functional.interpolate(images, scale_factor=6)
    resize = build_resizer("clean")
    resized = np.stack([resize(image.permute(1, 2, 0).numpy()) for image in images])
    with torch.inference_mode():
        theirs = InceptionV3W(str(script.parent), download=False)
        expected = theirs(torch.from_numpy(resized).permute(0, 3, 1, 2))
    found = features(InceptionClean(str(script)), images)
    certify("metric fid-clean", found, expected, atol=1e-5, reference="clean-fid")


def test_a_script_resizes_by_itself_in_the_tensorflow_convention(
    script: Path, images: torch.Tensor
) -> None:
    from cleanfid.inception_torchscript import InceptionV3W

    with torch.inference_mode():
        theirs = InceptionV3W(str(script.parent), download=False, resize_inside=True)
        expected = theirs(images).numpy()
    found = features(InceptionTensorflow(str(script)), images)
    np.testing.assert_array_equal(found, expected)


def test_the_three_conventions_differ(state: Path, images: torch.Tensor) -> None:
    kinds = (InceptionTensorflow, InceptionClean, InceptionPytorch)
    one, two, three = (features(kind(str(state)), images[:1]) for kind in kinds)
    for a, b in ((one, two), (one, three), (two, three)):
        assert np.abs(a - b).max() > 0.01 * np.abs(a).max()


def test_features_do_not_depend_on_the_batch(state: Path, images: torch.Tensor) -> None:
    encoder = InceptionTensorflow(str(state))
    apart = np.concatenate([features(encoder, image[None]) for image in images])
    np.testing.assert_allclose(features(encoder, images), apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [17, 299, 640])
def test_resizing_by_matrices_is_pillows(size: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (size, 40)).astype(np.float32)
    resized = Image.fromarray(pixels).resize((299, 299), Image.Resampling.BICUBIC)
    expected = np.asarray(resized).clip(0, 255)
    found = resize_pillow(torch.from_numpy(pixels)[None, None], 299)[0, 0]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_resizing_as_tensorflow_starts_at_the_first_pixel() -> None:
    ramp = torch.arange(64.0).expand(1, 1, 64, 64)
    found = resize_tensorflow(ramp, 299)[0, 0, 5]
    expected = (torch.arange(299) * 64 / 299).clamp(max=63)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@golden
def test_inception_score_of_logits_is_torch_fidelitys(certify: Certify) -> None:
    module = pytest.importorskip("torch_fidelity.metric_isc")
    logits = np.random.default_rng(2).normal(size=(503, 12)) * 3
    expected = module.isc_features_to_metric(torch.from_numpy(logits))
    statistic = ClassDivergence(np.eye(12), 10)
    found = statistic.value(statistic.gather(logits))
    certify(
        "metric inception-score", found, expected["inception_score_mean"],
        atol=1e-10, reference="torch-fidelity",
    )  # fmt: skip


class Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("executed",)


def test_a_pickle_around_the_script_is_read_and_not_executed(
    script: Path, images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wrapped = tmp_path / "inception.pkl"
    wrapped.write_bytes(pickle.dumps({"payload": Payload(), "script": script.read_bytes()}))
    found = features(InceptionTensorflow(str(wrapped)), images)
    np.testing.assert_array_equal(found, features(InceptionTensorflow(str(script)), images))
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"<!doctype html>", pickle.dumps({"a": 1}), pickle.dumps([b"PK\x03\x04"] * 2), b"PK\x03"],
    ids=["empty", "page", "no script", "two", "zip"],
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    encoder = InceptionTensorflow(str(tmp_path / "x.pkl"))
    with pytest.raises(HarnessError, match="does not load as the FID's Inception network"):
        encoder.load("cpu")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(HarnessError, match="does not load as the FID's Inception network"):
        InceptionPytorch(str(tmp_path / "x.pth")).load("cpu")


def test_absent_weights_are_named_with_their_home(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"no file of weights /no/such.*https://nvlabs"):
        InceptionTensorflow("/no/such.pt").check()


def test_a_pickle_without_an_end_is_refused(script: Path, tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(script.read_bytes())[:-100])
    with pytest.raises(HarnessError, match="does not load"):
        embedded_script(str(tmp_path / "x.pkl"))
