"""The table of pairs: kept in parts, whatever the types of its texts, and read as far as asked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.store import pair_table
from harness.store.pair_table import PairTable
from harness.store.result_columns import PAIRS
from harness.store.results import typed


@pytest.fixture
def frame() -> pd.DataFrame:
    count = 30
    return typed(
        {
            "comparison": np.repeat(["own", "cost"], 15),
            "metric": np.tile(np.repeat(["good", "other", "good"], 5), 2),
            "item_id": [f"p{i}/0" for i in range(count)],
            "prompt_id": [f"p{i}" for i in range(count)],
            "seed": 0,
            "a_value": np.arange(count) / 3,
            "outcome": 1.0,
        },
        PAIRS,
    )


def test_parts_are_of_one_comparison_and_metric_and_no_longer_than_a_block(
    frame: pd.DataFrame, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_table, "ROWS", 3)
    path = str(tmp_path / "pairs.parquet")
    PairTable.of(frame).write(path)
    stored = PairTable.stored(path)
    assert stored is not None
    assert [len(part) for part in stored.parts] == 6 * [3, 2]
    for part in stored.parts:
        rows = part.table(["comparison", "metric"]).to_pylist()
        assert {tuple(row.values()) for row in rows} == {(part.comparison, part.metric)}
    pd.testing.assert_frame_equal(stored.whole, frame)


def test_what_is_asked_for_is_what_the_whole_frame_holds(frame: pd.DataFrame) -> None:
    table = PairTable.of(frame)
    asked = frame[(frame["comparison"] == "cost") & (frame["metric"] == "other")]
    found = table.frame("cost", "other", ["item_id", "a_value"])
    assert found.to_dict("list") == asked[["item_id", "a_value"]].to_dict("list")
    some = table.frame(items=["p3/0", "p21/0", "none"])
    assert some["item_id"].tolist() == ["p3/0", "p21/0"]
    assert table.without("own").plus(frame[:5]).whole["item_id"].tolist()[-5:] == [
        f"p{i}/0" for i in range(5)
    ]
