"""ImageReward: BLIP on prompt and picture, with a head trained on human rankings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.core.libraries import quiet
from harness.fetch import hub_files, weights
from harness.metrics import ItemMetric, ItemRow, each_picture, metric, to_device
from harness.metrics.linear_head import LinearHead

if TYPE_CHECKING:
    import torch

_MEAN, _STD = 0.16717362830052426, 1.0333394966054072  # of rewards over the training set
_WINDOW = 35
_HEAD_WIDTH = 64  # features of an attention head, in both towers
_WHAT = "the ImageReward weights"
_VISION = {
    "patch_embed.proj": "embeddings.patch_embedding",
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "norm": "post_layernorm",
}
_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


@metric(
    "imagereward",
    title="ImageReward",
    direction="higher",
    range=(-math.inf, math.inf),
    model="BLIP (ViT-L/16) with a head, ImageReward-v1.0",
    paper="Xu et al. 2023, arXiv:2304.05977",
    licence="Apache-2.0",
    needs_prompts=True,
)
@dataclass
class ImageReward(ItemMetric):
    """Reward with mean 0 and deviation 1 over the training set; mostly between -2.5 and 2.

    `checkpoint`: a local ImageReward.pt; `vocabulary`: BERT's vocab.txt. Runs in float32 on
    transformers' BLIP, equal to the image-reward package. It reads 35 tokens of the prompt, with
    those at start and end: longer prompts are cut, and their items counted as truncated.
    """

    checkpoint: str = ""
    vocabulary: str = ""

    def __post_init__(self) -> None:
        self.tokens: dict[str, tuple[list[int], list[int]]] = {}

    @cached_property
    def paths(self) -> list[str]:
        """Paths of the checkpoint and the vocabulary, downloaded if need be."""
        wanted = [
            (self.checkpoint, _WHAT, "THUDM/ImageReward", "ImageReward.pt"),
            (self.vocabulary, "BERT's vocabulary", "google-bert/bert-base-uncased", "vocab.txt"),
        ]
        parameters = "imagereward(checkpoint=PATH, vocabulary=PATH)"
        return [
            weights.named_file(given, what)
            if given
            else hub_files.fetch_files(what, repo, [name], parameters)[0]
            for given, what, repo, name in wanted
        ]

    def files(self) -> Sequence[str]:
        return self.paths

    def setup(self, device: str) -> None:
        checkpoint, _ = self.paths
        state = weights.load_tensors(checkpoint, _WHAT)
        try:
            with quiet():
                self.eye = _vision_model(_under(state, "blip.visual_encoder.")).to(device)
                self.reader = _text_model(_under(state, "blip.text_encoder.")).to(device)
        except (KeyError, RuntimeError, ValueError) as error:  # other names or shapes
            raise weights.wrong_file(checkpoint, _WHAT, error) from error
        self.head = LinearHead(
            _under(state, "mlp."), self.reader.config.hidden_size, checkpoint, device
        )
        self.device = device

    @cached_property
    def tokenizer(self) -> Any:
        from tokenizers import BertWordPieceTokenizer

        tokenizer = BertWordPieceTokenizer(self.paths[1], lowercase=True)
        tokenizer.enable_truncation(_WINDOW)
        tokenizer.enable_padding(length=_WINDOW)
        return tokenizer

    def truncates(self, prompt: str) -> bool:
        return bool(self.tokenizer.encode(prompt).overflowing)

    def prepare(self, prompts: Sequence[str]) -> None:
        for prompt in prompts:
            encoded = self.tokenizer.encode(prompt)
            self.tokens[prompt] = encoded.ids, encoded.attention_mask

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> torch.Tensor:
        import torch

        pixels = to_device(self.pixels(images), self.device)
        patches = self.eye(pixel_values=pixels).last_hidden_state
        ids, mask = zip(*(self.tokens[row.prompt] for row in rows), strict=True)
        output = self.reader(
            input_ids=to_device(torch.tensor(ids), self.device),
            attention_mask=to_device(torch.tensor(mask), self.device),
            encoder_hidden_states=patches,
            is_decoder=False,
        )
        rewards = self.head(output.last_hidden_state[:, 0].float())
        return (rewards - _MEAN) / _STD

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [B, 3, 224, 224]: PIL, shorter side to 224 (antialiased bicubic), centre crop."""
        import torch
        from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
        from torchvision.transforms import v2

        side = self.eye.config.image_size
        transform = v2.Compose(
            [
                v2.Resize(side, v2.InterpolationMode.BICUBIC),
                v2.CenterCrop(side),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(OPENAI_DATASET_MEAN, OPENAI_DATASET_STD),
            ]
        )
        return each_picture(transform, images)


def _under(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def _vision_model(state: Mapping[str, torch.Tensor]) -> Any:
    """BLIP's vision transformer with the sizes of these weights."""
    from transformers import BlipVisionConfig, BlipVisionModel

    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
    config = BlipVisionConfig(
        hidden_size=width,
        intermediate_size=state["blocks.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=blocks,
        num_attention_heads=width // _HEAD_WIDTH,
        image_size=patch * math.isqrt(state["pos_embed"].shape[1] - 1),
        patch_size=patch,
        layer_norm_eps=1e-6,
    )
    model = BlipVisionModel(config)
    model.load_state_dict({_vision_name(key): value for key, value in state.items()})
    return model.eval().requires_grad_(False)


def _vision_name(name: str) -> str:
    """A weight's name in transformers."""
    if not name.startswith("blocks."):
        part, _, kind = name.rpartition(".")
        return f"{_VISION[part]}.{kind}" if part else _VISION[name]
    _, number, inner = name.split(".", 2)
    part, _, kind = inner.rpartition(".")
    return f"encoder.layers.{number}.{_BLOCK[part]}.{kind}"


def _text_model(state: Mapping[str, torch.Tensor]) -> Any:
    """BLIP's BERT with cross-attention, with the sizes of these weights."""
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    words, width = state["embeddings.word_embeddings.weight"].shape
    layers = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.layer."))
    config = BlipTextConfig(
        vocab_size=words,
        hidden_size=width,
        encoder_hidden_size=state["encoder.layer.0.crossattention.self.key.weight"].shape[1],
        intermediate_size=state["encoder.layer.0.intermediate.dense.weight"].shape[0],
        num_hidden_layers=layers,
        num_attention_heads=width // _HEAD_WIDTH,
        max_position_embeddings=state["embeddings.position_embeddings.weight"].shape[0],
        layer_norm_eps=1e-12,
        is_decoder=True,  # has cross-attention; the mask is not causal, see the call
    )
    model = BlipTextModel(config, add_pooling_layer=False)
    positions = "embeddings.position_ids"  # counted up, not learnt
    model.load_state_dict({key: value for key, value in state.items() if key != positions})
    return model.eval().requires_grad_(False)
