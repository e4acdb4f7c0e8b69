"""Base classes and registry of metrics: ItemMetric, PromptMetric, SetMetric, @metric.

An item metric gives one number an image:

    @metric("contrast", title="Contrast", direction="higher", range=(0, 1),
            model="none", paper="-", licence="-")
    class Contrast(ItemMetric):
        def score(self, images, rows):
            return (images.float().std(dim=(1, 2, 3)) / 255).tolist()

A set metric gives one number a run: an `Encoder` turns images into features, which are stored once
however many metrics use them, and a statistic (see set_statistics.py) turns features into the
number. Here the features are CLIP's, and the statistic is their mean distance to the centre of a
reference's, which is one of `harness refs list` or a file:

    @dataclass(frozen=True)
    class MeanDistance:
        reference: Reference

        def gather(self, features):  # [n, F]; states of parts of the images add up
            return FeatureRows.of(self.reference.accept(features))

        def value(self, state):
            if state.n < 2:
                return Undefined("two images or more have a mean distance")
            return float(np.linalg.norm(state.array - self.reference.mu, axis=1).mean())

    @metric("clip-distance", title="CLIP distance", direction="lower", range=(0, math.inf),
            model="open_clip ViT-B-32, openai", paper="-", licence="MIT (openai weights)")
    @dataclass
    class ClipDistance(ReferenceMetric):
        reference: str = ""

        def build_encoder(self):
            return make_encoder("clip")

        def statistic(self):
            return MeanDistance(self.target())

A prompt metric gives one number an image, too, but from the features of all images of its prompt.

A metric is one file in this folder (or in a package with an entry point of the group
`harness.metrics`), and what it imports of the harness is in `harness.metrics`.

A metric or an encoder with weights names their files in `files`: they are then checked before
anything is computed, and other weights make stored scores stale.

Parameters of a metric are the fields of its dataclass, as typed in `clip(model=ViT-B-32)`. Metrics
that name the same encoder with the same parameters share one instance, and one forward pass.
Torch and other heavy libraries are imported in functions: metrics are listed without them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.registry import Registry
from harness.core.run_spec import RunSpec
from harness.metrics.encoders import Configured, Encoder, ItemRow, make, parameters
from harness.metrics.set_statistics import Statistic
from harness.metrics.undefined import Undefined

if TYPE_CHECKING:
    import numpy as np
    import torch

M = TypeVar("M", bound="Metric")
Scores: TypeAlias = "Sequence[float | Undefined] | torch.Tensor"

USUAL = 10_000
"""Of fewer images than this, set metrics are far from what papers report (of 50,000)."""

_NO_NETWORK = ("none", "-", "")


@dataclass(frozen=True)
class About:
    """Description of a metric for lists and tables. `range` is closed, infinite where unbounded.

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


class Metric(Configured, ABC):
    """Base class of item, prompt and set metrics."""

    about: ClassVar[About]
    kind: ClassVar[Literal["item", "prompt", "set"]]

    def build_encoder(self) -> Encoder | None:
        """The encoder that the metric needs, if any."""
        return None

    @cached_property
    def encoder(self) -> Encoder | None:
        """The encoder of `build_encoder`, or the equal one that other metrics use as well."""
        return self.build_encoder()

    @property
    def family(self) -> str | None:
        """The family of the network that it judges by: its encoder's, else as declared in `model`;
        None of a metric without a network (`model` is "none" or "-")."""
        if self.encoder:
            return self.encoder.family
        return None if self.about.model in _NO_NETWORK else self.about.model

    @property
    def features(self) -> Encoder:
        """The encoder, of a metric that must have one."""
        assert self.encoder is not None, f"{self.name} has no encoder"
        return self.encoder

    def refuses(self, spec: RunSpec) -> str | None:
        """Reason why a run of this spec cannot be scored; None if it can. Called after `check`."""
        return None

    def check(self) -> None:
        if self.encoder:
            self.encoder.check()
        super().check()

    def weights(self) -> str:
        encoder = self.encoder.identity() if self.encoder else ""
        return "-".join(filter(None, [encoder, super().weights()]))

    def load(self, device: str) -> None:
        if self.encoder:
            self.encoder.load(device)
        super().load(device)


