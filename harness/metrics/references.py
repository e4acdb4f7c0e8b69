"""Reference statistics of set metrics: reading, lookup by name, checks of their encoder; and the
base class of metrics that use them."""

from __future__ import annotations

import logging
import mmap
import re
import shlex
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core.call import Call, parse_call
from harness.core.data import data_path
from harness.core.errors import HarnessError, unknown
from harness.fetch.download import PublicFile, cache_root
from harness.fetch.pickles import arrays
from harness.fetch.pickles.arrays import StoredArray
from harness.fetch.pickles.machine import Budget, Machine, Refused
from harness.metrics.base import USUAL, SetMetric
from harness.metrics.encoders import Encoder
from harness.metrics.set_statistics import Moments, Reference
from harness.store.image_arrays import load_arrays

log = logging.getLogger(__name__)

MANIFEST = "refs/manifest.yaml"
_PICKLED = {"fid": "inception-tf", "fd_dinov2": "dinov2"}  # EDM2's keys
_CLEAN_FID = {
    "clean": "inception-clean",
    "legacy_tensorflow": "inception-tf",
    "legacy_pytorch": "inception-pytorch",
}
_STEPS = 10_000
_ARRAYS = ("mu", "sigma", "n", "features", "feats")


class ReferenceMetric(SetMetric):
    """A set metric against reference statistics: `reference` is a name of them, or a file.

    `keeps_features`: whether it needs the features of the reference's images, not only their mean
    and covariance.
    """

    reference: str
    keeps_features: ClassVar[bool] = False
    enough = USUAL

    def target(self) -> Reference:
        """The statistics that `reference` names, of this encoder; errors as of `find_reference`."""
        return find_reference(
            str(self.call), self.reference, self.features, features=self.keeps_features
        )

    def check(self) -> None:
        reference = self.target()  # before weights are downloaded for nothing
        self.features.check()
        check_weights(self.reference, reference, self.features)


@dataclass(frozen=True)
class PublishedReference:
    """A public file of reference statistics, as listed in the manifest, with its provenance."""

    name: str
    url: str
    encoders: tuple[str, ...]
    n: int | None
    data: str
    source: str


@lru_cache
def published() -> dict[str, PublishedReference]:
    """The public references by name."""
    import yaml

    rows = yaml.safe_load(data_path(MANIFEST).read_text())
    return {
        name: PublishedReference(name, **{**row, "encoders": tuple(row["encoders"])})
        for name, row in rows.items()
    }


def built_folder() -> Path:
    """The default folder of references made by `harness refs build`."""
    return cache_root() / "references" / "built"


def built_path(folder: Path, name: str, encoder: Encoder) -> Path:
    """Path of a reference made by `harness refs build`: NAME.ENCODER-PARAMETERS.npz."""
    return folder / f"{name}.{_words(encoder)}.npz"


def _words(encoder: Encoder) -> str:
    return re.sub(r"\W+", "-", encoder.convention).strip("-")


def built(encoder: str = "*") -> dict[str, list[Path]]:
    """References in the built folder, by name: one file an encoder."""
    by_name: dict[str, list[Path]] = {}
    for path in sorted(built_folder().glob(f"*.{encoder}.npz")):
        by_name.setdefault(path.name.split(".")[0], []).append(path)
    return by_name


def find_reference(
    metric: str, name: str, encoder: Encoder, *, features: bool = False
) -> Reference:
    """Reference statistics by name or path, of an encoder; with `features`, ones that hold those.

    A name is one of the manifest's or of those that `harness refs build` made. Raises HarnessError
    if there is none, or if it is of another encoder or resizing than the images' features.
    """
    if not name:
        call = parse_call(metric)
        complete = Call(call.name, {**call.params, "reference": "NAME"})
        raise HarnessError(
            f"{metric} needs something to measure against: {complete} with a name of 'harness refs "
            f"list', or a file (.npz, .pkl); make one of your own images with harness refs build "
            f"IMAGES --metrics {shlex.quote(metric)} --name NAME"
        )
    reference = _lookup(metric, name, encoder)
    _check(name, reference, encoder)
    if features and reference.features is None:
        raise HarnessError(
            f"reference {name} holds a mean and a covariance, and {metric} needs the features "
            f"themselves: build one with harness refs build IMAGES --metrics {metric}"
        )
    return reference


def check_weights(name: str, reference: Reference, encoder: Encoder) -> None:
    """Raise HarnessError if the reference was made with other weights than the encoder's."""
    made_with = reference.meta.get("weights")
    if made_with and made_with != encoder.weights():
        raise HarnessError(
            f"reference {name} was made with other weights of {encoder.name} (sha256 "
            f"{made_with[:12]}...) than those here ({encoder.weights()[:12]}...): their features "
            "cannot be compared. Build the reference again, or name its checkpoint"
        )


def _lookup(metric: str, name: str, encoder: Encoder) -> Reference:
    path = Path(name).expanduser()
    if path.is_file():
        return read_reference(path, encoder.convention)
    own = built(_words(encoder))
    if name in own:
        return read_reference(own[name][0], encoder.convention)
    if name in published():
        return _public(published()[name], encoder)
    if "/" in name or name.endswith((".npz", ".pkl")):
        raise HarnessError(f"there is no reference file {name}")
    if name in built():
        others = ", ".join(
            path.name.split(".", 1)[1].removesuffix(".npz") for path in built()[name]
        )
        raise HarnessError(
            f"reference {name} was built for {others}, not for {encoder.convention}: run harness "
            f"refs build IMAGES --metrics {metric} --name {name}"
        )
    raise unknown("reference", name, [*own, *published()], where=metric)


