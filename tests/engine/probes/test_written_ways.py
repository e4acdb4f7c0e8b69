"""One zigzag, written in several ways, has one nominal guidance scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.core.call import parse_call
from harness.core.nominal_scale import Evaluations, run_scale
from harness.core.shards import Prompt, plan_shards
from harness.engine.probes.coefficients import Coefficients, sampler_coefficients
from harness.engine.resolve import resolve
from harness.models.load import find
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.store.run import Run

WAYS = '''
from itertools import pairwise


def eps(denoise, x, s, w, **where):
    return (x - denoise(x, s, guidance=w, **where)) / s


def with_step(denoise, x, sigmas, noise, *, guidance: float = 5.5, back: float = 0.0):
    for s, t in pairwise(sigmas):
        if t > sigmas[-1]:
            z = x + (t - s) * eps(denoise, x, s, guidance)
            x = z + (s - t) * eps(denoise, z, t, back, step=s)
        x = x + (t - s) * eps(denoise, x, s, guidance)
    return x


def without(denoise, x, sigmas, noise, *, guidance: float = 5.5, back: float = 0.0):
    for s, t in pairwise(sigmas):
        z = x + (t - s) * eps(denoise, x, s, guidance)
        if t > sigmas[-1]:
            x = z + (s - t) * eps(denoise, z, t, back)
            z = x + (t - s) * eps(denoise, x, s, guidance)
        x = z
    return x


def one_loop(denoise, x, sigmas, noise, *, guidance: float = 5.5, back: float = 0.0):
    moves = []
    for s, t in pairwise(sigmas):
        moves += [(s, t), (t, s), (s, t)] if t > sigmas[-1] else [(s, t)]
    for a, b in moves:
        x = x + (b - a) * eps(denoise, x, a, guidance if b < a else back)
    return x


def halves(denoise, x, sigmas, noise, *, guidance: float = 5.5, back: float = 0.0):
    for s, t in pairwise(sigmas):
        middle = (s + t) / 2
        if t > sigmas[-1]:
            x = x + (t - s) * eps(denoise, x, s, guidance)
            x = x + (middle - t) * eps(denoise, x, t, back)
            x = x + (s - middle) * eps(denoise, x, middle, back)
        x = x + (t - s) * eps(denoise, x, s, guidance)
    return x


def at_the_end(denoise, x, sigmas, noise, *, guidance: float = 5.5, back: float = 0.0):
    """Forth, back and forth again added up at once; what is looked at beside is not used."""
    for s, t in pairwise(sigmas):
        e = eps(denoise, x, s, guidance)
        total = e
        if t > sigmas[-1]:
            b = eps(denoise, x + (t - s) * e, t, back)
            eps(denoise, x, t, 1.0)
            total = e - b + eps(denoise, x + (t - s) * (e - b), s, guidance)
        x = x + (t - s) * total
    return x
'''
NAMES = ("with_step", "without", "one_loop", "halves", "at_the_end")


def _found(text: str) -> Coefficients:
    return sampler_coefficients(find("shapes").ladders({}), resolve(parse_call(text), {}))


def _scale(found: Coefficients, power: float) -> float:
    """The scale where c - u grows as sigma**-power, seen where guidance is neither 0 nor 1."""
    level, weight = found.level.numpy(), found.guidance.numpy()[:, None]
    push = np.where((weight == 0) | (weight == 1), np.nan, level[:, None] ** -power)
    scale, unknown = run_scale(Evaluations(level, found.coefficient.numpy(), weight, push))
    assert not unknown.any()
    return float(scale[0])


@pytest.fixture
def ways(tmp_path: Path) -> Path:
    (tmp_path / "ways.py").write_text(WAYS)
    return tmp_path / "ways.py"


@pytest.mark.parametrize("name", NAMES)
def test_a_zigzag_has_one_scale_however_it_is_written(name: str, ways: Path) -> None:
    """11 at equal pushes wherever a step zigzags: all but the last, as built in."""
    found, own = _found(f"{ways}:{name}(steps=10)"), _found("zigzag(steps=10)")
    levels = np.unique(own.level.numpy())[::-1]
    last = own.coefficient[-1].abs().item()
    whole = own.coefficient.sum().abs().item()
    assert len(levels) == 10
    assert _scale(found, 0.0) == pytest.approx((11 * (whole - last) + 5.5 * last) / whole)
    assert _scale(found, 0.0) == pytest.approx(10.88, abs=0.005)
    for power in (0.5, 1.0):
        assert _scale(found, power) == pytest.approx(_scale(own, power), rel=1e-9)
        assert 5.5 < _scale(found, power) < 11
    nothing = _found(f"{ways}:{name}(steps=10, back=5.5)")
    assert _scale(nothing, 1.0) == pytest.approx(5.5, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_its_steps_are_those_of_the_built_in_one(name: str, ways: Path) -> None:
    found, own = _found(f"{ways}:{name}(steps=10)"), _found("zigzag(steps=10)")
    assert len(found.steps) == 10
    for mine, other in zip(found.steps, own.steps, strict=True):
        assert found.step[mine.start] == own.step[other.start]
        a, w = found.coefficient[mine], found.guidance[mine]
        expected = 5.5 if mine is found.steps[-1] or other.stop == len(own.step) else 11
        assert float((a * w).sum() / a.sum()) == pytest.approx(expected)


def test_a_step_back_is_nearly_continuous_in_its_guidance(ways: Path) -> None:
    """At 0 one branch is evaluated, and a little beside it both."""
    none, little = (
        _scale(_found(f"zigzag(steps=10, inversion_guidance={w})"), 1.0) for w in (0, 1e-4)
    )
    assert none == pytest.approx(little, abs=1e-3)


def test_going_back_over_several_steps_weighs_what_going_down_did() -> None:
    """Two steps down, both undone at once, and taken again: 2 * 4 - 1."""
    level = np.array([4.0, 2.0, 1.0, 4.0, 2.0])
    coefficient = np.array([-2.0, -1.0, 3.0, -2.0, -1.0])
    weight = np.array([[4.0], [4.0], [1.0], [4.0], [4.0]])
    push = np.array([[1.0], [5.0], [np.nan], [1.0], [5.0]])
    scale, _ = run_scale(Evaluations(level, coefficient, weight, push))
    assert scale == pytest.approx([7.0])


def test_moves_that_cancel_have_no_scale() -> None:
    level, coefficient = np.array([4.0, 2.0]), np.array([-2.0, 2.0])
    weight, push = np.array([[4.0], [1.0]]), np.ones((2, 1))
    scale, unknown = run_scale(Evaluations(level, coefficient, weight, push))
    assert np.isnan(scale).all()
    assert not unknown.any()


def test_a_push_that_was_not_seen_is_that_of_the_nearest_level() -> None:
    level, coefficient = np.array([4.0, 2.0, 1.5, 1.0]), np.array([-2.0, -0.5, -0.5, -1.0])
    weight = np.array([[3.0], [1.0], [1.0], [3.0]])
    push = np.array([[1.0], [np.nan], [np.nan], [6.0]])
    scale, _ = run_scale(Evaluations(level, coefficient, weight, push))
    nearest = np.array([1.0, 6.0, 6.0, 6.0])
    expected = np.average([3, 1, 1, 3], weights=-coefficient * nearest)
    assert scale == pytest.approx([expected])


def test_runs_of_one_zigzag_are_guided_alike(ways: Path, tmp_path: Path) -> None:
    """Images and stored scales: with `step` and without, the same evaluations are made."""
    means = {}
    for name in ("with_step", "without", "one_loop"):
        job = plan("gmm", f"{ways}:{name}(steps=6)")
        run: Run = open_run(job, str(tmp_path / name), Settings())
        shards = plan_shards([Prompt(f"p{i}", f"class {i}") for i in range(4)], [0])
        generate([(job, run, shard) for shard in shards], Settings())
        means[name] = run.frame("images", ["guidance_scale"])["guidance_scale"].to_numpy()
    assert means["without"] == pytest.approx(means["with_step"], rel=1e-9)
    assert means["one_loop"] == pytest.approx(means["with_step"], rel=1e-9)
    assert means["without"] == pytest.approx([4.0] * 4)  # the model guides at 2
