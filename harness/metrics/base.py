"""What a metric and an encoder are, and how a metric is registered and made from its text.

An item metric gives one number an image:

    @metric("contrast", title="Contrast", direction="higher", range=(0, 1),
            model="none", paper="-", licence="-")
    class Contrast(ItemMetric):
        def score(self, images, rows):
            return (images.float().std(dim=(1, 2, 3)) / 255).tolist()

A set metric gives one number a run: an `Encoder` turns images into features, which are stored once
however many metrics use them, and a statistic (see statistics.py) turns features into the number.

A prompt metric gives one number an image, too, but from the features of all images of its prompt.

Parameters of a metric are the fields of its dataclass, as typed in `clip(model=ViT-B-32)`. Metrics
that name the same encoder with the same parameters share one instance, and one forward pass.
Torch and other heavy libraries are imported in functions: metrics are listed without them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_type_hints

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError, unknown
from harness.core.registry import Registry
from harness.core.run_spec import RunSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

    from harness.metrics.set_statistics import Statistic
from harness.metrics.undefined import Undefined

T = TypeVar("T")


M = TypeVar("M", bound="Metric")


C = TypeVar("C", bound="Configured")


@dataclass(frozen=True)
class ItemRow:
    """What a metric may know of an image beside its pixels."""

    prompt: str
    category: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    prompt_id: str = ""
    seed: int = 0


@dataclass(frozen=True)
class About:
    """A metric in words, for lists and tables. `range` is closed; infinite where unbounded.

    A new `version` makes stored scores stale: raise it with every change of what is computed.
    """

    name: str
    kind: Literal["item", "prompt", "set"]
    title: str
    direction: Literal["higher", "lower"]
    range: tuple[float, float]
    model: str
    paper: str
    licence: str
    needs_prompts: bool
    version: int = 1
    parameters: dict[str, Any] = field(default_factory=dict)  # with their defaults
    description: str = ""  # the first line of the class's docstring


class Configured:
    """Something with parameters (the fields of its dataclass, if it is one) and perhaps weights."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    _device: str | None = None

    @property
    def params(self) -> dict[str, Any]:
        """Every parameter with its value."""
        return {key: getattr(self, key) for key in parameters(type(self))}

    @property
    def call(self) -> Call:
        """The name with the parameters that differ from their defaults."""
        defaults = parameters(type(self))
        return Call(self.name, {k: v for k, v in self.params.items() if v != defaults[k]})

    @property
    def label(self) -> str:
        """The folder's name: the name, and a hash of the parameters that are not defaults."""
        changed = self.call.params
        return f"{self.name}-{_digest(changed)[:8]}" if changed else self.name

    def check(self) -> None:
        """Raise HarnessError if weights are missing: what to download, where. Must be quick."""

    def weights(self) -> str:
        """What identifies the weights (a hash of the files); asked for after `check` only."""
        return ""

    def identity(self) -> str:
        """Changes whenever stored results are no longer what would be computed now."""
        return _digest([self.name, self.version, self.params, self.weights()])[:16]

    def load(self, device: str) -> None:
        """Be ready to run on `device`; a second call does nothing."""
        if self._device != device:
            self.setup(device)
            self._device = device

    def setup(self, device: str) -> None:
        """Load weights to `device`."""


