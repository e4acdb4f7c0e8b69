"""Single files of hub repositories, with the hub's client replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from harness.core.errors import HarnessError
from harness.fetch import hub_files

SAY = ("the weights of X", "owner/name")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub that holds one file, and no hub."""
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    (repository / "snapshots" / "abc123").mkdir(parents=True)
    (repository / "snapshots" / "abc123" / "config.json").write_text("{}")
    return repository


def test_what_the_cache_holds_is_not_asked_for(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("asked the hub")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    (path,) = hub_files.fetch_files(*SAY, ["config.json"], "x(folder=PATH)")
    assert Path(path).read_text() == "{}"
    assert hub_files.cached_file("owner/name", ["model.bin", "config.json"]) == path
    assert hub_files.cached_file("owner/name", ["model.bin"]) is None


@pytest.mark.parametrize(
    ("offline", "reason"), [(True, "HF_HUB_OFFLINE is set"), (False, "no route to host")]
)
def test_what_cannot_be_had_is_one_message(
    cache: Path, monkeypatch: pytest.MonkeyPatch, offline: bool, reason: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    with pytest.raises(HarnessError) as caught:
        hub_files.fetch_files(*SAY, ["config.json", "model.safetensors"], "x(folder=PATH)")
    assert str(caught.value) == (
        f"the weights of X are not on this machine and cannot be fetched: {reason}. Download "
        "https://huggingface.co/owner/name (files config.json and model.safetensors) where there "
        "is a network, and name the folder as a parameter: x(folder=PATH)"
    )


def test_missing_files_are_fetched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_files, "ask", lambda repo: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name: f"/{repo}/{name}")
    found = hub_files.fetch_files(*SAY, ["model.safetensors"], "x(file=PATH)")
    assert found == ["/owner/name/model.safetensors"]
