"""The code blocks of CONTRIBUTING.md, README.md and the bases' docstrings run as they stand."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field

import harness
from harness.core.registry import Registry
from harness.engine.policies import base as policies_base
from harness.engine.policies.base import POLICIES
from harness.engine.policies.classifier_free import make_guidance
from harness.samplers.base import SAMPLERS

ROOT = Path(__file__).parents[2]


def blocks(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S)


def cheaper(code: str) -> str:
    """The same calls with less to do."""
    code = re.sub(r"steps=\d+", "steps=2", code)
    return re.sub(r"limit=\d+", "limit=2", code)


@pytest.fixture(autouse=True)
def _aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a block registers is gone after it, and what it writes lies elsewhere."""
    monkeypatch.chdir(tmp_path)
    registry: Registry[Any]
    with ExitStack() as stack:
        for registry in (SAMPLERS, POLICIES):
            ours = dict(registry)
            stack.enter_context(registry.aside()).update(ours)
        yield


def draw(sampler: str) -> torch.Tensor:
    (picture,) = harness.sample(sampler, model="gmm", prompt="class 0")
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)


def test_contributings_sampler_is_eulers_method() -> None:
    (code,) = blocks("CONTRIBUTING.md")
    exec(code, {"__name__": "contributing"})
    assert torch.equal(draw("euler(steps=4)"), draw("ddim(steps=4)"))


def test_the_readmes_calls_give_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    calls, _ = blocks("README.md")
    exec(cheaper(calls), {})
    assert "zigzag against ddim on Alignment: " in capsys.readouterr().out


def test_the_readmes_sampler_runs_from_a_file() -> None:
    _, code = blocks("README.md")
    Path("mine.py").write_text(code)
    assert torch.equal(draw("./mine.py:my_ddim(steps=4)"), draw("ddim(steps=4)"))


def test_the_policy_of_its_base_falls_linearly() -> None:
    (doc,) = re.findall(r"^(?:    .*\n|\n)+", policies_base.__doc__ or "", re.M)[-1:]
    names = dict(vars(policies_base)) | {"Annotated": Annotated, "Field": Field}
    exec(textwrap.dedent(doc), names)
    sigmas = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    policy = make_guidance(sigmas, guidance_end=0.25)
    asked = torch.full((2,), 4.0, dtype=torch.float64)
    scales = [policy.scale(asked, float(step)).tolist() for step in sigmas[:-1]]
    assert scales == [[4.0] * 2, [3.0] * 2, [2.0] * 2, [1.0] * 2]


def test_the_torchmetrics_guides_metric_gives_a_number() -> None:
    (code,) = blocks("docs/torchmetrics.md")
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["value"].isfinite()
    assert names["value"] > 0
