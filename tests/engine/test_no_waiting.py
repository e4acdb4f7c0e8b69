"""No sampler and no policy looks at a value on the state's device: the device would be waited for.

The states lie on the device "meta", which has no values to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.core.call import parse_call
from harness.core.objects import ObjectRequest
from harness.engine.applied import Applied
from harness.engine.batch import parts_of, run_sampler
from harness.engine.branches import Conditioned
from harness.engine.noise import NoiseStreams
from harness.engine.policies.base import POLICIES
from harness.engine.probes.coefficients import sampler_coefficients
from harness.engine.probes.ga_eval import GaEval
from harness.engine.resolve import resolve
from harness.models.base import Condition, Network
from harness.models.load import find
from harness.samplers.base import SAMPLERS, Targets

LADDERS: Any = find("shapes").ladders({})
ROWS, SHAPE = 3, (4, 8, 8)
META = torch.device("meta")


class Nowhere:
    """A model on "meta" with the embedded model's levels."""

    name, device, state_dtype, classes = "nowhere", META, torch.float32, None
    times = LADDERS.times

    def __getattr__(self, name: str) -> Any:
        return getattr(LADDERS, name)

    def start(self, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return noise * (1 + sigma**2).sqrt()

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        assert len(condition["row"]) == len(x)
        return LADDERS.native(x, sigma) * LADDERS.time_of(time).to(x, non_blocking=True)

    def perturbed(self, layers: tuple[str, ...]) -> Network:
        return self

    def altered(self, change: object) -> Network:
        return self

    @contextmanager
    def attention_maps(self, size: tuple[int, int], rows: slice) -> Iterator[Any]:
        yield SimpleNamespace(mean=torch.empty(ROWS, 5, 4, 4, device=META))

    def variants(self, settings: Any) -> dict[str, Network]:
        return dict.fromkeys(settings, self)

    def native(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return LADDERS.native(x, sigma)


def _targets(request: ObjectRequest) -> Targets:
    found = torch.rand(ROWS, 2, 5, device=META), torch.rand(ROWS, 2, device=META)
    return Targets(*found, strongest=0.5)


def _run(text: str, applied: Applied | None = None, scales: torch.Tensor | None = None) -> None:
    call = resolve(parse_call(text), {})
    noise = NoiseStreams(range(ROWS), SHAPE, dtype=torch.float32, device=META)
    row = {"row": torch.zeros(ROWS, 1, device=META)}
    model: Any = Nowhere()
    others = {"weak": Conditioned(model, row, row)} if "weak_model" in text else None
    batch = run_sampler(model, call, row, row, noise, None, others, _targets, applied, scales)
    assert batch.native.device == META
    counted = [sum(count) for count in zip(*batch.evaluations.values(), strict=True)]
    assert all(count > 0 for count in counted)


SAMPLERS_RUN = {
    "asyndm": ["", "mask=static, eta=0.5", "mask=everywhere", "curve=exp", "curve=lin"],
    "ddim": ["eta=0.7", "guidance=1", "guidance=0"],
    "edm": ["s_churn=5, guidance=2", "draw=churned"],
    "edm_general": ["schedule=vp, scaling=vp, guidance=3, s_churn=3"],
    "restart": ["guidance=5", "intervals=[[3, 1, 0.3, 2]], inner_churn=0.1, guidance=2"],
    "w2sd": ["inversion=released", "weak_model=gmm"],
    "zigzag": ["inversion=released", "rounds=2"],
}
"""Settings to run, beside that of no parameters, of samplers that have several ways."""


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_a_sampler_never_waits_for_the_device(name: str) -> None:
    for settings in SAMPLERS_RUN.get(name, [""]):
        _run(f"{name}(steps=9, {settings})" if settings else f"{name}(steps=9)")


POLICIES_RUN = {
    "cfg_zero_star": "cfg_zero_star=true, zero_init_steps=1",
    "seg": "seg_scale=2",
    "slg": "slg_scale=2, slg_layers=[1], slg_steps=[0, 2]",
    "tcfg": "tcfg=true",
    "apg": "apg_eta=0, apg_threshold=2.5, apg_momentum=-0.5",
    "interval": "interval_steps=[1, 2]",
    "like": "guidance_like=heun-01234567",
    "norm": "guidance_norm=true",
    "pag": "pag_scale=2",
    "rescale": "guidance_rescale=0.7",
    "schedule": "guidance_schedule=[[10, 2], [1, 0.5]]",
}


@pytest.mark.parametrize("name", POLICIES.names())
@pytest.mark.parametrize("sampler", ["heun", "zigzag"])
def test_a_policy_never_waits_for_the_device(name: str, sampler: str) -> None:
    """Also where some samples need one branch only, each has a scale, or several act at once."""
    text = POLICIES_RUN[name]  # a new policy needs a line there
    scales = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64) if name == "like" else None
    _run(f"{sampler}(steps=4, guidance=3, {text})", scales=scales)
    if name != "like":
        each = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
        text = text if name == "schedule" else f"{text}, guidance_like=heun-01234567"
        _run(f"{sampler}(steps=4, guidance=3, {text})", scales=each)


def test_what_guidance_did_is_noted_without_waiting() -> None:
    call = resolve(parse_call("zigzag(steps=4, guidance=3, apg_eta=0)"), {})
    noted = GaEval(sampler_coefficients(LADDERS, call).step, Nowhere())
    _run(str(call), noted)
    assert len(noted.scales) == len(noted.pushes) == 10
    assert {push.device for push in noted.pushes if push.device.type != "cpu"} == {META}


def test_a_look_at_a_value_fails_here(tmp_path: Any) -> None:
    """What these tests rely on."""
    (tmp_path / "bad.py").write_text(
        "def bad(denoise, x, sigmas, noise):\n    return x / float(x.abs().max())\n"
    )
    with pytest.raises(Exception, match="meta"):
        _run(f"{tmp_path}/bad.py:bad(steps=2)")


def test_parts_are_decided_on_the_cpu() -> None:
    sigmas, guidance, _ = parts_of(LADDERS, resolve(parse_call("ddim(steps=4, guidance=3)"), {}))
    scale = guidance.scale(torch.tensor([1.0, 3.0], dtype=torch.float64), float(sigmas[0]))
    assert {part.device.type for part in (sigmas, scale, *guidance.needs(scale))} == {"cpu"}
