"""The script that sets evaluation beside other programs' loops: its folder, options and table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.perf.evaluate import Contest, make_folder, parse, table
from benchmarks.perf.timing import machine
from harness.runs.importing import import_images
from harness.runs.manifest import Declared


def test_a_gpu_takes_the_published_sizes_and_a_cpu_less() -> None:
    gpu, cpu = parse(["--device", "cuda"]), parse(["--device", "cpu", "--images", "7"])
    assert (gpu.images, gpu.batch, gpu.depth) == (512, 64, 0)
    assert (cpu.images, cpu.batch, cpu.depth) == (7, 16, 1)


def test_the_folder_is_a_run_with_its_prompts(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "few", 6, 32)
    run = import_images(str(folder.path), Declared(), out=str(tmp_path / "run"))
    assert run.frame("images").prompt.tolist() == folder.prompts
    assert len(set(folder.prompts)) == 2


def test_a_row_is_the_median_over_rounds_of_both() -> None:
    contest = Contest("fid", "peer", "network", {"harness": len, "theirs": len})  # type: ignore[dict-item]
    contest.seconds = {
        "harness": [(1.0, 2.0), (2.0, 2.0), (4.0, 2.0)],
        "theirs": [(3.0, 3.0), (3.0, 3.0), (8.0, 5.0)],
    }
    row = contest.row(images=8)
    assert row["images per second"] == 4
    assert row["its images per second"] == pytest.approx(8 / 3)
    assert (row["ratio"], row["ratio of CPU time"]) == (2, 1.5)
    found = {"images": 8, "side": 32, "batch": 2, "rounds": 3, "rows": [row]}
    assert json.loads(json.dumps(row))["rounds"]["harness"][0] == [1.0, 2.0]
    text = table(machine("cpu"), found)
    assert "2.00" in text
    assert "1.50" in text
    assert np.isfinite(row["ratio"])
