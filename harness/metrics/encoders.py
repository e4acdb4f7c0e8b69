"""Base class and registry of encoders: networks that turn images into features.

An encoder turns images into features, which are stored once for all metrics that use them:

    @encoder("mean-colour")
    class MeanColour(Encoder):
        width = 3

        def encode(self, images):
            return images.float().mean((2, 3))

Registered, it goes with any statistic: `fd(net=mean-colour)`. One that a single metric makes for
itself, in `build_encoder`, needs no registering, only a `name`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_type_hints

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError, unknown
from harness.core.libraries import exact_float32
from harness.core.registry import Registry, code_digest
from harness.fetch.weights import digest

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
E = TypeVar("E", bound="Encoder")
C = TypeVar("C", bound="Configured")


@dataclass(frozen=True)
class ItemRow:
    """What a metric may know of an image beside its pixels."""

    prompt: str
    category: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    prompt_id: str = ""
    seed: int = 0


class Configured:
    """Base of metrics and encoders: parameters (dataclass fields), files of weights, identity."""

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
        """Name of its folder of results: the name, and a hash of the parameters not at defaults."""
        changed = self.call.params
        return f"{self.name}-{_digest(changed)[:8]}" if changed else self.name

    def files(self) -> Sequence[str]:
        """Paths of the files of weights, downloaded if need be; HarnessError if they cannot be."""
        return ()

    def check(self) -> None:
        """Raise HarnessError if its files of weights are missing here. Must be quick."""
        self.files()

    def weights(self) -> str:
        """Hashes of the files of weights, joined; call after `check` only."""
        return "-".join(map(digest, self.files()))

    def identity(self) -> str:
        """Hash of name, version, parameters, weights and, of one that a script or a notebook
        registers, its code; stored results of another are stale."""
        kind = type(self)
        code = [code_digest(kind)] if ENCODERS.only_here(kind) else []
        return _digest([self.name, self.version, self.params, self.weights(), *code])[:16]

    def load(self, device: str) -> None:
        """Load the weights to `device`, unless they are there already."""
        exact_float32(device)  # whatever was made in this process since
        if self._device != device:
            self.setup(device)
            self._device = device

    def setup(self, device: str) -> None:
        """Load weights to `device`."""


class Encoder(Configured, ABC):
    """A network from images to features. `width` is the number of features, set by `load`."""

    width: int

    @property
    def convention(self) -> str:
        """The call without its `checkpoint`: features of equal conventions are comparable."""
        params = {k: v for k, v in self.call.params.items() if k != "checkpoint"}
        return str(Call(self.name, params))

    @property
    def family(self) -> str:
        """The family of its network: encoders of one family see, and overlook, much the same."""
        return self.name

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        """Why an image of this row and size (height, width) cannot be encoded; None if it can."""
        return None

    @abstractmethod
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Features [B, F], float32, of images uint8 [B, 3, H, W] on the CPU.

        They may stay on the device: nothing waits for them before the next batch is under way.
        """


ENCODERS: Registry[type[Encoder]] = Registry("encoder", "harness.metrics")


def encoder(name: str) -> Callable[[type[E]], type[E]]:
    """Register an encoder that goes with any statistic, as in `fd(net=NAME)`."""

    def register(cls: type[E]) -> type[E]:
        cls.name = name
        ENCODERS.add(name, cls, cls)
        return cls

    return register


def make_encoder(text: str) -> Encoder:
    """A registered encoder from a text such as `dinov2(resize=pil)`; errors as of `make_metric`."""
    return make(ENCODERS, text)


def make(registry: Registry[type[C]], text: str | Call) -> C:
    """An instance of the registered class that `text`, or a parsed call, names.

    Raises HarnessError for an unknown name or parameter (with the closest) and a wrong value.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    call = parse_call(text) if isinstance(text, str) else text
    cls = registry.get(call.name)
    what = f"{registry.kind} {call.name}"
    kinds = get_type_hints(cls, include_extras=True) if call.params else {}
    for key, value in call.params.items():
        if key not in parameters(cls):
            raise unknown("parameter", key, parameters(cls), where=what)
        try:
            TypeAdapter(kinds[key], config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]["msg"].removeprefix("Input ")
            raise HarnessError(f"{what}: parameter {key}={value!r} {problem}") from None
    return cls(**call.params)


def parameters(cls: type[Configured]) -> dict[str, Any]:
    """The parameters of a metric or encoder with their defaults."""
    if not dataclasses.is_dataclass(cls):
        return {}
    return {f.name: f.default for f in dataclasses.fields(cls) if f.init}


def per_batch(method: Callable[[Any, torch.Tensor], T]) -> Callable[[Any, torch.Tensor], T]:
    """Remember a method's result for the last images, so that several metrics share one pass."""
    slot = f"_last_{method.__name__}"

    @wraps(method)
    def cached(self: Any, images: torch.Tensor) -> T:
        last: tuple[torch.Tensor, T] | None = getattr(self, slot, None)
        if last is None or last[0] is not images:
            last = (images, method(self, images))
            setattr(self, slot, last)
        return last[1]

    return cached


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