class ItemMetric(Metric):
    """A metric of single images: one number each."""

    kind = "item"

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        """Reason why an image of this row and size (height, width) gets no score, or None."""
        return self.encoder.unsuitable(row, size) if self.encoder else None

    def truncates(self, prompt: str) -> bool:
        """Whether the metric reads only the beginning of this prompt."""
        return False

    def prepare(self, prompts: Sequence[str]) -> None:
        """Embed prompts; called after `load`, once for each distinct prompt, before its `score`.

        Embed them one at a time, or in batches that are all of one size: a score must not depend
        on which prompts a rank met before.
        """

    @abstractmethod
    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Scores:
        """One number for each of the images uint8 [B, 3, H, W] (on the CPU) and its row.

        A tensor [B] may stay on the device: it is read when the next batch is under way.
        """

    def values(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> list[float | Undefined]:
        """The scores, read from the device."""
        return listed(self.score(images, rows))


class PromptMetric(Metric):
    """A metric of images among the other images of their prompt, such as diversity.

    Its value depends on which seeds are compared, so nothing but features is stored.
    """

    kind = "prompt"

    @abstractmethod
    def build_encoder(self) -> Encoder:
        """The encoder whose features are stored."""

    @abstractmethod
    def values(self, features: np.ndarray[Any, Any]) -> Sequence[float | Undefined]:
        """One number for each of the images of one prompt, from their `features` [n, F]."""


class SetMetric(Metric):
    """A metric of a whole run, such as FID: a statistic of the encoder's stored features.

    Over fewer images than `enough` it is not comparable with published values: a warning is given.
    """

    kind = "set"
    enough: ClassVar[int] = 0

    @abstractmethod
    def build_encoder(self) -> Encoder:
        """The encoder whose features are stored."""

    @abstractmethod
    def statistic(self) -> Statistic[Any]:
        """The statistic, with its reference loaded; HarnessError if that is missing."""

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
        if not hasattr(cls, "kind"):
            raise TypeError(
                f"{cls.__name__} is registered as a metric: subclass ItemMetric, PromptMetric or "
                "SetMetric"
            )
        description = (cls.__doc__ or "").partition("\n")[0].rstrip(".:")
        cls.name, cls.version = name, version
        cls.about = About(
            name, cls.kind, title, direction, range, model, paper, licence, needs_prompts, version,
            parameters(cls), description,
        )  # fmt: skip
        METRICS.add(name, cls, cls)
        return cls

    return register


def make_metric(text: str | Call) -> Metric:
    """A metric from a text such as `clip(model=ViT-B-32, pretrained=openai)`, or a parsed call.

    Raises HarnessError for an unknown name or parameter (with the closest) and a wrong value.
    """
    return make(METRICS, text)


def make_metrics(texts: Iterable[str | Call | Metric]) -> list[Metric]:
    """Metrics from texts, duplicates dropped, equal encoders shared; made ones stay as they are."""
    made = (text if isinstance(text, Metric) else make_metric(text) for text in texts)
    metrics = {metric.label: metric for metric in made}
    encoders: dict[str, Encoder] = {}
    for metric in metrics.values():
        if metric.encoder:
            metric.encoder = encoders.setdefault(metric.encoder.label, metric.encoder)
    return list(metrics.values())


def listed(scores: Scores) -> list[float | Undefined]:
    """Scores on the host."""
    import torch

    return list(scores.tolist() if isinstance(scores, torch.Tensor) else scores)


def named(metric: str, problem: str) -> str:
    """A problem of a metric that names it."""
    return problem if metric.partition("(")[0] in problem else f"{metric}: {problem}"


def checks(metrics: Iterable[Metric], spec: RunSpec | None = None) -> dict[str, str]:
    """Reasons, by label, why metrics cannot run here: what to download where.

    With the `spec` of a run, also why they cannot score that run.
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
