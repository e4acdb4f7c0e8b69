"""Any model of open_clip as an encoder of images and texts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import HarnessError, unknown
from harness.core.libraries import align
from harness.metrics import weights
from harness.metrics.base import per_batch
from harness.metrics.cosine import TwoTowers

if TYPE_CHECKING:
    import torch

_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass
class OpenClip(TwoTowers):
    """Model `model` with the weights `pretrained`: one of open_clip's tags or a local file.

    Features are unit vectors in float32. Images go through the model's own preprocessing (PIL,
    bicubic with antialiasing for most), so that scores equal those of its authors' code. Weights
    load from safetensors or with `weights_only`.
    """

    model: str
    pretrained: str

    name = "open-clip"

    def check(self) -> None:
        import open_clip

        if self.model not in open_clip.list_models():
            raise unknown("open_clip model", self.model, open_clip.list_models())
        assert self.checkpoint

    @cached_property
    def checkpoint(self) -> str:
        """Path of the weights, downloaded if need be. HarnessError where they cannot be had."""
        import open_clip

        if Path(self.pretrained).is_file():
            return self.pretrained
        tags = open_clip.list_pretrained_tags_by_model(self.model)
        if self.pretrained not in tags:
            looks_like_path = re.search(r"[/\\]|\.(pt|pth|bin|safetensors)$", self.pretrained)
            if looks_like_path:
                raise HarnessError(
                    f"there is no file {self.pretrained} with weights of {self.model}"
                )
            raise unknown("pretrained tag", self.pretrained, tags, where=self.model)
        return self._fetch()

    def _fetch(self) -> str:
        """The tag's file from the cache or from its public home."""
        from open_clip.pretrained import download_pretrained

        repo, _, file = str(self._tag.get("hf_hub") or "").rpartition("/")
        names = dict.fromkeys([*_FILES, file] if file else _FILES)
        if repo and (found := weights.cached(repo, names)):
            return found
        reason = weights.hub_problem() if repo else None
        if reason is None:
            try:
                return str(download_pretrained(self._tag))
            except Exception as error:  # whatever the network does, say what to get from where
                reason = str(error)
        where = weights.place(repo, [file or _FILES[0]]) if repo else self._tag["url"]
        gelu = "-quickgelu" if self._tag.get("quick_gelu") and "quickgelu" not in self.model else ""
        raise weights.absent(
            f"the weights of {self.model} ({self.pretrained})",
            reason,
            where,
            f"(model={self.model}{gelu}, pretrained=PATH)",
        )

    @property
    def _tag(self) -> dict[str, Any]:
        """What open_clip knows of the tag: source, preprocessing, activation; empty for a file."""
        from open_clip.pretrained import get_pretrained_cfg

        return dict(get_pretrained_cfg(self.model, self.pretrained))

    def weights(self) -> str:
        return weights.digest(self.checkpoint)

    def setup(self, device: str) -> None:
        import open_clip

        tag = self._tag
        try:
            self.network, _, self.preprocess = open_clip.create_model_and_transforms(
                self.model,
                pretrained=self.checkpoint,
                device=device,
                # Given a path, open_clip does not apply what it knows of the tag.
                force_quick_gelu=bool(tag.get("quick_gelu")),
                image_mean=tag.get("mean"),
                image_std=tag.get("std"),
                image_interpolation=tag.get("interpolation"),
                image_resize_mode=tag.get("resize_mode"),
            )
        except Exception as error:  # unpickling, missing keys, shapes: all mean the wrong file
            problem = str(error).splitlines()[0]
            message = f"{self.checkpoint} does not load as weights of {self.model}: {problem}"
            raise HarnessError(message) from error
        self.network.eval().requires_grad_(False)
        align(self.network)
        self.device = device
        self.width = open_clip.get_model_config(self.model)["embed_dim"]

    @cached_property
    def tokenizer(self) -> Any:
        import open_clip

        return open_clip.get_tokenizer(self.model)

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """What the image tower takes, on the device, of images uint8 [B, 3, H, W]."""
        import torch
        from PIL import Image

        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        pixels = torch.stack([self.preprocess(picture) for picture in pictures])
        return pixels.to(self.device)

    @per_batch
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.encode_image(self.pixels(images), normalize=True)
        return features.float().cpu()

    def encode_text(self, text: str) -> torch.Tensor:
        """The unit vector [F] of one text, cut at the model's window."""
        features: torch.Tensor = self.network.encode_text(
            self.tokenizer([text]).to(self.device), normalize=True
        )
        return features[0].float().cpu()

    def truncates(self, text: str) -> bool:
        """Whether a text is longer than the model's window (77 tokens for most)."""
        window = self.tokenizer.context_length
        longer = self.tokenizer([text], context_length=window + 1)[0, :window]
        return bool((longer != self.tokenizer([text])[0]).any())
