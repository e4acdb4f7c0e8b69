"""Encoded prompts outlast the process, bit for bit; what is damaged is encoded again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.engine import encodings
from harness.engine.encodings import Encodings, trim
from harness.runs.folder import Settings
from harness.runs.kept_model import Loaded
from harness.runs.plan import plan
from tests.conftest import TINY_SDXL

CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.setenv("HARNESS_ENCODINGS_GB", "1")
    return tmp_path / "encodings"


def _encodes(model: str, texts: list[str], **about: Any) -> tuple[dict[str, torch.Tensor], int]:
    """Conditions by a newly loaded model, and how many texts its encoder read."""
    read: list[Any] = []
    models = Loaded().models(plan(model, "ddim(steps=2)", **about), Settings())
    loaded: Any = models.model
    own = loaded.encode
    loaded.encode = lambda prompts: read.extend(prompts) or own(prompts)
    models.encode(texts, [None] * len(texts))
    return models._main.condition(texts), len(read)


def test_the_next_process_reads_what_one_encoded(cache: Path) -> None:
    texts = ["a red circle", "two stars", "a red circle"]
    first, count = _encodes(str(TINY_SDXL), texts, size=(64, 64))
    assert count == 3  # and the empty text of the negative one
    again, none = _encodes(str(TINY_SDXL), texts, size=(64, 64))
    assert none == 0
    assert first.keys() == again.keys() == {"text", "pooled"}
    for key, value in first.items():
        assert torch.equal(value, again[key])
        assert value.dtype == again[key].dtype
    assert _encodes(str(TINY_SDXL), ["a cat"], size=(64, 64))[1] == 1


def test_another_model_precision_or_setting_is_encoded_anew(cache: Path) -> None:
    _encodes(str(TINY_SDXL), ["a cat"], size=(64, 64))
    assert _encodes(str(TINY_SDXL), ["a cat"], size=(64, 64), dtype="bfloat16")[1] == 2
    assert _encodes(f"{TINY_SDXL}(set_alpha_to_one=true)", ["a cat"], size=(64, 64))[1] == 2
    assert _encodes("shapes", ["a cat"])[1] == 2


def test_changed_weights_are_encoded_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (Encodings({"model": "m", "revision": name}, CPU) for name in "ab")
    one.write("encode", "a cat", {"text": torch.ones(1, 2)})
    assert other.read("encode", "a cat") is None
    assert one.read("encode_negative", "a cat") is None
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    assert Encodings({"model": "m", "revision": "a"}, CPU).read("encode", "a cat") is None


def test_a_damaged_file_is_encoded_again(cache: Path) -> None:
    _encodes("shapes", ["a cat"])
    for path in cache.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-8])
    assert _encodes("shapes", ["a cat"])[1] == 2
    assert _encodes("shapes", ["a cat"])[1] == 0


def test_nothing_is_kept_where_that_is_switched_off(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_ENCODINGS_GB", "0")
    _encodes("shapes", ["a cat"])
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_to_goes_without(cache: Path) -> None:
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file in the folder's place")
    assert _encodes("shapes", ["a cat"])[1] == 2


def test_what_was_not_used_for_longest_goes_first(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodings, "_BETWEEN", 10**9)
    kept = Encodings({}, CPU)
    for at, text in enumerate(("old", "used", "new")):
        kept.write("encode", text, {"text": torch.full((1, 1000), float(at))})
        os.utime(kept._path("encode", text), (at, at))
    assert kept.read("encode", "used") is not None
    size = kept._path("encode", "new").stat().st_size
    trim(cache, 2 * size)
    assert kept.read("encode", "old") is None
    assert kept.read("encode", "new") is not None
    trim(cache, size)
    held = [text for text in ("used", "new") if kept.read("encode", text) is not None]
    assert len(held) == 1
