"""Encoders of images and texts from open_clip, for any of its models."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import HarnessError, unknown
from harness.core.libraries import align
from harness.fetch import hub_files, weights
from harness.fetch.download import check_may_download
from harness.metrics import each_picture, per_batch, to_device
from harness.metrics.cosine import TwoTowers

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_USUAL = "openai"
_SETTINGS = ("mean", "std", "interpolation", "resize_mode")  # of a tag, for pictures


@dataclass
class OpenClip(TwoTowers):
    """Model `model` with the weights `pretrained`: TAG of open_clip, FILE, or TAG:FILE.

    A file of weights is run with its tag's activation and preprocessing, which it does not name
    itself. Without a TAG it is taken for `openai` where the model has that, else for what all of
    its tags agree on.

    Features are unit vectors in float32. Images go through the model's own preprocessing (PIL,
    bicubic with antialiasing for most), so that scores equal those of its authors' code. Weights
    load from safetensors or with `weights_only`.
    """

    model: str
    pretrained: str

    name = "open-clip"

    @property
    def family(self) -> str:
        """The architecture, whatever its weights and resolution: most fine-tuned weights began as
        public ones of the same architecture."""
        return re.sub(r"(-\d{3}|-quickgelu)+$", "", self.model.lower())

    def check(self) -> None:
        import open_clip

        if self.model not in open_clip.list_models():
            raise unknown("open_clip model", self.model, open_clip.list_models())
        assert self.checkpoint

    @cached_property
    def checkpoint(self) -> str:
        """Path of the weights, downloaded if need be. HarnessError where they cannot be had."""
        tag, file = self._source
        if file and Path(file).is_file():
            self._warn_of_assumed_tag()
            return file
        before, _, rest = file.partition(":")
        if file and not Path(rest).is_file():
            raise HarnessError(f"there is no file {file} with weights of {self.model}")
        if file or tag not in self._tags:
            raise unknown("pretrained tag", before or tag, self._tags, where=self.model)
        return self._fetch()

    @property
    def _tags(self) -> list[str]:
        """open_clip's tags of weights for the model."""
        import open_clip

        return list(open_clip.list_pretrained_tags_by_model(self.model))

    @cached_property
    def _source(self) -> tuple[str, str]:
        """The tag that the weights are of, and the file that holds them; either may be empty."""
        tag, _, file = self.pretrained.partition(":")
        if file and tag in self._tags:
            return tag, file
        looks_like_path = re.search(r"[/\\]|\.(pt|pth|bin|safetensors)$", self.pretrained)
        if looks_like_path or Path(self.pretrained).is_file():
            return self._assumed_tag(), self.pretrained
        return self.pretrained, ""

    def _assumed_tag(self) -> str:
        """The tag whose settings a file without a tag is run with; empty where that is open."""
        settings = self._known_settings()
        if _USUAL in settings:
            return _USUAL
        alike = settings and all(one == next(iter(settings.values())) for one in settings.values())
        return next(iter(settings)) if alike else ""

    def _known_settings(self) -> dict[str, list[Any]]:
        """Activation and preprocessing of the model's tags, by tag."""
        from open_clip.pretrained import get_pretrained_cfg

        known = {tag: get_pretrained_cfg(self.model, tag) for tag in self._tags}
        return {
            tag: [bool(of.get("quick_gelu")), *(of.get(key) for key in _SETTINGS)]
            for tag, of in known.items()
        }

    def _warn_of_assumed_tag(self) -> None:
        tag, file = self._source
        known = self._known_settings()
        if file == self.pretrained and any(one != known.get(tag) for one in known.values()):
            log.warning(
                "%s is taken for weights of %s %s: for others, which need another activation or "
                "preprocessing, say whose they are, pretrained=TAG:FILE",
                file, self.model, f"({tag})" if tag else "as open_clip runs a file",
            )  # fmt: skip

    def _fetch(self) -> str:
        """The tag's file from the cache or from its public home."""
        from open_clip.pretrained import download_pretrained

        repo, _, file = str(self._tag.get("hf_hub") or "").rpartition("/")
        names = dict.fromkeys([*_FILES, file] if file else _FILES)
        if repo and (cached := hub_files.cached_file(repo, names)):
            return cached
        check_may_download(hub_files.place(repo, [file or _FILES[0]]) if repo else self._tag["url"])
        try:
            if repo:
                hub_files.ask(repo)
            return str(download_pretrained(self._tag))
        except Exception as error:  # any failure of the download: name what to get from where
            where = hub_files.place(repo, [file or _FILES[0]]) if repo else self._tag["url"]
            raise hub_files.absent(
                f"the weights of {self.model} ({self.pretrained})",
                error,
                where,
                f"(model={self.model}, pretrained={self.pretrained}:PATH)",
            ) from None

    @property
    def _tag(self) -> dict[str, Any]:
        """open_clip's entry of the tag: source, preprocessing, activation; empty without one."""
        from open_clip.pretrained import get_pretrained_cfg

        return dict(get_pretrained_cfg(self.model, self._source[0]))

    def weights(self) -> str:
        digest = weights.digest(self.checkpoint)
        tag, file = self._source
        # scores of a file that was once run without its tag's settings are stale
        return f"{digest}-{tag}" if file and self._settings_matter() else digest

    def _settings_matter(self) -> bool:
        """Whether the tag's settings differ from open_clip's defaults for a file."""
        import open_clip

        plain = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD, "bicubic", "shortest")
        named = open_clip.get_model_config(self.model).get("quick_gelu")
        given = zip(_SETTINGS, plain, strict=True)
        return bool(self._tag.get("quick_gelu") and not named) or any(
            self._tag.get(key, value) != value for key, value in given
        )

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
            what = f"weights of {self.model}"
            raise weights.wrong_file(self.checkpoint, what, error) from error
        self.network.eval().requires_grad_(False)
        align(self.network)
        self.device = device
        self.width = open_clip.get_model_config(self.model)["embed_dim"]

    @cached_property
    def tokenizer(self) -> Any:
        import open_clip

        return open_clip.get_tokenizer(self.model)

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Input of the image tower, on its device, from images uint8 [B, 3, H, W]."""
        return to_device(each_picture(self.preprocess, images), self.device)

    @per_batch
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.encode_image(self.pixels(images), normalize=True)
        return features.float()

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        tokens = to_device(self.tokenizer(list(texts)), self.device)
        vectors: torch.Tensor = self.network.encode_text(tokens, normalize=True)
        return vectors.float()

    def truncates(self, text: str) -> bool:
        """Whether a text is longer than the model's window (77 tokens for most)."""
        window = self.tokenizer.context_length
        longer = self.tokenizer([text], context_length=window + 1)[0, :window]
        return bool((longer != self.tokenizer([text])[0]).any())
