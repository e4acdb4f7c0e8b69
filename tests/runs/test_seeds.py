"""Seeds in the order named, seeds above 32 bits, and pictures that would be one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.core.errors import HarnessError
from harness.engine.noise import check_seeds

BIG = 2**32 + 3


def _latents(folder: Path, **asked: object) -> dict[str, np.ndarray]:
    file = folder / "latents.npz"
    asked = {"model": "gmm", "class_": 1, "latents": file, **asked}
    harness.sample("heun(steps=2, guidance=1)", **asked)  # type: ignore[arg-type]
    with np.load(file) as arrays:
        return dict(arrays)


def test_sample_keeps_the_seeds_order_and_writes_them(tmp_path: Path) -> None:
    found, other = (_latents(tmp_path, seed=seed) for seed in ("9,3", "3,9"))
    assert found["seeds"].tolist() == [9, 3]
    np.testing.assert_array_equal(found["latents"][::-1], other["latents"])
    assert not np.array_equal(found["latents"][0], found["latents"][1])
    recorded = tmp_path / "noise.npz"
    np.savez(recorded, noise=np.zeros((1, *found["latents"].shape[1:]), np.float32))
    assert "seeds" not in _latents(tmp_path, noise=recorded)


def test_seeds_above_32_bits_are_taken_modulo_them(tmp_path: Path) -> None:
    found, small = (_latents(tmp_path, seed=seed) for seed in (BIG, 3))
    assert found["seeds"].tolist() == [BIG]
    np.testing.assert_array_equal(found["latents"], small["latents"])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"seed": f"3,{BIG}"}, f"seeds 3 and {BIG} are of equal noise"),
        ({"seed": BIG, "noise_key": "prompt"}, "noise_key=seed takes it modulo"),
        ({"seed": "4,3", "noise_key": "index"}, "pictures 1 and 2 would be the same"),
        ({"class_": [1, 1]}, "pictures 1 and 2 would be the same"),
    ],
)
def test_what_has_no_noise_of_its_own_is_refused(
    asked: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(HarnessError, match=words):
        _latents(tmp_path, **asked)


def test_a_run_takes_large_seeds_where_its_noise_is_the_seeds(tmp_path: Path) -> None:
    def make(seeds: str, noise_key: str = "seed") -> harness.Run:
        return harness.generate(  # type: ignore[return-value]
            "heun(steps=2, guidance=1)",
            model="gmm",
            prompts="unprompted",
            seeds=seeds,
            noise_key=noise_key,
            out=tmp_path / f"run-{seeds}-{noise_key}",
        )

    big, small = (
        {row["seed"]: row["image"]["bytes"] for row in _rows(make(seeds))}
        for seeds in (str(BIG), "3")
    )
    assert big[BIG] == small[3] != small[2]
    for seeds, noise_key, words in (
        (str(BIG), "prompt", "takes none that large"),
        (f"3,{BIG}", "seed", "equal noise"),
    ):
        with pytest.raises(HarnessError, match=words):
            make(seeds, noise_key)
        with pytest.raises(HarnessError, match=words):
            harness.bench(
                "heun(guidance=1)",
                bench=_benchmark(tmp_path, noise_key),
                seeds=seeds,
                results=tmp_path / "results",
            )


def _rows(run: harness.Run) -> list[dict[str, Any]]:
    return [row for name in run.shards() for row in run.read("images", name).to_pylist()]


def _benchmark(folder: Path, noise_key: str) -> str:
    path = folder / f"{noise_key}.yaml"
    path.write_text(
        "title: t\nmodel: gmm\nprompts: unprompted\nmetrics: [contrast]\ncandidate: heun\n"
        f"steps: 2\nbaseline: ddim(guidance=1)\nnoise_key: {noise_key}\n"
    )
    return str(path)


def test_small_seeds_are_of_every_key() -> None:
    for noise_key in ("prompt", "seed", "index"):
        check_seeds([0, 7, 2**32 - 1], noise_key)
