"""Progress and final tables reach the trackers that accelerate knows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import harness
from harness.core.errors import HarnessError
from harness.runs.status import Status
from harness.runs.tracking import make_tracker
from harness.store.run import Run

TABLE = pd.DataFrame(
    {
        "run": ["ddim", "heun"],
        "category": [None, "a|b"],
        "value": [0.5, float("nan")],
        "n": pd.array([4, None], dtype="Int64"),
    }
)


def _events(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, str]]:
    """Scalars as (step, value), and texts, of all event files below a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    scalars: dict[str, list[tuple[int, float]]] = {}
    texts: dict[str, str] = {}
    for path in {one.parent for one in folder.rglob("*tfevents*")}:
        read = EventAccumulator(str(path))
        read.Reload()
        for tag in read.Tags()["scalars"]:
            scalars[tag] = [(one.step, one.value) for one in read.Scalars(tag)]
        for tag in read.Tags()["tensors"]:
            texts[tag] = read.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
    return scalars, texts


@pytest.mark.slow
def test_a_generation_and_an_evaluation_in_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("class 0\nclass 1\nclass 2")
    run = harness.generate(
        "ddim(steps=2)",
        model="gmm",
        prompts=prompts,
        seeds="0-1",
        device="cpu",
        out=tmp_path / "run",
        track="tensorboard",
    )
    assert isinstance(run, Run)
    scalars, texts = _events(tmp_path / "run" / "logs")
    assert scalars["generate/images"][-1] == (6, 6.0)
    assert scalars["generate/failed"][-1][1] == 0
    assert scalars["generate/images per second"][-1][1] > 0
    assert scalars[f"runs/{run.spec.run_id}/images"] == [(6, 6.0)]
    assert f"| {run.spec.run_id} | 6 | 0 |" in texts["runs/text_summary"]
    table = harness.evaluate(run, "contrast", track="tensorboard", log_folder=tmp_path / "mine")
    scalars, _ = _events(tmp_path / "mine")
    (path,) = [name for name in scalars if name.endswith("contrast/value")]
    assert scalars[path][-1][1] == pytest.approx(table["value"].iloc[0])
    assert "evaluate" in next((tmp_path / "mine").glob("*.log")).read_text()


def test_processes_are_counted_anew_after_a_tracker(tmp_path: Path) -> None:
    """Else a notebook that has tracked something could not start processes."""
    pytest.importorskip("tensorboard")
    from accelerate import PartialState

    tracker = make_tracker("tensorboard", str(tmp_path), [])
    tracker.progress(Status("generate", 1, 2, 0, 1.0))
    assert PartialState._shared_state
    tracker.close()
    assert not PartialState._shared_state


STUBS = {
    "wandb": """
calls = []

class Table:
    def __init__(self, columns=None, data=None, dataframe=None):
        self.rows = dataframe.to_dict("records")

class Run:
    def log(self, values, step=None):
        calls.append((step, values))
    def finish(self):
        calls.append("finished")

def init(project):
    return Run()
""",
    "mlflow": """
import pathlib

calls = []

def search_experiments(filter_string):
    return []

def create_experiment(name, artifact_location, tags):
    return name

def start_run(**how):
    return how

def log_metrics(metrics, step=None):
    calls.append((step, metrics))

def log_artifact(local_path, artifact_path=None):
    calls.append((None, {"rates": pathlib.Path(local_path).read_text()}))

def end_run():
    calls.append("finished")
""",
}
"""What accelerate's own trackers call of these packages, which are large."""


@pytest.mark.parametrize("name", sorted(STUBS))
def test_other_trackers_get_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / f"{name}.py").write_text(STUBS[name])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(f"accelerate.utils.is_{name}_available", lambda: True)
    tracker = make_tracker(name, None, ["s3://bucket/run"])
    tracker.progress(Status("generate", 8, 16, 1, 2.0))
    tracker.progress(Status("evaluate", 4, 16, 0, 2.0))
    tracker.table("rates", TABLE, ["run", "category"])
    tracker.close()
    calls: list[Any] = sys.modules[name].calls  # type: ignore[attr-defined]
    assert calls.pop() == "finished"
    assert calls[0] == (
        8,
        {"generate/images": 8.0, "generate/failed": 1.0, "generate/images per second": 4.0},
    )
    assert calls[1][0] == 12  # of both stages: steps never go back
    assert calls[2] == (12, {"rates/ddim/value": 0.5, "rates/ddim/n": 4.0})
    last = calls[3][1]["rates"]
    shown = last.rows if name == "wandb" else last.splitlines()
    assert len(shown) == (2 if name == "wandb" else 3)
    assert "heun" in str(shown)
    monkeypatch.delitem(sys.modules, name)


def test_trackers_that_cannot_be_had() -> None:
    with pytest.raises(HarnessError, match="unknown tracker 'tensorbord': expected tensorboard"):
        make_tracker("tensorbord", None, [])
    pytest.importorskip("tensorboard")
    with pytest.raises(HarnessError, match="name their folder, --log-folder"):
        make_tracker("tensorboard", None, ["s3://bucket/run"])


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"accelerate.utils.is_{name}_available", lambda: False)
    with pytest.raises(HarnessError, match=f"--track {name} needs .*: pip install {name}$"):
        make_tracker(name, "logs", [])
