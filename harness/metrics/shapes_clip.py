"""CLIP score of the embedded world of shapes, by its small dual encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.libraries import align, quiet
from harness.metrics import HarnessError, ItemRow, metric, per_batch, to_device
from harness.metrics.cosine import CosineMetric, TwoTowers
from harness.metrics.shapes_judge import not_a_caption

if TYPE_CHECKING:
    import torch


def dual_encoder_folder() -> Path:
    """The transformers CLIPModel folder that the package holds."""
    import harness.world

    return Path(harness.world.__file__).parent / "weights" / "dual_encoder"


class DualEncoder(TwoTowers):
    """The shapes world's CLIPModel, from `folder`; features are unit vectors."""

    name = "shapes-dual-encoder"

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or dual_encoder_folder()

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        return not_a_caption(row.prompt)

    def files(self) -> Sequence[str]:
        if not (self.folder / "model.safetensors").exists():
            raise HarnessError(
                f"the dual encoder's weights in {self.folder} are missing: they are part of the "
                "package; install it again, or train them with "
                "python -m harness.training.shapes.train_dual"
            )
        return [str(self.folder / name) for name in ("model.safetensors", "tokenizer.json")]

    def setup(self, device: str) -> None:
        from transformers import CLIPModel, CLIPTokenizer

        with quiet():
            self.model = CLIPModel.from_pretrained(self.folder, local_files_only=True)
        self.model = self.model.eval().requires_grad_(False).to(device)
        align(self.model)
        self.device = device
        self.tokenizer = CLIPTokenizer.from_pretrained(self.folder, local_files_only=True)
        self.width = self.model.config.projection_dim

    @per_batch
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as F

        size = self.model.config.vision_config.image_size
        pixels = to_device(images, self.device).float().div(127.5).sub(1)
        if pixels.shape[-2:] != (size, size):
            pixels = F.interpolate(pixels, (size, size), mode="area")
        pooled = self.model.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.model.visual_projection(pooled), dim=-1)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        import torch.nn.functional as F

        options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        ids = self.tokenizer(list(texts), **options)["input_ids"]
        pooled = self.model.text_model(input_ids=to_device(ids, self.device)).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)


@metric(
    "shapes-clip",
    title="Dual-encoder score",
    direction="higher",
    range=(-1, 1),
    model="the embedded world's dual encoder (a small CLIPModel)",
    paper="this project (see the model card of shapes)",
    licence="Apache-2.0",
    needs_prompts=True,
)
class ShapesClip(CosineMetric):
    """Cosine between picture and caption embeddings, in [-1, 1], not scaled."""

    def build_encoder(self) -> DualEncoder:
        return DualEncoder()