def _public(row: PublishedReference, encoder: Encoder) -> Reference:
    if encoder.convention not in row.encoders:
        raise _other_convention(row.name, " and ".join(row.encoders), encoder)
    reference = read_reference(PublicFile("references", row.url).obtain(), encoder.convention)
    meta = {"encoder": encoder.convention, **reference.meta}
    return replace(reference, n=reference.n or row.n, meta=meta)


def _check(name: str, reference: Reference, encoder: Encoder) -> None:
    made_with = reference.meta.get("encoder")
    if made_with is None:
        _warn_unstated(name, encoder.convention)
    elif made_with != encoder.convention:
        raise _other_convention(name, made_with, encoder)


@lru_cache
def _warn_unstated(name: str, convention: str) -> None:
    log.warning(
        "%s does not say which features it was made of: taken to be %s. With another encoder or "
        "resizing the distance means nothing",
        name,
        convention,
    )


def _other_convention(name: str, made_with: str, encoder: Encoder) -> HarnessError:
    return HarnessError(
        f"reference {name} holds features of {made_with}, and the images' are of "
        f"{encoder.convention}: encoders and their ways of resizing differ, so the distance "
        "between them means nothing. Take the metric of the reference's convention, or another "
        "reference (harness refs list)"
    )


def read_reference(path: Path, convention: str | None = None) -> Reference:
    """Read statistics: .npz of this harness, EDM, clean-fid or guided-diffusion, or EDM2's .pkl.

    A .npz holds mu and sigma, or features (clean-fid: feats), and perhaps n and text. A .pkl holds
    one reference for each of several encoders: `convention` chooses. Nothing in either is executed.
    Raises HarnessError for anything else.
    """
    status = path.stat()
    return _read(path, convention, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _read(path: Path, convention: str | None, changed: int, size: int) -> Reference:
    return (_read_pickle if path.suffix == ".pkl" else _read_npz)(path, convention)


def _read_npz(path: Path, convention: str | None) -> Reference:
    try:  # guided-diffusion's also hold gigabytes of images
        held = load_arrays(str(path), _ARRAYS, numbers=True)
    except HarnessError as error:
        raise HarnessError(f"{path} is no .npz of statistics: {error}") from None
    mu, sigma = held.pop("mu", None), held.pop("sigma", None)
    n = _count(path, held.pop("n", None))
    features = held.pop("features", held.pop("feats", None))
    if mu is None and sigma is None and features is not None and features.ndim == 2:
        moments = Moments.of(_numbers(path, features))
        mu, sigma, n = moments.mean, moments.covariance, moments.n
    if mu is None or sigma is None:
        missing = ", ".join(
            name for name, value in {"mu": mu, "sigma": sigma}.items() if value is None
        )
        raise HarnessError(f"{path} is no reference: it holds no {missing}")
    meta = {name: str(value) for name, value in held.items() if value.ndim == 0}
    if named := _clean_fid_encoder(path.name):
        meta.setdefault("encoder", named)
    return _reference(path, mu, sigma, n, meta, features)


def _count(path: Path, n: NDArray[Any] | None) -> int | None:
    if n is None:
        return None
    if n.size != 1 or n.dtype.kind not in "iuf" or not np.isfinite(n).all():
        raise HarnessError(f"{path} is no reference: its n is no number of images")
    return int(n.item())


def _numbers(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "iuf":
        raise HarnessError(f"{path} is no reference: it holds {array.dtype}, not numbers")
    return array


def _clean_fid_encoder(name: str) -> str | None:
    """The encoder by clean-fid's names of files, DATASET_MODE_SPLIT_RESOLUTION.npz; else None."""
    match = re.fullmatch(r"\w+?_(clean|legacy_tensorflow|legacy_pytorch)_\w+_\w+\.npz", name)
    return _CLEAN_FID[match[1]] if match else None


def _read_pickle(path: Path, convention: str | None) -> Reference:
    held = _plain_pickle(path)
    parts = {_PICKLED[key]: value for key, value in held.items() if key in _PICKLED}
    if convention not in parts:
        known = ", ".join(parts) or "nothing known"
        raise HarnessError(f"{path} holds statistics of {known}, not of {convention}")
    part = parts[convention]
    if not isinstance(part, dict) or not all(
        isinstance(part.get(name), StoredArray) for name in ("mu", "sigma")
    ):
        raise HarnessError(f"{path} is no reference: {convention} has no mu and sigma")
    mu, sigma, n = part["mu"].array(), part["sigma"].array(), held.get("num_images")
    meta = {"encoder": convention}
    return _reference(path, mu, sigma, n if type(n) is int else None, meta, None)


def _plain_pickle(path: Path) -> dict[Any, Any]:
    """The dict in a pickle of numbers, texts, dicts and NumPy arrays; nothing is executed."""
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        value = Machine(data, arrays.SYMBOLS, Budget(_STEPS)).load()
    except Refused as refused:
        raise HarnessError(f"{path} was not read: {refused}") from None
    except (OSError, ValueError) as error:
        raise HarnessError(f"{path} cannot be read: {error}") from None
    if type(value) is not dict:
        raise HarnessError(f"{path} is no reference: it holds a {type(value).__name__}")
    return value


def _reference(
    path: Path,
    mu: NDArray[Any],
    sigma: NDArray[Any],
    n: int | None,
    meta: dict[str, str],
    features: NDArray[Any] | None,
) -> Reference:
    mu, sigma = (np.asarray(_numbers(path, a), np.float64) for a in (mu, sigma))
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise HarnessError(f"{path}: sigma is {sigma.shape}, but mu has {mu.size} features")
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise HarnessError(f"{path} holds numbers that are not finite")
    if features is not None and _numbers(path, features).shape[1:] != mu.shape:
        raise HarnessError(f"{path}: features are {features.shape}, but mu has {len(mu)}")
    return Reference(mu, sigma, n, meta, features)
