"""Counts the evaluations of a pipeline's networks, by the rows that they are given."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from harness.core.errors import HarnessError

if TYPE_CHECKING:
    from harness.engine.whole_pipelines.calling import Asked
    from harness.models.pipelines.pipeline_model import PipelineModel

_SKETCH = 16
_ALIKE = 0.02  # of a sketch: what is encoded in another batch differs by rounding


class NetworkRows:
    """Counts evaluations of the model's own network, and of any other of diffusers that is called
    beside it: a call with two rows a picture is two evaluations of each.

    A row is of the unconditional branch where it is told the same as that of a picture of another
    prompt, or what `known` sketches say, and all others are conditional; of a single picture and
    without sketches, that is unknown ("all"). A call whose rows are no multiple of the pictures
    makes it `uneven`: who they are of is unknown.
    """

    def __init__(
        self, model: PipelineModel, asked: Asked, known: Sequence[Sequence[float]] = ()
    ) -> None:
        self._network, self._count = model.net, len(asked.texts)
        told = asked.texts if asked.classes is None else asked.classes
        others = [at for at, one in enumerate(told) if one != told[0]]
        self._other = others[0] if others else None
        self._open = 0  # networks within networks are part of them
        self.unconditional = [list(one) for one in known]
        self.counts: Counter[tuple[str, str]] = Counter()
        self.uneven = False

    @property
    def total(self) -> int:
        """Rows of all networks and branches."""
        return self.counts.total()

    @property
    def evaluations(self) -> dict[tuple[str, str], list[int]]:
        """Evaluations of each picture by (network, branch); HarnessError where that is unknown."""
        if self.uneven:
            raise HarnessError(
                f"the network was given rows that are no multiple of the {self._count} pictures, "
                "so that their cost is unknown: take --batch-size 1"
            )
        return {key: [rows // self._count] * self._count for key, rows in self.counts.items()}

    @contextmanager
    def counting(self) -> Iterator[None]:
        """While open, every call of a network counts."""
        hooks = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, with_kwargs=True),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, module: torch.nn.Module, args: Any) -> None:
        self._open += _is_network(module)

    def _leave(self, module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not _is_network(module):
            return
        self._open -= 1
        if self._open == 0:
            inputs = inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments
            self._see(module, list(inputs.items())[1:])

    def _see(self, module: torch.nn.Module, inputs: list[tuple[str, Any]]) -> None:
        name = "main" if module is self._network else type(module).__name__
        rows = len(inputs[0][1])
        self.uneven |= bool(rows % self._count)
        if self.uneven or (self._other is None and not self.unconditional):
            self.counts[name, "all"] += rows
            return
        told = _sketches(inputs[1:], rows).reshape(rows // self._count, self._count, -1)
        for block in told:
            branch = "uncond" if self._is_unconditional(block) else "cond"
            self.counts[name, branch] += self._count

    def _is_unconditional(self, block: torch.Tensor) -> bool:
        if self._other is None:
            one = block[0]
            return any(_alike(one, torch.tensor(two).to(one)) for two in self.unconditional)
        if not _alike(block[0], block[self._other]):
            return False
        known = block[0].tolist()
        if known not in self.unconditional:
            self.unconditional.append(known)
        return True


def _is_network(module: torch.nn.Module) -> bool:
    """Whether a module is a network of diffusers other than an autoencoder."""
    from diffusers import ModelMixin

    name = type(module).__name__
    return isinstance(module, ModelMixin) and not any(n in name for n in ("Autoencoder", "VQModel"))


def _sketches(inputs: Sequence[tuple[str, Any]], rows: int) -> torch.Tensor:
    """A few numbers [rows, S] about what each row is told, on the CPU; near where that is near."""
    told = [
        torch.stack([_sketch(row) for row in value])
        for name, value in inputs
        if "time" not in name and _has_rows(value, rows)
    ]
    return torch.cat(told, dim=1).cpu() if told else torch.zeros(rows, 1)


def _has_rows(value: Any, rows: int) -> bool:
    if isinstance(value, list):
        return len(value) == rows and all(isinstance(one, torch.Tensor) for one in value)
    return isinstance(value, torch.Tensor) and value.ndim > 0 and len(value) == rows


def _sketch(row: torch.Tensor) -> torch.Tensor:
    """Signed sums of a row's numbers: sketches are as far apart as rows, on average."""
    flat = row.flatten().double()
    if not row.is_floating_point():
        flat = (flat * 7.1).sin()  # of classes and tokens, neighbours are different
    at = torch.arange(len(flat), device=flat.device)
    signed = flat * (1 - 2 * ((at * 2654435761 >> 16) & 1))
    padded = torch.nn.functional.pad(signed, (0, -len(flat) % _SKETCH))
    return padded.reshape(-1, _SKETCH).sum(0)


def _alike(one: torch.Tensor, two: torch.Tensor) -> bool:
    if one.shape != two.shape:
        return False
    size = max(float(one.norm()), float(two.norm()))
    return float((one - two).norm()) <= _ALIKE * size
