"""The precision of decoding: as asked for, or as a checkpoint's `force_upcast` says."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.models.base import LoadRequest
from harness.models.decoder_dtype import decoder_dtype
from harness.models.load import load
from harness.models.pipelines.capture.captured_entry import load_captured
from tests.conftest import TINY_SDXL

SIZE = (64, 64)
HALF, WIDE, BRAIN = torch.float16, torch.float32, torch.bfloat16


def named(dtype: str) -> Any:
    return load(str(TINY_SDXL), dtype=dtype, size=SIZE)


def captured(dtype: str) -> Any:
    return load_captured(LoadRequest({}, "cpu", dtype, SIZE), TINY_SDXL, "captured")


BOTH = pytest.mark.parametrize("opened", [named, captured])


def latents(model: Any) -> torch.Tensor:
    shape = model.latent_shape(SIZE)
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


def conversions(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The dtypes that the autoencoder is converted to, from now on."""
    seen: list[Any] = []
    held = model.vae.to

    def to(*given: Any, **named: Any) -> Any:
        seen.append(given or named)
        return held(*given, **named)

    monkeypatch.setattr(model.vae, "to", to)
    return seen


@pytest.mark.parametrize(
    ("upcast", "network", "asked", "wanted"),
    [
        (True, HALF, None, WIDE),
        (False, HALF, None, HALF),
        (True, BRAIN, None, BRAIN),
        (True, HALF, BRAIN, BRAIN),
        (True, HALF, HALF, HALF),
        (False, WIDE, HALF, HALF),
    ],
)
def test_the_precision_is_as_asked_or_as_the_checkpoint_says(
    upcast: bool, network: torch.dtype, asked: torch.dtype | None, wanted: torch.dtype
) -> None:
    vae = SimpleNamespace(config=SimpleNamespace(force_upcast=upcast))
    assert decoder_dtype(vae, network, asked) == wanted


@BOTH
@pytest.mark.parametrize("asked", [None, HALF])
def test_a_decoder_is_converted_once_if_at_all(
    opened: Callable[[str], Any], asked: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened("float16")
    assert model.vae.config.force_upcast
    model.decode_dtype = asked
    seen = conversions(model, monkeypatch)
    first, second = model.decode(latents(model)), model.decode(latents(model))
    assert len(seen) == (1 if asked is None else 0)
    assert model.vae.dtype == (asked or WIDE)
    assert torch.equal(first, second)


@BOTH
def test_another_precision_gives_nearly_the_same_pictures(opened: Callable[[str], Any]) -> None:
    model = opened("float32")
    before = model.decode(latents(model)).double()
    model.decode_dtype = BRAIN
    after = model.decode(latents(model)).double()
    assert model.vae.dtype == BRAIN
    assert 0 < float((before - after).abs().mean()) < 2  # of 255: bfloat16 has 8 bits


def test_a_captured_pipeline_decodes_as_it_does_by_itself() -> None:
    """Its own way for float16 is float32 for each batch, and back."""
    model = captured("float16")
    ours = model.decode(latents(model))
    model.vae.to(HALF)
    model._settled = lambda: None
    assert torch.equal(ours, model.decode(latents(model)))
