"""Opening a pipeline's folder with its weights, and networks in place of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import HarnessError, first_line
from harness.core.libraries import align, quiet
from harness.fetch.hub_files import fetch_network, held_variant, is_hub_id
from harness.models.base import LoadRequest
from harness.models.pipelines.configurations import read_json
from harness.models.pipelines.loading_options import LoadingOptions
from harness.models.pipelines.single_file import read_single_file

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components of pipelines that are never loaded."""


def open_pipeline(
    folder: Path,
    request: LoadRequest,
    components: Mapping[str, Any],
    variant: str | None = None,
    omittable: Iterable[str] = (),
    *,
    part: str,
    options: LoadingOptions,
) -> Any:
    """The loaded pipeline of a folder, where `options` put it, with aligned weights.

    `part` is the name of its network.
    `components` replace the folder's own, None leaves one out; `omittable` names those that a user
    may leave out. Raises HarnessError where a part is missing.
    """
    from diffusers import DiffusionPipeline

    index = read_json(folder / "model_index.json")
    given = {name: None for name in UNUSED if name in index}
    given |= {name: None for name, value in index.items() if value == [None, None]} | dict(
        components
    )
    for name, value in index.items():
        if not isinstance(value, list) or name in given:
            continue
        if not (folder / name).is_dir():
            hint = f" (to do without: MODEL({name}=none))" if name in omittable else ""
            raise HarnessError(f"{folder} is not complete: it has no {name}/{hint}")
        _check_tokenizer(folder / name)
    dtype = getattr(torch, request.dtype)
    with quiet():
        if options.single_file is not None:
            pipeline = read_single_file(options.single_file, folder, dtype, given)
        else:
            pipeline = _loaded(
                str(folder),
                DiffusionPipeline.from_pretrained,
                dtype=dtype,
                variant=variant,
                **options.reading(part),
                **given,
            )
        pipeline.set_progress_bar_config(disable=True)
        options.merge(pipeline, getattr(pipeline, part))
        options.place(pipeline, request.device)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            align(component)
    return pipeline


def _check_tokenizer(folder: Path) -> None:
    """Raise if a tokenizer needs sentencepiece (it has no tokenizer.json), which is missing."""
    alone = (folder / "spiece.model").exists() and not (folder / "tokenizer.json").exists()
    if alone and importlib.util.find_spec("sentencepiece") is None:
        raise HarnessError(f"{folder} needs sentencepiece: pip install 'sampler-harness[hunyuan]'")


def network_folder(source: str, part: str, half: bool = False) -> tuple[Path, str | None]:
    """The folder of a network on its own or as `part` of a pipeline, and its files' variant.

    `source` is a folder, or a hub id, whose weights are downloaded.
    """
    path = Path(source).expanduser()
    if not path.is_dir():
        if not is_hub_id(source):
            raise HarnessError(f"there is no folder {source} with a network ({part}=...)")
        return fetch_network(source, part, half)
    inner = path / part if (path / part).is_dir() else path
    read_json(inner / "config.json")
    return inner, held_variant(inner)


def other_network(source: str, base: Path, part: str, dtype: str) -> Any:
    """A replacement network for the pipeline in `base`; HarnessError if its interface differs."""
    from diffusers import AutoModel

    folder, variant = network_folder(source, part, dtype in ("float16", "bfloat16"))
    own, other = (read_json(path / "config.json") for path in (base / part, folder))
    for key in (
        "_class_name",
        "in_channels",
        "cross_attention_dim",
        "addition_embed_type",
        "joint_attention_dim",
        "pooled_projection_dim",
    ):
        if own.get(key) != other.get(key):
            raise HarnessError(
                f"{part}={source} does not fit this pipeline: its {key} is {other.get(key)!r}, "
                f"not {own.get(key)!r}"
            )
    with quiet():
        return _loaded(
            str(folder),
            AutoModel.from_pretrained,
            torch_dtype=getattr(torch, dtype),
            variant=variant,
        )


def _loaded(folder: str, load: Callable[..., Any], **options: Any) -> Any:
    try:
        return load(folder, local_files_only=True, **options)
    except (OSError, ValueError, ImportError) as error:
        raise HarnessError(f"cannot load {folder}: {first_line(error)}") from None
