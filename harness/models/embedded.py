"""`shapes`: the miniature Stable Diffusion that ships with the package."""

from __future__ import annotations

from pathlib import Path

from harness.models.base import MODELS
from harness.models.local import folder_entry

_FOLDER = Path(__file__).parent / "shapes" / "pipeline"

MODELS.add(
    "shapes",
    folder_entry(
        _FOLDER,
        "shapes",
        steps=20,
        guidance=5.5,
        batch_size=32,
        title="embedded miniature Stable Diffusion (64x64 coloured shapes)",
        source="ships with the package",
        licence="Apache-2.0",
    ),
)
