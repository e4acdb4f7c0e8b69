"""`harness doctor --repair` of features, imported runs and costs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import harness
from harness.core.errors import HarnessError
from harness.store.run import Run
from tests.conftest import harness as command


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


def held(run: Path) -> dict[str, bytes]:
    kinds = ("images", "features", "scores")
    return {str(p): p.read_bytes() for kind in kinds for p in (run / kind).rglob("*.parquet")}


@pytest.mark.parametrize("fault", ["flipped", "removed", "other images"])
def test_features_are_made_again(
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    how = {"model": "shapes", "limit": 2, "device": "cpu"}
    run = tmp_path / "run"
    harness.generate("ddim(steps=2)", seeds="0-1", out=run, **how)
    harness.evaluate(run, "shapes-fd", device="cpu")
    (path,) = run.glob("features/*/part-00000-00000.parquet")
    before = held(run)
    if fault == "flipped":
        flip(path)
    elif fault == "removed":
        path.unlink()
    else:
        shutil.copy(path.with_name("part-00001-00000.parquet"), path)
    assert command(monkeypatch, "doctor", str(run)) == 1
    assert str(path) in capsys.readouterr().out
    assert command(monkeypatch, "doctor", str(run), "--repair", "--device", "cpu") == 0
    assert held(run) == before


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        picture = Image.new("RGB", (8, 8), (60 * number, 0, 0))
        picture.putpixel((0, 0), (255, 255, 255))
        picture.save(tmp_path / "pictures" / f"{number}.png")
    run = harness.import_images(tmp_path / "pictures", out=tmp_path / "run")
    harness.evaluate(run, "contrast", device="cpu")
    return tmp_path / "run"


@pytest.mark.parametrize("kind", ["images", "scores/contrast"])
@pytest.mark.parametrize("fault", [flip, Path.unlink])
def test_an_imported_run_is_made_again(
    kind: str,
    fault: object,
    imported: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = held(imported)
    path = imported / kind / "part-00000-00000.parquet"
    fault(path)  # type: ignore[operator]
    assert command(monkeypatch, "doctor", str(imported)) == 1
    assert str(path) in capsys.readouterr().out
    assert command(monkeypatch, "doctor", str(imported), "--repair", "--device", "cpu") == 0
    assert held(imported) == before


def test_an_edited_cost_is_told_and_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    harness.generate("ddim(steps=2)", model="gmm", prompts="unprompted", device="cpu", out=run)
    expected = Run.open(str(run)).cost()
    written = (run / "cost.json").read_bytes()
    record = json.loads(written)
    for changed in ({**record, "calls": 1}, {**record, "run": "heun-00000000"}):
        (run / "cost.json").write_text(json.dumps(changed))
        with pytest.raises(HarnessError, match=r"cost\.json (was edited|is of another run)"):
            Run.open(str(run)).cost()
        assert command(monkeypatch, "doctor", str(run)) == 1
        assert "cost.json" in capsys.readouterr().out
        assert command(monkeypatch, "doctor", str(run), "--repair", "--device", "cpu") == 0
        assert (run / "cost.json").read_bytes() == written
    old = {k: v for k, v in record.items() if k not in ("run", "content")}
    (run / "cost.json").write_text(json.dumps(old))  # of an earlier version
    assert Run.open(str(run)).cost() == expected == old
