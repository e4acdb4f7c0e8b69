"""A run's folder opens in `datasets` as it lies, table by table, by its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import yaml

from harness.core.call import Call
from harness.core.run_spec import RunSpec
from harness.store import card
from harness.store.run import Run
from harness.store.scores import write_features
from tests.comparison.synthetic_runs import Item, make_run, score

ITEMS = [Item(f"p{i:02d}", seed, {"good": float(i)}) for i in range(3) for seed in range(2)]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = make_run(str(tmp_path / "run"), ITEMS, side=8, shard_size=2, guidance=5.0)
    width = np.ones(3, np.float32)
    for shard in made.shards():
        ids = made.read("images", shard)["item_id"].to_pylist()
        features = ("one", [width] * len(ids), 3), ("two", [width[:2]] * len(ids), 2)
        for encoder, rows, count in features:
            write_features(made, encoder, shard, ids, rows, [None] * len(ids), count, {})
    made.update_index()
    return made


def loaded(run: Run, cache: Path, name: str | None = None) -> Any:
    return datasets.load_dataset(run.path, name, split="train", cache_dir=str(cache))


def front(run: Run) -> dict[str, Any]:
    text = Path(run.path, card.NAME).read_text()
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_every_table_of_a_run_opens_by_its_name(run: Run, tmp_path: Path) -> None:
    names = datasets.get_dataset_config_names(run.path)
    assert set(names) == {
        "images", "timing", "guidance", "scores-good", "features-one", "features-two",
    }  # fmt: skip
    kinds = [name.replace("-", "/", 1) for name in names]
    for name, kind in zip(names, kinds, strict=True):
        rows = loaded(run, tmp_path / "cache", name)
        expected = run.frame(kind)
        assert rows.column_names == list(expected.columns)
        assert len(rows) == len(expected) > 0
    images = loaded(run, tmp_path / "cache", "images")
    assert images["prompt"] == run.frame("images")["prompt"].tolist()
    assert images[0]["image"].size == (8, 8)
    assert loaded(run, tmp_path / "cache", "scores-good")["value"] == [0, 0, 1, 1, 2, 2]


def test_images_are_what_a_folder_opens_without_a_name(run: Run, tmp_path: Path) -> None:
    rows = loaded(run, tmp_path / "cache")
    assert rows["item_id"] == run.frame("images")["item_id"].tolist()


def test_without_the_card_it_does_not_open(run: Run, tmp_path: Path) -> None:
    """What the card is for."""
    Path(run.path, card.NAME).unlink()
    with pytest.raises(datasets.exceptions.DatasetGenerationError):
        loaded(run, tmp_path / "cache", "default")


def test_a_new_run_has_a_card_before_it_has_pictures(tmp_path: Path) -> None:
    spec = RunSpec("shapes", Call("ddim", {"steps": 20}), (8, 8), "float32", "prompt")
    run = Run.create(str(tmp_path), spec, {}, {})
    assert [config["config_name"] for config in front(run)["configs"]] == ["images"]
    assert "`ddim(steps=20)`" in (tmp_path / card.NAME).read_text()


def test_a_metric_that_is_new_is_listed_and_others_stay(run: Run, tmp_path: Path) -> None:
    before = front(run)["configs"]
    for at, shard in enumerate(run.shards()):
        score(run, shard, "hpsv2.1", ITEMS[2 * at : 2 * at + 2], {})
    run.update_index()
    after = front(run)["configs"]
    new = [config for config in after if config not in before]
    assert new == [{"config_name": "scores-hpsv2.1", "data_files": "scores/hpsv2.1/*.parquet"}]
    assert [config for config in after if config in before] == before
    assert len(loaded(run, tmp_path / "cache", "scores-hpsv2.1")) == len(ITEMS)


def test_its_bytes_depend_on_the_spec_and_the_tables_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(run.path, card.NAME)
    first = path.read_bytes()
    written = path.stat().st_mtime_ns
    run.update_card()
    assert path.stat().st_mtime_ns == written, "what has not changed is not written"
    path.unlink()
    Run.open(run.path).update_card()
    assert path.read_bytes() == first
    assert str(tmp_path).encode() not in first


def test_a_card_that_somebody_made_their_own_is_left_alone(run: Run) -> None:
    path = Path(run.path, card.NAME)
    text = path.read_text()
    path.write_text(text.replace("# ddim", "# My ddim"))
    run.update_card()
    assert path.read_text() == text
    mine = text.replace(card.MARK, "My notes, naïve ones.")
    path.write_text(mine, encoding="latin-1")
    run.update_card()
    assert path.read_bytes() == mine.encode("latin-1")


def test_imported_pictures_open_too_and_their_place_is_not_told(tmp_path: Path) -> None:
    from harness.runs.importing import import_images
    from harness.runs.manifest import Declared
    from tests.store.test_collections import folder, picture

    mine = folder(tmp_path / "mine", {"a.png": picture(1), "b.png": picture(2)})
    run = import_images(mine, Declared(), out=str(tmp_path / "run"))
    assert str(tmp_path) not in (tmp_path / "run" / card.NAME).read_text()
    rows = loaded(run, tmp_path / "cache")
    assert [np.asarray(row["image"])[0, 0, 0] for row in rows] == [1, 2]
