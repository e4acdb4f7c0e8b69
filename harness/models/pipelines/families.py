"""The supported diffusers pipeline classes, and the loader of their pipelines."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import HarnessError, first_line, unknown
from harness.core.libraries import align, quiet
from harness.core.registry import Registry
from harness.core.run_spec import DISTILLED
from harness.fetch.hub_files import fetch_network, held_variant, is_hub_id
from harness.models.base import LoadRequest
from harness.models.pipelines.configurations import read_json
from harness.models.pipelines.distilled import distilled_guidance
from harness.models.pipelines.pipeline_model import PipelineModel, Schedule

_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")


@dataclass(frozen=True)
class Family:
    """A supported pipeline class: its network's folder, and how to make its schedule and model.

    `optional` are text encoders that may be left out, each with its tokenizer. `gpu_dtype` is the
    usual precision of the family's checkpoints on a GPU; `abilities` gives the abilities (see
    ModelEntry) of a network's configuration.
    """

    network: str
    schedule: Callable[[Path, Mapping[str, Any]], Schedule]  # folder, overrides of its settings
    model: Callable[[str, Any, Schedule], PipelineModel]
    optional: tuple[tuple[str, str], ...] = ()
    gpu_dtype: str = "float16"
    abilities: Callable[[Mapping[str, Any]], frozenset[str]] = lambda config: frozenset()

    def settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The overrides of the schedule: all but those of components and of the guidance input."""
        components = (self.network, DISTILLED, *(encoder for encoder, _ in self.optional))
        return {name: value for name, value in overrides.items() if name not in components}

    def other_network(self, overrides: Mapping[str, Any]) -> str | None:
        """The folder or hub id of a replacement network: `MODEL(unet=...)`."""
        source = overrides.get(self.network)
        if self.network in overrides and not isinstance(source, str):
            raise HarnessError(f"{self.network}={source!r} must be a folder or a hub id")
        return source

    def left_out(self, overrides: Mapping[str, Any]) -> list[str]:
        """The components that a user leaves out: `MODEL(text_encoder_3=none)`."""
        parts: list[str] = []
        for encoder, tokenizer in self.optional:
            if encoder not in overrides:
                continue
            if overrides[encoder] is not None:
                raise HarnessError(f"{encoder} can only be left out: write {encoder}=none")
            parts += [encoder, tokenizer]
        return parts


PIPELINES: Registry[Family] = Registry("pipeline class", "harness.models")


def family_of(folder: Path) -> Family:
    """The family of a pipeline folder; HarnessError for an unsupported class."""
    kind = str(read_json(folder / "model_index.json").get("_class_name"))
    if kind not in PIPELINES:
        raise unknown("pipeline class", kind, PIPELINES.names(), where=str(folder))
    return PIPELINES.get(kind)


def parts_of(folder: Path, overrides: Mapping[str, Any]) -> list[str]:
    """The component folders to load: those of the pipeline's index, less what is replaced, left out
    or unused here."""
    family = family_of(folder)
    skipped = {*_UNUSED, *family.left_out(overrides)}
    if family.other_network(overrides) is not None:
        skipped.add(family.network)
    return [
        name
        for name, value in read_json(folder / "model_index.json").items()
        if isinstance(value, list) and value[0] and name not in skipped
    ]


def load_pipeline(
    request: LoadRequest, folder: Path, name: str, variant: str | None = None
) -> PipelineModel:
    """The loaded model of a local pipeline folder."""
    from diffusers import DiffusionPipeline

    family, overrides = family_of(folder), request.overrides
    parts = parts_of(folder, overrides)
    schedule = family.schedule(folder, family.settings(overrides))
    index = read_json(folder / "model_index.json")
    components: dict[str, Any] = {part: None for part in _UNUSED if part in index}
    components |= {part: None for part, value in index.items() if value == [None, None]}
    components |= dict.fromkeys(family.left_out(overrides))
    if (source := family.other_network(overrides)) is not None:
        components[family.network] = _network(source, folder, family.network, request.dtype)
    for part in parts:
        if not (folder / part).is_dir():
            hint = f" (to do without: MODEL({part}=none))" if part in dict(family.optional) else ""
            raise HarnessError(f"{folder} is not complete: it has no {part}/{hint}")
        _check_tokenizer(folder / part)
    with quiet():
        pipeline = _loaded(
            str(folder),
            DiffusionPipeline.from_pretrained,
            dtype=getattr(torch, request.dtype),
            variant=variant,
            **components,
        )
        pipeline.set_progress_bar_config(disable=True)
        pipeline = pipeline.to(request.device)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            align(component)
    model = family.model(name, pipeline, schedule)
    model.distilled = distilled_guidance(model.net.config, overrides)
    return model


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


def _network(source: str, base: Path, part: str, dtype: str) -> Any:
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
