"""Unit normal noise, one stream per image: the same for any batch, rank count and order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch

from harness.core.errors import HarnessError

NOISE_KEYS = ("prompt", "seed", "index")
"""Keys of an image's noise beside its seed: the prompt's text (the default: independent noise over
images), none (one noise per seed, as in most papers' scripts), or the prompt's index in its set."""


def stream_key(noise_key: str, prompt: str, seed: int, index: int) -> int:
    """The seed of an item's generator, in [0, 2**32): CPU generators use no more bits than that."""
    if noise_key == "seed":
        return seed % 2**32
    if noise_key == "index":
        return (seed + index) % 2**32
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def check_seeds(seeds: Iterable[int], noise_key: str) -> None:
    """Raise HarnessError for seeds above 2**32 - 1, which only `noise_key=seed` takes, modulo 2**32
    as EDM does, and for two that are then of equal noise."""
    known: dict[int, int] = {}
    for seed in seeds:
        if seed >= 2**32 and noise_key != "seed":
            raise HarnessError(
                f"seed {seed} is above {2**32 - 1}: noise_key=seed takes it modulo 2**32, as EDM "
                f"does, and noise_key={noise_key} takes none that large"
            )
        if (other := known.setdefault(seed % 2**32, seed)) != seed:
            raise HarnessError(
                f"seeds {other} and {seed} are of equal noise: noise_key=seed takes them modulo "
                "2**32. Leave one out"
            )


class NoiseStreams:
    """Unit normal noise for a batch, each sample from its own generator.

    The first draw is float32, later ones have the sampler's state dtype. Drawn on the CPU, so that
    noise is the same wherever the network runs, then moved.
    """

    def __init__(
        self,
        keys: Sequence[int],
        shape: Sequence[int],
        *,
        dtype: torch.dtype,
        device: str | torch.device = "cpu",
    ) -> None:
        self._generators = [torch.Generator().manual_seed(key) for key in keys]
        self._shape = tuple(shape)
        self._dtype, self._device = dtype, device
        self._draws = self._skipped = 0

    @property
    def generators(self) -> list[torch.Generator]:
        """Each sample's own generator, after what was drawn so far."""
        return self._generators

    def __call__(self, shape: Sequence[int] | None = None) -> torch.Tensor:
        """The next unit normals [B, *shape]; `shape` defaults to the sample's own."""
        self._catch_up()
        return self._moved(self._drawn(shape))

    def skip(self) -> None:
        """Skip a draw that the published code makes but does not use.

        It is made before the next draw, if there is one.
        """
        self._skipped += 1

    def integers(self, high: int) -> torch.Tensor:
        """Each sample's next integer [B] in [0, high), on the CPU."""
        self._catch_up()
        return torch.stack([torch.randint(high, (), generator=g) for g in self._generators])

    def _catch_up(self) -> None:
        for _ in range(self._skipped):
            self._drawn(None)
        self._skipped = 0

    def _drawn(self, shape: Sequence[int] | None) -> torch.Tensor:
        wanted = self._shape if shape is None else tuple(shape)
        dtype = torch.float32 if self._draws == 0 else self._dtype
        self._draws += 1
        return torch.stack(
            [torch.randn(wanted, generator=g, dtype=dtype) for g in self._generators]
        )

    def _moved(self, drawn: torch.Tensor) -> torch.Tensor:
        """The tensor on the device; the copy is asynchronous."""
        on_gpu = torch.device(self._device).type == "cuda"
        return (drawn.pin_memory() if on_gpu else drawn).to(self._device, non_blocking=True)


class RecordedNoise:
    """Recorded noise in place of random draws: `noise` [N,C,H,W], then `draws` [K,N,C,H,W]."""

    def __init__(
        self, noise: torch.Tensor, draws: torch.Tensor | None, device: str | torch.device
    ) -> None:
        self._left = [noise, *(draws if draws is not None else [])]
        self._has_draws = draws is not None
        self._served, self._samples, self._device = 0, len(noise), device

    def __call__(self, shape: Sequence[int] | None = None) -> torch.Tensor:
        if not self._left:
            raise HarnessError(
                f"the sampler asks for draw {self._served}, the noise file holds {self._served - 1}"
            )
        value = self._left.pop(0)
        if shape is not None and tuple(shape) != tuple(value.shape[1:]):
            raise HarnessError(
                f"recorded draw {self._served} has shape {tuple(value.shape[1:])}, "
                f"the sampler asks for {tuple(shape)}"
            )
        self._served += 1
        return value.to(self._device, non_blocking=True)

    def skip(self) -> None:
        """Skip a recorded draw; a file without draws has none to skip."""
        if self._has_draws:
            self()

    def integers(self, high: int) -> torch.Tensor:
        """-1 for every sample [B]: integers are not recorded."""
        return torch.full((self._samples,), -1)

    def close(self) -> None:
        """Raise if draws are left over: the record belongs to another sampler or setting."""
        if self._left:
            raise HarnessError(
                f"{len(self._left)} recorded draws were not used: the sampler made only "
                f"{self._served - 1}"
            )
