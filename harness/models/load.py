"""Finds and loads the model that a user names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError, unknown
from harness.core.run_spec import DISTILLED
from harness.fetch.fingerprints import files_fingerprint
from harness.fetch.hub_files import is_hub_id
from harness.models.base import DTYPES, MODELS, LoadRequest, Model, ModelEntry
from harness.models.edm.entries import FILES, file_entry
from harness.models.edm.presets import reconstruction
from harness.models.pipelines.hub import any_hub_entry
from harness.models.pipelines.local import folder_entry, network_revision
from harness.models.pipelines.single_file_entry import single_file_entry


def find(spec: str | Call) -> ModelEntry:
    """The entry of a registry name, a pipeline folder, a network's file or a hub id.

    Loads no weights. Raises HarnessError for what is none of them.
    """
    call = parse_call(spec) if isinstance(spec, str) else spec
    entry = _with_network(_entry(call.name, call.params), call.params)
    return _distilled(_with_files(entry, call.params), call.params)


def _distilled(entry: ModelEntry, overrides: dict[str, Any]) -> ModelEntry:
    """The entry of a guidance-distilled network, whose output samplers must not guide again."""
    if DISTILLED not in overrides or entry.distils:
        return entry
    return replace(entry, guidance=1.0, unconditional=False)


def _with_files(entry: ModelEntry, overrides: dict[str, Any]) -> ModelEntry:
    """The entry whose revision also identifies the checkpoint in one file that its weights are,
    and the LoRA that is merged into its network."""
    named = [overrides.get(name) for name in ("single_file", "lora")]
    files = [Path(file) for file in named if isinstance(file, str)]
    own = entry.revision
    if not files:
        return entry
    return replace(
        entry,
        revision=lambda: "+".join([own(), *(files_fingerprint({f.name: f}) for f in files)]),
    )


def _with_network(entry: ModelEntry, overrides: dict[str, Any]) -> ModelEntry:
    """The entry whose revision also identifies a network that replaces the checkpoint's own."""
    named = [part for part in ("unet", "transformer") if isinstance(overrides.get(part), str)]
    if not named:
        return entry
    source, part, own = overrides[named[0]], named[0], entry.revision
    return replace(entry, revision=lambda: f"{own()}+{network_revision(source, part)}")


def _entry(name: str, overrides: dict[str, Any]) -> ModelEntry:
    if name in MODELS:
        return MODELS.get(name)
    path = Path(name).expanduser()
    if path.is_dir():
        return folder_entry(path, path.resolve().name, overrides)
    if path.suffix == ".safetensors" and path.is_file() and not path.with_suffix(".json").exists():
        entry = single_file_entry(path, overrides)
        if entry is not None:
            return entry
    if path.is_file() or path.suffix in FILES:
        return file_entry(path)
    if is_hub_id(name) and not name.startswith("."):
        return any_hub_entry(name, overrides)
    if published := reconstruction(name):
        return published
    if "/" in name:
        raise HarnessError(f"there is no model folder {name}")
    raise unknown("model", name, MODELS.names())


def load(
    spec: str | Call,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    size: tuple[int, int] | None = None,
) -> Model:
    """The loaded model of `spec`, which may override settings: `PATH(prediction_type=...)`.

    `size` of the pictures, by default the model's own, matters to models that are loaded for one.
    """
    call = parse_call(spec) if isinstance(spec, str) else spec
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    entry = find(call)
    return entry.load(LoadRequest(call.params, device, dtype, size or entry.size))
