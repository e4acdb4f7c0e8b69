"""The Inception network of FID with the three resizing conventions in use.

All three have the same weights (a port of TensorFlow's of 2015-12-05) and give 2048 features; they
differ in how a picture becomes 299x299, and so do their scores, by a few per cent and more:

- `inception-tf`: TensorFlow's bilinear resizing without antialiasing; NVIDIA's code (StyleGAN, EDM,
  EDM2), torch-fidelity, guided-diffusion.
- `inception-clean`: Pillow's antialiased bicubic; clean-fid (Parmar et al. 2022).
- `inception-pytorch`: PyTorch's bilinear without antialiasing, half-pixel centres; pytorch-fid.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from harness.fetch.download import PublicFile
from harness.fetch.weights import find_checkpoint, wrong_file
from harness.metrics import Encoder, HarnessError, encoder, per_batch, to_device
from harness.metrics.resizing import resize_pillow, resize_tensorflow

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

INCEPTION = "Inception-v3 of 2015-12-05, 2048 features"
WEIGHTS_LICENCE = "Apache-2.0 (weights)"
SIDE = 299
WIDTH = 2048
CLASSES = 1008
SCRIPT = PublicFile(
    "metrics",
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt",
)
WEIGHTS = PublicFile(
    "metrics",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth",
)
_OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # torch.save's before it was a zip file
_WHAT = (
    "the FID's Inception network: NVIDIA's inception-2015-12-05.pt or .pkl, or pytorch-fid's "
    "pt_inception-2015-12-05-6726825d.pth"
)


@dataclass
class InceptionEncoder(Encoder):
    """Base of the three Inception encoders, which differ in how images are resized.

    `checkpoint`: a file of the weights: NVIDIA's TorchScript (.pt, or the .pkl around it, whose
    pickle is not executed) or pytorch-fid's .pth. Default: the published file that the
    convention's own authors use, downloaded once.
    """

    checkpoint: str = ""

    _published: ClassVar[PublicFile]

    @cached_property
    def file(self) -> str:
        return find_checkpoint(self.checkpoint, self._published)

    def files(self) -> Sequence[str]:
        return [self.file]

    def setup(self, device: str) -> None:
        self.network = open_inception(self.file).to(device)
        self.device = device
        self.width = WIDTH

    def head(self) -> NDArray[np.float32]:
        """The weights [2048, 1008] from features to the logits of classes, without the bias."""
        matrix: NDArray[np.float32] = open_inception(self.file).head().float().cpu().numpy()
        return matrix

    @per_batch
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return self.embed(to_device(images, self.device)).float()

    @abstractmethod
    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Features of images uint8 [B, 3, H, W] on the device."""


@encoder("inception-tf")
class InceptionTensorflow(InceptionEncoder):
    """Inception as NVIDIA's code and torch-fidelity run it: resized as TensorFlow 1 did."""

    _published = SCRIPT

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return self.network.features_resized(images)


@encoder("inception-clean")
class InceptionClean(InceptionEncoder):
    """Inception as clean-fid runs it: resized by Pillow's antialiased bicubic."""

    _published = SCRIPT

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return self.network.features((resize_pillow(images.float(), SIDE) - 128) / 128)