class Encoder(Configured, ABC):
    """Images to features. `width` is the number of features, known after `load`."""

    width: int

    @property
    def convention(self) -> str:
        """What makes features comparable: the call, without where the weights' file lies."""
        params = {k: v for k, v in self.call.params.items() if k != "checkpoint"}
        return str(Call(self.name, params))

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        """Why an image of this row and size (height, width) cannot be encoded; None if it can."""
        return None

    @abstractmethod
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Features [B, F], float32, of images uint8 [B, 3, H, W] on the CPU."""


class Metric(Configured, ABC):
    """What item and set metrics have in common."""

    about: ClassVar[About]

    def build_encoder(self) -> Encoder | None:
        """The encoder that the metric needs, if any."""
        return None

    @cached_property
    def encoder(self) -> Encoder | None:
        """The encoder of `build_encoder`, or the equal one that other metrics use as well."""
        return self.build_encoder()

    def refuses(self, spec: RunSpec) -> str | None:
        """Why a run made like this cannot be measured; None if it can. Asked after `check`."""
        return None

    def check(self) -> None:
        if self.encoder:
            self.encoder.check()

    def weights(self) -> str:
        return self.encoder.identity() if self.encoder else ""

    def load(self, device: str) -> None:
        if self.encoder:
            self.encoder.load(device)
        super().load(device)


class ItemMetric(Metric):
    """One number an image."""

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        """Why an image of this row and size (height, width) has no score; None if it has one."""
        return self.encoder.unsuitable(row, size) if self.encoder else None

    def truncates(self, prompt: str) -> bool:
        """Whether the metric reads only the beginning of this prompt."""
        return False

    def prepare(self, prompts: Sequence[str]) -> None:
        """Embed prompts; called after `load`, once for each distinct prompt, before its `score`.

        Embed them one at a time: a score must not depend on which prompts a rank met before.
        """

    @abstractmethod
    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[float | Undefined]:
        """One number for each of the images uint8 [B, 3, H, W] (on the CPU) and its row."""


class FeatureMetric(Metric):
    """A metric that is computed from stored features when it is read."""

    @abstractmethod
    def build_encoder(self) -> Encoder: ...

    @property
    def features(self) -> Encoder:
        """The encoder, which such a metric always has."""
        assert self.encoder is not None
        return self.encoder


class PromptMetric(FeatureMetric):
    """One number an image, from the features of its prompt's images.

    Those are the images of the seeds that are asked for, so nothing but features is stored.
    """

    @abstractmethod
    def values(self, features: np.ndarray[Any, Any]) -> Sequence[float | Undefined]:
        """One number for each image of one prompt, whose features [n, F] these are."""


class SetMetric(FeatureMetric):
    """One number a run: a statistic of the encoder's features.

    With fewer images than `enough` it is not comparable with what papers report, and said so.
    """

    enough: ClassVar[int] = 0

    @abstractmethod
    def statistic(self) -> Statistic[Any]:
        """The function over features, with its reference read; HarnessError if that is missing."""

    def check(self) -> None:
        super().check()
        self.statistic()


METRICS: Registry[type[Metric]] = Registry("metric", "harness.metrics")


def metric(
    name: str,
    *,
    title: str,
    direction: Literal["higher", "lower"],
    range: tuple[float, float] = (-math.inf, math.inf),
    model: str,
    paper: str,
    licence: str,
    needs_prompts: bool = False,
    version: int = 1,
) -> Callable[[type[M]], type[M]]:
    """Register a subclass of ItemMetric, PromptMetric or SetMetric; arguments as of `About`."""

    def register(cls: type[M]) -> type[M]:
        about = About(
            name, _kind(cls), title, direction, range, model, paper, licence, needs_prompts, version
        )
        cls.name, cls.version = name, version
        description = (cls.__doc__ or "").partition("\n")[0].rstrip(".:")
        cls.about = dataclasses.replace(about, parameters=parameters(cls), description=description)
        METRICS.add(name, cls)
        return cls

    return register


def _kind(cls: type) -> Literal["item", "prompt", "set"]:
    if issubclass(cls, ItemMetric):
        return "item"
    if issubclass(cls, PromptMetric):
        return "prompt"
    if issubclass(cls, SetMetric):
        return "set"
    raise TypeError(
        f"{cls.__name__} is registered as a metric: subclass ItemMetric, PromptMetric or SetMetric"
    )


def parameters(cls: type[Configured]) -> dict[str, Any]:
    """The parameters of a metric or encoder with their defaults."""
    if not dataclasses.is_dataclass(cls):
        return {}
    return {f.name: f.default for f in dataclasses.fields(cls) if f.init}


def make_metric(text: str) -> Metric:
    """The metric of a text such as `clip(model=ViT-B-32, pretrained=openai)`.

    Raises HarnessError for an unknown name or parameter (with the closest) and a wrong value.
    """
    call = parse_call(text)
    return construct("metric", METRICS.get(call.name), call)


def construct(kind: str, cls: type[C], call: Call) -> C:
    """An instance with the parameters of a call; HarnessError for unknown ones and wrong values."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    kinds = get_type_hints(cls, include_extras=True) if call.params else {}
    for key, value in call.params.items():
        if key not in parameters(cls):
            raise unknown("parameter", key, parameters(cls), where=f"{kind} {call.name}")
        try:
            TypeAdapter(kinds[key], config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]["msg"].removeprefix("Input ")
            message = f"{kind} {call.name}: parameter {key}={value!r} {problem}"
            raise HarnessError(message) from None
    return cls(**call.params)


def make_metrics(texts: Iterable[str]) -> list[Metric]:
    """The metrics of texts, each once, with equal encoders shared."""
    metrics = {metric.label: metric for metric in map(make_metric, texts)}
    encoders: dict[str, Encoder] = {}
    for metric in metrics.values():
        if metric.encoder:
            metric.encoder = encoders.setdefault(metric.encoder.label, metric.encoder)
    return list(metrics.values())


def checks(metrics: Iterable[Metric], spec: RunSpec | None = None) -> dict[str, str]:
    """Why metrics cannot run here, by label: what to download where. Does no other work.

    With the `spec` of a run, also why they cannot measure that run.
    """
    problems = {metric.label: _problem(metric, spec) for metric in metrics}
    return {label: problem for label, problem in problems.items() if problem}


def _problem(metric: Metric, spec: RunSpec | None) -> str | None:
    try:
        metric.check()
        reason = metric.refuses(spec) if spec else None
    except HarnessError as error:
        return str(error)
    return f"{metric.name} cannot measure this run: {reason}" if reason else None


def describe() -> list[About]:
    """Every registered metric, by name."""
    return [cls.about for _, cls in METRICS]


def per_batch(method: Callable[[Any, torch.Tensor], T]) -> Callable[[Any, torch.Tensor], T]:
    """Remember a method's result for the last images, so that several metrics share one pass."""
    slot = f"_last_{method.__name__}"

    @wraps(method)
    def remembered(self: Any, images: torch.Tensor) -> T:
        last: tuple[torch.Tensor, T] | None = getattr(self, slot, None)
        if last is None or last[0] is not images:
            last = (images, method(self, images))
            setattr(self, slot, last)
        return last[1]

    return remembered


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
