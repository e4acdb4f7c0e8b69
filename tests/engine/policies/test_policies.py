"""Policies together: what contradicts what, and one more of a user's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.engine.batch import run_sampler
from harness.engine.noise import NoiseStreams
from harness.engine.policies.base import POLICIES, GuidancePolicy, PolicyContext, policies, policy
from harness.engine.policies.classifier_free import make_guidance
from harness.engine.resolve import parameters, resolve
from harness.models.base import Model
from harness.samplers.base import SAMPLERS


@pytest.mark.parametrize(
    ("policies", "words"),
    [
        ("apg_eta=0, guidance_rescale=0.7", "guidance_rescale and apg_eta contradict"),
        ("interval=[1, 2], interval_steps=[0, 1]", "interval and interval_steps contradict"),
        ("apg_eta=2", "apg_eta=2"),
        ("apg_threshold=0", "apg_threshold=0"),
        ("apg_momentum=-1", "apg_momentum=-1"),
        ("apg_thresh=3", "did you mean 'apg_"),
    ],
)
def test_policies_that_contradict_or_make_no_sense_are_refused(policies: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        resolve(parse_call(f"ddim(steps=4, {policies})"), {})


class Halved(GuidancePolicy):
    """Half of what guidance adds."""

    def __init__(self, at: PolicyContext, *, halved: bool | None = None) -> None:
        self.factor = 0.5 if halved else 1.0

    def scale(self, scale: torch.Tensor, step: float) -> torch.Tensor:
        return 1 + (scale - 1) * self.factor


def test_one_more_policy_is_a_class(gmm: Model) -> None:
    """Its parameter stands behind those of ours, and is checked as any other."""

    def run(text: str) -> torch.Tensor:
        call = resolve(parse_call(text), {})
        noise = NoiseStreams([0], (3, 8, 8), dtype=torch.float64)
        rows = gmm.encode(["class 1"]), gmm.encode_negative([None])
        return run_sampler(gmm, call, *rows, noise).native

    ours = {entry.name: entry for entry in policies()}
    with POLICIES.aside() as entries:
        entries.update(ours)
        policy("halved", title="Halved", paper="none")(Halved)
        found = run("heun(steps=4, guidance=5, halved=true)")
        names = list(parameters(SAMPLERS.get("ddim")))
        assert names[names.index("seg_layers") + 1 :] == ["halved", "guidance", "eta"]
        with pytest.raises(HarnessError, match="parameter halved=3"):
            run("heun(steps=4, halved=3)")
    torch.testing.assert_close(found, run("heun(steps=4, guidance=3)"))
    with pytest.raises(HarnessError, match="unknown parameter 'halved'"):
        run("heun(steps=4, halved=true)")


def test_a_parameter_has_one_owner() -> None:
    ours = {entry.name: entry for entry in policies()}

    class Twin(GuidancePolicy):
        def __init__(self, at: PolicyContext, *, apg_eta: float | None = None) -> None: ...

    with POLICIES.aside() as entries:
        entries.update(ours)
        policy("twin", title="Twin", paper="none")(Twin)
        with pytest.raises(HarnessError, match="policy twin: there is a parameter apg_eta already"):
            resolve(parse_call("ddim(steps=4)"), {})


def test_what_no_policy_knows_is_refused() -> None:
    with pytest.raises(TypeError, match="no policy has a parameter nosuch"):
        make_guidance(torch.tensor([1.0, 0.0]), **dict[str, Any](nosuch=1))


PLUGIN = """
from harness import GuidancePolicy, policy

@policy("tiny", title="Tiny", paper="-")
class Tiny(GuidancePolicy):
    def __init__(self, at, *, tiny_factor: float | None = None):
        self.factor = tiny_factor

    def scale(self, scale, step):
        return scale * self.factor
"""


def test_an_installed_package_adds_a_policy(tmp_path: Path) -> None:
    (tmp_path / "tiny_policy.py").write_text(PLUGIN)
    info = tmp_path / "tiny_policy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-policy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[harness.policies]\ntiny = tiny_policy:Tiny\n")
    code = (
        "from harness.core.call import parse_call; from harness.engine.resolve import resolve\n"
        "print(resolve(parse_call('ddim(steps=2, tiny_factor=0.5)'), {}))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "ddim(steps=2, tiny_factor=0.5, guidance=5.0, eta=0.0)", (
        done.stderr
    )
