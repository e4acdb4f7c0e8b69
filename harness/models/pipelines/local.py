"""Models in local folders: diffusers pipelines as `save_pretrained` writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.fetch.fingerprints import files_fingerprint
from harness.fetch.hub_files import held_variant
from harness.fetch.hub_files import revision as hub_revision
from harness.models.base import Ladders, LoadRequest, Model, ModelEntry
from harness.models.pipelines.capture.captured_entry import (
    CapturedLadders,
    captured_about,
    load_captured,
    network_of,
)
from harness.models.pipelines.configurations import read_json
from harness.models.pipelines.distilled import distilled_guidance
from harness.models.pipelines.families import Family, load_pipeline, written_out
from harness.models.pipelines.loading import UNUSED, network_folder
from harness.models.pipelines.loading_options import LoadingOptions
from harness.models.pipelines.pipeline_model import PipelineModel


def folder_entry(
    folder: Path,
    name: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    source: str = "a local folder",
    revision: Callable[[], str] | None = None,
    load: Callable[[LoadRequest], Model] | None = None,
) -> ModelEntry:
    """The model entry of a pipeline folder; reads its small configuration files only.

    `overrides` are the user's settings, which may change what a captured pipeline's defaults are.
    """
    family = written_out(folder)
    _, settings = LoadingOptions.split(overrides or {})
    about = _written_out_about(folder, family) if family else captured_about(folder, settings)
    return ModelEntry(
        name=name,
        title=name,
        source=source,
        licence="see its model card",
        revision=revision or (lambda: fingerprint(folder)),
        ladders=lambda overrides: read_ladders(folder, overrides),
        load=load or (lambda request: load_folder(request, folder, name, held_variant(folder))),
        pipeline=True,
        decoder=(folder / "vae").is_dir(),
        **about,
    )


def _written_out_about(folder: Path, family: Family) -> dict[str, Any]:
    network = read_json(folder / family.network / "config.json")
    vae = read_json(folder / "vae" / "config.json")
    # AutoencoderTiny configures its encoder and decoder apart
    blocks = vae.get("block_out_channels") or vae.get("encoder_block_out_channels")
    if not blocks or not isinstance(network.get("sample_size"), int):
        raise HarnessError(f"{folder} does not say its size: no sample_size or block_out_channels")
    scale = 2 ** (len(blocks) - 1)
    side = network["sample_size"] * scale
    return {
        "size": (side, side),
        "size_multiple": scale * network.get("patch_size", 1),
        "steps": 50,
        "guidance": None,
        "batch_size": 8,
        "gpu_dtype": family.gpu_dtype,
        "abilities": family.abilities(network),
    }


def load_folder(request: LoadRequest, folder: Path, name: str, variant: str | None = None) -> Model:
    """The loaded model of a pipeline folder: of a class that is written out, or captured."""
    options, rest = LoadingOptions.split(request.overrides)
    options.check_device(request.device)
    load = load_pipeline if written_out(folder) else load_captured
    model = load(replace(request, overrides=rest), folder, name, variant, options)
    if options.decode_dtype:
        assert isinstance(model, PipelineModel)
        model.decode_dtype = getattr(torch, options.decode_dtype)
    return model


def parts_of(folder: Path, overrides: Mapping[str, Any]) -> list[str]:
    """The component folders to load: those of the pipeline's index, less what is replaced, left out
    or unused here."""
    _, overrides = LoadingOptions.split(overrides)
    family = written_out(folder)
    skipped = {*UNUSED, *(family.left_out(overrides) if family else ())}
    part = family.network if family else network_of(folder)
    if family.other_network(overrides) if family else overrides.get(part):
        skipped.add(part)
    return [
        name
        for name, value in read_json(folder / "model_index.json").items()
        if isinstance(value, list) and value[0] and name not in skipped
    ]


def read_ladders(folder: Path, overrides: dict[str, Any]) -> Ladders:
    """The checkpoint's noise schedule, from its small files alone."""
    _, overrides = LoadingOptions.split(overrides)
    family = written_out(folder)
    if family is None:
        return CapturedLadders(folder, overrides)
    parts_of(folder, overrides)  # raises for invalid components before weights load
    if family.other_network(overrides) is None:
        distilled_guidance(read_json(folder / family.network / "config.json"), overrides)
    return family.schedule(folder, family.settings(overrides))


def network_revision(source: str, part: str) -> str:
    """The revision of a network on its own: its folder's fingerprint, or its hub id's commit."""
    if Path(source).expanduser().is_dir():
        return fingerprint(network_folder(source, part)[0])
    return hub_revision(source)


def fingerprint(folder: Path) -> str:
    """A hash of a folder's configurations and weights; see `files_fingerprint`."""
    suffixes = (".json", ".safetensors", ".bin", ".txt")
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in suffixes]
    return files_fingerprint({path.relative_to(folder).as_posix(): path for path in paths})
