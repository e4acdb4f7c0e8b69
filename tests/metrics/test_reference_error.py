"""Distance to a reference run: made by ordinary generation, honest about what it compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import HarnessError
from harness.core.shards import Prompt, plan_shards
from harness.evaluation import evaluate
from harness.metrics.base import make_metric
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.store.run import Run

PROMPTS = [Prompt(f"p{i}", f"class {i}") for i in range(4)]


def make(folder: Path, sampler: str, seeds: int = 2, **options: Any) -> Run:
    job = plan("gmm", sampler, **options)
    run = open_run(job, str(folder), Settings())
    generate([(job, run, shard) for shard in plan_shards(PROMPTS, list(range(seeds)))], Settings())
    return run


def errors(run: Run, reference: Path) -> dict[str, float]:
    metric = make_metric(f"reference_error(run={reference})")
    report = evaluate(run, [str(metric.call)])
    if report.missing:
        raise HarnessError(report.missing[metric.label])
    frame = run.frame(f"scores/{metric.label}", ["item_id", "value", "reason"])
    return dict(zip(frame["item_id"], frame["value"], strict=True))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "run"
    make(folder, "heun(steps=500)", seeds=1)
    return folder


def test_more_evaluations_are_nearer_and_the_reference_itself_is_exact(
    tmp_path: Path, reference: Path
) -> None:
    found = [
        errors(make(tmp_path / str(n), f"ddim(steps={n})", seeds=1), reference) for n in (4, 12, 60)
    ]
    assert list(found[0]) == ["p0/0", "p1/0", "p2/0", "p3/0"]
    assert all(found[0][i] > found[1][i] > found[2][i] > 0 for i in found[0])
    assert set(errors(Run.open(str(reference)), reference).values()) == {0.0}


def test_the_error_is_the_root_mean_square_of_pixels(tmp_path: Path, reference: Path) -> None:
    import io

    import numpy as np
    from PIL import Image

    run = make(tmp_path / "run", "ddim(steps=5)", seeds=1)

    def pictures(of: Run) -> list[Any]:
        cells = of.read("images", of.shards()[0], ["image"])["image"].to_pylist()
        return [np.asarray(Image.open(io.BytesIO(c["bytes"])), dtype=float) / 255 for c in cells]

    expected = [
        float(((a - b) ** 2).mean() ** 0.5)
        for a, b in zip(pictures(run), pictures(Run.open(str(reference))), strict=True)
    ]
    assert list(errors(run, reference).values()) == pytest.approx(expected)


def test_what_the_reference_lacks_is_undefined_until_it_is_made(tmp_path: Path) -> None:
    reference, run = tmp_path / "reference", make(tmp_path / "run", "ddim(steps=5)")
    make(reference, "heun(steps=50)", seeds=1)
    first = errors(run, reference)
    assert [item for item, value in first.items() if value != value] == [
        f"p{i}/1" for i in range(4)
    ]
    make(reference, "heun(steps=50)")
    second = errors(run, reference)
    assert all(value > 0 for value in second.values())
    assert {
        item: second[item] for item in first if first[item] == first[item]
    }.items() <= first.items()


@pytest.mark.parametrize(
    ("sampler", "options", "words"),
    [
        ("ddim(steps=5, guidance=3)", {}, "another guidance: 2, not 3"),
        ("ddim(steps=5)", {"noise_key": "seed"}, "another noise_key: 'prompt', not 'seed'"),
    ],
)
def test_a_run_of_another_noise_or_guidance_is_refused(
    tmp_path: Path, reference: Path, sampler: str, options: dict[str, str], words: str
) -> None:
    run = make(tmp_path / "run", sampler, seeds=1, **options)
    with pytest.raises(HarnessError, match=words):
        errors(run, reference)


def test_without_a_reference_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"heun\(steps=500\)"):
        make_metric("reference_error").check()
    with pytest.raises(HarnessError, match="holds no run"):
        make_metric(f"reference_error(run={tmp_path})").check()
