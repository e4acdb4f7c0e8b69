"""Networks compiled by torch, for batches of one size.

Every size of a batch is a graph of its own, which takes a minute to compile. So rows are added to a
batch until it has the one size, or twice that for both branches of guidance: the rows of a network
do not depend on each other, and what is added is thrown away.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch

from harness.core.errors import HarnessError, first_line
from harness.fetch.download import cache_root
from harness.models.base import Condition

log = logging.getLogger(__name__)

SMALL = 400_000_000
"""Parameters below which a GPU computes faster than kernels are launched: SD 1.5 has 860 million,
EDM2-S 280. Such a network is replayed as a CUDA graph."""

_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
_GRAPHS = 64  # of a network's code, over all sizes; torch's own limit is 8
_TO_RECORD = 3  # calls until a CUDA graph is recorded


class Compiled:
    """The networks of loaded models; they are compiled as `at` is open, at their first evaluation.

    `say` is told what compiling cost. Its `seconds` are counted until `taken`.
    """

    def __init__(
        self,
        models: Iterable[Any],
        say: Callable[[str], object] = lambda text: None,
        backend: str | Callable[..., Any] = "inductor",
    ) -> None:
        _keep_compiled()
        self._size = 1
        self._networks = [_CompiledNetwork(model, say, backend) for model in models]

    def fit(self, count: int, most: int) -> int:
        """The size of batches for `count` images, at most `most` each: as it was, if it can be."""
        even = -(-count // -(-count // most))  # with none small
        self._size = min(most, max(self._size, even))
        return self._size

    @contextmanager
    def at(self, most: int) -> Iterator[None]:
        """While open, networks are compiled, and evaluated on the rows of a batch that fits, at
        most `most`, or a multiple."""
        self._size = min(self._size, most)
        for one in self._networks:
            one.open(self._size)
        try:
            yield
        finally:
            for one in self._networks:
                one.close()

    def taken(self) -> float:
        """The seconds that compiling took since this was called last."""
        seconds = sum(one.seconds for one in self._networks)
        for one in self._networks:
            one.seconds = 0.0
        return seconds


class _CompiledNetwork:
    """One model's network; between `open` and `close` its `network` is the compiled one."""

    def __init__(
        self, model: Any, say: Callable[[str], object], backend: str | Callable[..., Any]
    ) -> None:
        self.seconds = 0.0
        self._model, self._say, self._backend = model, say, backend
        self._plain: Callable[..., torch.Tensor] = model.network
        self._net: torch.nn.Module = model.net
        self._size, self._known = 1, set[object]()
        self._graphs = is_small(self._net, model.device) and backend == "inductor"
        self._parts = self._compiled([self._net])

    def open(self, size: int) -> None:
        self._size = size
        self._model.network = self.network
        self._swap()

    def close(self) -> None:
        del self._model.network
        for part in self._parts:
            del part.forward

    def _swap(self) -> None:
        for part, forward in self._parts.items():
            part.forward = forward

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See models/base.py."""
        rows = len(x)
        more = -rows % self._size
        inputs = (padded(x, more), *(padded(level, more) for level in (sigma, time)))
        full = {key: _inferred(padded(value, more)) for key, value in condition.items()}
        form = (inputs[0].shape, inputs[2].shape)
        if form not in self._known:
            self._first(lambda: self._called(*inputs, full))
            self._known.add(form)
        # what a CUDA graph returns is overwritten by its next run
        output = self._called(*inputs, full)[:rows]
        return output.clone() if self._graphs else output

    def _called(self, *inputs: Any) -> torch.Tensor:
        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()
        return self._plain(*inputs)

    def _first(self, call: Callable[[], torch.Tensor]) -> None:
        """Compile for inputs of a form: the whole network, or where that fails its blocks."""
        began = perf_counter()
        name = type(self._net).__name__
        try:
            with torch._dynamo.config.patch(recompile_limit=_GRAPHS):
                self._compile(call)
        except torch._dynamo.exc.TorchDynamoException as error:
            why = first_line(getattr(error, "inner_exception", error))
            raise HarnessError(f"torch cannot compile {name}: {why}. Leave --compile out") from None
        _wait(self._model.device)
        seconds = perf_counter() - began
        self.seconds += seconds
        if not self._known:
            blocks = "" if self._net in self._parts else " block by block"
            self._say(f"compiled {name}{blocks} in {seconds:.0f} s")

    def _compile(self, call: Callable[[], torch.Tensor]) -> None:
        try:
            call()
        except torch._dynamo.exc.TorchDynamoException as error:
            blocks = repeated_blocks(self._net)
            if self._known or not blocks:
                raise
            log.info("compiling the whole of %s failed: %s", type(self._net).__name__, error)
            del self._net.forward
            self._parts = self._compiled(blocks)
            self._swap()
            call()
        for _ in range(_TO_RECORD - 1 if self._graphs else 0):
            call()

    def _compiled(self, parts: Iterable[torch.nn.Module]) -> dict[torch.nn.Module, Any]:
        how: dict[str, Any] = {"fullgraph": True, "dynamic": False, "backend": self._backend}
        how |= {"mode": "reduce-overhead"} if self._graphs else {}
        return {part: torch.compile(part.forward, **how) for part in parts}


def is_small(net: torch.nn.Module, device: torch.device) -> bool:
    """Whether a network is on a GPU and so small that launching its kernels takes longer than
    they do."""
    return device.type == "cuda" and sum(p.numel() for p in net.parameters()) < SMALL


def repeated_blocks(net: torch.nn.Module) -> list[torch.nn.Module]:
    """The blocks that diffusers says a network is mostly made of; none where it does not."""
    names = getattr(net, "_repeated_blocks", None) or []
    return [module for module in net.modules() if type(module).__name__ in names]


def padded(rows: torch.Tensor, more: int) -> torch.Tensor:
    """A tensor [B, ...] with its last row repeated; a scalar as it is."""
    if not more or rows.ndim == 0:
        return rows
    return torch.cat([rows, rows[-1:].expand(more, *rows.shape[1:])])


def _inferred(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as one of inference mode: others would be compiled for once more."""
    return tensor if tensor.is_inference() else tensor.clone()


def _keep_compiled() -> None:
    """Let torch keep what it compiles in the harness's cache, unless the user has named a folder.

    By itself it takes one that ends with the machine, and names it in the variable when imported.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    if os.environ.get(_FOLDER) in (None, os.path.abspath(default_cache_dir())):
        os.environ[_FOLDER] = str(cache_root() / "compiled")


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
