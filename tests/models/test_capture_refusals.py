"""Pipelines that cannot be captured are refused in one line, with what was measured."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.core.errors import HarnessError
from harness.models.load import find, load
from harness.models.pipelines.capture.call_form import CallForm
from harness.models.pipelines.capture.reading import Reader, Reading
from tests.models.tiny_captured import flux, lumina2


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("WanPipeline", "WanPipeline makes videos"),
        ("FluxImg2ImgPipeline", "changes a given picture"),
        ("StableAudioPipeline", "makes sound"),
        ("SanaVideoPipeline", "makes videos"),
        ("DDPMPipeline", "neither a prompt nor class_labels"),
        ("KandinskyV22Pipeline", "neither a prompt nor class_labels"),
        ("SomebodysPipeline", "'SomebodysPipeline' is no pipeline of diffusers"),
        ("FluxPipeline", "FluxPipeline needs scheduler, which model_index.json lacks"),
    ],
)
def test_a_class_that_does_not_fit_is_refused_by_its_index(
    kind: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(HarnessError, match=words) as refused:
        find(str(tmp_path))
    assert "\n" not in str(refused.value)
    assert "did you mean" not in str(refused.value)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made = {"flux": flux, "lumina2": lumina2}
    paths = {name: tmp_path_factory.mktemp(name) for name in made}
    for name, make in made.items():
        make().save_pretrained(paths[name])
    return {name: str(path) for name, path in paths.items()}


def test_settings_are_checked_before_weights_load(folders: dict[str, str]) -> None:
    for spec, words in (
        ("lumina2(cfg_normalisation=false)", "did you mean 'cfg_normalization'"),
        ("lumina2(distilled_guidance=3)", "does not take guidance as an input"),
        ("flux(distilled_guidance=much)", "distilled_guidance='much' must be a guidance scale"),
        ("lumina2(cfg_trunc_ratio=0.5)", "changes how its branches are combined: weights -3, 2"),
        ("flux(transformer=3)", "transformer=3 must be a folder or a hub id"),
    ):
        name, _, settings = spec.partition("(")
        with pytest.raises(HarnessError, match=words):
            find(f"{folders[name]}({settings}")


def test_an_option_is_the_pipelines_and_changes_its_defaults(folders: dict[str, str]) -> None:
    assert find(folders["lumina2"]).defaults == {"guidance_norm": True}
    assert find(f"{folders['lumina2']}(cfg_normalization=false)").defaults == {}


def test_a_distilled_guidance_is_a_setting_of_the_record(folders: dict[str, str]) -> None:
    entry = find(folders["flux"])
    assert entry.settings == {"distilled_guidance": 3.5}
    assert (entry.guidance, entry.unconditional) == (1.0, True)
    given = find(f"{folders['flux']}(distilled_guidance=2)")
    assert (given.guidance, given.unconditional) == (1.0, True)


def test_a_scheduler_that_cannot_be_run_is_named(folders: dict[str, str], tmp_path: Path) -> None:
    from diffusers import DDIMScheduler, SCMScheduler

    for made, words in ((SCMScheduler(), "cannot be run"), (DDIMScheduler(), "cannot be run")):
        pipeline = flux()
        pipeline.scheduler = made
        pipeline.register_modules(scheduler=made)
        folder = tmp_path / type(made).__name__
        pipeline.save_pretrained(folder)
        with pytest.raises(HarnessError, match=words):
            find(str(folder))


def test_a_self_check_that_fails_refuses_the_model(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guidance that is no sum of two, taken for one: found after the weights are loaded."""
    from diffusers import Lumina2Transformer2DModel

    own = Lumina2Transformer2DModel.forward

    @functools.wraps(own)
    def noisy(self: Any, hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        (made,) = own(self, hidden_states, *args, **kwargs)
        self.calls = getattr(self, "calls", 0) + 1
        return (made * (1 + 1e-3 * self.calls),)

    monkeypatch.setattr(Lumina2Transformer2DModel, "forward", noisy)
    with pytest.raises(HarnessError, match="is not understood: after 4 steps its own latents"):
        load(folders["lumina2"], size=(64, 64))


class _Loop:
    """A made-up pipeline: its guidance rule, and its state, are a test's."""

    def __init__(self, rule: Callable[..., Any], state: Any = None) -> None:
        self.rule, self.state = rule, state
        self.scheduler = SimpleNamespace(step=lambda prediction, time, sample: sample)
        self.transformer = _Net()

    def __call__(
        self,
        prompt: Any = None,
        height: int = 16,
        width: int = 16,
        num_inference_steps: int = 4,
        guidance_scale: float = 5.0,
        negative_prompt: Any = None,
        latents: Any = None,
    ) -> None:
        shape = (len(prompt), 4, 2, 2)
        z = torch.randn(shape) if latents is None else latents
        z = z if self.state is None else self.state(z)
        for at in range(num_inference_steps):
            time = torch.tensor(1000.0 - 250 * at)
            c, u, other = (self.transformer(z, time, text=one).sample for one in (1.0, 0.0, 2.0))
            z = self.scheduler.step(self.rule(at, guidance_scale, c, u, other), time, z).prev_sample


class _Net(torch.nn.Module):
    config: dict[str, Any] = {}  # noqa: RUF012

    def forward(self, z: Any, timestep: Any, text: float = 0.0, return_dict: bool = True) -> Any:
        raise AssertionError("the network is not evaluated")


def _linear(at: int, w: float, c: Any, u: Any, other: Any) -> Any:
    return u + w * (c - u)


def _reading(rule: Callable[..., Any], state: Any = None) -> Reading:
    pipeline = _Loop(rule, state)
    form = CallForm.of(_Loop, {})
    return Reader(pipeline, "transformer", form, (16, 16), {}, None).read()


@pytest.mark.parametrize(
    ("rule", "weight", "sign"),
    [
        (_linear, 3.0, 1.0),
        (lambda at, w, c, u, o: c + w * (c - u), 4.0, 1.0),  # 1 + w, as some write it
        (lambda at, w, c, u, o: -(u + w * (c - u)), 3.0, -1.0),
    ],
)
def test_a_weighted_sum_is_read_as_what_it_is(
    rule: Callable[..., Any], weight: float, sign: float
) -> None:
    reading = _reading(rule)
    assert reading.weight == pytest.approx(weight, abs=1e-4)
    assert reading.sign == sign
    assert (reading.cond.call, reading.uncond and reading.uncond.call) == (0, 1)


def _rescaled(at: int, w: float, c: Any, u: Any, other: Any) -> Any:
    guided = _linear(at, w, c, u, other)
    return guided * c.std() / guided.std()


def _first_channel(at: int, w: float, c: Any, u: Any, other: Any) -> Any:
    guided = _linear(at, w, c, u, other)
    return torch.cat([guided[:, :1], c[:, 1:]], 1)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (_rescaled, r"does not combine its branches as u \+ w \(c - u\): .* of sum 0\."),
        (_first_channel, "leave 0.* of the prediction unexplained"),
        (lambda at, w, c, u, o: u + w * (c - u) + (c - o), "combines 3 branches of its network"),
        (lambda at, w, c, u, o: _linear(at, w if at < 2 else 1.0, c, u, o), "changes how its"),
    ],
)
def test_guidance_that_is_no_weighted_sum_is_refused_with_what_was_measured(
    rule: Callable[..., Any], words: str
) -> None:
    with pytest.raises(HarnessError, match=words):
        _reading(rule)


def test_a_state_that_cannot_be_stacked_is_refused() -> None:
    with pytest.raises(HarnessError, match="has a list for its state, which cannot be stacked"):
        _reading(lambda at, w, c, u, o: c, state=lambda z: [z, z])


def test_what_a_prompt_does_not_give_is_named() -> None:
    class Edit:
        def __call__(self, prompt: str, picture: Any) -> None: ...

    with pytest.raises(HarnessError, match="Edit needs picture, which a prompt does not give"):
        CallForm.of(Edit, {})
