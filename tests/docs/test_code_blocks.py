"""The Python of the pages and of the bases' docstrings runs as it stands, page by page."""

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
from harness.metrics.base import METRICS
from harness.models.base import MODELS
from harness.prompts.base import PROMPT_SETS
from harness.samplers.base import SAMPLERS
from tests.docs.pages import PAGES, blocks


def cheaper(code: str) -> str:
    """The same calls with less to do."""
    code = re.sub(r"\bsteps=\d+", "steps=2", code)
    return re.sub(r"\blimit=\d+", "limit=2", code)


def run_page(page: str) -> dict[str, Any]:
    """The names that a page's Python defines, run in order in one namespace."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(cheaper(block.code), str(block), "exec"), names)
    return names


@pytest.fixture(autouse=True)
def _aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a block registers is gone after it, and what it writes lies elsewhere."""
    monkeypatch.chdir(tmp_path)
    registry: Registry[Any]
    with ExitStack() as stack:
        for registry in (SAMPLERS, POLICIES, METRICS, MODELS, PROMPT_SETS):
            ours = dict(registry)
            stack.enter_context(registry.aside()).update(ours)
        yield


def draw(sampler: str) -> torch.Tensor:
    (picture,) = harness.sample(sampler, model="gmm", prompt="class 0")
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)


def _with_python() -> list[Any]:
    """The pages with Python, as parameters; slow where a block says so."""
    found = {page: blocks(page, "python") for page in PAGES}
    return [
        pytest.param(page, marks=[pytest.mark.slow] * any("slow" in one.marks for one in python))
        for page, python in sorted(found.items())
        if python
    ]


@pytest.mark.parametrize("page", _with_python())
def test_the_pages_python_runs(page: str) -> None:
    run_page(page)


def test_own_samplers_are_the_methods_that_they_say() -> None:
    run_page("docs/own-sampler.md")
    assert torch.equal(draw("my_ddim(steps=4)"), draw("ddim(steps=4)"))
    assert torch.equal(draw("my_ddim(steps=4, eta=1)"), draw("ddim(steps=4, eta=1)"))


def test_ones_own_sampler_runs_from_a_file() -> None:
    first, *_ = blocks("docs/own-sampler.md", "python")
    Path("mine.py").write_text(first.code)
    assert torch.equal(draw("./mine.py:my_ddim(steps=4)"), draw("ddim(steps=4)"))


def test_own_policys_scale_falls_linearly() -> None:
    run_page("docs/own-policy.md")
    _falls_linearly()


def test_the_policy_of_its_base_falls_linearly() -> None:
    (doc,) = re.findall(r"^(?:    .*\n|\n)+", policies_base.__doc__ or "", re.M)[-1:]
    names = dict(vars(policies_base)) | {"Annotated": Annotated, "Field": Field}
    exec(textwrap.dedent(doc), names)
    _falls_linearly()


def _falls_linearly() -> None:
    sigmas = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    policy = make_guidance(sigmas, guidance_end=0.25)
    asked = torch.full((2,), 4.0, dtype=torch.float64)
    scales = [policy.scale(asked, float(step)).tolist() for step in sigmas[:-1]]
    assert scales == [[4.0] * 2, [3.0] * 2, [2.0] * 2, [1.0] * 2]


def test_the_torchmetrics_guides_metric_gives_a_number() -> None:
    names = run_page("docs/torchmetrics.md")
    assert names["value"].isfinite()
    assert names["value"] > 0
