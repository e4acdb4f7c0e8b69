"""A model is loaded once for all runs that follow each other, and warms up once."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.core.shards import Prompt, plan_shards
from harness.models import embedded, gmm
from harness.models.base import MODELS
from harness.models.pipelines.pipeline_model import PipelineModel
from harness.runs.folder import Settings, open_run
from harness.runs.kept_model import Loaded
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.store.run import Run

PROMPTS = [Prompt(str(i), f"class {i}") for i in range(2)]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Weak references to the mixtures that are loaded."""
    made: list[Any] = []
    own = gmm._make

    def make(*args: Any) -> Any:
        made.append(weakref.ref(model := own(*args)))
        return model

    entry = MODELS.get("gmm")
    again = replace(entry, load=lambda request: make(request.overrides, request.device))
    monkeypatch.setitem(MODELS._entries, "gmm", again)
    return made


def _make(settings: Settings, folder: Path, sampler: str, **about: Any) -> None:
    job = plan("gmm", sampler, **about)
    run = open_run(job, str(folder), settings)
    generate([(job, run, shard) for shard in plan_shards(PROMPTS, [0])], settings)


def test_runs_of_one_model_load_it_once(loads: list[Any], tmp_path: Path) -> None:
    """Those with a guide load that alone."""
    settings = Settings()
    for steps in (2, 3):
        _make(settings, tmp_path / f"{steps}", f"ddim(steps={steps})")
    assert len(loads) == 1
    for steps in (2, 3):
        _make(settings, tmp_path / f"guided {steps}", f"ddim(steps={steps})", guide="gmm")
    assert len(loads) == 2
    _make(settings, tmp_path / "5", "ddim(steps=5)")
    assert len(loads) == 2
    _make(Settings(), tmp_path / "others", "ddim(steps=2)")
    assert len(loads) == 3


def test_another_model_takes_its_place(loads: list[Any], tmp_path: Path) -> None:
    settings = Settings()
    _make(settings, tmp_path / "a", "ddim(steps=2)")
    models = settings.loaded.models(plan("shapes", "ddim(steps=2)"), settings)
    gc.collect()
    assert loads[0]() is None
    assert models.model.name == "shapes"
    kept = weakref.ref(models.model)
    del models
    settings.loaded.drop()
    gc.collect()
    assert kept() is None


def test_other_settings_are_another_model() -> None:
    loaded, job = Loaded(), plan("gmm", "ddim(steps=2)")
    one = loaded.models(job, Settings())
    assert loaded.models(plan("gmm", "ddim(steps=3)"), Settings(workers=1)) is one
    assert loaded.models(job, Settings(threads=2)) is not one


def test_a_bench_loads_and_warms_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of its runs and stages; nothing of it is left afterwards."""
    loaded: list[Any] = []
    own = embedded.load_folder

    rows: list[int] = []

    def load(*args: Any) -> Any:
        loaded.append(weakref.ref(model := own(*args)))
        net = model.net

        def evaluated(module: Any, given: Any) -> None:
            rows.extend([len(given[0])] if module is net else [])

        net.register_forward_pre_hook(evaluated)
        return model

    monkeypatch.setattr(embedded, "load_folder", load)
    decoded: list[int] = []
    decode = PipelineModel.decode

    def decoding(self: PipelineModel, native: Any) -> Any:
        decoded.append(len(native))
        return decode(self, native)

    monkeypatch.setattr(PipelineModel, "decode", decoding)
    compared = harness.bench(
        "zigzag(steps=2)", limit=2, results=str(tmp_path), curve="none", workers=1
    )
    assert len(loaded) == 1
    assert decoded.count(1) == 1  # the first steps of the device; the pictures come in pairs
    assert len(decoded) > 3
    runs = [Run.open(str(path.parent)) for path in tmp_path.rglob("run.json")]
    pictures = sum(int(run.frame("images")["nfe"].sum()) for run in runs)
    assert len(runs) > 3
    assert sum(rows) == pictures + 1  # and no more to count what they cost
    gc.collect()
    assert compared.verdict
    assert loaded[0]() is None
