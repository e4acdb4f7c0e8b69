"""Which metrics judge by one network, so that none chooses what another of them judges."""

from __future__ import annotations

import pytest

from harness.metrics.base import METRICS, make_metric
from harness.metrics.common_network import common_network


@pytest.mark.parametrize(
    ("verifier", "judge"),
    [
        ("hpsv2", "hpsv2.1"),
        ("hpsv2.1", "hpsv2"),
        ("pickscore", "hpsv2"),
        ("clip", "aesthetic"),
        ("clip", "diversity-clip"),
        ("aesthetic", "clip(model=ViT-L-14-336)"),
        ("clip(model=ViT-H-14, pretrained=laion2b_s32b_b79k)", "pickscore"),
        ("clip(model=ViT-B-32)", "clip"),  # the judge's name, whatever its parameters
        ("shapes-clip", "shapes-diversity"),
        ("shapes-exact", "shapes-alignment"),
        ("imagereward", "imagereward"),
        ("contrast", "contrast"),
    ],
)
def test_one_network_does_not_choose_and_judge(verifier: str, judge: str) -> None:
    reason = common_network(make_metric(verifier), make_metric(judge))
    assert reason is not None
    assert make_metric(judge).name in reason


@pytest.mark.parametrize(
    ("verifier", "judge"),
    [
        ("shapes-clip", "shapes-alignment"),
        ("shapes-clip", "shapes-fd"),
        ("imagereward", "hpsv2.1"),
        ("clip", "hpsv2"),
        ("clip-g", "pickscore"),
        ("clip(model=ViT-B-32)", "aesthetic"),
        ("contrast", "saturation"),  # none has a network
        ("saturation", "shapes-alignment"),
    ],
)
def test_another_network_may(verifier: str, judge: str) -> None:
    assert common_network(make_metric(verifier), make_metric(judge)) is None


def test_every_metric_says_what_network_it_has() -> None:
    own = {name for name, cls in METRICS if cls.__module__.startswith("harness.metrics.")} - {"fd"}
    without = {name for name in own if make_metric(name).family is None}
    assert without == {"saturation", "contrast", "reference_error"}
