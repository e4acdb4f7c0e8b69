"""Build reference statistics from a folder or file of images."""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.cores import picture_threads
from harness.core.errors import HarnessError
from harness.evaluation.batches import ahead
from harness.evaluation.readback import Readback, stacked
from harness.metrics.base import make_metrics
from harness.metrics.encoders import Encoder, make_encoder
from harness.metrics.references import ReferenceMetric
from harness.metrics.set_statistics import Moments
from harness.store import files
from harness.store.image_files import Images
from harness.store.pictures import Broken, decode

log = logging.getLogger(__name__)

_SEED = 0
_AHEAD = 32  # pictures


@dataclass(frozen=True)
class Wanted:
    """An encoder whose statistics are to be built; `keep`: its features, too."""

    encoder: Encoder
    keep: bool


def encoders_of(metrics: Sequence[str], encoders: Sequence[str]) -> list[Wanted]:
    """The encoders that references for metrics, and of encoders by name, need, each once.

    Raises HarnessError for a metric that is not measured against a reference.
    """
    wanted: dict[str, Wanted] = {}
    for metric in make_metrics(metrics):
        if not isinstance(metric, ReferenceMetric):
            raise HarnessError(f"{metric.name} is not measured against reference statistics")
        encoder = metric.features
        known = wanted.get(encoder.label, Wanted(encoder, False))
        wanted[encoder.label] = Wanted(encoder, known.keep or metric.keeps_features)
    for encoder in map(make_encoder, encoders):
        wanted.setdefault(encoder.label, Wanted(encoder, False))
    if not wanted:
        raise HarnessError("name what the reference is for: --metrics fid,kid or --encoder dinov2")
    return list(wanted.values())


def build_references(
    images: Images,
    wanted: Sequence[Wanted],
    target: Callable[[Encoder], str],
    *,
    device: str = "cpu",
    batch_size: int = 64,
    most_features: int = 50_000,
    progress: Callable[[int], object] = lambda images: None,
) -> list[int]:
    """Write each encoder's reference of the images to the .npz `target(encoder)`.

    It holds mu [F], sigma [F, F] and n as EDM's format, the encoder with its resizing, the sha256
    of its weights and a hash of the images; where they are to be kept, also the features
    [m, F] of at most `most_features` of them, drawn with seed 0. Pictures that cannot be read are
    left out, with a warning. Returns the number of images for each. Weights are asked for first.
    """
    import torch

    for one in wanted:
        one.encoder.check()
        if files.exists(target(one.encoder)):
            raise HarnessError(f"{target(one.encoder)} exists: remove it, or choose another name")
    chosen = set(np.random.RandomState(_SEED).permutation(len(images))[:most_features].tolist())
    moments: dict[int, Moments] = {}
    kept: list[dict[int, NDArray[Any]]] = [{} for _ in wanted]
    for one in wanted:
        one.encoder.load(device)
    with torch.inference_mode():
        for places, found in _encoded(_batches(images, batch_size), wanted, device):
            for i, one in enumerate(wanted):
                features = found[i].numpy()
                new = Moments.of(features)
                moments[i] = moments[i] + new if i in moments else new
                if one.keep:
                    pairs = zip(places, features, strict=True)
                    kept[i].update((at, row) for at, row in pairs if at in chosen)
            progress(len(places))
    if not moments or moments[0].n < 2:
        raise HarnessError(f"{images.path} holds too few readable pictures for a covariance")
    for i, one in enumerate(wanted):
        ordered = [kept[i][at] for at in sorted(kept[i])]
        _write(target(one.encoder), one.encoder, moments[i], ordered, images.identity)
    return [moments[i].n for i in range(len(wanted))]


def _encoded(
    batches: Iterable[tuple[list[int], list[NDArray[Any]]]], wanted: Sequence[Wanted], device: str
) -> Iterator[tuple[list[int], list[Any]]]:
    """Places and each encoder's features of batches; a GPU's while it is at the next one."""
    waiting: deque[tuple[list[int], list[Any], Readback]] = deque()

    def read() -> tuple[list[int], list[Any]]:
        places, found, readback = waiting.popleft()
        readback.wait()
        return places, found

    for places, pictures in batches:
        readback, pixels = Readback(), stacked(pictures, device)
        found = [readback.copy(one.encoder.encode(pixels).float()) for one in wanted]
        waiting.append((places, found, readback))
        if len(waiting) > 1 or not readback.pending:
            yield read()
    while waiting:
        yield read()


def _decoded(images: Images) -> Iterator[tuple[str, NDArray[Any] | Broken]]:
    """As iterating over the images, decoded ahead by several threads."""
    with ThreadPoolExecutor(picture_threads()) as pool:
        files = ahead(
            images.read(0, len(images)), lambda file: [pool.submit(_pixels, file[1])], _AHEAD
        )
        try:
            for (entry, _), (pixels,) in files:
                yield entry.name, pixels
        finally:
            pool.shutdown(cancel_futures=True)


def _pixels(data: bytes | Broken) -> NDArray[Any] | Broken:
    return data if isinstance(data, Broken) else decode(data)


def _batches(images: Images, batch_size: int) -> Iterator[tuple[list[int], list[NDArray[Any]]]]:
    """Places and pictures uint8 [3, H, W] of one size."""
    waiting: dict[tuple[int, ...], list[tuple[int, NDArray[Any]]]] = {}
    broken: list[str] = []

    def batch(pairs: list[tuple[int, NDArray[Any]]]) -> tuple[list[int], list[NDArray[Any]]]:
        return [at for at, _ in pairs], [one for _, one in pairs]

    for at, (name, picture) in enumerate(_decoded(images)):
        if isinstance(picture, Broken):
            broken.append(f"{name}: {picture.reason}")
            continue
        alike = waiting.setdefault(picture.shape, [])
        alike.append((at, picture))
        if len(alike) == batch_size:
            yield batch(waiting.pop(picture.shape))
        elif sum(map(len, waiting.values())) > 4 * batch_size:  # pictures of many sizes
            yield batch(waiting.pop(max(waiting, key=lambda size: len(waiting[size]))))
    for alike in waiting.values():
        yield batch(alike)
    if broken:
        log.warning("%d pictures were left out: %s", len(broken), "; ".join(broken[:3]))


def _write(
    path: str, encoder: Encoder, moments: Moments, features: list[NDArray[Any]], identity: str
) -> None:
    arrays: dict[str, Any] = {
        "mu": moments.mean,
        "sigma": moments.covariance,
        "n": moments.n,
        "encoder": encoder.convention,
        "weights": encoder.weights(),
        "images": identity,
    }
    if features:
        arrays["features"] = np.stack(features)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    files.write_bytes(path, buffer.getvalue())
