"""What samplers are handed beside `denoise`, and what is said of what `denoise` no longer has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.core.errors import HarnessError
from harness.engine.needs import ModelClock
from harness.models.base import Model
from harness.runs.plan import plan
from harness.samplers.base import SAMPLERS, sampler


def test_levels_and_times_are_the_models_own(shapes: Model, gmm: Model) -> None:
    times = torch.tensor([0.0, 1.0, 20.5, 500.0, 999.0], dtype=torch.float64)
    clock = ModelClock(shapes, shapes.name)
    torch.testing.assert_close(clock.time_of(clock.sigma_of(times)), times, atol=1e-9, rtol=0)
    with pytest.raises(HarnessError, match="needs a model with discrete times"):
        ModelClock(gmm, gmm.name).sigma_of(times)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("denoise.time_of(sigmas)", r"time_of is gone: declare needs=\('clock',\)"),
        ("denoise.round(sigmas)", "take a parameter clock"),
        ("denoise.times", "take a parameter clock"),
        ("denoise.maps(x, sigmas[0])", "take a parameter attention"),
        ("denoise.objects(None)", "take a parameter targets"),
        ("denoise.variant('weak')", "take a parameter variant"),
        ("denoise.renoise(x, 1, 2, noise)", "take a parameter renoise"),
        ("denoise.begin(x, 1, 2)", r"begin is gone: .* sqrt\(\(1 \+ t"),
    ],
)
def test_what_is_gone_says_what_to_declare(line: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(f"def old(denoise, x, sigmas, noise):\n    {line}\n")
    with pytest.raises(HarnessError, match=words):
        plan("shapes", f"{tmp_path}/old.py:old(steps=2)")


def test_a_function_of_a_file_takes_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text(
        "def new(denoise, x, sigmas, noise, *, clock, guidance: float = 2.0):\n"
        "    for s, t in zip(sigmas, sigmas[1:]):\n"
        "        d = denoise(x, clock.sigma_of(clock.time_of(s).round()), guidance=guidance)\n"
        "        x = x + (t - s) * (x - d) / s\n"
        "    return x\n"
    )
    job = plan("shapes", f"{tmp_path}/new.py:new(steps=3)")
    assert job.spec.sampler.params == {"steps": 3, "guidance": 5.5}
    assert job.nfe == 6
    with pytest.raises(HarnessError, match="unknown parameter 'clock'"):
        plan("shapes", f"{tmp_path}/new.py:new(steps=3, clock=1)")


def test_needs_and_parameters_belong_together() -> None:
    with SAMPLERS.aside():
        with pytest.raises(TypeError, match="needs clock: it must take a parameter clock"):
            sampler("a", title="A", paper="-", needs=("clock",))(lambda d, x, s, n: x)
        with pytest.raises(HarnessError, match=r"unknown need 'clok'.*did you mean 'clock'"):
            sampler("a", title="A", paper="-", needs=("clok",))(lambda d, x, s, n: x)
        with pytest.raises(TypeError, match=r"needs a default, or needs=\('clock',\)"):
            sampler("a", title="A", paper="-")(lambda d, x, s, n, *, clock: x)
