"""The card never waits for the host while it samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from harness.samplers.base import SAMPLERS
from tests.gpu.cards import ALL_TEXTS, CARD, drawn

WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize")

pytestmark = pytest.mark.skipif(not CARD, reason="needs an NVIDIA GPU")


@contextmanager
def forbidden() -> Iterator[None]:
    """Whatever makes the host wait for the card raises."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def _samplers_never_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sampler's function runs where waiting raises; its set-up and its end may wait."""

    def guarded(run: Any) -> Any:
        def sampler(*arguments: Any, **parameters: Any) -> torch.Tensor:
            with forbidden():
                found: torch.Tensor = run(*arguments, **parameters)
            return found

        return sampler

    for name, entry in list(SAMPLERS):
        monkeypatch.setitem(SAMPLERS._entries, name, replace(entry, run=guarded(entry.run)))


@pytest.mark.usefixtures("_samplers_never_wait")
@pytest.mark.parametrize("name", ALL_TEXTS)
def test_no_sampler_or_policy_waits(name: str) -> None:
    assert bool(drawn(name).isfinite().all())


@pytest.mark.parametrize("name", ALL_TEXTS)
def test_a_batch_waits_once_at_most(name: str) -> None:
    from torch.profiler import ProfilerActivity, profile

    drawn(name)  # prompts are encoded, kernels loaded
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        drawn(name)
    counts = {event.key: event.count for event in found.key_averages()}
    assert sum(counts.get(name, 0) for name in WAITS) <= 1


def test_the_guard_sees_what_waits() -> None:
    with forbidden(), pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones(1, device="cuda").item()
