"""Models in folders on this machine: diffusers pipelines as `save_pretrained` writes them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, unknown
from harness.models.base import Ladders, LoadRequest, Model, ModelEntry

_BLOCKS, _BLOCK = 64, 1 << 16


def folder_entry(
    folder: Path, name: str | None = None, *, steps: int = 50, guidance: float = 5.0, **known: Any
) -> ModelEntry:
    """The model entry of a pipeline folder; reads its small configuration files only."""
    index = _read(folder / "model_index.json")
    _check_class(str(index.get("_class_name")), folder)
    unet = _read(folder / "unet" / "config.json")
    vae = _read(folder / "vae" / "config.json")
    # AutoencoderTiny says it of its encoder and decoder apart
    blocks = vae.get("block_out_channels") or vae.get("encoder_block_out_channels")
    if not blocks or not isinstance(unet.get("sample_size"), int):
        raise HarnessError(f"{folder} does not say its size: no sample_size or block_out_channels")
    scale = 2 ** (len(blocks) - 1)
    side = unet["sample_size"] * scale
    return ModelEntry(
        name=name or folder.name,
        title=known.get("title", folder.name),
        source=known.get("source", "a local folder"),
        licence=known.get("licence", "see its model card"),
        size=(side, side),
        size_multiple=scale,
        steps=steps,
        guidance=guidance,
        batch_size=known.get("batch_size", 8),
        revision=lambda: fingerprint(folder),
        ladders=lambda overrides: _ladders(folder, overrides),
        load=lambda request: _load(request, folder, name or folder.name),
    )


def _ladders(folder: Path, overrides: dict[str, Any]) -> Ladders:
    from harness.models.stable_diffusion import make_schedule, scheduler_config

    found = _read(folder / "scheduler" / "scheduler_config.json")
    return make_schedule(scheduler_config(found, overrides))


def _check_class(kind: str, folder: Path) -> None:
    from harness.models.stable_diffusion import PIPELINES

    if kind not in PIPELINES:
        raise unknown("pipeline class", kind, PIPELINES, where=str(folder))


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        raise HarnessError(f"{path.parent} is not a diffusers pipeline: no {path.name}") from None
    except (ValueError, OSError) as error:
        raise HarnessError(f"cannot read {path}: {error}") from None


def _load(request: LoadRequest, folder: Path, name: str) -> Model:
    from harness.models.stable_diffusion import load_pipeline

    return load_pipeline(request, str(folder), name)


def fingerprint(folder: Path) -> str:
    """A hash of a folder's configurations and weights; of large files, of evenly spaced parts.

    Two checkpoints of one architecture differ in nearly every block, so some of them tell.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".json", ".safetensors", ".bin", ".txt"):
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\n{size}\n".encode())
        with path.open("rb") as file:
            for part in range(_BLOCKS):
                file.seek(size * part // _BLOCKS)
                digest.update(file.read(min(_BLOCK, size // _BLOCKS + 1)))
    return digest.hexdigest()[:16]
