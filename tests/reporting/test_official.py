"""The official codes' counts, as their specifications and recorded runs give them."""

from __future__ import annotations

import pytest

from harness.core.call import parse_call
from harness.engine.probes.coefficients import sampler_coefficients
from harness.engine.resolve import resolve
from harness.models.load import find
from harness.reporting.official import official_count


@pytest.mark.parametrize(
    ("model", "text", "count"),
    [
        ("shapes", "zigzag(steps=10, guidance=5.5)", 56),
        ("shapes", "zigzag(steps=50, guidance=5.5)", 296),
        ("shapes", "zigzag(steps=10, guidance=1)", 28),
        ("shapes", "w2sd(steps=50, guidance=5.5)", 296),
        ("shapes", "restart(steps=30, guidance=2)", 62),
        ("shapes", "restart(steps=30, guidance=3)", 64),
        ("shapes", "restart(steps=30, guidance=8)", 64),
        ("gmm", "restart(steps=18, guidance=1, intervals=[[3, 2, 0.06, 0.30]])", 43),
        ("gmm", "restart(steps=18, guidance=1, intervals=[[3, 20, 0.06, 0.30]])", 115),
        ("shapes", "asyndm(steps=6, guidance=5)", 6),
        ("shapes", "asyndm(steps=6, guidance=5, mask=static)", 12),
        ("shapes", "ddim(steps=6, guidance=5)", None),
    ],
)
def test_counts_are_the_published_ones(model: str, text: str, count: int | None) -> None:
    call = resolve(parse_call(text), {})
    calls = len(sampler_coefficients(find(model).ladders({}), call).step)
    assert official_count(call, calls) == count
    assert official_count(call, None) is None
