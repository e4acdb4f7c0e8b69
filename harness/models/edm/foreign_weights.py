"""What a file of weights is that is not a network of EDM's kind: told by the names in it."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from harness.core.errors import HarnessError
from harness.models.pipelines.single_file import check_single_file

_NETWORK = ("down_blocks.", "up_blocks.", "mid_block.", "transformer_blocks.", "pos_embed.")


def foreign_weights(path: Path) -> str | None:
    """What a .safetensors is, and what to do with it; None where its names say nothing.

    Reads its header alone. Raises HarnessError for a file that is damaged, and for a checkpoint
    in one file, with how to convert it.
    """
    names = _names(path)
    check_single_file(path)
    if any("lora_" in name or ".lora." in name for name in names):
        return f"{path} is a LoRA, not a model: MODEL(lora={path}) merges it into one"
    if any(name.startswith(_NETWORK) for name in names):
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
