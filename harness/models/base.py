"""The model contract that every family is adapted to, and the registry of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from harness.core.errors import HarnessError
from harness.core.registry import Registry

Condition = dict[str, torch.Tensor]
"""A network's conditioning: tensors with one row for each item, on the model's device."""


def take(condition: Condition, rows: torch.Tensor | Sequence[int]) -> Condition:
    """The given rows of every tensor of a condition."""
    return {key: value[rows] for key, value in condition.items()}


def join(parts: Sequence[Condition]) -> Condition:
    """Conditions concatenated along their rows."""
    if len(parts) == 1:
        return parts[0]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


class Ladders(Protocol):
    """Builds a model's ladders (its sigmas over a run); needs no weights."""

    def ladder(
        self,
        steps: int,
        spacing: str | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        rho: float | None = None,
    ) -> torch.Tensor:
        """The sigmas [steps+1] of a run, float64 on the CPU; see models/ladders.py."""


class SizedLadders(Ladders, Protocol):
    """Ladders that depend on the picture's size; by themselves those of the model's own."""

    def at(self, size: tuple[int, int]) -> Ladders:
        """The ladders for pictures of `size` (height, width) in pixels."""


class Network(Protocol):
    """A network and its parametrisation: what the denoiser needs of a model."""

    name: str

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """The network's own output (eps, v, D ...) [B, ...] at state x of level sigma.

        `time` is the level that the network is conditioned on; both are float64: a scalar on the
        CPU, or [B, 1, 1, 1] on the state's device. Nothing here may wait for that device.
        """

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The estimate D of x0 from an output of `network`."""


class Model(Ladders, Network, Protocol):
    """A loaded model in sigma-space: x = x0 + sigma n.

    `SigmaSpaceModel` has what networks with D for output share, `models/ladders.py` usual ladders.

    State tensors are [B, *latent_shape] in `state_dtype` on `device`. Models (and their ladders)
    with times of their own also have `time_of(sigma)` and `sigma_of(time)`: tensors to tensors of
    the same shape, float64; and where they know whole times only, `times`, those at which a run
    ends and above which it begins. With `decodes_apart` true, a GPU decodes one batch while it
    samples the next: `decode` then uses and changes nothing that sampling does.
    """

    device: torch.device
    state_dtype: torch.dtype
    classes: int | None

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """[C, h, w] of the state for pictures of `size` (height, width) in pixels."""

    def start(self, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The first state from unit noise, at level sigma (a scalar or a map)."""

    def encode(self, prompts: Sequence[str]) -> Condition:
        """Conditions of the prompts, one row each.

        Of a model of classes: {"class": int64 [B]}, see models/class_labels.py.
        """

    def encode_negative(self, negatives: Sequence[str | None]) -> Condition | None:
        """Conditions of the unconditional branch; for None, the checkpoint's own default."""

    def variants(self, settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Network]:
        """Networks by name for a sampler that needs several; HarnessError if this is not possible.

        Settings of a variant: `lora`, a file, and `scale`. Called at every batch: cache the result.
        """

    def native(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The state at the ladder's last level in the model's own variables."""

    def decode(self, native: torch.Tensor) -> torch.Tensor:
        """Pictures, uint8 [B, 3, H, W], on the model's device or the CPU."""


class SigmaSpaceModel:
    """Base of models whose own state is x and whose network's output is D.

    They have no negative prompt, no LoRA, and start from noise alone.
    """

    name: str
    device: torch.device
    state_dtype: torch.dtype

    def start(self, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return noise.to(self.device, self.state_dtype) * sigma

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return output

    def native(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x

    def encode_negative(self, negatives: Sequence[str | None]) -> Condition | None:
        if any(negatives):
            raise HarnessError(f"model {self.name} takes no negative prompt")
        return None

    def variants(self, settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Network]:
        raise HarnessError(f"model {self.name} takes no LoRA")


def check_side(name: str, size: tuple[int, int], side: int) -> None:
    """Raise HarnessError unless `size` is the one that the model `name` makes."""
    if size != (side, side):
        raise HarnessError(f"model {name} makes pictures of {side}x{side}, not {size[0]}x{size[1]}")


@dataclass(frozen=True)
class ModelEntry:
    """A registered model: its metadata, and functions that need no loaded weights.

    `size` (height, width) in pixels, `steps` and `guidance` are the defaults of its papers; a
    guidance of None leaves the sampler's own. `classes` is None for a model of text prompts, 0 for
    one without any condition. `unconditional`: guidance needs no second network.
    `abilities` is what samplers' `needs` may ask for (samplers/base.py):

    "pixel levels": sigma may be a map [B, 1, h, w]. "attention maps": the model also has
    `attention_maps(size, rows)` and `token_weights(prompt, objects)`, see stable_diffusion.py.
    """

    name: str
    title: str
    source: str
    licence: str
    size: tuple[int, int]
    size_multiple: int
    steps: int
    guidance: float | None
    batch_size: int
    dtype: str | None = field(default=None, kw_only=True)  # the only one it computes in
    classes: int | None = field(default=None, kw_only=True)
    unconditional: bool = field(default=True, kw_only=True)
    gpu_dtype: str = field(default="float16", kw_only=True)  # the default on a GPU
    abilities: frozenset[str] = field(default=frozenset(), kw_only=True)
    revision: Callable[[], str]  # of the weights; raises HarnessError if they cannot be obtained
    ladders: Callable[[dict[str, Any]], Ladders]  # from the overrides of its configuration
    load: Callable[[LoadRequest], Model]
    # raises HarnessError if what decoding needs beside the weights cannot be obtained
    decodable: Callable[[dict[str, Any]], object] = field(default=lambda _: None, kw_only=True)
    # raises HarnessError for unknown prompts, of models that check them without weights
    known: Callable[[Sequence[str]], object] = field(default=lambda _: None, kw_only=True)
    guide: str | None = field(default=None, kw_only=True)  # its paper's second network
    # its settings where a user gives none, which are written into the run's specification
    settings: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    # parameters of guidance policies that samplers have on it unless they say otherwise
    defaults: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    # whether a diffusers pipeline is behind it, for functions of one
    pipeline: bool = field(default=False, kw_only=True)
    # whether latents are decoded by a network, whose precision DECODE_DTYPE sets
    decoder: bool = field(default=False, kw_only=True)
    # whether a declared distilled guidance leaves guidance of its own possible
    distils: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class LoadRequest:
    """How to load a model: overrides of its configuration, device and precision; and the pictures'
    size for models that are loaded for one, by default their own."""

    overrides: dict[str, Any]
    device: str
    dtype: str
    size: tuple[int, int] | None = None


MODELS: Registry[ModelEntry] = Registry("model", "harness.models")

DECODE_DTYPE = "decode_dtype"
"""The setting of a model that is the precision of its decoder: MODEL(decode_dtype=bfloat16)."""

DECODE_DTYPES = ("float32", "float16", "bfloat16")

DTYPES = ("float32", "float64", "bfloat16", "float16")
