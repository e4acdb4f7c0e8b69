"""DINOv2 as the encoder of FD-DINOv2, with the resizing of the papers that report it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from harness.fetch.download import PublicFile
from harness.fetch.weights import find_checkpoint, wrong_file
from harness.metrics import (
    Encoder,
    HarnessError,
    each_picture,
    encoder,
    normalised,
    per_batch,
    to_device,
)
from harness.metrics.resizing import resize_pillow

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

SIDE = 224
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_OFFSET = 0.1  # added to the grid's side where the published models interpolate positions
_HEAD = 64  # features of an attention head, in all of them


def _not_ambiguous(value: object) -> object:
    """Refuse the former name `dgm-eval`: it meant that code's option, and reads as its default."""
    if value == "dgm-eval":
        raise PydanticCustomError(
            "resize",
            "is either of two: pil, dgm-eval's default (the tables of Stein et al.), or clean, "
            "its --clean_resize, which is what this name stood for",
        )
    return value


Resize = Annotated[Literal["edm2", "pil", "clean"], BeforeValidator(_not_ambiguous)]


@encoder("dinov2")
@dataclass
class Dinov2(Encoder):
    """The normalised class token of DINOv2 (Oquab et al. 2023, arXiv:2304.07193) at 224x224.

    `model`: vits14, vitb14 or vitl14 (1024 features: the one of FD-DINOv2). `checkpoint`: a file
    of its official weights, `dinov2_vitl14_pretrain.pth`; default: downloaded once. `resize`:

    - `edm2`: PyTorch's antialiased bicubic in float32, neither rounded nor cut (EDM2, its code).
    - `pil`: Pillow's bicubic to whole numbers: what dgm-eval does by default, for the tables of
      Stein et al. 2023; also EDM2's other mode and the guidance interval's code.
    - `clean`: Pillow's bicubic on float channels, cut to [0, 255]: dgm-eval's `--clean_resize`.
    """

    resize: Resize = "edm2"
    model: Literal["vits14", "vitb14", "vitl14"] = "vitl14"
    checkpoint: str = ""

    @cached_property
    def file(self) -> str:
        name = f"dinov2_{self.model}"
        home = f"https://dl.fbaipublicfiles.com/dinov2/{name}/{name}_pretrain.pth"
        return find_checkpoint(self.checkpoint, PublicFile("metrics", home))

    def files(self) -> Sequence[str]:
        return [self.file]

    def setup(self, device: str) -> None:
        self.network = open_dinov2(self.file).to(device)
        self.device = device
        self.width = int(self.network.num_features)

    @per_batch
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network(self.prepare(images)).float()
        return features

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Pixels [B, 3, 224, 224] as the network takes them, on its device."""
        return normalised(self._resized(images) / 255, MEAN, STD)

    def _resized(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [B, 3, 224, 224], nominally in [0, 255], on the device."""
        from torch.nn.functional import interpolate

        if self.resize == "pil":
            images = each_picture(_pillow_rounded, images)
        pixels = to_device(images, self.device).float()
        if self.resize == "pil":
            return pixels
        if self.resize == "clean":
            return resize_pillow(pixels, SIDE)
        return interpolate(
            pixels, (SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True
        )


def _pillow_rounded(picture: Image) -> torch.Tensor:
    """Uint8 [3, 224, 224]."""
    import numpy as np
    import torch
    from PIL.Image import Resampling

    resized = np.array(picture.resize((SIDE, SIDE), Resampling.BICUBIC))
    return torch.from_numpy(resized).permute(2, 0, 1)


def open_dinov2(path: str) -> Any:
    """DINOv2 as timm's vision transformer at 224x224, from an official file of weights.

    The official state_dict has timm's names; sizes follow from it. Positions are interpolated as
    the official code does, scaled by (16 + 0.1) / 37 rather than to 16. Loads with `weights_only`;
    raises HarnessError for any other file.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state.pop("mask_token", None)  # of training only
        patch = state["patch_embed.proj.weight"].shape[-1]
        state["pos_embed"] = _interpolated(state["pos_embed"], SIDE // patch)
        network = _build(state, patch)
        network.load_state_dict(state)
    except HarnessError:
        raise
    except Exception as error:  # unpickling, missing keys, shapes: all mean the wrong file
        raise wrong_file(path, "official weights of DINOv2 (without registers)", error) from error
    return network.eval().requires_grad_(False)


def _build(state: dict[str, torch.Tensor], patch: int) -> Any:
    from timm.models.vision_transformer import VisionTransformer

    width = state["cls_token"].shape[-1]
    return VisionTransformer(
        img_size=SIDE,
        patch_size=patch,
        num_classes=0,
        embed_dim=width,
        depth=sum(name.endswith("norm1.weight") for name in state),
        num_heads=width // _HEAD,
        mlp_ratio=len(state["blocks.0.mlp.fc1.bias"]) / width,
        init_values=1.0,  # the layers' scales, which the file holds
        weight_init="skip",
    )


def _interpolated(positions: torch.Tensor, side: int) -> torch.Tensor:
    """Positions [1, 1 + G*G, F] of a grid of G as those of a grid of `side`."""
    import torch
    from torch.nn.functional import interpolate

    first, grid = positions[:, :1], positions[:, 1:]
    trained = math.isqrt(grid.shape[1])
    if trained == side:
        return positions
    planes = grid.reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
    scale = (side + _OFFSET) / trained
    resized = interpolate(planes, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    return torch.cat([first, resized.permute(0, 2, 3, 1).reshape(1, side * side, -1)], 1)
