"""Runs of versions that cut all shards to one size are gone on with, and compared with others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.runs.folder import Settings, open_run
from harness.runs.plan import plan
from harness.store.inspection import inspect_run
from harness.store.run import Run


@pytest.fixture
def how(tmp_path: Path) -> dict[str, Any]:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("class 0\nclass 1\n")
    return {"model": "gmm", "prompts": prompts, "device": "cpu"}


def begun_before(out: Path, sampler: str) -> None:
    """As an earlier version would have: its record says nothing of shards."""
    run = open_run(plan("gmm", sampler), str(out), Settings())
    record = {key: value for key, value in run.record.items() if key != "shards"}
    (out / "run.json").write_text(json.dumps(record))


def items(run: Run) -> list[str]:
    return sorted(run.images()["item_id"])


def test_an_earlier_run_keeps_its_shards_and_is_compared(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    begun_before(tmp_path / "old", "zigzag(steps=2)")
    old = harness.generate("zigzag(steps=2)", seeds="0-19", out=tmp_path / "old", **how)
    assert len(old.shards()) == 20
    old = harness.generate("zigzag(steps=2)", seeds="0-40", out=tmp_path / "old", **how)
    assert old.shards() == [f"part-{seed:05d}-00000" for seed in range(41)]
    new = harness.generate("ddim(steps=2)", seeds="0-40", out=tmp_path / "new", **how)
    assert len(new.shards()) == 27
    assert items(new) == items(old)
    for run in (old, new):
        assert inspect_run(run)[0] == []
        harness.evaluate(run, "contrast", device="cpu")
    rates = harness.compare(old, new, metrics="contrast").rates
    assert rates["pairs"].tolist()[0] == 82


def test_guidance_of_an_earlier_run_is_found(tmp_path: Path, how: dict[str, Any]) -> None:
    """Each image's own scale, of a candidate whose shards are others."""
    candidate = tmp_path / plan("gmm", "zigzag(steps=2)").spec.run_id
    begun_before(candidate, "zigzag(steps=2)")
    old = harness.generate("zigzag(steps=2)", seeds="14-18", out=candidate, **how)
    like = f"ddim(steps=2, guidance_like={old.spec.run_id})"
    new = harness.generate(like, seeds="14-18", out=tmp_path / "like", **how)
    assert (len(old.shards()), len(new.shards())) == (5, 4)
    scales = old.images().set_index("item_id")["guidance_scale"]
    made = new.images().set_index("item_id")["guidance_scale"]
    assert made.to_dict() == pytest.approx(scales.to_dict())


def test_more_seeds_and_prompts_join_those_of_their_shard(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    out = tmp_path / "run"
    run = harness.generate("ddim(steps=2)", seeds="16,20", out=out, **how)
    first = run.images()
    run = harness.generate("ddim(steps=2)", seeds="17", limit=1, out=out, **how)
    assert len(run.shards()) == 2
    held = items(run)
    assert len(held) == 6  # what was there at seed 16 is kept, and seed 17 has its prompts
    assert set(first["item_id"]) <= set(held)
    assert inspect_run(run)[0] == []
    whole = harness.generate("ddim(steps=2)", seeds="16-17,20", out=tmp_path / "whole", **how)
    for name in whole.shards():
        assert (
            Path(run.file("images", name)).read_bytes()
            == Path(whole.file("images", name)).read_bytes()
        )