@encoder("inception-pytorch")
class InceptionPytorch(InceptionEncoder):
    """Inception as pytorch-fid runs it: resized by PyTorch's bilinear."""

    _published = WEIGHTS

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import interpolate

        pixels = images.float() / 255
        resized = interpolate(pixels, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return self.network.features(2 * resized - 1)


def open_inception(path: str) -> InceptionNetwork:
    """Inception from NVIDIA's TorchScript, a pickle around it, or a state_dict.

    A state_dict loads with `weights_only`. TorchScript is run by torch's interpreter for it, which
    knows no Python; of a pickle only the TorchScript inside is taken, and nothing else is read.
    Raises HarnessError for any other file.
    """
    import torch

    with open(path, "rb") as file:
        start = file.read(16)
    try:
        zipped = start.startswith(b"PK")
        if start.startswith(_OLD_TORCH) or (zipped and not _is_script(path)):
            return _from_state(path)
        script = path if zipped else io.BytesIO(embedded_script(path))
        return ScriptedInception(torch.jit.load(script, map_location="cpu"))
    except HarnessError:
        raise
    except Exception as error:  # unpickling, missing keys, shapes: all mean the wrong file
        raise wrong_file(path, _WHAT, error) from error


def _is_script(path: str) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def embedded_script(path: str) -> bytes:
    """The one TorchScript archive among the byte strings of a pickle, which is only tokenized."""
    try:
        with open(path, "rb") as file:
            archives = [
                value
                for _, value, _ in pickletools.genops(file)
                if isinstance(value, bytes) and value.startswith(b"PK\x03\x04")
            ]
    except ValueError as error:
        raise wrong_file(path, _WHAT, error) from None
    if len(archives) != 1:
        problem = f"it is a pickle with {len(archives)} TorchScript archives in it, not one"
        raise wrong_file(path, _WHAT, f"{problem}. The network by itself: {SCRIPT.url}")
    return archives[0]


class ScriptedInception:
    """Inception as NVIDIA's TorchScript, which holds its resizing; methods as of PlainInception."""

    def __init__(self, script: Any) -> None:
        self.script = script.eval()
        assert self.script.layers

    def to(self, device: str) -> ScriptedInception:
        self.script = self.script.to(device)
        return self

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.script.layers(pixels).reshape(len(pixels), WIDTH)
        return features

    def features_resized(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.script(images, return_features=True).reshape(-1, WIDTH)
        return features

    def head(self) -> torch.Tensor:
        for tensor in self.script.state_dict().values():
            if sorted(tensor.shape) == [CLASSES, WIDTH]:
                matrix: torch.Tensor = tensor if len(tensor) == WIDTH else tensor.T
                return matrix
        raise HarnessError("the TorchScript of Inception holds no weights of classes")


def _from_state(path: str) -> PlainInception:
    import torch

    network = build_network()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return PlainInception(network)


class PlainInception:
    """Inception as a PyTorch module with the weights of a state_dict."""

    def __init__(self, network: torch.nn.Module) -> None:
        import torch

        self._head: torch.Tensor = network.get_parameter("fc.weight").detach()
        network.fc = torch.nn.Identity()
        self.network = _folded(network.eval()).requires_grad_(False)
        self.layout = torch.contiguous_format

    def to(self, device: str) -> PlainInception:
        import torch

        if torch.device(device).type == "cpu":  # where convolutions are faster so
            self.layout = torch.channels_last
        self.network = self.network.to(device).to(memory_format=self.layout)
        return self

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B, 2048] of pixels [B, 3, 299, 299], float32 in [-1, 1]."""
        features: torch.Tensor = self.network(pixels.contiguous(memory_format=self.layout))
        return features

    def features_resized(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 2048] of images [B, 3, H, W] of whole numbers in [0, 255], resized as TensorFlow."""
        return self.features((resize_tensorflow(images.float(), SIDE) - 128) / 128)

    def head(self) -> torch.Tensor:
        """The weights [2048, 1008] from features to classes, without the bias."""
        return self._head.T


InceptionNetwork: TypeAlias = ScriptedInception | PlainInception
"""Inception by either of its published files."""


def _folded(network: torch.nn.Module) -> torch.nn.Module:
    """The same network, its batch normalisations multiplied into the convolutions before them."""
    from torch.nn import Identity
    from torch.nn.utils.fusion import fuse_conv_bn_eval
    from torchvision.models.inception import BasicConv2d

    for module in network.modules():
        if isinstance(module, BasicConv2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = Identity()
    return network


def build_network() -> torch.nn.Module:
    """The FID's Inception without weights: torchvision's, with pools that leave out the padding."""
    from cleanfid import inception_pytorch as blocks
    from torchvision.models import inception_v3

    network: torch.nn.Module = inception_v3(
        weights=None, num_classes=CLASSES, aux_logits=False, init_weights=False
    )
    mixed = {
        "5b": blocks.FIDInceptionA(192, pool_features=32),
        "5c": blocks.FIDInceptionA(256, pool_features=64),
        "5d": blocks.FIDInceptionA(288, pool_features=64),
        "6b": blocks.FIDInceptionC(768, channels_7x7=128),
        "6c": blocks.FIDInceptionC(768, channels_7x7=160),
        "6d": blocks.FIDInceptionC(768, channels_7x7=160),
        "6e": blocks.FIDInceptionC(768, channels_7x7=192),
        "7b": blocks.FIDInceptionE_1(1280),
        "7c": blocks.FIDInceptionE_2(2048),
    }
    for name, block in mixed.items():
        setattr(network, f"Mixed_{name}", block)
    return network
