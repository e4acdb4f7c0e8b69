"""An interval as a small bar of characters, for a terminal."""

from __future__ import annotations

from harness.store.results import Estimate


def interval_bar(
    estimated: Estimate, ends: tuple[float, float], cells: int = 7, middle: bool = True
) -> str:
    """A line over the interval and a dot at the value, on a scale from one end to the other.

    With `middle`, a small dot marks the scale's.
    """
    low, high = ends
    shown = [" "] * cells
    if middle:
        shown[cells // 2] = "\N{MIDDLE DOT}"

    def place(value: float) -> int:
        if high <= low:
            return cells // 2
        at = round((cells - 1) * (value - low) / (high - low))
        return min(max(at, 0), cells - 1)

    if estimated.ends:
        for at in range(place(estimated.ends[0]), place(estimated.ends[1]) + 1):
            shown[at] = "\N{BOX DRAWINGS LIGHT HORIZONTAL}"
    if estimated.value is not None:
        shown[place(estimated.value)] = "\N{BLACK CIRCLE}"
    return "".join(shown)


def reach(rates: list[Estimate]) -> float:
    """How far rates or their intervals go from one half."""
    ends = [end for one in rates for end in (one.value, one.low, one.high) if end is not None]
    return max((abs(end - 0.5) for end in ends), default=0.0)
