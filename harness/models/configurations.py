"""The small configuration files of a pipeline folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import HarnessError


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file of a pipeline folder."""
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        raise HarnessError(f"{path.parent} is not a diffusers pipeline: no {path.name}") from None
    except (ValueError, OSError) as error:
        raise HarnessError(f"cannot read {path}: {error}") from None


def read_scheduler(folder: Path) -> dict[str, Any]:
    """`scheduler_config.json` as it is: a loaded scheduler's config is filled with its class's
    defaults, which are not the checkpoint's."""
    return read_json(folder / "scheduler" / "scheduler_config.json")
