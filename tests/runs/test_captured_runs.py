"""Runs of a captured pipeline: what is recorded of it, and its two numbers of guidance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.comparison.guidance_scales import guidance_scale
from harness.core.errors import HarnessError
from tests.models.tiny_captured import flux, z_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flux") / "tiny-flux"
    flux().save_pretrained(path)
    return path


def _run(folder: Path, sampler: str, results: Path, settings: str = "") -> Any:
    prompts = results / "prompts.txt"
    prompts.write_text("a red cat\na blue dog on the house\n")
    return harness.generate(
        sampler,
        model=f"{folder}{settings}",
        prompts=prompts,
        results=str(results),
        size=(64, 64),
        workers=1,
    )


def test_a_run_records_the_self_check_and_both_guidance_scales(
    folder: Path, tmp_path: Path
) -> None:
    run = _run(folder, "ddim(steps=2, guidance=2)", tmp_path)
    record = json.loads((Path(run.path) / "run.json").read_text())
    assert record["spec"]["model"] == "tiny-flux(distilled_guidance=3.5)"
    assert record["pipeline"]["distilled guidance"] == 3.5
    checked = record["pipeline"]["self-check"]
    assert checked["error"] < checked["tolerance"] == 1e-4
    scale = guidance_scale(run)
    assert (scale.value, scale.declared) == (pytest.approx(2), False)
    assert run.images()["nfe"].tolist() == [4, 4]
    other = _run(folder, "ddim(steps=2, guidance=2)", tmp_path, "(distilled_guidance=1.5)")
    assert other.spec.run_id != run.spec.run_id
    assert not (Path(other.path) / "images").samefile(Path(run.path) / "images")


def test_a_size_that_it_does_not_make_is_refused_before_work(folder: Path) -> None:
    with pytest.raises(HarnessError, match="must be multiples of 16"):
        harness.sample("ddim(steps=2)", model=str(folder), prompt="a red cat", size=(72, 64))


SAMPLERS = [
    "zigzag(steps=3, guidance=3)",
    "restart(steps=4, guidance=3, intervals=[[3, 1, 0.3, 2.0]])",
    "dpmpp_2m(steps=4, guidance=3)",
]
TEXTS = ["a red cat on the house", "blue dog", "the table"]


@pytest.fixture(scope="module")
def folders(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Prompts of several lengths together (FLUX), and one by one (Z-Image)."""
    path = tmp_path_factory.mktemp("z-image") / "tiny-z-image"
    z_image().save_pretrained(path)
    return {"flux": folder, "z-image": path}


@pytest.mark.parametrize("name", ["flux", "z-image"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_picture_does_not_depend_on_its_batch(
    sampler: str, name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    """Rounding alone: float32, some tens of evaluations; the largest seen is 9e-7."""

    def latents(texts: list[str], batch: int) -> Any:
        file = tmp_path / f"{batch}.npz"
        about = {"size": 64, "latents": file, "batch_size": batch, "noise_key": "prompt"}
        harness.sample(sampler, model=str(folders[name]), prompt=texts, **about)  # type: ignore[arg-type]
        with np.load(file) as arrays:
            return arrays["latents"]

    alone, together = latents(TEXTS, 1), latents(TEXTS, 3)
    assert np.abs(alone - together).max() < 2e-5 * np.abs(alone).max()
    assert np.abs(alone[0] - alone[1]).max() > 0.1


def test_two_ranks_make_the_same_bytes_as_one(folder: Path, tmp_path: Path) -> None:
    """The shards' batches are the same whoever makes them, so bits are equal."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(TEXTS))

    def pictures(name: str, *parts: str | None) -> dict[str, bytes]:
        for part in parts:
            run: Any = harness.generate(
                "zigzag(steps=2, guidance=3)",
                model=str(folder),
                prompts=prompts,
                seeds="0-1",
                size=64,
                out=tmp_path / name,
                shard=part,
            )
        rows = [row for shard in run.shards() for row in run.read("images", shard).to_pylist()]
        return {row["item_id"]: row["image"]["bytes"] for row in rows}

    one, two = pictures("one", None), pictures("two", "0/2", "1/2")
    assert len(one) == 2 * len(TEXTS) == len(set(one.values()))
    assert one == two
