"""A fingerprint is of every byte, is read once, and is compared in the form it was recorded in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import HarnessError
from harness.fetch import fingerprints
from harness.fetch.fingerprints import files_fingerprint, sampled_form
from harness.runs.folder import Settings, open_run
from harness.runs.plan import plan
from tests.conftest import TINY_SDXL


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(np.random.default_rng(0).bytes(9 << 20))
    os.utime(path, (1e9, 1e9))
    return path


def change(path: Path, at: int) -> None:
    """Another byte in place, and the time of change as it was."""
    state = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)
        file.seek(at)
        file.write(bytes([old[0] ^ 1]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_every_byte_counts(weights: Path) -> None:
    """Also between the blocks that earlier versions hashed."""
    seen = {files_fingerprint({"weights": weights})}
    size = weights.stat().st_size
    with sampled_form():
        before = files_fingerprint({"weights": weights})
    for part in range(64):
        change(weights, size * part // 64 + (1 << 16) + 100)
        seen.add(files_fingerprint({"weights": weights}))
    assert len(seen) == 65
    with sampled_form():
        assert files_fingerprint({"weights": weights}) == before


def test_an_unchanged_file_is_read_once(
    weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = fingerprints._hash
    monkeypatch.setattr(fingerprints, "_hash", lambda path: reads.append(path) or read(path))
    found = {files_fingerprint({"weights": weights}) for _ in range(3)}
    assert (len(found), len(reads)) == (1, 1)
    (kept,) = (cache / "fingerprints").iterdir()
    kept.write_text(kept.read_text()[:20])
    assert files_fingerprint({"weights": weights}) in found
    assert len(reads) == 2
    change(weights, 5)
    assert files_fingerprint({"weights": weights}) not in found


def test_files_up_to_4_mib_have_the_fingerprint_that_they_always_had(tmp_path: Path) -> None:
    for size in (0, 1, 63, 100_000, 4 << 20):
        path = tmp_path / "small"
        path.write_bytes(np.random.default_rng(size).bytes(size))
        with sampled_form():
            before = files_fingerprint({"weights": path})
        assert files_fingerprint({"weights": path}) == before


def test_a_run_of_an_earlier_version_goes_on_with_the_same_weights(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY_SDXL, folder)
    large = folder / "unet" / "large.bin"
    large.write_bytes(np.random.default_rng(1).bytes(5 << 20))
    job, out = plan(str(folder), "ddim(steps=2)"), str(tmp_path / "out")
    with sampled_form():
        old = open_run(job, out, Settings()).record
    assert old["resolved"]["revision"] != job.entry.revision()
    assert open_run(job, out, Settings()).record == old
    change(large, 0)  # in a block that was hashed
    with pytest.raises(HarnessError, match="its revision is"):
        open_run(job, out, Settings())
