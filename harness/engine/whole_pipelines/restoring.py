"""Keeps a pipeline's modules as they were, whatever a function does to them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_CONTAINERS = (dict, OrderedDict)
"""Of a module's parameters, buffers, parts and hooks; its configuration is of another class."""


@contextmanager
def restored(pipeline: Any) -> Iterator[None]:
    """While open, attention processors, hooks, adapters and methods of a pipeline's modules may be
    replaced: afterwards they are the old ones. Numbers of weights that change stay changed."""
    modules = [module for part in _modules(pipeline) for module in part.modules()]
    held = [vars(module) for module in modules]
    held += [one for attributes in held for one in attributes.values() if type(one) in _CONTAINERS]
    before = [dict(one) for one in held]
    try:
        yield
    finally:
        for now, then in zip(held, before, strict=True):
            now.clear()  # in place: hooks know the containers that they are in
            now.update(then)


def weight_sums(pipeline: Any) -> list[float]:
    """A sum of each tensor of weights, by which changed numbers are seen."""
    with torch.no_grad():
        sums = [
            p.sum(dtype=torch.float64) for part in _modules(pipeline) for p in part.parameters()
        ]
    return [float(one) for one in sums]


def _modules(pipeline: Any) -> list[torch.nn.Module]:
    return [one for one in pipeline.components.values() if isinstance(one, torch.nn.Module)]
