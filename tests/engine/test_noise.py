from __future__ import annotations

import pytest
import torch

from harness.core.errors import HarnessError
from harness.engine.noise import NoiseStreams, RecordedNoise, stream_key


def _draws(keys: list[int], count: int = 3) -> list[torch.Tensor]:
    streams = NoiseStreams(keys, (4, 2, 2), dtype=torch.float64)
    return [streams() for _ in range(count)]


def test_a_sample_draws_the_same_in_any_batch() -> None:
    together = _draws([5, 6, 7])
    for row, key in enumerate([5, 6, 7]):
        for mine, alone in zip(together, _draws([key]), strict=True):
            assert torch.equal(mine[row], alone[0])


def test_the_first_draw_is_float32_and_later_ones_have_the_state_dtype() -> None:
    assert [draw.dtype for draw in _draws([1])] == [torch.float32, torch.float64, torch.float64]


def test_seed_keys_reproduce_the_papers_generators() -> None:
    expected = torch.randn((1, 4, 2, 2), generator=torch.Generator().manual_seed(42))
    assert torch.equal(_draws([stream_key("seed", "any", 42, 9)], 1)[0], expected)
    assert stream_key("seed", "any", 2**32 + 1, 0) == 1


def test_keys_depend_on_what_they_are_named_after() -> None:
    assert stream_key("prompt", "a", 0, 0) == stream_key("prompt", "a", 0, 5)
    assert len({stream_key("prompt", text, seed, 0) for text in "ab" for seed in (0, 1)}) == 4
    assert stream_key("index", "a", 0, 3) == stream_key("index", "b", 0, 3) == 3


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    _draws([1])
    assert torch.equal(before, torch.random.get_rng_state())


def test_recorded_noise_is_served_in_order_and_counted() -> None:
    noise, draws = torch.zeros(2, 1, 2, 2), torch.ones(1, 2, 1, 2, 2)
    recorded = RecordedNoise(noise, draws, "cpu")
    assert torch.equal(recorded(), noise)
    with pytest.raises(HarnessError, match="1 recorded draws were not used"):
        recorded.close()
    assert torch.equal(recorded(), draws[0])
    recorded.close()
    with pytest.raises(HarnessError, match="asks for draw 2, the noise file holds 1"):
        recorded()


def test_integers_come_from_each_samples_own_stream_after_its_noise() -> None:
    together = NoiseStreams([5, 6, 7], (4, 2, 2), dtype=torch.float64)
    together()
    drawn = together.integers(1000)
    for row, key in enumerate([5, 6, 7]):
        generator = torch.Generator().manual_seed(key)
        torch.randn((1, 4, 2, 2), generator=generator)
        assert drawn[row] == torch.randint(1000, (1,), generator=generator)[0]


def test_a_draw_that_goes_by_is_made_only_for_a_later_one() -> None:
    expected = _draws([5], 4)
    streams = NoiseStreams([5], (4, 2, 2), dtype=torch.float64)
    assert torch.equal(streams(), expected[0])
    before = streams._generators[0].get_state()
    streams.skip()
    streams.skip()
    assert torch.equal(streams._generators[0].get_state(), before)
    assert torch.equal(streams(), expected[3])
