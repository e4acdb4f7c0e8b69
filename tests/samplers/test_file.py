"""Samplers from a user's file: they run as any other, are told apart by text, and fail clearly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.core.shards import Prompt, plan_shards
from harness.engine.resolve import portable, resolve
from harness.experiments import stages
from harness.experiments.bench import compare_fairly
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.samplers.base import SAMPLERS
from harness.store.run import Run
from tests.conftest import harness

EULER = """
from typing import Annotated
from pydantic import Field

def sample(denoise, x, sigmas, noise, *, guidance: float = 5.0,
           push: Annotated[float, Field(gt=0)] = 1.0):
    for s, t in zip(sigmas, sigmas[1:]):
        d = denoise(x, s, guidance=guidance)
        x = x + push * (t - s) * (x - d) / s
    return x
"""
DECORATED = """
from harness.samplers.base import sampler
from harness.samplers.ddim import ddim

@sampler("ddim", title="Mine", paper="none yet", ladder=("spacing",))
def mine(denoise, x, sigmas, noise, *, guidance: float = 3.0):
    return ddim(denoise, x, sigmas, noise, guidance=guidance)
"""


def _file(folder: Path, text: str, name: str = "mine.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def _generate(monkeypatch: pytest.MonkeyPatch, folder: Path, *samplers: str) -> None:
    prompts = folder / "p.txt"
    prompts.write_text("class 1\nclass 2\n")
    command = ["generate", "--model", "gmm", "--prompts", str(prompts), "--results", str(folder)]
    for text in samplers:
        command += ["--sampler", text]
    assert harness(monkeypatch, *command) == 0


def _runs(folder: Path) -> dict[str, Run]:
    found = [Run.open(str(path.parent)) for path in sorted(folder.rglob("run.json"))]
    return {run.spec.sampler.name.partition("@")[0]: run for run in found}


def test_a_function_of_a_file_makes_what_the_registered_sampler_makes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = _file(tmp_path, EULER)
    monkeypatch.chdir(tmp_path)
    asked = ["./mine.py:sample(steps=5, guidance=2)", "ddim(steps=5, guidance=2)"]
    _generate(monkeypatch, tmp_path, *asked)
    runs = _runs(tmp_path)
    mine, ddim = (runs[name].frame("images") for name in ("mine.py:sample", "ddim"))
    assert [one["bytes"] for one in mine["image"]] == [one["bytes"] for one in ddim["image"]]
    np.testing.assert_array_equal(mine["guidance_scale"], ddim["guidance_scale"])
    run = runs["mine.py:sample"]
    assert run.record["environment"]["sampler file"] == path
    assert Path(run.path, "mine.py").read_text() == EULER
    assert Path(run.path).name == run.spec.run_id
    assert ":" not in run.spec.run_id


def test_a_decorated_function_keeps_its_declarations_and_takes_no_name_from_others(
    tmp_path: Path,
) -> None:
    call = resolve(parse_call(f"{_file(tmp_path, DECORATED)}:mine(steps=4)"), {})
    entry = SAMPLERS.get(call.name)
    assert (entry.title, entry.ladder) == ("Mine", ("spacing",))
    assert call.params == {"steps": 4, "guidance": 3.0}
    assert SAMPLERS.get("ddim").title == "DDIM"
    with pytest.raises(HarnessError, match="did you mean 'spacing'"):
        resolve(parse_call(f"{tmp_path}/mine.py:mine(steps=4, spacin=quad)"), {})


def test_the_text_tells_runs_apart_and_the_place_does_not(tmp_path: Path) -> None:
    one = plan("gmm", f"{_file(tmp_path, EULER)}:sample")
    again = plan("gmm", f"{_file(tmp_path, EULER)}:sample")
    (tmp_path / "other").mkdir()
    moved = plan("gmm", f"{_file(tmp_path / 'other', EULER)}:sample")
    changed = plan("gmm", f"{_file(tmp_path, EULER + '# more')}:sample")
    assert one.spec == again.spec == moved.spec
    assert changed.spec.run_id != one.spec.run_id
    assert resolve(one.spec.sampler, {}) == one.spec.sampler


def test_workers_take_the_text_from_the_list_of_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a benchmark hands to torchrun names the file and its text, and makes the same run."""
    _file(tmp_path, EULER + "# for workers")
    (tmp_path / "p.txt").write_text("".join(f"class {i} \n" for i in range(5)))
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []

    def worker(command: list[str], workers: int, settings: Settings) -> None:
        seen.append(Path(command[1]).read_text())
        with SAMPLERS.aside() as entries:  # another process knows of no file
            entries.update({n: e for n, e in known.items() if e.source is None})
            assert harness(monkeypatch, *command) == 0

    known = dict(SAMPLERS)
    monkeypatch.setattr(stages, "launch", worker)
    monkeypatch.setattr(stages, "planned_processes", lambda work, settings, most: most)
    command = ["bench", "./mine.py:sample(steps=2)", "--model", "gmm", "--baseline", "heun"]
    command += ["--prompts", "p.txt", "--seeds", "0-27", "--metrics", "contrast", "--workers", "2"]
    assert harness(monkeypatch, *command) == 0
    assert "/mine.py:sample@" in seen[0]
    run = next(run for name, run in _runs(tmp_path).items() if name == "mine.py:sample")
    assert len(run.frame("images", ["item_id"])) == 140


def test_a_worker_refuses_another_text(tmp_path: Path) -> None:
    planned = plan("gmm", f"{_file(tmp_path, EULER + '# once')}:sample").spec.sampler
    text = str(portable(planned))
    _file(tmp_path, EULER + "# more")
    with SAMPLERS.aside(), pytest.raises(HarnessError, match="has changed since"):
        resolve(parse_call(text), {})


