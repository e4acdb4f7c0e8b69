"""What a file of weights is that is not a network of EDM's kind: told by the names in it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from safetensors import SafetensorError, safe_open

from harness.core.errors import HarnessError

_SINGLE = (
    "model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner.embedders.",
    "double_blocks.", "single_blocks.", "joint_blocks.", "diffusion_model.",
)  # fmt: skip
_NETWORK = ("down_blocks.", "up_blocks.", "mid_block.", "transformer_blocks.", "pos_embed.")


def foreign_weights(path: Path) -> str | None:
    """What a .safetensors is, and what to do with it; None where its names say nothing.

    Reads its header alone. Raises HarnessError for a file that is damaged.
    """
    names = _names(path)
    if any("lora_" in name or ".lora." in name for name in names):
        return f"{path} is a LoRA, not a model: MODEL(lora={path}) merges it into one"
    if _begin(names, _SINGLE):
        return (
            f"{path} is a checkpoint in one file, as model-sharing sites have them "
            f"({min(n for n in names if n.startswith(_SINGLE))} ...). Make a pipeline's folder of "
            "it with diffusers, in Python, and give that as the model: StableDiffusionPipeline."
            f"from_single_file({str(path)!r}).save_pretrained({path.stem!r}) (of XL: "
            "StableDiffusionXLPipeline; of others their own class)"
        )
    if _begin(names, _NETWORK):
        return (
            f"{path} holds the weights of a diffusers network alone: give its pipeline's folder, "
            "or put it with its config.json into a folder and name that as PIPELINE(unet=FOLDER) "
            "or PIPELINE(transformer=FOLDER)"
        )
    return None


def _names(path: Path) -> list[str]:
    try:
        with safe_open(path, "pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise HarnessError(f"cannot read {path}: {error}") from None


def _begin(names: Collection[str], prefixes: tuple[str, ...]) -> bool:
    return any(name.startswith(prefixes) for name in names)
