"""Small or random weights in the formats of the published files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from harness.metrics.inception import CLASSES, WIDTH, build_network


def inception_state(path: Path) -> Path:
    """pytorch-fid's format: a state_dict of the whole network, with features of ordinary size."""
    torch.manual_seed(0)
    network = build_network()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
    torch.save(network.state_dict(), path)
    return path


class Output(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CLASSES, WIDTH) / 20)


class Detector(nn.Module):
    """NVIDIA's interface, with a small network: `layers` on 299x299, resizing inside."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 7, stride=13), nn.ReLU(), nn.AdaptiveAvgPool2d((8, 8)), nn.Flatten()
        )
        self.output = Output()

    def forward(self, img: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        x = nn.functional.interpolate(img.float(), size=(299, 299), mode="nearest")
        features = self.layers((x - 128) / 128)
        return features if return_features else features @ self.output.weight.T


def inception_script(path: Path) -> Path:
    """NVIDIA's format: TorchScript."""
    torch.manual_seed(0)
    torch.jit.save(torch.jit.script(Detector()), path)
    return path


def dinov2_state(path: Path, width: int = 64, depth: int = 2, grid: int = 5) -> Path:
    """The official format of DINOv2, small: names and shapes as in `dinov2_vitl14_pretrain.pth`."""
    make = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=make) / 10

    state = {
        "cls_token": random(1, 1, width),
        "pos_embed": random(1, 1 + grid**2, width),
        "mask_token": random(1, width),
        "patch_embed.proj.weight": random(width, 3, 14, 14),
        "patch_embed.proj.bias": random(width),
        "norm.weight": random(width),
        "norm.bias": random(width),
    }
    for i in range(depth):
        shapes = {
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "ls1.gamma": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
            "mlp.fc1.weight": (4 * width, width),
            "mlp.fc1.bias": (4 * width,),
            "mlp.fc2.weight": (width, 4 * width),
            "mlp.fc2.bias": (width,),
            "ls2.gamma": (width,),
        }
        state |= {f"blocks.{i}.{name}": random(*shape) for name, shape in shapes.items()}
    torch.save(state, path)
    return path
