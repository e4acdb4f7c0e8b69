"""Hub checkpoints, with the hub's client replaced by a folder of SDXL's format."""

from __future__ import annotations

import fnmatch
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from harness.errors import HarnessError
from harness.models import hub_files
from harness.models.load import find, load
from tests.conftest import TINY_SDXL


class FakeHub:
    """Serves TINY_SDXL as a repository, and remembers what was fetched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "snapshots" / "abc123"
        self.fetched: list[str] = []

    def snapshot_download(
        self,
        repo: str,
        revision: str,
        allow_patterns: list[str],
        ignore_patterns: list[str] | None = None,
    ) -> str:
        for path in TINY_SDXL.rglob("*"):
            name = path.relative_to(TINY_SDXL).as_posix()
            wanted = any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns)
            if path.is_file() and wanted:
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
                self.fetched.append(name)
        return str(self.folder)

    def model_info(self, repo: str, revision: str | None, timeout: float) -> Any:
        return type("Info", (), {"sha": "abc123"})


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    from diffusers import DiffusionPipeline  # noqa: F401  # or it would import the fakes for good

    made = FakeHub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    # looked up at each call, so that a test can replace it once more
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "model_info",
        lambda api, repo, revision, timeout: made.model_info(repo, revision, timeout),
    )
    hub_files.revision.cache_clear()
    hub_files.small_files.cache_clear()
    return made


def test_any_hub_id_tells_its_own_size_before_weights_are_fetched(fake: FakeHub) -> None:
    entry = find("someone/their-fine-tune")
    assert entry.size == (64, 64)
    assert entry.revision() == "abc123"
    assert entry.ladders({}).ladder(10).shape == (11,)
    assert not [name for name in fake.fetched if name.endswith(".safetensors")]


def test_weights_are_fetched_without_what_is_not_used(fake: FakeHub) -> None:
    model = load("someone/their-fine-tune")
    assert model.latent_shape((64, 64)) == (4, 8, 8)
    weights = {name for name in fake.fetched if name.endswith(".safetensors")}
    parts = {name.split("/")[0] for name in weights}
    assert parts == {"unet", "vae", "text_encoder", "text_encoder_2"}


def test_half_precision_without_fp16_files_takes_the_full_ones(fake: FakeHub) -> None:
    assert load("someone/their-fine-tune", dtype="float16").dtype.itemsize == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GatedRepoError, "is gated: accept its licence"),
        (RepositoryNotFoundError, "the hub has no model"),
        (ConnectionError, "hf download someone/their-fine-tune"),
    ],
)
def test_what_the_hub_refuses_is_one_message(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch, error: type[Exception], words: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error.__new__(error)

    monkeypatch.setattr(fake, "model_info", refuse)
    with pytest.raises(HarnessError, match=words):
        find("someone/their-fine-tune")
