"""Writes checkpoints as the authors' code publishes them, around weights of our own."""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import safetensors.torch
import torch

BUFFERS = ("resample_filter", "freqs", "phases", "u")
GOLDEN = Path(__file__).parent.parent / "golden"
NETS = {
    "edm": GOLDEN / "restart" / "nets" / "samp_ve",
    "pfgmpp": GOLDEN / "restart" / "nets" / "samp_pfgmpp",
    "edm2": GOLDEN / "edm2" / "nets" / "uncond",
}


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
    raise AssertionError("a published checkpoint was unpickled")


class EasyDict(dict):  # type: ignore[type-arg]
    """As dnnlib's."""


def scalar(*_: object) -> None:
    raise AssertionError("a published checkpoint was unpickled")


class OldNumpyScalar:
    """A float64 as NumPy 1 wrote it."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return scalar, (np.dtype("f8"), np.float64(self.value).tobytes())


class Persistent:
    """An object of a class decorated by the authors' persistence module."""

    def __init__(self, name: str, source: str, state: dict[str, Any]) -> None:
        self.name, self.source, self.state = name, source, state

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": self.source,
            "class_name": self.name,
            "state": self.state,
        }
        return _reconstruct_persistent_obj, (meta,)


@contextmanager
def authors_modules() -> Iterator[None]:
    """The modules that the files name, while one is written."""
    stand_ins = {
        "torch_utils": ModuleType("torch_utils"),
        "torch_utils.persistence": ModuleType("torch_utils.persistence"),
        "dnnlib": ModuleType("dnnlib"),
        "dnnlib.util": ModuleType("dnnlib.util"),
        "numpy.core.multiarray": ModuleType("numpy.core.multiarray"),
    }
    named: list[tuple[Any, str]] = [
        (_reconstruct_persistent_obj, "torch_utils.persistence"),
        (EasyDict, "dnnlib.util"),
        (scalar, "numpy.core.multiarray"),
    ]
    before = {name: sys.modules.get(name) for name in stand_ins}
    for thing, module in named:
        thing.__module__ = module
        setattr(stand_ins[module], thing.__name__, thing)
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module_before in before.items():
            if module_before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module_before


def weights(net: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The JSON and the tensors of one of NETS."""
    facts = json.loads(NETS[net].with_suffix(".json").read_text())
    return facts, safetensors.torch.load_file(NETS[net].with_suffix(".safetensors"))


def module_state(kind: type = dict, **attributes: Any) -> dict[str, Any]:
    """The __dict__ of an empty module, its tables dicts of a kind."""
    tables = ("_parameters", "_buffers", "_backward_hooks", "_forward_hooks", "_modules")
    state: dict[str, Any] = {"training": False, **{name: kind() for name in tables}}
    return {**state, "_non_persistent_buffers_set": set(), **attributes}


def network(net: str, source: str, *, old: bool = False) -> Persistent:
    """The network as the authors' classes hold it; `old` as older libraries write it."""
    facts, tensors = weights(net)
    kind = OrderedDict if old else dict
    ratio = OldNumpyScalar(0.5**0.5) if old else np.sqrt(0.5)
    kwargs = facts["init_kwargs"]
    plain = {k: kwargs[k] for k in ("img_resolution", "img_channels", "label_dim")}
    root = module_state(
        kind, _init_args=(), _init_kwargs=EasyDict(kwargs), sigma_data=0.5, sigma_max=float("inf"),
        skip_scale=ratio, **plain,
    )  # fmt: skip
    states: dict[str, dict[str, Any]] = {"": root}
    for name in tensors:
        path = name.split(".")[:-1]
        for depth in range(1, len(path) + 1):
            states.setdefault(".".join(path[:depth]), module_state(kind))
    for name, value in tensors.items():
        path_name, _, last = name.rpartition(".")
        if last in BUFFERS:
            states[path_name]["_buffers"][last] = value
        else:
            parameter = torch.nn.Parameter(value, requires_grad=False)
            states[path_name]["_parameters"][last] = parameter
    states[""]["_parameters"]["absent"] = None
    states[""]["_buffers"]["scratch"] = torch.zeros(2)
    states[""]["_non_persistent_buffers_set"].add("scratch")
    modules: dict[str, Any] = {}
    for name in sorted(states, key=lambda name: -name.count(".") - bool(name)):
        last = name.rpartition(".")[2]
        if last in ("enc", "dec"):
            modules[name] = torch.nn.ModuleDict()
            modules[name]._modules.update(states[name]["_modules"])
        else:
            modules[name] = Persistent(last or facts["class_name"], source, states[name])
            if last and not last.isidentifier():
                modules[name].name = "UNetBlock"
        if name:
            states[name.rpartition(".")[0]]["_modules"][last] = modules[name]
    root_module: Persistent = modules[""]
    return root_module


def snapshot(net: str, source: str, *, old: bool = False) -> dict[str, Any]:
    """What the authors' training loop writes, its network under `ema`."""
    loss = Persistent("EDMLoss", source, {"_init_args": (), "P_mean": -1.2, "P_std": 1.2})
    buffers = module_state(xflip=0, p=1)
    buffers["_buffers"]["Hz_geom"] = torch.ones(6)
    data = EasyDict(class_name="training.dataset.ImageFolderDataset", path="cifar10.zip", size=50)
    parts = {"loss_fn": loss, "dataset_kwargs": data, "ema": network(net, source, old=old)}
    if net == "edm2":
        scale = np.array([4.17, 4.62, 3.71, 3.28], np.float32)
        state = {"_init_args": (), "_init_kwargs": {}, "scale": scale, "_vae": None}
        return EasyDict(encoder=Persistent("StabilityVAEEncoder", source, state), **parts)
    return {"augment_pipe": Persistent("AugmentPipe", source, buffers), **parts}


def pickled(value: object, protocol: int = 4) -> bytes:
    """A value as the authors' scripts write a `.pkl`."""
    with authors_modules():
        return pickle.dumps(value, protocol=protocol)


def saved(value: object, *, archive: bool = True) -> bytes:
    """A value as torch.save writes a `.pt`."""
    file = io.BytesIO()
    with authors_modules():
        torch.save(value, file, _use_new_zipfile_serialization=archive)
    return file.getvalue()
