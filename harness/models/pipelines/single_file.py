"""Single-file checkpoints of model-sharing sites: known by their keys, read by diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import HarnessError, first_line
from harness.fetch.hub_files import small_files
from harness.models.pipelines.configurations import read_json

_PREFIXES = ("model.diffusion_model.", "diffusion_model.")
_UNTOLD = "v1"
"""What diffusers takes a checkpoint for that it does not recognise."""


def check_single_file(path: Path) -> None:
    """Raise HarnessError for a single-file checkpoint, with how to use it.

    Reads the names and shapes of its tensors, no weights. Other files pass.
    """
    if (repo := kind_of(path)) is not None:
        raise HarnessError(unreached(path, repo))


def unreached(path: Path, repo: str) -> str:
    """What to do with a single-file checkpoint without the configurations of its kind."""
    return (
        f"{path} is a single-file checkpoint of the kind of {repo}, whose configurations are not "
        f"here. With a folder that has them: --model 'FOLDER(single_file={path})'. Or convert it "
        'once, where that repository can be reached, and take the folder: python -c "import '
        f"diffusers; diffusers.{_class_of(repo)}.from_single_file('{path}')"
        f".save_pretrained('{path.with_suffix('')}')\""
    )


def read_single_file(file: str, folder: Path, dtype: torch.dtype, given: Mapping[str, Any]) -> Any:
    """The pipeline of the folder's configurations with a file's weights, by diffusers' own reader.

    `given` are components in place of the file's. Raises HarnessError where it lacks any weight.
    """
    import diffusers

    name = str(read_json(folder / "model_index.json")["_class_name"])
    kind: Any = getattr(diffusers, name, None)
    if not hasattr(kind, "from_single_file"):
        raise HarnessError(f"diffusers reads no single file as {name}: take a pipeline's folder")
    about = {"config": str(folder), "local_files_only": True, "dtype": dtype}
    try:
        pipeline = kind.from_single_file(file, **about, **given)
    except Exception as error:  # whatever a file of another kind leads diffusers' converters to
        raise HarnessError(
            f"{file} does not fit the configurations of {name} in {folder}: {first_line(error)}"
        ) from None
    for part, component in pipeline.components.items():
        tensors = component.parameters() if isinstance(component, torch.nn.Module) else ()
        if any(tensor.is_meta for tensor in tensors):
            raise HarnessError(f"{file} lacks weights of the {part} of {name} in {folder}")
    return pipeline


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
