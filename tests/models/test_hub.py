"""Hub checkpoints, with the hub's client replaced by a folder of SDXL's format."""

from __future__ import annotations

import fnmatch
import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from harness.core.errors import HarnessError
from harness.fetch import hub_files
from harness.models.load import find, load
from tests.conftest import TINY_SDXL


class FakeHub:
    """Serves TINY_SDXL as a repository, and remembers what was fetched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "snapshots" / "abc123"
        self.source = TINY_SDXL
        self.fetched: list[str] = []
        self.asked: list[str | None] = []

    def snapshot_download(
        self,
        repo: str,
        revision: str,
        allow_patterns: list[str],
        ignore_patterns: list[str] | None = None,
        local_files_only: bool = False,
    ) -> str:
        assert not local_files_only
        for path in self.source.rglob("*"):
            name = path.relative_to(self.source).as_posix()
            wanted = any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns)
            wanted &= not any(fnmatch.fnmatch(name, pattern) for pattern in ignore_patterns or [])
            if path.is_file() and wanted:
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
                self.fetched.append(name)
        return str(self.folder)

    def model_info(self, repo: str, revision: str | None, timeout: float) -> Any:
        self.asked.append(revision)
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


def test_a_revision_is_pinned_and_recorded(fake: FakeHub) -> None:
    entry = find("someone/their-fine-tune@v2.0")
    assert entry.revision() == "abc123"
    assert fake.asked == ["v2.0"]
    assert entry.source == "someone/their-fine-tune@v2.0"
    with pytest.raises(HarnessError, match="no model folder"):
        find("someone/their-fine-tune@")


def test_another_unet_is_fetched_instead_of_the_pipelines_own(fake: FakeHub) -> None:
    spec = "someone/their-fine-tune(unet=someone/a-u-net@main)"
    assert find(spec).revision() == "abc123+abc123"
    model = load(spec)
    assert fake.fetched.count("unet/diffusion_pytorch_model.safetensors") == 1
    assert model.latent_shape((64, 64)) == (4, 8, 8)


def test_rows_with_another_unet_record_both(fake: FakeHub) -> None:
    assert find("sdxl-dpo").revision() == "abc123+abc123"
    assert find("sdxl").revision() == "abc123"
    assert load("sdxl-dpo").name == "sdxl-dpo"  # type: ignore[attr-defined]


def test_a_unet_of_another_pipeline_is_refused(fake: FakeHub, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(TINY_SDXL / "unet", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "cross_attention_dim": 768}))
    with pytest.raises(HarnessError, match="its cross_attention_dim is 768, not"):
        load(f"{TINY_SDXL}(unet={folder})")
    with pytest.raises(HarnessError, match="unet=3 must be a folder or a hub id"):
        find(str(TINY_SDXL)).ladders({"unet": 3})


def test_half_precision_takes_fp16_files_where_a_part_has_them(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = tmp_path / "mixed"
    shutil.copytree(TINY_SDXL, source)
    file = source / "text_encoder" / "model.safetensors"
    shutil.copy(file, file.with_name("model.fp16.safetensors"))
    monkeypatch.setattr(fake, "source", source)
    assert load("someone/mixed", dtype="float16").dtype.itemsize == 2  # type: ignore[attr-defined]
    weights = {name for name in fake.fetched if name.endswith(".safetensors")}
    assert "text_encoder/model.fp16.safetensors" in weights
    assert "text_encoder/model.safetensors" not in weights
    assert "unet/diffusion_pytorch_model.safetensors" in weights


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
