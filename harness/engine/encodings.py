"""Encoded prompts on disk, so that the next command need not encode them again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from harness.fetch.download import cache_root
from harness.models.base import Condition

log = logging.getLogger(__name__)

LIMIT = "HARNESS_ENCODINGS_GB"
"""The environment variable of the most gigabytes that are kept, 4 by default; 0 keeps nothing."""

_BETWEEN = 256  # files written between two looks at what all take


class Encodings:
    """The encoded prompts of one model, in `$HARNESS_CACHE/encodings`; those unused for longest go.

    What is read is what was encoded, bit for bit: `about` must name everything that the bits depend
    on, as its revision, its settings and its precision. Device, threads and versions are added.
    """

    def __init__(self, about: Mapping[str, object], device: torch.device) -> None:
        known = {**about, **_machine(device)}
        self._model = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]
        self._root = cache_root() / "encodings"
        self._written = 0

    def read(self, kind: str, text: str | None) -> Condition | None:
        """The condition of a text, on the CPU; None where it is not there, or damaged."""
        path = self._path(kind, text)
        try:
            found = load_file(path)
            os.utime(path)
        except (OSError, SafetensorError):
            return None
        # clones are aligned, as what was encoded is
        return {name: value.clone() for name, value in found.items()}

    def write(self, kind: str, text: str | None, condition: Condition) -> None:
        """Keep a condition, whole or not at all; a cache that cannot be written to goes without."""
        path = self._path(kind, text)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: value.contiguous() for name, value in condition.items()}, part)
            os.replace(part, path)
            if self._written % _BETWEEN == 0:
                trim(self._root, limit())
            self._written += 1
        except OSError as error:
            log.debug("%s is not kept: %s", path, error)

    def _path(self, kind: str, text: str | None) -> Path:
        name = hashlib.sha256(json.dumps([kind, text]).encode()).hexdigest()
        return self._root / self._model / f"{name}.safetensors"


def limit() -> float:
    """The most bytes of all encodings."""
    try:
        return float(os.environ.get(LIMIT, "4")) * 1e9
    except ValueError:
        log.warning("%s=%s is no number: nothing is kept", LIMIT, os.environ[LIMIT])
        return 0.0


def trim(root: Path, most: float) -> None:
    """Remove the files that were not used for longest until all take at most so many bytes."""
    states = []
    for path in root.rglob("*.safetensors*"):
        try:
            state = path.stat()
        except FileNotFoundError:  # another process removed it
            continue
        states.append((state.st_mtime_ns, state.st_size, path))
    taken = sum(size for _, size, _ in states)
    for _, size, path in sorted(states):
        if taken <= most:
            return
        path.unlink(missing_ok=True)
        taken -= size


def _machine(device: torch.device) -> dict[str, object]:
    """What the last bits of an encoding depend on, beside the model."""
    versions = {name: version(name) for name in ("torch", "transformers", "diffusers")}
    if device.type == "cuda":
        exact = [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32]
        return {**versions, "device": torch.cuda.get_device_name(device), "tf32": exact}
    threads = torch.get_num_threads()
    kernels = torch.backends.cpu.get_cpu_capability()
    return {**versions, "device": _processor(), "kernels": kernels, "threads": threads}


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line for line in lines if line.startswith("model name")), platform.processor())
