from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.core.errors import HarnessError
from harness.models.base import Model
from harness.models.load import find, load
from harness.models.pipelines.local import fingerprint
from harness.models.pipelines.stable_diffusion import StableDiffusion
from tests.conftest import TINY_SDXL


def test_an_unknown_model_names_the_closest() -> None:
    with pytest.raises(HarnessError, match="did you mean 'sdxl'"):
        find("sdxxl")
    with pytest.raises(HarnessError, match="no model folder"):
        find("./no/such/folder")
    with pytest.raises(HarnessError, match="is not a diffusers pipeline"):
        find(str(TINY_SDXL / "unet"))
    with pytest.raises(HarnessError, match="unknown dtype 'float23': did you mean 'float32'"):
        load("gmm", dtype="float23")


def test_weights_that_cannot_be_had_are_named_with_the_fix() -> None:
    with pytest.raises(
        HarnessError, match=r"hf download stabilityai/stable-diffusion-xl-base-1\.0"
    ):
        find("sdxl").revision()


def test_a_fingerprint_sees_a_changed_weight(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    data = bytearray(10_000_000)
    file.write_bytes(data)
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    data[:: 1 << 14] = b"\1" * len(data[:: 1 << 14])
    file.write_bytes(data)
    assert fingerprint(tmp_path) != before


def test_an_absent_negative_is_zeros_on_sdxl_and_the_empty_string_is_not(
    tiny_sdxl: StableDiffusion,
) -> None:
    both = tiny_sdxl.encode_negative([None, "", "blue cat"])
    assert both is not None
    assert both["text"][0].abs().max() == both["pooled"][0].abs().max() == 0
    assert both["text"][1].abs().max() > 0
    torch.testing.assert_close(both["text"][2], tiny_sdxl.encode(["blue cat"])["text"][0])


def test_an_absent_negative_is_the_empty_string_on_stable_diffusion_1(shapes: Model) -> None:
    both = shapes.encode_negative([None, ""])
    assert both is not None
    assert torch.equal(both["text"][0], both["text"][1])
    assert both["text"][0].abs().max() > 0


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_predictions_agree_on_a_known_state(kind: str) -> None:
    """x0 and n known: each parametrisation's true output must give back x0."""
    model = load(f"{TINY_SDXL}(prediction_type={kind})")
    generator = torch.Generator().manual_seed(0)
    x0, n = (torch.randn(2, 4, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    sigma = torch.tensor(3.0, dtype=torch.float64)
    abar = 1 / (1 + sigma**2)
    v = abar.sqrt() * n - (1 - abar).sqrt() * x0  # Salimans & Ho 2022, appendix D
    output = {"epsilon": n, "v_prediction": v, "sample": x0}[kind]
    torch.testing.assert_close(model.denoised(x0 + sigma * n, sigma, output), x0)


def test_the_mixture_denoises_a_single_class_in_closed_form(gmm: Model) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    sigma = torch.tensor(0.7, dtype=torch.float64)
    mean = gmm.means[3]  # type: ignore[attr-defined]
    expected = mean + 0.01 / (0.01 + sigma**2) * (x - mean)
    out = gmm.network(x, sigma, sigma, gmm.encode(["class 3", "class 3"]))
    torch.testing.assert_close(out, expected)
    with pytest.raises(HarnessError, match="'class 0' to 'class 9'"):
        gmm.encode(["class 10"])


def test_the_mixtures_denoiser_is_the_score(gmm: Model) -> None:
    """(D - x) / sigma^2 is the gradient of the log density (Tweedie)."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 3, 8, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor(1.5, dtype=torch.float64)
    condition = gmm.encode_negative([None])
    assert condition is not None
    variance = 0.01 + sigma**2
    offset = x - gmm.means  # type: ignore[attr-defined]
    log_density = (-(offset**2).sum((1, 2, 3)) / (2 * variance)).logsumexp(0)
    (score,) = torch.autograd.grad(log_density, x)
    denoised = gmm.network(x.detach(), sigma, sigma, condition)
    torch.testing.assert_close((denoised - x.detach()) / sigma**2, score)


LISTED = """
import sys, torch
made, init = [], torch.nn.Module.__init__

def counting(self, *args, **kwargs):
    made.append(type(self).__name__)
    init(self, *args, **kwargs)

torch.nn.Module.__init__ = counting
from harness import cli

sys.argv = ["harness", "list", "models"]
try:
    cli.main()
except SystemExit:
    pass
print("built:", *made)
"""


def test_listing_models_builds_no_network() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTED], capture_output=True, text=True, check=True
    )
    assert "shapes-edm-uncond" in done.stdout
    assert done.stdout.splitlines()[-1] == "built:"
