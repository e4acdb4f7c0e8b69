"""Summary of a network's file and whether it can be run; for `harness doctor FILE`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from harness.core.errors import HarnessError
from harness.models.edm.build import build, check_weights
from harness.models.edm.checkpoints import read_checkpoint
from harness.models.edm.entries import file_entry, read_description


@dataclass(frozen=True)
class _Summary:
    """A network in a file: tensors as (shape, name of their type) by name.

    `chosen` says whether `--model FILE` loads this network.
    """

    key: str
    class_name: str | None
    init_kwargs: Mapping[str, Any]
    parameters: int | None
    tensors: Mapping[str, tuple[tuple[int, ...], str]]
    chosen: bool = True


def describe_file(path: Path) -> Iterator[str]:
    """Lines on a `.pkl`, `.pt` or `.safetensors` with its `.json`; reads no weights.

    Raises HarnessError for a file that is none of them, with the reason.
    """
    if path.is_dir():
        raise HarnessError(f"{path} is a folder: give a .pkl, .pt or .safetensors file")
    others: Mapping[str, Any] = {}
    if path.suffix == ".safetensors":
        form, networks = "safetensors", [_safetensors(path)]
    else:
        form, networks, others = _checkpoint(path)
    yield f"{path}: {form}, {path.stat().st_size / 2**20:.1f} MiB"
    for network in networks:
        yield from _lines(path, network)
    if not networks:
        yield "no network"
    for key, value in others.items():
        text = json.dumps(value)
        yield f"beside it {key}: {text if len(text) <= 500 else f'{text[:497]}...'}"


def _lines(path: Path, network: _Summary) -> Iterator[str]:
    kwargs = network.init_kwargs
    yield f"network {network.key}: {network.class_name or 'class unknown'}"
    if "img_resolution" in kwargs:
        yield (
            f"  size {kwargs['img_resolution']}x{kwargs['img_resolution']}, "
            f"{kwargs.get('img_channels', 3)} channels, label_dim {kwargs.get('label_dim', 0)}"
        )
    types = sorted({kind for _, kind in network.tensors.values()})
    count = "" if network.parameters is None else f"{network.parameters / 1e6:.3f} M parameters, "
    yield f"  {count}{len(network.tensors)} tensors, {', '.join(types) or 'empty'}"
    if kwargs:
        yield f"  arguments {json.dumps(dict(kwargs))}"
    try:
        _check(path, network)
    except HarnessError as error:
        yield f"  cannot be run: {error}"
    else:
        convert = f"harness models convert {path} --network {network.key}"
        how = f": --model {path}" if network.chosen else f" once converted: {convert}"
        yield f"  can be run{how}"


def _check(path: Path, network: _Summary) -> None:
    """Raise HarnessError unless the network can be built and its tensors fit."""
    if network.chosen:
        file_entry(path)
    name, kwargs = network.class_name, network.init_kwargs
    if network.chosen and name is None:  # described beside it, as file_entry found
        about = read_description(path)
        name, kwargs = about["class_name"], about["init_kwargs"]
    if name is None:
        raise HarnessError("its class is not known")
    with torch.device("meta"):
        net = build(name, kwargs)
    check_weights(net, {name: shape for name, (shape, _) in network.tensors.items()}, str(path))


def _checkpoint(path: Path) -> tuple[str, list[_Summary], Mapping[str, Any]]:
    checkpoint = read_checkpoint(path)
    networks = [
        _Summary(
            key,
            network.class_name,
            network.init_kwargs,
            network.parameters,
            {name: (t.shape, str(t.dtype).split(".")[1]) for name, t in network.tensors.items()},
            chosen=key == checkpoint.default,
        )
        for key, network in checkpoint.networks.items()
    ]
    return checkpoint.form, networks, checkpoint.others


def _safetensors(path: Path) -> _Summary:
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            tensors = {n: (tuple(part.get_shape()), part.get_dtype()) for n, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise HarnessError(f"cannot read {path}: {error}") from None
    try:
        about = read_description(path)
    except HarnessError:  # `_check` reports it
        about = {"class_name": "", "init_kwargs": {}}
    name = about["class_name"]
    return _Summary(
        path.stem, name if name.isidentifier() else None, about["init_kwargs"], None, tensors
    )
