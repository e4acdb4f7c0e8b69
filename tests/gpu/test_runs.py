"""Runs on a card: too little memory, and two processes on one card."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.core.shards import Prompt, plan_shards
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.store.pictures import decode
from harness.store.run import Run
from tests.gpu.cards import CAPTIONS, CARD, DEVICE, opened


def _made(folder: Path, batch: int | None, side: int = 256) -> torch.Tensor:
    """32 pictures of one run, made at most `batch` at a time, or as many as fit; [32, 3, H, W]."""
    planned = plan("shapes", "ddim(steps=3)", size=(side, side), dtype="float32", device=DEVICE)
    settings = Settings(DEVICE, 1, batch)
    prompts = [Prompt(str(i), CAPTIONS[i % 3]) for i in range(32)]
    run = open_run(planned, str(folder), settings)
    generate(((planned, run, shard) for shard in plan_shards(prompts, [0])), settings)
    images = Run.open(str(folder)).frame("images")
    assert images["failed"].isna().all()
    cells = images["image"]
    return torch.stack([torch.as_tensor(decode(cell["bytes"])).double() for cell in cells])


def _needed(folder: Path, batch: int) -> tuple[int, torch.Tensor]:
    """The bytes that a run needs beside what is allocated before it and after, and its pictures."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    pictures = _made(folder, batch)
    most = torch.cuda.max_memory_allocated()
    gc.collect()
    return most - torch.cuda.memory_allocated(), pictures


def _cramped(folder: Path, room: float) -> torch.Tensor:
    """The pictures of a run with `room` bytes more than are reserved now."""
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + room) / total)
    try:
        return _made(folder, 32)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.skipif(not CARD, reason="needs an NVIDIA GPU")
def test_a_batch_that_does_not_fit_is_halved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The card is made smaller for this process until 32 pictures do not fit.

    How small it must be shows by trying: 32 may need far less than they took, since convolutions
    use more memory where there is room.
    """
    opened.cache_clear()  # memory that others hold has gaps, in which there is room
    little, expected = _needed(tmp_path / "four", 4)
    much, _ = _needed(tmp_path / "all", 32)
    assert much > 1.5 * little
    room, least = float(much), little / 8
    while room > least and "out of memory at a batch of 32" not in caplog.text:
        room *= 0.75
        found = _cramped(tmp_path / f"{room:.0f}", room)
    assert "out of memory at a batch of 32" in caplog.text
    # another batch is another kernel: pixels at the edge of two whole numbers may differ
    assert float((found - expected).abs().max()) <= 1
    assert float((found - expected).abs().mean()) < 0.01


def _command(folder: Path, *launcher: str) -> list[str]:
    prompts = folder.parent / "prompts.txt"
    prompts.write_text("\n".join(f"a {c} {f}" for c in ("red", "blue") for f in _FORMS))
    device = "cuda:0" if CARD else "cpu"
    return [sys.executable, *launcher, "-m", "harness", "generate", "--model", "shapes",
            "--sampler", "ddim(steps=4, eta=1)", "--prompts", str(prompts), "--seeds", "0-5",
            "--batch-size", "4", "--device", device, "--out", str(folder)]  # fmt: skip


_FORMS = ("circle", "square", "triangle", "star")


def _images(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "images").glob("*.parquet"))}


def test_two_processes_on_one_card_give_the_bytes_of_one(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for name, start in (("one", []), ("two", launcher)):
        command = _command(tmp_path / name, *start)
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=200, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert len(_images(tmp_path / "one")) == 6
    assert _images(tmp_path / "two") == _images(tmp_path / "one")


@pytest.mark.skipif(not CARD, reason="needs an NVIDIA GPU")
def test_an_automatic_batch_fits_a_card_that_is_almost_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run chooses a batch that fits the first time, and a smaller one in less room."""
    opened.cache_clear()
    sizes = []
    for name, room in (("much", 8 * 2**30), ("little", 2**28)):
        gc.collect()
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
        assert free > room
        held = torch.empty(free - room, dtype=torch.uint8, device=DEVICE)
        try:
            assert len(_made(tmp_path / name, None)) == 32
        finally:
            del held
        timing = Run.open(str(tmp_path / name)).frame("timing")
        sizes.append(max(max(row) for row in timing["batch_images"]))
    print(f"images at once in 8 GiB and in 256 MiB: {sizes}")
    assert sizes[0] >= sizes[1] >= 1
    assert "out of memory" not in caplog.text
