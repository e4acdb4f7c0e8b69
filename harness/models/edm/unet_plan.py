"""The order and the widths of a U-Net's blocks, which all networks of EDM and EDM2 share.

A block is (name as in published checkpoints, resolution, channels in, channels out).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

PlannedBlock = tuple[str, int, int, int]


def encoder_plan(
    resolution: int, width: int, widths: Sequence[int], blocks: int
) -> Iterator[PlannedBlock]:
    """From `width` channels down through the levels of `widths`, `blocks` at each."""
    for level, wanted in enumerate(widths):
        side = resolution >> level
        if level:
            yield f"{side}x{side}_down", side, width, width
        for index in range(blocks):
            yield f"{side}x{side}_block{index}", side, width, wanted
            width = wanted


def decoder_plan(
    resolution: int, widths: Sequence[int], blocks: int, skips: list[int]
) -> Iterator[PlannedBlock]:
    """Back up, one block more a level; each takes in what the encoder left, whose channels are
    `skips`: the last first, which are used up."""
    width, deepest = widths[-1], len(widths) - 1
    for level in range(deepest, -1, -1):
        side = resolution >> level
        for name in ("in0", "in1") if level == deepest else ("up",):
            yield f"{side}x{side}_{name}", side, width, width
        for index in range(blocks + 1):
            yield f"{side}x{side}_block{index}", side, width + skips.pop(), widths[level]
            width = widths[level]
