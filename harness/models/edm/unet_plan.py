"""The order and the widths of a U-Net's blocks, which all networks of EDM and EDM2 share.

A block is (name as in published checkpoints, resolution, channels in, channels out, resampling).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.models.edm.layers import Resampling

PlannedBlock = tuple[str, int, int, int, Resampling | None]


def encoder_plan(
    resolution: int, width: int, widths: Sequence[int], blocks: int
) -> Iterator[PlannedBlock]:
    """The encoder's blocks, from `width` channels down the levels of `widths`, `blocks` at each."""
    for level, wanted in enumerate(widths):
        side = resolution >> level
        if level:
            yield f"{side}x{side}_down", side, width, width, "down"
        for index in range(blocks):
            yield f"{side}x{side}_block{index}", side, width, wanted, None
            width = wanted


def decoder_plan(
    resolution: int, widths: Sequence[int], blocks: int, skips: list[int]
) -> Iterator[PlannedBlock]:
    """The decoder's blocks, back up the levels, `blocks` + 1 at each. Each block's input has a skip
    connection; `skips` are the channels of these, which are popped from the end."""
    width, deepest = widths[-1], len(widths) - 1
    for level in range(deepest, -1, -1):
        side = resolution >> level
        for name in ("in0", "in1") if level == deepest else ("up",):
            yield f"{side}x{side}_{name}", side, width, width, None if level == deepest else "up"
        for index in range(blocks + 1):
            yield f"{side}x{side}_block{index}", side, width + skips.pop(), widths[level], None
            width = widths[level]
