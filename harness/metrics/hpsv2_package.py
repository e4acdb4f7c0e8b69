"""HPSv2 by the hpsv2 package itself, where it is installed."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from harness.core.errors import HarnessError
from harness.metrics.transfer import pil_images

if TYPE_CHECKING:
    import torch

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"


class HpsPackage:
    """`hpsv2.score` of `release` (v2.0 or v2.1), with weights that are on this machine."""

    def __init__(self, release: str) -> None:
        self.release = release
        self.module: Any = None

    def check(self, antialias: bool) -> None:
        """Raise HarnessError if the package is not installed, or `antialias` is False."""
        if importlib.util.find_spec("hpsv2") is None:
            raise HarnessError(
                "backend=package needs the hpsv2 package, which is not installed: pip install "
                "'sampler-harness[hpsv2]', or, without its pins of pytest and protobuf, "
                "pip install --no-deps hpsv2==1.2.0 clint args; or leave backend out"
            )
        if not antialias:
            raise HarnessError(
                "backend=package resizes as the installed torchvision does: leave antialias out"
            )

    def load(self, checkpoint: str, device: str) -> None:
        """Import the package and build its network. Called again, it does nothing."""
        import torch

        if self.module is None:
            torch.load(checkpoint, mmap=True, weights_only=True)  # the package may trust pickles
            self.module = import_package()
        if not self.module.model_dict or self.module.device != device:
            self.module.device = device
            # Its own set-up downloads other weights, 4 GB, which the checkpoint then replaces.
            model, _, preprocess = self.module.create_model_and_transforms(
                "ViT-H-14", device=device, precision="amp", light_augmentation=True,
                output_dict=True,
            )  # fmt: skip
            self.module.model_dict.update(model=model, preprocess_val=preprocess)
        self.checkpoint = checkpoint

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> list[float]:
        """The package's scores of images uint8 [B, 3, H, W] for a prompt each."""
        pictures = pil_images(images)
        scores = [0.0] * len(pictures)
        for prompt in dict.fromkeys(prompts):
            own = [at for at, other in enumerate(prompts) if other == prompt]
            values = self.module.score(
                [pictures[at] for at in own], prompt, self.checkpoint, self.release
            )
            for at, value in zip(own, values, strict=True):
                scores[at] = float(value)
        return scores


def import_package() -> Any:
    """The module `hpsv2.img_score`; no file of the package is changed.

    Release 1.2.0 reads its vocabulary when imported, and the wheel lacks it: open_clip's, which is
    the same, is read instead. It also imports a name of `turtle`, which needs tkinter, and does not
    use it: where there is no tkinter, an empty module takes its place.
    """
    from open_clip.tokenizer import default_bpe

    opened = gzip.open

    def supply(name: Any, *args: Any, **kwargs: Any) -> Any:
        lacking = Path(name).name == VOCABULARY and not Path(name).exists()
        return opened(default_bpe() if lacking else name, *args, **kwargs)

    with patch.object(gzip, "open", supply), _turtle():
        return importlib.import_module("hpsv2.img_score")


@contextmanager
def _turtle() -> Iterator[None]:
    try:
        importlib.import_module("turtle")
    except ImportError:
        sys.modules["turtle"] = ModuleType("turtle")
        sys.modules["turtle"].forward = None  # type: ignore[attr-defined]
        yield
        del sys.modules["turtle"]
    else:
        yield
