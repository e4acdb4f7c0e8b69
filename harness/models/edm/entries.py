"""Models in single files: `PATH.safetensors` with `PATH.json`, and published `.pkl` and `.pt`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from harness.core.errors import HarnessError, unknown
from harness.fetch.fingerprints import files_fingerprint
from harness.models.base import DECODE_DTYPE, DECODE_DTYPES, LoadRequest, Model, ModelEntry
from harness.models.edm.build import build, load_weights
from harness.models.edm.checkpoints import read_checkpoint
from harness.models.edm.edm_model import EdmLevels, EdmModel
from harness.models.edm.edm_network import EdmNetwork
from harness.models.edm.foreign_weights import foreign_weights
from harness.models.edm.latent_model import LatentModel
from harness.models.edm.latents import find_vae
from harness.models.edm.pfgmpp import PfgmLevels, PfgmModel


@dataclass(frozen=True)
class NetworkFile:
    """A stored network: its class, the arguments it was made with, and how to read its weights.

    `source` is named in messages; `revision` is a hash of the files.
    """

    source: str
    class_name: str
    init_kwargs: Mapping[str, Any]
    weights: Callable[[], Mapping[str, torch.Tensor]]
    revision: Callable[[], str]

    def build(self) -> EdmNetwork:
        """The network without weights and memory; HarnessError for arguments it cannot have."""
        with torch.device("meta"):
            return build(self.class_name, self.init_kwargs)


def file_entry(path: Path) -> ModelEntry:
    """The model entry of a network's file; HarnessError for any other file."""
    if path.suffix not in FILES:
        raise HarnessError(
            f"{path} is a file: a model is a diffusers pipeline folder, or a network's file "
            f"({', '.join(FILES)})"
        )
    if not path.is_file():
        raise HarnessError(f"there is no model file {path}")
    return FILES[path.suffix](path)


def safetensors_entry(path: Path, name: str | None = None) -> ModelEntry:
    """The model entry of `PATH.safetensors`, described by `PATH.json` beside it.

    `name`, the file's name by default, appears in messages and results. The description holds
    `class_name` and `init_kwargs`, as the published code names them; other keys are ignored.
    Raises HarnessError for a description that is missing or invalid.
    """
    description = path.with_suffix(".json")
    about = read_description(path)
    stored = NetworkFile(
        source=str(path),
        class_name=about["class_name"],
        init_kwargs=about["init_kwargs"],
        weights=lambda: _weights(path),
        revision=lambda: files_fingerprint({"weights": path, "description": description}),
    )
    return stored_entry(name or path.stem, stored)


def checkpoint_entry(path: Path) -> ModelEntry:
    """The model entry of a published `.pkl` or `.pt`: its network `ema`, or the only one.

    Weights alone, a state_dict, are described by `PATH.json` beside them.
    """
    network = read_checkpoint(path).network()
    class_name, init_kwargs = network.class_name, network.init_kwargs
    if class_name is None:
        about = read_description(path)
        class_name, init_kwargs = about["class_name"], about["init_kwargs"]
    stored = NetworkFile(
        source=str(path),
        class_name=class_name,
        init_kwargs=init_kwargs,
        weights=network.state_dict,
        revision=lambda: files_fingerprint({"weights": path}),
    )
    return stored_entry(path.stem, stored)


def edm_entry(
    name: str, *, side: int, classes: int, latent: bool = False, **about: Any
) -> ModelEntry:
    """A model entry with the settings that all EDM networks share; `about` are the others.

    Networks of latents take `vae`, the folder of their autoencoder.
    """
    return ModelEntry(
        name=name,
        size=(side, side),
        size_multiple=side,
        guidance=1.0,
        classes=classes,
        unconditional=False,
        decoder=latent,
        decodable=lambda overrides: find_vae(overrides.get("vae")) if latent else None,
        **about,
    )


def stored_entry(name: str, stored: NetworkFile) -> ModelEntry:
    """The model entry of a stored network; builds it without weights, which checks its arguments.

    Default steps of EDM are 18 at every size: at 64x64 the paper's best numbers take 256 and churn.
    """
    net = stored.build()
    latent = net.downsampling > 1
    if net.img_channels not in (1, 3) and not latent:
        raise HarnessError(
            f"{stored.source}: pictures have 1 or 3 channels (and EDM2's latents 4), not "
            f"{net.img_channels}"
        )
    side, classes = net.img_resolution * net.downsampling, net.label_dim

    def ladders(overrides: dict[str, Any]) -> EdmLevels:
        check_overrides(overrides, latent, name)
        return (PfgmLevels if net.extra_dimensions else EdmLevels)(name, net)

    return edm_entry(
        name,
        side=side,
        classes=classes,
        latent=latent,
        title=f"{stored.class_name} network of {side}x{side} pictures, "
        + (f"{classes} classes" if classes else "unconditional"),
        source=stored.source,
        licence="see where it was published",
        steps=net.steps,
        batch_size=net.batch_size,
        dtype=None if net.use_fp16 else "float32",
        revision=stored.revision,
        ladders=ladders,
        load=lambda request: _load(request, name, stored),
    )


def check_overrides(overrides: dict[str, Any], latent: bool, name: str) -> None:
    """Raise HarnessError for an override that the model `name` does not take."""
    allowed = ["vae", DECODE_DTYPE] if latent else []
    for key in overrides:
        if key not in allowed:
            raise unknown("parameter", key, allowed, where=f"model {name}")
    if (dtype := overrides.get(DECODE_DTYPE)) not in (None, *DECODE_DTYPES):
        raise unknown(DECODE_DTYPE, str(dtype), DECODE_DTYPES)


def _load(request: LoadRequest, name: str, stored: NetworkFile) -> Model:
    if request.dtype == "float64":
        raise HarnessError(f"model {name} computes in float32 or less, not in float64")
    net = stored.build()
    latent = net.downsampling > 1
    check_overrides(request.overrides, latent, name)
    load_weights(net, stored.weights(), stored.source)
    net.float().compute_in(getattr(torch, request.dtype))
    if latent:
        model = LatentModel(name, net, request.device, request.overrides.get("vae"))
        if dtype := request.overrides.get(DECODE_DTYPE):
            model.decode_dtype = getattr(torch, dtype)
        return model
    return (PfgmModel if net.extra_dimensions else EdmModel)(name, net, request.device)


def read_description(path: Path) -> dict[str, Any]:
    """The `class_name` and `init_kwargs` of a file's network, from the JSON file beside it."""
    description = path.with_suffix(".json")
    wanted = f'{{"class_name": "EDMPrecond", "init_kwargs": {{...}}}} as {path.name} was trained'
    try:
        about = json.loads(description.read_text())
    except FileNotFoundError:
        known = foreign_weights(path) if path.suffix == ".safetensors" and path.is_file() else None
        raise HarnessError(
            known
            or f"{path} holds weights without their network: it needs {description.name} "
            f"beside it, which holds {wanted}"
        ) from None
    except (ValueError, OSError, RecursionError) as error:
        raise HarnessError(f"cannot read {description}: {error}") from None
    if (
        not isinstance(about, dict)
        or not isinstance(about.get("class_name"), str)
        or not isinstance(about.get("init_kwargs"), dict)
    ):
        raise HarnessError(f"{description} must hold {wanted}")
    return about


def _weights(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise HarnessError(f"cannot read {path}: {error}") from None


FILES: dict[str, Callable[[Path], ModelEntry]] = {
    ".safetensors": safetensors_entry,
    ".pkl": checkpoint_entry,
    ".pt": checkpoint_entry,
}
"""Readers of networks' files by suffix."""
