"""A timestep for every pixel, and attention maps, by hooks on diffusers U-Nets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from harness.models.pipelines import hooks
from harness.models.pipelines.configurations import PIXEL_ABILITIES, unet_abilities
from harness.models.pipelines.hooks.attention_maps import attention_maps
from harness.models.pipelines.hooks.pixel_time import pixel_time
from tests.conftest import Certify

FOLDER = Path(__file__).parent.parent / "golden" / "asyndm"
FOLDERS = {"sd32": FOLDER / "model" / "unet", "sdxl64": FOLDER / "model_sdxl_unet"}


@pytest.fixture(scope="module")
def unets() -> dict[str, Any]:
    return {
        name: UNet2DConditionModel.from_pretrained(folder).eval()
        for name, folder in FOLDERS.items()
    }


def _hooks(unet: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules())


def _call(unet: Any, x: torch.Tensor, time: Any, text: torch.Tensor, **extra: Any) -> torch.Tensor:
    with torch.inference_mode():
        return unet(x, torch.as_tensor(time), text, return_dict=False, **extra)[0]


def _inputs(unet: Any, height: int, width: int, batch: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "x": torch.randn(batch, 4, height, width, generator=generator),
        "text": torch.randn(batch, 77, unet.config.cross_attention_dim, generator=generator),
    }


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "case"),
    [("sd32", case) for case in ("const", "const2", "disk", "rnd")]
    + [("sdxl64", case) for case in ("disk", "rnd")],
)
def test_the_official_outputs_and_maps_come_out(
    unets: dict[str, Any], certify: Certify, name: str, case: str
) -> None:
    recorded = np.load(FOLDER / f"unet_async_{name}.npz")
    array = {key: torch.from_numpy(recorded[key]) for key in recorded.files}
    extra: dict[str, Any] = {}
    if name == "sdxl64":
        extra["added_cond_kwargs"] = {
            "text_embeds": array["added_text_embeds"],
            "time_ids": array["added_time_ids"],
        }
    unet, x = unets[name], array["x"]
    times = array[f"t_{case}"].float().repeat(2, 1, 1)  # unconditional rows, then conditional
    size = (x.shape[2], x.shape[3])
    with pixel_time(unet, times), attention_maps(unet, size, slice(2, 4)) as m:
        ours = _call(unet, x, 0, array["c"], **extra)
    # float32 against float32 on another machine: the largest seen is 3e-6 and 1e-7
    certify("network unet, a time per pixel", ours, array[f"y_{case}"], atol=2e-5)
    tokens = array["item_idx"].long() + 1  # behind the start token
    maps = m.mean[:, tokens].flatten(2).transpose(1, 2)
    certify("network unet, attention maps", maps, array[f"mask_{case}"], atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 24), (20, 12)])
def test_a_constant_map_is_the_ordinary_call(
    unets: dict[str, Any], height: int, width: int
) -> None:
    unet = unets["sd32"]
    given = _inputs(unet, height, width)
    times = torch.tensor([501.0, 21.0])
    expected = _call(unet, given["x"], times, given["text"])
    with pixel_time(unet, times[:, None, None].expand(2, height, width)):
        ours = _call(unet, given["x"], 0, given["text"])
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=0)


def test_no_hook_stays_and_ordinary_calls_stay_bit_for_bit(unets: dict[str, Any]) -> None:
    unet = unets["sd32"]
    given = _inputs(unet, 16, 16)
    before = _call(unet, given["x"], 501, given["text"])
    times = torch.rand(2, 16, 16).mul(999).round()

    def fail() -> None:
        with pixel_time(unet, times), attention_maps(unet, (16, 16), slice(None)):
            assert _hooks(unet) > 0
            _call(unet, given["x"][:, :3], 0, given["text"])  # too few channels

    with pytest.raises(RuntimeError):
        fail()
    assert _hooks(unet) == 0
    assert torch.equal(_call(unet, given["x"], 501, given["text"]), before)


def test_a_sample_does_not_see_the_times_of_others(unets: dict[str, Any]) -> None:
    unet = unets["sd32"]
    given = _inputs(unet, 16, 16)
    times = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0)).mul(999).round()

    def run(rows: slice) -> torch.Tensor:
        with pixel_time(unet, times[rows]):
            return _call(unet, given["x"][rows], 0, given["text"][rows])

    torch.testing.assert_close(run(slice(0, 2))[1:], run(slice(1, 2)), atol=2e-5, rtol=0)


def test_the_embedding_runs_once_per_distinct_time(unets: dict[str, Any]) -> None:
    unet = unets["sd32"]
    given = _inputs(unet, 16, 16)
    times = torch.full((2, 16, 16), 501.0)
    times[:, :3] = 21.0
    seen = []
    hook = unet.time_embedding.register_forward_hook(lambda m, args, out: seen.append(out.shape))
    with pixel_time(unet, times):
        _call(unet, given["x"], 0, given["text"])
    hook.remove()
    assert [shape[:2].numel() for shape in seen] == [2]


def test_all_whole_times_give_what_those_that_occur_do(
    unets: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    unet = unets["sd32"]
    given = _inputs(unet, 16, 16)
    times = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0)).mul(999).round()

    def run() -> torch.Tensor:
        with pixel_time(unet, times):
            return _call(unet, given["x"], 0, given["text"])

    expected = run()
    monkeypatch.setattr(hooks.pixel_time, "distinct_times", hooks.pixel_time.every_time)
    torch.testing.assert_close(run(), expected, atol=2e-5, rtol=0)


def test_attention_weighs_every_cell_by_one_under_any_processor(unets: dict[str, Any]) -> None:
    unet = unets["sd32"]
    given = _inputs(unet, 32, 32)

    def run() -> torch.Tensor:
        with attention_maps(unet, (32, 32), slice(-1, None)) as maps:
            _call(unet, given["x"], 501, given["text"])
        return maps.mean

    first = run()
    assert first.shape == (1, 77, 16, 16)
    torch.testing.assert_close(first.sum(1), torch.ones(1, 16, 16))
    own = unet.attn_processors
    unet.set_attn_processor(AttnProcessor())
    torch.testing.assert_close(run(), first, atol=1e-6, rtol=0)
    unet.set_attn_processor(own)


@pytest.mark.parametrize(
    ("name", "size", "level"),
    [
        ("sd32", (64, 64), (16, 16)),
        ("sd32", (32, 32), (16, 16)),
        ("sd32", (96, 96), (24, 24)),
        ("sd32", (64, 96), (16, 24)),
        ("sd32", (36, 50), (18, 25)),
        ("sd32", (8, 8), (8, 8)),
        ("sdxl64", (128, 128), (32, 32)),
        ("sdxl64", (104, 152), (26, 38)),
    ],
)
def test_maps_are_of_a_quarter_of_the_latents_or_the_nearest_level(
    unets: dict[str, Any], name: str, size: tuple[int, int], level: tuple[int, int]
) -> None:
    with attention_maps(unets[name], size, slice(None)) as maps:
        assert maps.size == level


def test_a_unet_that_scales_by_time_cannot() -> None:
    assert unet_abilities({}) == PIXEL_ABILITIES
    assert "pixel levels" not in unet_abilities({"resnet_time_scale_shift": "scale_shift"})
