"""The small configuration files of a pipeline folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import Self

from harness.core.errors import HarnessError, unknown

PIXEL_ABILITIES = frozenset({"pixel levels", "attention maps"})
"""What samplers may ask of Stable Diffusion: most U-Nets of 1, 2 and XL, and 3."""


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file of a pipeline folder."""
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        raise HarnessError(f"{path.parent} is not a diffusers pipeline: no {path.name}") from None
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise HarnessError(f"cannot read {path}: {error}") from None


def read_scheduler(folder: Path) -> dict[str, Any]:
    """`scheduler_config.json` as it is: a loaded scheduler's config is filled with its class's
    defaults, which are not the checkpoint's."""
    return read_json(folder / "scheduler" / "scheduler_config.json")


class CheckpointSettings(BaseModel):
    """The settings read from a configuration file, which users may override."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def read(cls, config: Mapping[str, Any], overrides: Mapping[str, Any]) -> Self:
        """The file's settings with the user's overrides; HarnessError for invalid ones."""
        for name in overrides:
            if name not in cls.model_fields:
                raise unknown("parameter", name, cls.model_fields, "this model")
        used = {key: value for key, value in config.items() if key in cls.model_fields}
        try:
            return cls(**{**used, **overrides})
        except ValidationError as error:
            first = error.errors()[0]
            raise HarnessError(
                f"scheduler setting {first['loc'][0]}={first['input']!r} "
                f"{first['msg'].removeprefix('Input ')}"
            ) from None


def unet_abilities(config: Mapping[str, Any]) -> frozenset[str]:
    """The abilities of a U-Net: all where its time embedding is added to every pixel, once."""
    added = (
        config.get("resnet_time_scale_shift", "default") == "default"
        and config.get("time_embedding_type", "positional") == "positional"
        and config.get("class_embed_type") != "timestep"
        and not config.get("class_embeddings_concat")
    )
    return PIXEL_ABILITIES if added else PIXEL_ABILITIES - {"pixel levels"}
