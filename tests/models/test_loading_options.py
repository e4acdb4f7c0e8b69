"""LoRA, quantisation and placement of a model's parts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from harness.core.errors import HarnessError
from harness.models.base import LoadRequest
from harness.models.load import find, load
from harness.models.pipelines.capture.captured_entry import load_captured
from harness.models.pipelines.loading_options import LoadingOptions
from harness.runs.plan import plan
from tests.conftest import TINY_SDXL
from tests.models.tiny_captured import flux

LORA = TINY_SDXL.parent / "lora" / "tiny_unet.safetensors"
_LAYER = "single_transformer_blocks.0.attn.to_q"


def _output(model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, *model.latent_shape((64, 64)), generator=generator, dtype=torch.float64)
    sigma = torch.tensor(1.0, dtype=torch.float64)
    with torch.inference_mode():
        return model.network(x, sigma, sigma, model.encode(["a red cat"]))


@pytest.fixture(scope="module")
def flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flux")
    flux().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def flux_lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of one layer of rank 2, as diffusers saves them."""
    file = tmp_path_factory.mktemp("lora") / "lora.safetensors"
    generator = torch.Generator().manual_seed(0)
    parts = {"lora_A": (2, 32), "lora_B": (32, 2)}
    save_file(
        {
            f"transformer.{_LAYER}.{name}.weight": torch.randn(shape, generator=generator)
            for name, shape in parts.items()
        },
        file,
    )
    return file


def test_a_merged_lora_is_scale_times_b_a(flux_folder: Path, flux_lora: Path) -> None:
    from safetensors.torch import load_file

    parts = load_file(flux_lora)
    plain: Any = load(str(flux_folder), size=(64, 64))
    merged: Any = load(f"{flux_folder}(lora={flux_lora}, lora_scale=0.8)", size=(64, 64))
    a, b = (parts[f"transformer.{_LAYER}.lora_{name}.weight"] for name in "AB")
    own = plain.net.get_submodule(_LAYER).weight + 0.8 * b @ a
    torch.testing.assert_close(merged.net.get_submodule(_LAYER).weight, own)
    assert not torch.allclose(_output(plain), _output(merged), atol=1e-3)
    variants = plain.variants({"strong": {"lora": str(flux_lora), "scale": 0.8}})  # as W2SD's
    strong = variants["strong"]
    strong.encode, strong.latent_shape = plain.encode, plain.latent_shape
    torch.testing.assert_close(_output(strong), _output(merged), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(_output(plain), _output(merged), atol=1e-3)


def test_a_lora_of_stable_diffusion_is_merged_as_well() -> None:
    """At W2SD's scale the network is what its own variants make of it; captured, too."""
    plain: Any = load(str(TINY_SDXL))
    (variant,) = plain.variants({"strong": {"lora": str(LORA), "scale": 0.8}}).values()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 8, 8, generator=generator)
    sigma = torch.tensor(1.0, dtype=torch.float64)
    merged: Any = load(f"{TINY_SDXL}(lora={LORA}, lora_scale=0.8)")
    captured: Any = load_captured(
        LoadRequest({}, "cpu", "float32", (64, 64)),
        TINY_SDXL,
        "captured",
        options=LoadingOptions(lora=str(LORA), lora_scale=0.8),
    )
    with torch.inference_mode():
        ours = merged.network(x, sigma, sigma, merged.encode(["a red cat"]))
        third = captured.network(x, sigma, sigma, captured.encode(["a red cat"]))
        theirs = variant.network(x, sigma, sigma, plain.encode(["a red cat"]))
        without = plain.network(x, sigma, sigma, plain.encode(["a red cat"]))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(third, theirs, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours, without, atol=1e-3)


def test_a_lora_of_another_model_is_refused(flux_folder: Path, flux_lora: Path) -> None:
    with pytest.raises(HarnessError, match="is of another model: it changes nothing"):
        load(f"{TINY_SDXL}(lora={flux_lora})")
    with pytest.raises(HarnessError, match=r"LoRA .*tiny_unet.safetensors"):
        load(f"{flux_folder}(lora={LORA})", size=(64, 64))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("lora=none.safetensors", "there is no LoRA file none.safetensors"),
        ("lora_scale=0.5", "lora_scale is of a LoRA"),
        (f"lora={LORA}, lora_scale=much", "lora_scale='much' must be a number"),
        ("quantize=int3", "quantize='int3' must be int8 or nf4"),
        ("offload=all", "offload='all' must be model or group"),
        ("device_map=even", "device_map='even' must be balanced"),
        ("offload=model, device_map=balanced", "contradict each other"),
    ],
)
@pytest.mark.parametrize("model", ["shapes", str(TINY_SDXL)])
def test_wrong_options_are_refused_before_weights_load(
    model: str, settings: str, words: str
) -> None:
    with pytest.raises(HarnessError, match=words):
        plan(f"{model}({settings})", "ddim(steps=4)")


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="it is here")
def test_quantisation_without_its_library_names_what_to_install() -> None:
    with pytest.raises(HarnessError, match=r"needs bitsandbytes: pip install .*\[quantize\]"):
        plan("shapes(quantize=nf4)", "ddim(steps=4)")


def test_a_placement_needs_a_gpu_and_is_no_part_of_a_runs_identity() -> None:
    with pytest.raises(HarnessError, match="offload=model is for a GPU, but the device is cpu"):
        load("shapes(offload=model)")
    placed, plain = (plan(f"shapes{s}", "ddim(steps=4)") for s in ("(offload=group)", ""))
    assert placed.spec.run_id == plain.spec.run_id
    changed = plan(f"{TINY_SDXL}(lora={LORA})", "ddim(steps=4)")
    assert changed.spec.run_id != plan(str(TINY_SDXL), "ddim(steps=4)").spec.run_id


def test_a_loras_content_is_in_the_revision(flux_folder: Path, flux_lora: Path) -> None:
    with_lora, without = find(f"{flux_folder}(lora={flux_lora})"), find(str(flux_folder))
    assert with_lora.revision().startswith(f"{without.revision()}+")
