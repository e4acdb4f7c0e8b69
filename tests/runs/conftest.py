"""A run of eight shards by one process, which any other way to start processes has to equal."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness


def shard_bytes(folder: Path) -> dict[str, bytes]:
    """The files of a run's pictures by name."""
    found = {path.name: path.read_bytes() for path in sorted(folder.glob("images/*.parquet"))}
    assert found
    return found


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text("\n".join(f"class {n}" for n in range(10)))
    return path


@pytest.fixture(scope="module")
def expected(prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("alone")
    harness.generate(
        "ddim(steps=3, eta=1)", model="gmm", prompts=prompts, seeds="0-7", device="cpu", out=out
    )
    found = shard_bytes(out)
    assert len(found) == 8
    return found
