"""Realised guidance: exact where a step is one evaluation, near the nominal scale elsewhere."""

from __future__ import annotations

import pytest
import torch

from harness.core.errors import HarnessError
from harness.runs.folder import Settings
from harness.runs.plan import plan
from harness.runs.realised import Realised, realised_guidance
from harness.runs.single import expand


def _found(sampler: str, guide: str | None = None, batch: int | None = None) -> Realised:
    job = plan("gmm", sampler, noise_key="seed", guide=guide)
    request = expand(["class 3"], [], [0, 1, 2], None)
    return realised_guidance(job, request, Settings(batch_size=batch))


def test_an_euler_step_does_what_its_guidance_says() -> None:
    found = _found("ddim(steps=6, guidance=3)")
    assert found.realised.shape == (6, 3)
    assert found.realised[0].numpy() == pytest.approx(3, abs=1e-9)
    assert found.unexplained[0].numpy() == pytest.approx(0, abs=1e-9)
    assert found.nominal.numpy() == pytest.approx(3)


def test_where_the_branches_are_one_nothing_is_realised() -> None:
    """At the mixture's last levels the class is decided: c - u vanishes."""
    found = _found("ddim(steps=8, guidance=3)")
    assert bool(found.realised[-1].isnan().all())


def test_a_zigzag_moves_its_state_so_its_scale_is_near_the_nominal_one() -> None:
    found = _found("zigzag(steps=30, guidance=3)")
    first = found.realised[:3]
    assert found.nominal[:3].numpy() == pytest.approx(6)
    assert bool(((first > 4) & (first < 8)).all())
    assert bool((found.unexplained[:3] > 0).all())


def test_batches_do_not_matter() -> None:
    one, all_at_once = (
        _found("heun(steps=5, guidance=2)", batch=1),
        _found("heun(steps=5, guidance=2)"),
    )
    torch.testing.assert_close(one.realised, all_at_once.realised, equal_nan=True)


def test_another_networks_guidance_has_no_scale() -> None:
    with pytest.raises(HarnessError, match="leads away from another"):
        _found("ddim(steps=4, guidance=2)", guide="gmm")
