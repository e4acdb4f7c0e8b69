"""Runs a pipeline with another function for its network, and sees what it is given at each step."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch

from harness.core.libraries import quiet

Answer = Callable[[dict[str, Any]], Any]
"""From a network's arguments by name to its output."""


@dataclass(frozen=True)
class NetworkCall:
    """One call of the network: its arguments by name, and what was answered."""

    inputs: dict[str, Any]
    output: Any


@dataclass(frozen=True)
class WatchedStep:
    """A step of the pipeline's loop: its network's calls, and what its scheduler was given."""

    calls: list[NetworkCall]
    prediction: Any
    time: Any
    sample: Any


class _Enough(Exception):  # it ends a pipeline's call and is no error
    pass


@dataclass(frozen=True)
class Stepped:
    """What a scheduler returns from a step, by any of its names."""

    prev_sample: Any

    @property
    def pred_original_sample(self) -> Any:
        return self.prev_sample

    @property
    def denoised(self) -> Any:
        return self.prev_sample

    def __getitem__(self, index: int) -> Any:
        return self.prev_sample


def watch(
    pipeline: Any,
    part: str,
    question: Mapping[str, Any],
    answer: Answer,
    steps: int,
    follow: Callable[[torch.Tensor], torch.Tensor] = lambda sample: sample,
    *,
    warn: bool = False,
) -> list[WatchedStep]:
    """The first `steps` steps of `pipeline(**question)`, whose network `part` answers `answer`.

    `follow` gives the next state from a state. The pipeline goes no further, and nothing of it is
    changed. `warn`: its own warnings are shown.
    """
    seen: list[WatchedStep] = []
    calls: list[NetworkCall] = []

    def forward(inputs: dict[str, Any]) -> Any:
        output = answer(inputs)
        calls.append(NetworkCall(inputs, output))
        return output

    def step(prediction: Any, time: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(WatchedStep(list(calls), prediction, time, sample))
        calls.clear()
        if len(seen) == steps:
            raise _Enough
        if getattr(pipeline.scheduler, "_step_index", None) is not None:
            pipeline.scheduler._step_index += 1  # the next input is scaled by its own level
        return as_step(follow(sample), kwargs)

    with answering(pipeline, part, forward), stepping(pipeline, step):
        _run(pipeline, question, warn=warn)
    return seen


def _run(pipeline: Any, question: Mapping[str, Any], *, warn: bool = False) -> None:
    """Call the pipeline, until something in it has seen enough."""
    with nullcontext() if warn else quiet(), suppress(_Enough):
        pipeline(**question)


def as_step(sample: Any, kwargs: Mapping[str, Any]) -> Any:
    """A step's result, as a scheduler returns it."""
    return Stepped(sample) if kwargs.get("return_dict", True) else (sample, sample)


@contextmanager
def answering(pipeline: Any, part: str, answer: Answer) -> Iterator[None]:
    """While open, the pipeline's network is a function of its arguments by name."""
    from diffusers.models.modeling_outputs import Transformer2DModelOutput

    network = getattr(pipeline, part)
    signature = inspect.signature(type(network).forward)

    def forward(*args: Any, **kwargs: Any) -> Any:
        inputs = dict(signature.bind(network, *args, **kwargs).arguments)
        inputs.pop("self", None)
        output = answer(inputs)
        plain = inputs.get("return_dict", True) is False
        return (output,) if plain else Transformer2DModelOutput(sample=output)

    with replaced(network, "forward", forward):
        yield


@contextmanager
def stepping(pipeline: Any, step: Callable[..., Any]) -> Iterator[None]:
    """While open, the pipeline's scheduler steps so."""
    with replaced(pipeline.scheduler, "step", functools.wraps(pipeline.scheduler.step)(step)):
        yield


def timesteps_asked(pipeline: Any, question: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The arguments with which `pipeline(**question)` sets its scheduler's timesteps."""
    asked: list[tuple[Any, dict[str, Any]]] = []
    scheduler = pipeline.scheduler

    @functools.wraps(scheduler.set_timesteps)
    def set_timesteps(*args: Any, **kwargs: Any) -> None:
        asked.append((args, {key: one for key, one in kwargs.items() if key != "device"}))
        raise _Enough

    with replaced(scheduler, "set_timesteps", set_timesteps):
        _run(pipeline, question)
    return asked[0]


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """While open, an object's attribute is another."""
    own = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