@pytest.mark.parametrize(
    ("text", "asked", "words"),
    [
        (EULER, "mien.py:sample", "unknown file 'mien.py'.*did you mean 'mine.py'"),
        (EULER, "mine.py:sampel", "unknown function 'sampel'.*did you mean 'sample'"),
        (EULER, "mine.py", "name the function as well, .*mine.py:sample; it defines sample"),
        (EULER, "mine.py:sample(push=-1)", "parameter push=-1 should be greater than 0"),
        (EULER, "mine.py:sample(pusch=1)", "unknown parameter 'pusch'.*did you mean 'push'"),
        ("\n\ndef sample(:\n", "mine.py:sample", "mine.py, line 3: SyntaxError"),
        ("\nimport nosuch\n", "mine.py:sample", "mine.py, line 2: ModuleNotFoundError.*nosuch"),
        ("raise SystemExit", "mine.py:sample", "mine.py, line 1: SystemExit"),
        ("def f(x, sigmas): ...", "mine.py:f", "line 1: f is no sampler: it takes 2 positional"),
        ("def f(d, x, s, n, w=1): ...", "mine.py:f", r"a \* before its parameter w"),
        ("def f(d, x, s, n, *, w): ...", "mine.py:f", "its parameter w needs a default"),
        ("def f(d, x, s, n, **k): ...", "mine.py:f", r"takes any \*\*k"),
        ("def f(d, x, s, n, *, w: nosuch = 1): ...", "mine.py:f", "line 1: NameError.*nosuch"),
        ("def f(d, x, s, n):\n\n    return x / {}", "mine.py:f", "mine.py, line 3: TypeError"),
        ("def f(d, x, s, n): ...", "mine.py:f", "must return the last state.*returned None"),
        ("def f(d, x, s, n): return x[0]", "mine.py:f", r"it returned \(1, 2, 2\)"),
        ("def f(d, x, s, n): return x + x.normal_()", "mine.py:f", "global generator"),
    ],
)
def test_mistakes_name_the_file_and_line_before_any_work(
    text: str,
    asked: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    _file(tmp_path, text)
    with pytest.raises(HarnessError, match=words):
        plan("gmm", f"{tmp_path}/{asked}", defaults={"steps": 3})


STEP = """
import torch
KEPT = torch.Generator().manual_seed(3)
def mine(denoise, x, sigmas, noise, *, guidance: float = 3.0):
    for s, t in zip(sigmas, sigmas[1:]):
        d = denoise(x, s, guidance=guidance)
        x = x + (t - s) * (x - d) / s
        {}
    return x
"""


@pytest.mark.parametrize(
    "line",
    [
        "x = x - x.mean(0)",
        "x = x - 0.01 * x.mean()",
        "x = x / x.std()",
        "x = x.flip(0)",
        "x = x if x.mean() > 0 else x / 2",
        "x[0] = 0",
        "x = x + t * torch.randn(x.shape, generator=KEPT).to(x)",
        "x = x - x.mean(0) if len(x) > 1 else x * float('nan')",
    ],
)
@pytest.mark.parametrize("model", ["gmm", "shapes"])
def test_a_sampler_that_mixes_the_images_of_a_batch_is_refused(
    model: str, line: str, tmp_path: Path
) -> None:
    path = _file(tmp_path, STEP.format(line))
    with pytest.raises(HarnessError, match=r"mine\.py:mine.* must make each image by itself"):
        plan(model, f"{path}:mine(steps=7)")


@pytest.mark.parametrize(
    "line",
    [
        "x = x - x.mean((1, 2, 3), keepdim=True)",
        "x = x + t * noise()",
        "x = x + 0 * noise((3,)).sum(1).reshape(-1, 1, 1, 1) + t * noise(x.shape[1:])",
        "x = torch.stack([one.clamp(-1, 1) if one.std() > 1 else one / 2 for one in x])",
        "x = (x.float() / x.float().std((1, 2, 3), keepdim=True)).half()",
        "x = x / 0",
    ],
)
@pytest.mark.parametrize("model", ["gmm", "shapes"])
def test_a_sampler_that_makes_each_image_by_itself_is_not_refused(
    model: str, line: str, tmp_path: Path
) -> None:
    plan(model, f"{_file(tmp_path, STEP.format(line))}:mine(steps=6)")


def test_out_of_memory_is_not_the_users_mistake(tmp_path: Path) -> None:
    text = "import torch\ndef f(d, x, s, n):\n    raise torch.cuda.OutOfMemoryError('full')\n"
    with pytest.raises(torch.cuda.OutOfMemoryError):
        plan("gmm", f"{_file(tmp_path, text)}:f", defaults={"steps": 3})


def test_a_run_is_made_again_from_the_copy_that_it_keeps(tmp_path: Path) -> None:
    prompts = [Prompt(f"p{i}", f"class {i}") for i in range(3)]
    runs = []
    for text in (f"{_file(tmp_path, EULER + '# kept')}:sample(steps=4)", "heun(steps=3)"):
        job = plan("gmm", text, defaults={"guidance": 2})
        runs.append(open_run(job, str(tmp_path / job.spec.run_id), Settings()))
        generate([(job, runs[-1], shard) for shard in plan_shards(prompts, [0])], Settings())
    (tmp_path / "mine.py").unlink()
    others = {name: entry for name, entry in SAMPLERS if entry.source is None}
    with SAMPLERS.aside() as known:
        known.update(others)
        how = {"match": "nfe", "curve": "none", "workers": 1}
        done = compare_fairly(*runs[::-1], metrics=["contrast"], out=str(tmp_path), **how)
    assert done.runs["own"].run_id == runs[0].spec.run_id
    assert done.runs["matched cost"].sampler.name == runs[0].spec.sampler.name
