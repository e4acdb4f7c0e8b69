"""Single-file checkpoints of model-sharing sites: known by their keys, to be converted once."""

from __future__ import annotations

from pathlib import Path

import torch

from harness.core.errors import HarnessError
from harness.fetch.hub_files import small_files
from harness.models.pipelines.configurations import read_json

_PREFIXES = ("model.diffusion_model.", "diffusion_model.")
_UNTOLD = "v1"
"""What diffusers takes a checkpoint for that it does not recognise."""


def check_single_file(path: Path) -> None:
    """Raise HarnessError for a single-file checkpoint, with how to make a pipeline folder of it.

    Reads the names and shapes of its tensors, no weights. Other files pass.
    """
    if (repo := kind_of(path)) is None:
        return
    raise HarnessError(
        f"{path} is a single-file checkpoint of the kind of {repo}. Convert it once, where that "
        'repository can be reached, and take the folder: python -c "import diffusers; '
        f"diffusers.{_class_of(repo)}.from_single_file('{path}')"
        f".save_pretrained('{path.with_suffix('')}')\""
    )


def kind_of(path: Path) -> str | None:
    """The hub id of the checkpoint whose kind a file is of, by diffusers' own rules; None for a
    file that is none of theirs."""
    from diffusers.loaders.single_file_utils import (
        DIFFUSERS_DEFAULT_PIPELINE_PATHS,
        infer_diffusers_model_type,
    )
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            tensors = {
                key: torch.empty(file.get_slice(key).get_shape(), device="meta")
                for key in file.keys()  # noqa: SIM118  # it is no mapping
            }
    except (SafetensorError, OSError):
        return None
    kind = infer_diffusers_model_type(tensors)
    if kind == _UNTOLD and not any(key.startswith(_PREFIXES) for key in tensors):
        return None
    return str(DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"])


def _class_of(repo: str) -> str:
    """The pipeline class of a hub id, as far as it is known here."""
    try:
        return str(read_json(small_files(repo) / "model_index.json")["_class_name"])
    except (HarnessError, KeyError):
        return "CLASS"
