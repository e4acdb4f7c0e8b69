"""Weights compute alike wherever a file holds them: each lies in aligned memory once loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from harness.core.call import parse_call
from harness.core.libraries import ALIGNMENT, align, aligned, exact_float32
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.engine.resolve import resolve
from harness.metrics.inception import open_inception
from harness.metrics.linear_head import LinearHead
from harness.metrics.shapes_clip import DualEncoder, dual_encoder_folder
from harness.models.edm.latents import load_vae
from harness.models.load import load
from harness.world.judge import load_judge
from tests.conftest import TINY_SDXL, misaligned
from tests.metrics.random_weights import inception_script
from tests.models.published import NETS

LORA = TINY_SDXL.parent / "lora" / "tiny_unet.safetensors"
OFFSETS = [0, 32, 44]


def _moved(path: Path, offset: int) -> Path:
    """The file, its weights moved to begin at `offset` of 64 bytes: spaces follow the header."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = data[8:start] + b" " * ((offset - start) % ALIGNMENT)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[start:])
    return path


@pytest.fixture(params=OFFSETS)
def offset(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def pipeline(tmp_path: Path, offset: int) -> Path:
    """A diffusers pipeline with all of its weights moved."""
    folder = tmp_path / "pipeline"
    shutil.copytree(TINY_SDXL, folder)
    for path in folder.rglob("*.safetensors"):
        _moved(path, offset)
    return folder


@pytest.fixture
def network(tmp_path: Path, offset: int) -> Path:
    """A network's file with all of its weights moved."""
    for suffix in (".json", ".safetensors"):
        shutil.copy(NETS["edm"].with_suffix(suffix), tmp_path / f"network{suffix}")
    return _moved(tmp_path / "network.safetensors", offset)


def _drawn(model: str, sampler: str, side: int, prompt: str = "") -> torch.Tensor:
    loaded = load(model)
    noise = NoiseStreams([3, 4], loaded.latent_shape((side, side)), dtype=loaded.state_dtype)
    call = resolve(parse_call(sampler), {})
    return Ensemble(loaded).run(call, [prompt] * 2, [None] * 2, noise).native


def test_a_network_draws_the_same_wherever_its_file_holds_the_weights(network: Path) -> None:
    sampler, side = "edm(steps=3)", 8
    expected = _drawn(str(NETS["edm"].with_suffix(".safetensors")), sampler, side)
    assert torch.equal(_drawn(str(network), sampler, side), expected)


def test_a_pipeline_draws_the_same_wherever_its_files_hold_the_weights(pipeline: Path) -> None:
    sampler, side = "ddim(steps=3, guidance=5)", 64
    expected = _drawn(str(TINY_SDXL), sampler, side, "a cat")
    assert torch.equal(_drawn(str(pipeline), sampler, side, "a cat"), expected)


def test_a_network_lies_aligned(network: Path) -> None:
    assert not misaligned(load(str(network)).net)


def test_a_pipeline_lies_aligned(pipeline: Path) -> None:
    model = load(str(pipeline))
    parts = [part for part in model.pipeline.components.values() if isinstance(part, nn.Module)]
    assert len(parts) == 4
    assert not misaligned(*parts)
    assert not misaligned(load(f"{TINY_SDXL}(unet={pipeline})").net)


def test_a_lora_lies_aligned(tmp_path: Path, offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is multiplied into the weights while its own are in use."""
    file = _moved(Path(shutil.copy(LORA, tmp_path)), offset)
    model = load(str(TINY_SDXL))
    fuse, seen = type(model.net).fuse_lora, []

    def fused(net: nn.Module) -> None:
        seen.append([misaligned(net), sum(".lora_" in name for name, _ in net.named_parameters())])
        fuse(net)

    monkeypatch.setattr(type(model.net), "fuse_lora", fused)
    model.variants({"strong": {"lora": str(file), "scale": 1.5}})
    assert [found for found, _ in seen] == [[]]
    assert seen[0][1]
    assert not misaligned(model.net)


def test_an_autoencoder_lies_aligned(pipeline: Path) -> None:
    assert not misaligned(load_vae(pipeline / "vae", torch.device("cpu")))


def test_encoders_of_metrics_lie_aligned(tmp_path: Path, offset: int) -> None:
    folder = tmp_path / "dual"
    shutil.copytree(dual_encoder_folder(), folder)
    weights = folder / "model.safetensors"
    single = {name: value.float() for name, value in safetensors.torch.load_file(weights).items()}
    safetensors.torch.save_file(single, weights, {"format": "pt"})
    _moved(weights, offset)
    encoder = DualEncoder(folder)
    encoder.setup("cpu")
    assert not misaligned(encoder.model, load_judge())
    script = open_inception(str(inception_script(tmp_path / "inception.pt")))
    assert not misaligned(script.script)


def test_a_head_lies_aligned(tmp_path: Path, offset: int) -> None:
    sizes = {0: (1024, 8), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}
    weights = {f"layers.{n}.weight": torch.randn(shape) for n, shape in sizes.items()}
    weights |= {f"layers.{n}.bias": torch.randn(rows) for n, (rows, _) in sizes.items()}
    safetensors.torch.save_file(weights, tmp_path / "head.safetensors")
    path = _moved(tmp_path / "head.safetensors", offset)
    head = LinearHead(safetensors.torch.load_file(path), 8, "head")
    assert not [t for layer in head.layers for t in layer if t.data_ptr() % ALIGNMENT]


def _at(offset: int, *shape: int) -> torch.Tensor:
    """Random numbers at `offset` of 64 bytes."""
    count = torch.Size(shape).numel()
    memory = torch.empty(count + ALIGNMENT)
    start = (offset - memory.data_ptr()) % ALIGNMENT // 4
    return memory[start : start + count].view(shape).normal_()


@pytest.mark.parametrize("made", [lambda t: t, lambda t: t.T, lambda t: t[:0]])
def test_only_what_lies_elsewhere_is_copied(
    made: Callable[[torch.Tensor], torch.Tensor], offset: int
) -> None:
    tensor = made(_at(offset, 3, 5))
    found = aligned(tensor)
    assert torch.equal(found, tensor)
    assert found.stride() == tensor.stride()
    assert found.data_ptr() % ALIGNMENT == 0
    assert (found is tensor) == (tensor.data_ptr() % ALIGNMENT == 0)


def test_tied_weights_stay_tied() -> None:
    tied = nn.ModuleList(nn.Linear(5, 3) for _ in range(3))
    tied[0].weight = nn.Parameter(_at(44, 3, 5))
    tied[1].weight = tied[0].weight
    tied[2].weight = nn.Parameter(tied[0].weight.detach())  # of the same memory
    tied.register_buffer("scale", _at(32, 7))
    before = tied[0].weight.detach().clone()
    align(tied)
    assert not misaligned(tied)
    assert tied[1].weight is tied[0].weight
    assert tied[2].weight.data_ptr() == tied[0].weight.data_ptr()
    assert torch.equal(tied[0].weight, before)
    assert tied[0].weight.requires_grad


@pytest.mark.parametrize(("device", "allowed"), [("cpu", True), ("cuda:0", False)])
def test_tf32_is_off_where_something_is_loaded_onto_a_gpu(
    device: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    exact_float32(device)
    assert torch.backends.cudnn.allow_tf32 is allowed
    assert torch.get_float32_matmul_precision() == "highest"
