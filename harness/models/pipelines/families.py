"""The supported diffusers pipeline classes, and the loader of their pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import HarnessError
from harness.core.registry import Registry
from harness.core.run_spec import DISTILLED
from harness.models.base import LoadRequest
from harness.models.pipelines.configurations import read_json, read_scheduler
from harness.models.pipelines.distilled import distilled_guidance
from harness.models.pipelines.loading import open_pipeline, other_network
from harness.models.pipelines.loading_options import LoadingOptions
from harness.models.pipelines.pipeline_model import PipelineModel, Schedule


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


def written_out(folder: Path) -> Family | None:
    """The family of a pipeline folder; None for a class, or a kind of scheduler, that is none's."""
    kind = str(read_json(folder / "model_index.json").get("_class_name"))
    if kind not in PIPELINES or "sigma_data" in read_scheduler(folder):
        return None
    return PIPELINES.get(kind)


def family_of(folder: Path) -> Family:
    """The family of a pipeline folder of a class that is written out."""
    family = written_out(folder)
    assert family is not None, folder
    return family


def load_pipeline(
    request: LoadRequest,
    folder: Path,
    name: str,
    variant: str | None = None,
    options: LoadingOptions | None = None,
) -> PipelineModel:
    """The loaded model of a local pipeline folder."""
    family, overrides = family_of(folder), request.overrides
    schedule = family.schedule(folder, family.settings(overrides))
    components: dict[str, Any] = dict.fromkeys(family.left_out(overrides))
    if (source := family.other_network(overrides)) is not None:
        components[family.network] = other_network(source, folder, family.network, request.dtype)
    omittable = dict(family.optional)
    pipeline = open_pipeline(
        folder,
        request,
        components,
        variant,
        omittable,
        part=family.network,
        options=options or LoadingOptions(),
    )
    model = family.model(name, pipeline, schedule)
    model.distilled = distilled_guidance(model.net.config, overrides)
    return model
