"""Words of reports that once misled."""

from __future__ import annotations

import pytest

from harness.reporting import words
from harness.reporting.survey_page import _by_verdict
from harness.store.results import Estimate
from harness.store.survey_table import Rate


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.5002, 0.537, "[50.02, 53.7]"),
        (0.463, 0.49996, "[46.3, 49.996]"),
        (0.5, 0.51, "[50.0, 51.0]"),
        (0.0, 1.0, "[0.0, 100.0]"),
    ],
)
def test_an_interval_that_leaves_out_one_half_does_not_show_50(
    low: float, high: float, text: str
) -> None:
    assert words.bounds(Estimate(0.5, low, high, 10)) == text


def test_a_label_with_a_comma_is_not_two() -> None:
    def rate(verdict: str) -> Rate:
        return Rate("own", "m", 0.4, 0.3, 0.45, 10, verdict, None, 20.0)

    listed = [("DDIM, APG", rate("loses")), ("Heun", rate("loses")), ("UniPC", rate("wins"))]
    assert _by_verdict(listed) == 'loses: "DDIM, APG", Heun; wins: UniPC'
