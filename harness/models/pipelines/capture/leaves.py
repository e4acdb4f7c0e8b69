"""What a network is given, as rows: which arguments grow with the number of pictures, and how."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch

LIST = "list"
"""The row axis of a list that has an entry for every row."""

Axes = Any
"""Of a tensor its row axis, of a list LIST or its entries' axes, of what is shared by all, None."""


class NoRows(Exception):  # its caller says what it means
    """Arguments that do not grow with the number of pictures as rows do."""


def row_axes(one: Any, two: Any) -> Axes:
    """The row axes of arguments, from a call for one picture and the same for two."""
    if isinstance(one, torch.Tensor):
        return _tensor_axis(one, two)
    if isinstance(one, dict):
        return {key: row_axes(value, two[key]) for key, value in one.items()}
    if isinstance(one, (list, tuple)):
        if len(two) == 2 * len(one):
            return LIST
        return [row_axes(a, b) for a, b in zip(one, two, strict=True)]
    if type(one) is not type(two) or not _same(one, two):
        raise NoRows
    return None


def _tensor_axis(one: torch.Tensor, two: torch.Tensor) -> int | None:
    if one.ndim != two.ndim:
        raise NoRows
    grown = [axis for axis in range(one.ndim) if one.shape[axis] != two.shape[axis]]
    if not grown:
        return None
    if len(grown) > 1 or two.shape[grown[0]] != 2 * one.shape[grown[0]]:
        raise NoRows
    return grown[0]


def _same(one: Any, two: Any) -> bool:
    return bool(one == two) or one is two or repr(one) == repr(two)


def take_row(value: Any, axes: Axes, row: int, rows: int) -> Any:
    """The arguments of one of their `rows`."""
    if axes is None:
        return value
    if isinstance(value, torch.Tensor):
        width = value.shape[axes] // rows
        return value.narrow(axes, row * width, width)
    if axes == LIST:
        width = len(value) // rows
        return value[row * width : (row + 1) * width]
    if isinstance(value, dict):
        return {key: take_row(one, axes[key], row, rows) for key, one in value.items()}
    return type(value)(
        take_row(one, axis, row, rows) for one, axis in zip(value, axes, strict=True)
    )


def shape_of(value: Any, axes: Axes) -> Hashable:
    """What rows must have in common to be given to a network together."""
    if isinstance(value, torch.Tensor):
        if axes is None:
            content = value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
            return (str(value.dtype), tuple(value.shape), hash(content))
        return (str(value.dtype), tuple(value.shape))
    if isinstance(value, dict):
        return tuple((key, shape_of(one, axes and axes[key])) for key, one in value.items())
    if isinstance(value, (list, tuple)):
        inner = [0] * len(value) if axes == LIST else axes or [None] * len(value)
        return tuple(shape_of(one, axis) for one, axis in zip(value, inner, strict=True))
    return repr(value)


def stack(values: Sequence[Any], axes: Axes) -> Any:
    """The arguments of several rows of one shape, together."""
    first = values[0]
    if axes is None or len(values) == 1:
        return first
    if isinstance(first, torch.Tensor):
        return torch.cat(list(values), dim=axes)
    if axes == LIST:
        return type(first)(entry for value in values for entry in value)
    if isinstance(first, dict):
        return {key: stack([value[key] for value in values], axes[key]) for key in first}
    parts = zip(*values, strict=True)
    return type(first)(stack(part, axis) for part, axis in zip(parts, axes, strict=True))


def moved(value: Any, device: torch.device | str) -> Any:
    """The arguments with all tensors on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: moved(one, device) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(moved(one, device) for one in value)
    return value
