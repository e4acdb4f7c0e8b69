"""PickScore: CLIP ViT-H-14 fine-tuned on the Pick-a-Pic preferences."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.libraries import align, quiet
from harness.fetch import hub_files
from harness.fetch.weights import wrong_file
from harness.metrics import HarnessError, ItemRow, each_picture, metric, per_batch, to_device
from harness.metrics.cosine import CosineMetric, TwoTowers

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_REPO = "yuvalkirstain/PickScore_v1"
_FILES = ("config.json", "model.safetensors")
_WINDOW = 77


@dataclass
class PickScoreEncoder(TwoTowers):
    """A transformers CLIPModel in float32, with the processor of its paper's code.

    Pictures: PIL, shorter side to 224 (bicubic with antialiasing), centre crop. `folder` holds
    config.json and model.safetensors; the vocabulary is CLIP's own, which open_clip brings along.
    """

    folder: str = ""

    name = "pickscore"

    @property
    def family(self) -> str:
        """That of the CLIP model which was fine-tuned, named as open_clip names it."""
        return "vit-h-14"

    @cached_property
    def home(self) -> Path:
        """The folder of the model's files, downloaded if need be."""
        if not self.folder:
            what, parameter = "the PickScore weights", "pickscore(folder=PATH)"
            return Path(hub_files.fetch_files(what, _REPO, _FILES, parameter)[0]).parent
        for name in _FILES:
            if not (Path(self.folder) / name).is_file():
                raise HarnessError(
                    f"{self.folder} holds no {name}: it should be a folder with the files "
                    f"{' and '.join(_FILES)} of {_REPO}"
                )
        return Path(self.folder)

    def files(self) -> Sequence[str]:
        return [str(self.home / name) for name in _FILES]

    def setup(self, device: str) -> None:
        import transformers

        try:
            with quiet():
                model = transformers.CLIPModel.from_pretrained(
                    self.home, local_files_only=True, use_safetensors=True
                )
        except Exception as error:  # missing keys, shapes: all mean the wrong files
            raise wrong_file(str(self.home), "a CLIPModel", error) from error
        model = model.float().eval().requires_grad_(False)
        self.scale = float(model.logit_scale.exp())
        self.model = model.to(device)
        align(self.model)
        self.device = device
        self.width = model.config.projection_dim
        # Transformers 5 resizes tensors by default; PickScore's code resized PIL images.
        processor = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)
        side = model.config.vision_config.image_size
        self.processor = processor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )

    @cached_property
    def tokenizer(self) -> Any:
        return clip_tokenizer()

    @per_batch
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as F

        pixels = to_device(each_picture(self._pixels, images), self.device)
        pooled = self.model.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.model.visual_projection(pooled), dim=-1)

    def _pixels(self, picture: Image) -> torch.Tensor:
        pixels: torch.Tensor = self.processor(images=picture, return_tensors="pt")["pixel_values"]
        return pixels[0]

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        import torch.nn.functional as F

        options = {"truncation": True, "max_length": _WINDOW, "return_tensors": "pt"}
        padding = "max_length" if len(texts) > 1 else False  # one length, whatever the others say
        ids = self.tokenizer(list(texts), padding=padding, **options)["input_ids"]
        pooled = self.model.text_model(input_ids=to_device(ids, self.device)).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)

    def truncates(self, text: str) -> bool:
        """Whether a text is longer than 77 tokens."""
        return len(self.tokenizer(text)["input_ids"]) > _WINDOW


def clip_tokenizer() -> Any:
    """Transformers' fast CLIP tokenizer, with the vocabulary file of open_clip."""
    import transformers
    from open_clip.tokenizer import bytes_to_unicode, default_bpe

    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += ["".join(merge.split()) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    kind = getattr(transformers, "CLIPTokenizerFast", transformers.CLIPTokenizer)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = json.dumps({word: at for at, word in enumerate(words)})
        (Path(folder) / "vocab.json").write_text(vocabulary)
        (Path(folder) / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
        return kind.from_pretrained(folder, local_files_only=True)


@metric(
    "pickscore",
    title="PickScore",
    direction="higher",
    range=(-100, 100),
    model="CLIP ViT-H-14 fine-tuned on Pick-a-Pic (yuvalkirstain/PickScore_v1)",
    paper="Kirstain et al. 2023, arXiv:2305.01569",
    licence="MIT (code)",
    needs_prompts=True,
)
@dataclass
class PickScore(CosineMetric):
    """Cosine of picture and prompt times the learned logit scale of about 100 (typically 18 to 24).

    `folder`: local files config.json and model.safetensors. A prompt longer than 77 tokens is cut,
    and its items are counted as truncated.
    """

    folder: str = ""

    def build_encoder(self) -> PickScoreEncoder:
        return PickScoreEncoder(self.folder)

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> torch.Tensor:
        assert isinstance(self.encoder, PickScoreEncoder)
        return self.encoder.scale * self.cosines(images, rows).double()
