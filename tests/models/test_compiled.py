"""Compiled networks against plain ones; most by a backend that counts graphs and runs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from harness.core.errors import HarnessError
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.models.compiled import (
    SMALL,
    Compiled,
    is_small,
    padded,
    repeated_blocks,
)
from harness.runs.loaded import open_models
from harness.runs.plan import PlannedRun, plan

ROUNDING = 1e-4
"""Of latents, relative: inductor's order of sums; it was 8e-6, and 2e-6 where only rows are
added."""


@dataclass
class Counting:
    """A backend of torch.compile that runs graphs as they are, unless it `fails` on one."""

    fails: Callable[[int], bool] = lambda number: False
    rows: list[int] = field(default_factory=list)

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.rows.append(int(inputs[0].shape[0]))
        if self.fails(len(self.rows)):
            raise RuntimeError("no such kernel")
        return graph.forward


@pytest.fixture(scope="module")
def shapes_ensemble() -> Ensemble:
    return open_models(plan("shapes", "ddim(steps=2)"), "cpu")


def _drawn(ensemble: Ensemble, job: PlannedRun, count: int, size: int) -> torch.Tensor:
    """`count` latents, at most `size` at a time."""
    model: Any = ensemble.model
    parts = []
    for first in range(0, count, size):
        keys = list(range(first, min(first + size, count)))
        shape = model.latent_shape(job.spec.size)
        noise = NoiseStreams(keys, shape, dtype=model.state_dtype)
        texts = [f"class {key}" if model.classes else "a red circle" for key in keys]
        made = ensemble.run(job.spec.sampler, texts, [None] * len(keys), noise)
        assert all(len(counts) == len(keys) for counts in made.evaluations.values())
        parts.append(made.native)
    return torch.cat(parts)


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    a, b = (part.double().flatten(1) for part in (one, other))
    return float(((a - b).norm(dim=1) / b.norm(dim=1)).max())


@pytest.fixture(scope="module")
def counted(shapes_ensemble: Ensemble) -> tuple[Compiled, Counting]:
    counting = Counting()
    return Compiled(shapes_ensemble.loaded, backend=counting), counting


@pytest.mark.parametrize(
    "sampler", ["ddim(steps=3)", "zigzag(steps=3)", "heun(steps=3, interval=[0.5, 5])"]
)
def test_compiled_pictures_are_the_plain_ones_by_two_graphs_at_most(
    sampler: str, shapes_ensemble: Ensemble, counted: tuple[Compiled, Counting]
) -> None:
    """Five images in batches of two, the last of which is ragged."""
    compiled, counting = counted
    job = plan("shapes", sampler)
    plain = _drawn(shapes_ensemble, job, 5, 2)
    compiled.fit(2, 2)
    with compiled.at(2):
        found = _drawn(shapes_ensemble, job, 5, 2)
    assert _apart(found, plain) < ROUNDING
    assert sorted(counting.rows) in ([4], [2, 4])
    assert _apart(_drawn(shapes_ensemble, job, 5, 2), plain) == 0  # and is plain again


def test_a_guide_is_compiled_too() -> None:
    job = plan("shapes-edm", "heun(steps=2, guidance=2)", guide="shapes-edm-uncond")
    ensemble, counting = open_models(job, "cpu"), Counting()
    plain, told = _drawn(ensemble, job, 3, 2), list[str]()
    compiled = Compiled(ensemble.loaded, told.append, counting)
    compiled.fit(2, 2)
    with compiled.at(2):
        found = _drawn(ensemble, job, 3, 2)
    assert _apart(found, plain) < ROUNDING
    assert counting.rows == [2, 2]
    assert len(told) == 2
    assert all(text.startswith("compiled EDMPrecond in ") for text in told)
    assert compiled.taken() > 0
    assert compiled.taken() == 0


def test_blocks_are_compiled_where_the_whole_cannot_be(shapes_ensemble: Ensemble) -> None:
    counting, told = Counting(fails=lambda number: number == 1), list[str]()
    job = plan("shapes", "ddim(steps=2, guidance=1)")
    plain = _drawn(shapes_ensemble, job, 2, 2)
    compiled = Compiled(shapes_ensemble.loaded, told.append, counting)
    compiled.fit(2, 2)
    with compiled.at(2):
        found = _drawn(shapes_ensemble, job, 2, 2)
    blocks = repeated_blocks(shapes_ensemble.model.net)  # type: ignore[attr-defined]
    assert 1 < len(counting.rows) <= 1 + len(blocks)
    assert "block by block" in told[0]
    assert _apart(found, plain) < ROUNDING
    assert "forward" not in vars(blocks[0])


def test_what_cannot_be_compiled_at_all_is_told(shapes_ensemble: Ensemble) -> None:
    counting = Counting(fails=lambda number: True)
    compiled = Compiled(shapes_ensemble.loaded, backend=counting)
    job, text = plan("shapes", "ddim(steps=2, guidance=1)"), "UNet2DConditionModel: no such kernel"
    compiled.fit(2, 2)
    with pytest.raises(HarnessError, match=text), compiled.at(2):
        _drawn(shapes_ensemble, job, 2, 2)
    assert len(counting.rows) == 2  # the whole, and a block
    _drawn(shapes_ensemble, job, 2, 2)


@pytest.mark.long
@pytest.mark.slow
def test_inductor_computes_what_the_plain_network_does(shapes_ensemble: Ensemble) -> None:
    job = plan("shapes", "ddim(steps=3)")
    plain = _drawn(shapes_ensemble, job, 3, 2)
    compiled = Compiled(shapes_ensemble.loaded)
    compiled.fit(3, 2)
    with compiled.at(2):
        found = _drawn(shapes_ensemble, job, 3, 2)
    assert 0 < _apart(found, plain) < ROUNDING


def test_rows_are_added_behind() -> None:
    rows = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(padded(rows, 2), torch.cat([rows, rows[-1:], rows[-1:]]))
    assert padded(rows, 0) is rows
    assert padded(torch.tensor(2.0), 3).ndim == 0


@pytest.mark.parametrize(("count", "most", "size"), [(40, 16, 14), (32, 16, 16), (5, 16, 5)])
def test_batches_are_even(count: int, most: int, size: int) -> None:
    assert Compiled([]).fit(count, most) == size


def test_batches_stay_as_they_are_unless_they_are_too_small_or_large() -> None:
    compiled = Compiled([])
    sizes = [compiled.fit(*asked) for asked in ((5, 8), (3, 8), (8, 8), (3, 8), (8, 4), (2, 8))]
    assert sizes == [5, 5, 8, 8, 4, 4]


def test_small_networks_on_a_gpu_are_cuda_graphs() -> None:
    small = torch.nn.Linear(8, 8, device="meta")
    large = torch.nn.Linear(SMALL // 1000, 1000, device="meta")
    assert is_small(small, torch.device("cuda", 0))
    assert not is_small(large, torch.device("cuda", 0))
    assert not is_small(small, torch.device("cpu"))


def test_what_is_compiled_is_kept_in_the_cache_unless_the_user_names_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = "TORCHINDUCTOR_CACHE_DIR"
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.delenv(variable, raising=False)
    for folder in (None, default_cache_dir()):
        if folder:
            monkeypatch.setenv(variable, folder)
        Compiled([])
        assert os.environ[variable] == str(tmp_path / "compiled")
    monkeypatch.setenv(variable, "/elsewhere")
    Compiled([])
    assert os.environ[variable] == "/elsewhere"
