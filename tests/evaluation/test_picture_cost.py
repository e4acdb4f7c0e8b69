"""What a metric's look at one picture costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from harness.evaluation.picture_cost import picture_macs
from harness.metrics import ItemMetric, ItemRow
from harness.metrics.base import make_metric
from tests.comparison.synthetic_runs import Item, make_run


class OneLayer(ItemMetric):
    name = "one-layer"
    about = replace(make_metric("contrast").about, name=name, model="a layer of 960 weights")

    def setup(self, device: str) -> None:
        self.layer = torch.nn.Linear(192, 5)

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        return "odd" if row.seed == 0 else None

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[float]:
        return list(self.layer(images.flatten(1).float()).mean(1).tolist())


def test_a_layer_is_counted_as_its_weights(tmp_path: Path) -> None:
    items = [Item("p", 0, failed="blank"), Item("q", 0), Item("q", 1)]  # the first that is scored
    run = make_run(str(tmp_path / "r"), items, side=8)
    assert picture_macs(run, OneLayer()) == (3 * 8 * 8 * 5, None)


def test_what_is_not_known_has_a_reason(tmp_path: Path) -> None:
    none = make_run(str(tmp_path / "none"), [Item("p", 0)], side=8)
    assert picture_macs(none, OneLayer()) == (
        None,
        "one-layer scores none of the run's first pictures",
    )
    contrast = make_metric("contrast")
    assert isinstance(contrast, ItemMetric)
    assert picture_macs(none, contrast) == (0.0, None)
    reward = make_metric("imagereward(checkpoint=/nowhere.pt)")
    assert isinstance(reward, ItemMetric)
    macs, reason = picture_macs(none, reward)
    assert macs is None
    assert "/nowhere.pt" in str(reason)
