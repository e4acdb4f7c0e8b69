"""Any model of open_clip as an encoder of images and texts."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, unknown
from harness.metrics.base import Encoder, hash_file, per_batch

if TYPE_CHECKING:
    import torch

SECONDS_TO_ANSWER = 5.0
_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass
class OpenClip(Encoder):
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

        hub = str(self._tag.get("hf_hub") or "")
        repo, _, file = hub.rpartition("/")
        if hub and (found := _cached(repo, file)):
            return found
        reason = _hub_problem() if hub else None
        if reason is None:
            try:
                return str(download_pretrained(self._tag))
            except Exception as error:  # whatever the network does, say what to get from where
                reason = str(error)
        where = f"{_hub()}/{repo} (file {file or _FILES[0]})" if hub else self._tag["url"]
        gelu = "-quickgelu" if self._tag.get("quick_gelu") and "quickgelu" not in self.model else ""
        raise HarnessError(
            f"the weights of {self.model} ({self.pretrained}) are not on this machine and cannot "
            f"be fetched: {reason}. Download {where} where there is a network, and name the file "
            f"as a parameter: (model={self.model}{gelu}, pretrained=PATH)"
        )

    @property
    def _tag(self) -> dict[str, Any]:
        """What open_clip knows of the tag: source, preprocessing, activation; empty for a file."""
        from open_clip.pretrained import get_pretrained_cfg

        return dict(get_pretrained_cfg(self.model, self.pretrained))

    def weights(self) -> str:
        blob = Path(self.checkpoint).resolve().name  # the hub's cache names files by their SHA-256
        return blob if re.fullmatch(r"[0-9a-f]{64}", blob) else hash_file(self.checkpoint)

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
        self.device = device
        self.width = open_clip.get_model_config(self.model)["embed_dim"]

    @cached_property
    def tokenizer(self) -> Any:
        import open_clip

        return open_clip.get_tokenizer(self.model)

    @per_batch
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        import torch
        from PIL import Image

        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        pixels = torch.stack([self.preprocess(picture) for picture in pictures])
        features: torch.Tensor = self.network.encode_image(pixels.to(self.device), normalize=True)
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


def _hub() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _cached(repo: str, file: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    for name in dict.fromkeys([*_FILES, file] if file else _FILES):
        found = try_to_load_from_cache(repo, name)
        if isinstance(found, str):
            return found
    return None


def _hub_problem() -> str | None:
    """Why the hub cannot be asked; None if it answers. Its own client retries for a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        request = urllib.request.Request(_hub(), method="HEAD")
        urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        return f"{_hub()} does not answer ({getattr(error, 'reason', error)})"
    return None
