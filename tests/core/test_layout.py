"""Shards grow with a run, and a longer run has those of a shorter one."""

from __future__ import annotations

import pytest

from harness.core.layout import Layout
from harness.core.shards import Prompt, Shard, plan_shards

SMALL = Layout.for_pictures(64, 64)


def prompts(count: int) -> list[Prompt]:
    return [Prompt(str(i), f"text {i}") for i in range(count)]


def items(shards: list[Shard]) -> list[str]:
    return [item for shard in shards for item in shard.item_ids]


@pytest.mark.parametrize(
    ("pixels", "most"), [(64, 4096), (256, 1024), (512, 256), (1024, 64), (2048, 32)]
)
def test_a_shard_has_at_most_256_mib_of_pixels(pixels: int, most: int) -> None:
    layout = Layout.for_pictures(pixels, pixels)
    assert layout.most == most
    assert layout.size(10**9) == most
    assert most * pixels * pixels * 3 <= 1 << 28 or most == 32


@pytest.mark.parametrize(
    ("texts", "seeds", "files"),
    [(1_000_000, 1, 310), (250_000, 4, 500), (10_000, 100, 1_900), (1_000, 1_000, 1_600)],
)
def test_a_million_images_are_hundreds_of_files(texts: int, seeds: int, files: int) -> None:
    one = prompts(1) * texts  # only their number counts here
    shards = plan_shards(one, range(seeds), SMALL)
    assert len(shards) <= files
    assert sum(shard.count for shard in shards) == texts * seeds
    assert max(shard.count for shard in shards) <= 4096


def test_seeds_alone_grow_too() -> None:
    shards = plan_shards([Prompt("none", "")], range(1_000_000), SMALL)
    assert len(shards) <= 310
    assert [len(shard.at) for shard in shards[:17]] == [32] * 16 + [64]
    assert [shard.seed for shard in shards[-2:]] == [995_328, 999_424]


@pytest.mark.parametrize("layout", [SMALL, Layout.for_pictures(512, 512), Layout()])
def test_every_item_is_in_one_shard_and_a_longer_run_extends_it(layout: Layout) -> None:
    """Shards lie inside those of the longer run of the same name, prompts from the first on."""
    all_prompts, seeds = prompts(2_500), [*range(40), 70, 71, 500]
    whole = {shard.name: shard for shard in plan_shards(all_prompts, seeds, layout)}
    held = items(list(whole.values()))
    assert len(held) == len(set(held)) == 2_500 * len(seeds)
    for count, some in ((700, [0, 70]), (2_048, [33]), (2_499, [*range(20), 500])):
        for shard in plan_shards(all_prompts[:count], some, layout):
            longer = whole[shard.name]
            assert longer.first == shard.first == layout.first(shard.index)
            assert longer.part[: len(shard.part)] == shard.part
            assert set(shard.at) <= set(longer.at)


def test_runs_of_one_size_are_cut_as_they_were() -> None:
    """And a new one is like them up to 512 prompts and 16 seeds."""
    old = plan_shards(prompts(1_100), range(40))
    assert {len(shard.part) for shard in old} == {32, 1_100 % 32}
    assert {shard.at for shard in old} == {(seed,) for seed in range(40)}
    few = plan_shards(prompts(512), range(16))
    assert few == plan_shards(prompts(512), range(16), SMALL)


def test_far_seeds_bring_no_others_with_them() -> None:
    (shard,) = plan_shards(prompts(3), [7_000_001], SMALL)
    assert (shard.at, shard.count) == ((7_000_001,), 3)
    (alone,) = plan_shards([Prompt("none", "")], [7_000_001], SMALL)
    assert alone.count <= 32


def test_places_of_a_block_are_those_of_its_prompts() -> None:
    shards = plan_shards(prompts(40), range(64, 66), SMALL)
    assert [shard.at for shard in shards] == [(64, 65)] * 2
    assert shards[1].places == [*range(32, 40)] * 2
    assert shards[1].seeds == [64] * 8 + [65] * 8
