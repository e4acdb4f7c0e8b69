"""Other programs' own loops over a folder of PNGs, with the networks that the harness runs.

Each function builds a network of random weights and gives the loop, from files to numbers on the
host, as its authors wrote it or show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.metrics.inception import build_network
from harness.metrics.pickscore import clip_tokenizer


@dataclass(frozen=True)
class Folder:
    """PNGs `NNNNNN.png` and their prompts, in order."""

    path: Path
    prompts: list[str]

    @property
    def files(self) -> list[str]:
        return [str(self.path / f"{at:06d}.png") for at in range(len(self.prompts))]


Loop = Callable[[Folder], object]


def clean_fid(weights: Path, batch: int, device: str) -> Loop:
    """clean-fid's `get_folder_features`, mode "clean", with its own number of workers."""
    from cleanfid.fid import get_folder_features

    network = build_network()
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.fc = torch.nn.Identity()
    network.eval().to(device)

    def loop(folder: Folder) -> object:
        return get_folder_features(
            str(folder.path), lambda x: network((x - 128) / 128), batch_size=batch,
            device=torch.device(device), mode="clean", verbose=False,
        )  # fmt: skip

    return loop


def torch_fidelity(weights: Path, batch: int, device: str) -> Loop:
    """torch-fidelity's extractor in its own loop, with its own number of workers."""
    from torch_fidelity.datasets import ImagesPathDataset
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.utils import get_featuresdict_from_dataset

    extractor = FeatureExtractorInceptionV3(
        "bench", ["2048"], feature_extractor_weights_path=str(weights)
    )
    extractor.to(device)
    on_gpu = device.startswith("cuda")

    def loop(folder: Folder) -> object:
        return get_featuresdict_from_dataset(
            ImagesPathDataset(folder.files), extractor, batch, on_gpu, False, False
        )["2048"].cpu()

    return loop


def clip_score(depth: int, batch: int, device: str) -> Loop:
    """torchmetrics' CLIPScore on ViT-L/14 of transformers, a batch a call; 0 layers are all."""
    import transformers
    from torch.utils.data import DataLoader
    from torch_fidelity.datasets import ImagesPathDataset
    from torchmetrics.multimodal import CLIPScore

    tall, wide = ({"num_hidden_layers": depth} if depth else {} for _ in range(2))
    config = transformers.CLIPConfig(
        text_config={
            **{"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
            **{"eos_token_id": 49407, **tall},
        },
        vision_config={
            **{"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16},
            **{"num_hidden_layers": 24, "patch_size": 14, **wide},
        },
        projection_dim=768,
    )
    network: Any = transformers.CLIPModel(config).eval()
    for name in ("get_image_features", "get_text_features"):  # newer ones give more than features
        setattr(network, name, _pooled(getattr(network, name)))
    processor = transformers.CLIPProcessor(
        image_processor=transformers.CLIPImageProcessor(), tokenizer=clip_tokenizer()
    )
    metric = CLIPScore(model_name_or_path=lambda: (network, processor)).to(device)

    def loop(folder: Folder) -> object:
        metric.reset()
        pictures = DataLoader(ImagesPathDataset(folder.files), batch, num_workers=4)
        with torch.inference_mode():
            for at, images in enumerate(pictures):
                prompts = folder.prompts[at * batch : at * batch + len(images)]
                metric.update(images.to(device), prompts)
            return float(metric.compute())

    return loop


def _pooled(method: Callable[..., Any]) -> Callable[..., Any]:
    def plain(*args: Any, **kwargs: Any) -> Any:
        found = method(*args, **kwargs)
        return getattr(found, "pooler_output", found)

    return plain


def hpsv2(package: Any, checkpoint: Path, device: str) -> Loop:
    """The hpsv2 package's own `score`, a call a prompt; it reads its checkpoint at every call."""
    package.device = device
    model, _, preprocess = package.create_model_and_transforms(
        "ViT-H-14", device=device, precision="amp", light_augmentation=True, output_dict=True
    )
    package.model_dict.update(model=model, preprocess_val=preprocess)

    def loop(folder: Folder) -> object:
        scores: list[float] = []
        for prompt in dict.fromkeys(folder.prompts):
            pairs = zip(folder.files, folder.prompts, strict=True)
            own = [file for file, other in pairs if other == prompt]
            scores += map(float, package.score(own, prompt, cp=str(checkpoint)))
        return scores

    return loop
