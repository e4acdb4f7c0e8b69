"""`harness refs build`: the statistics of anybody's images, found again by name."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness import cli
from harness.core.errors import HarnessError
from harness.evaluation import reference_building
from harness.evaluation.reference_building import build_references, encoders_of
from harness.metrics.base import make_metric
from harness.metrics.encoders import Encoder
from harness.metrics.inception import InceptionTensorflow
from harness.metrics.references import find_reference, read_reference
from harness.metrics.set_statistics import Moments
from harness.store.collections import open_images
from tests.evaluation.test_readback import Late
from tests.metrics.random_weights import inception_script


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inception_script(tmp_path_factory.mktemp("script") / "inception-2015-12-05.pt")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


PICTURES = [
    np.random.default_rng(i).integers(0, 256, (16 + 8 * (i % 2), 24, 3), np.uint8) for i in range(9)
]


def archive(path: Path) -> Path:
    """A zip of PNGs of two sizes in class folders, with one that is broken."""
    with zipfile.ZipFile(path, "w") as file:
        for i, picture in enumerate(PICTURES):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "png")
            file.writestr(f"class{i % 3}/{i}.png", buffer.getvalue())
        file.writestr("class0/x.png", b"no picture")
    return path


def expected(script: Path) -> np.ndarray:
    encoder = InceptionTensorflow(str(script))
    encoder.load("cpu")
    tensors = [torch.from_numpy(p).permute(2, 0, 1)[None] for p in PICTURES]
    with torch.inference_mode():
        return torch.cat([encoder.encode(tensor) for tensor in tensors]).numpy()


def test_a_reference_is_the_moments_and_features_of_the_images(
    script: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = open_images(str(archive(tmp_path / "mine.zip")))
    encoders = encoders_of(
        [f"fid(checkpoint={script})", f"kid(net=inception-tf(checkpoint={script}))"], []
    )
    assert [one.keep for one in encoders] == [True]

    def target(encoder: Encoder) -> str:
        return str(tmp_path / f"mine.{encoder.name}.npz")

    counts = build_references(images, encoders, target, batch_size=4, most_features=6)
    assert counts == [9]
    assert "1 pictures were left out: class0/x.png" in caplog.text
    read = read_reference(tmp_path / "mine.inception-tf.npz")
    moments = Moments.of(expected(script))
    np.testing.assert_allclose(read.mu, moments.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(read.sigma, moments.covariance, rtol=1e-4, atol=1e-6)
    assert (read.n, read.meta["encoder"]) == (9, "inception-tf")
    assert read.features is not None
    assert len(read.features) <= 6
    with pytest.raises(HarnessError, match="exists: remove it"):
        build_references(images, encoders, target)


def test_a_folder_by_the_command_line_is_found_by_name(
    script: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(folder / f"{i}.png")
    metric = f"fid(checkpoint={script})"
    command = ["refs", "build", str(folder), "--metrics", metric, "--name", "mine"]
    monkeypatch.setattr(sys, "argv", ["harness", *command])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 0
    assert "9 images by inception-tf" in capsys.readouterr().out
    found = find_reference("fid", "mine", make_metric(metric).encoder)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.mu, expected(script).mean(0), rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(sys, "argv", ["harness", "refs", "list"])
    with pytest.raises(SystemExit):
        cli.main()
    listed = capsys.readouterr().out
    assert "edm2-imagenet512" in listed
    assert "built here" in listed


def test_metrics_without_a_reference_are_refused() -> None:
    with pytest.raises(HarnessError, match="clip is not measured against reference"):
        encoders_of(["clip"], [])
    with pytest.raises(HarnessError, match="name what the reference is for"):
        encoders_of([], [])


def test_features_that_arrive_late_give_the_same_reference(
    tmp_path: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = open_images(str(archive(tmp_path / "data.zip")))
    wanted = encoders_of([f"kid(net='inception-tf(checkpoint={script})')"], [])
    for name in ("plain", "late"):
        file = str(tmp_path / f"{name}.npz")
        assert build_references(images, wanted, lambda _, file=file: file, batch_size=2) == [9]
        monkeypatch.setattr(reference_building, "Readback", Late)
    plain, late = (read_reference(tmp_path / f"{name}.npz") for name in ("plain", "late"))
    assert np.array_equal(plain.mu, late.mu)
    assert np.array_equal(plain.sigma, late.sigma)
    assert np.array_equal(plain.rows, late.rows)
    assert Late.happened.count("read") == 6
