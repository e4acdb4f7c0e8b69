from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from harness.core.call import parse_call
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.engine.rehearsal import rehearse
from harness.engine.resolve import resolve
from harness.models.edm.pfgmpp import jump, spread
from harness.models.load import find, load

NET = Path(__file__).parent.parent / "golden" / "restart" / "nets" / "samp_pfgmpp.safetensors"
RESTART = "restart(steps=5, intervals=[[3, 2, 0.1, 5.0]])"


@pytest.mark.parametrize(("numbers", "extra"), [(12, 4), (12, 200), (192, 128)])
def test_first_states_follow_the_papers_law(numbers: int, extra: int) -> None:
    """|x|^2 / (|x|^2 + D) is Beta(N/2, D/2) distributed, in any direction."""
    noise = torch.randn(4000, numbers, generator=torch.Generator().manual_seed(0)).double()
    states = spread(noise, extra)
    square = states.square().sum(1)
    share = (square / (square + extra)).numpy()
    assert stats.kstest(share, stats.beta(numbers / 2, extra / 2).cdf).pvalue > 1e-3
    ratio = states / noise
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))


def test_first_states_are_gaussian_for_many_extra_dimensions() -> None:
    noise = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(spread(noise, 10**9), noise, rtol=1e-3, atol=0)


def test_first_states_are_finite_far_out() -> None:
    for scale in (0.9, 1.1):
        states = spread(scale * torch.ones(1, 3, 64, 64, dtype=torch.float64), 128)
        assert states.isfinite().all()
        assert states.abs().min() > 0


def test_a_jump_ends_at_the_asked_level() -> None:
    """By hand: the point moved along its line is at the distance of the higher level."""
    low, high = torch.tensor(0.5, dtype=torch.float64), torch.tensor(3.0, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn: list[torch.Tensor] = []

    def noise(shape: Any) -> torch.Tensor:
        drawn.append(torch.randn(4, *shape, generator=generator, dtype=torch.float64))
        return drawn[-1]

    x = torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64)
    moved = (jump(x, low, high, noise, 16) - x).flatten(1)
    place, line = drawn
    length = (moved / line[:, :12])[:, :1]  # the same for each coordinate
    torch.testing.assert_close(length * line[:, :12], moved)
    place = place / place.norm(dim=1, keepdim=True) * low * 4
    distance = (place + length * line[:, 12:]).norm(dim=1)
    torch.testing.assert_close(distance, (high * 4).expand(4))
    drawn.clear()
    generator.manual_seed(0)
    again = torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64)
    half = (jump(again, low, high, noise, 16, scale=0.5) - again).flatten(1)
    torch.testing.assert_close(half, moved / 2)


def test_a_jump_is_gaussian_for_many_extra_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    low, high = torch.tensor(1.0), torch.tensor(2.0)
    x = jump(
        torch.zeros(2000, 4),
        low,
        high,
        lambda shape: torch.randn(2000, *shape, generator=generator),
        20_000,
    )
    assert x.std() == pytest.approx(sqrt(3), rel=0.03)
    assert stats.kstest(x.flatten().numpy() / sqrt(3), "norm").pvalue > 1e-3


def test_restart_does_not_depend_on_the_batch() -> None:
    """In the published code it does: its jump draws from one generator for all."""
    model = load(str(NET))

    def draw(seeds: list[int]) -> torch.Tensor:
        noise = NoiseStreams(seeds, (3, 8, 8), dtype=model.state_dtype)
        call = resolve(parse_call(RESTART), {})
        return Ensemble(model).run(call, [""] * len(seeds), [None] * len(seeds), noise).native

    together = draw([1, 2, 3])
    assert together.isfinite().all()
    torch.testing.assert_close(draw([2]), together[1:2], rtol=0, atol=1e-4)
    assert np.unique(together[:, 0, 0, 0]).size == 3


def test_the_dry_run_knows_the_jump() -> None:
    entry = find(str(NET))
    _, evaluations = rehearse(entry.ladders({}), resolve(parse_call(RESTART), {}))
    assert evaluations["main", "cond"] == 9 + 2 * 4
