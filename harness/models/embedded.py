"""Models that ship with the package: the miniature Stable Diffusion and two EDM networks."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from harness.models.base import MODELS, ModelEntry
from harness.models.edm.entries import edm_entry, safetensors_entry
from harness.models.pipelines.configurations import PIXEL_ABILITIES
from harness.models.pipelines.local import fingerprint, load_folder, read_ladders

_FOLDER = Path(__file__).parent / "shapes" / "pipeline"
_EDM = Path(__file__).parent / "shapes_edm"

MODELS.add(
    "shapes",
    ModelEntry(
        name="shapes",
        title="embedded miniature Stable Diffusion (64x64 coloured shapes)",
        source="ships with the package",
        licence="Apache-2.0",
        size=(64, 64),
        size_multiple=8,
        steps=20,
        guidance=5.5,
        batch_size=32,
        abilities=PIXEL_ABILITIES,
        revision=lambda: fingerprint(_FOLDER),
        ladders=lambda overrides: read_ladders(_FOLDER, overrides),
        load=lambda request: load_folder(request, _FOLDER, "shapes"),
        pipeline=True,
        decoder=True,
    ),
)


def _edm(name: str, file: str, title: str, classes: int) -> None:
    @cache
    def stored() -> ModelEntry:  # which builds the network
        return safetensors_entry(_EDM / f"{file}.safetensors", name)

    MODELS.add(
        name,
        edm_entry(
            name,
            side=32,
            classes=classes,
            title=title,
            source="ships with the package",
            licence="Apache-2.0",
            steps=18,
            batch_size=64,
            dtype="float32",
            revision=lambda: stored().revision(),
            ladders=lambda overrides: stored().ladders(overrides),
            load=lambda request: stored().load(request),
        ),
    )


_edm("shapes-edm", "cond", "embedded EDM network (32x32 coloured shapes, 48 classes)", 48)
_edm("shapes-edm-uncond", "uncond", "its unconditional partner, to guide away from", 0)
