"""FID features: ours against clean-fid's and torch-fidelity's own loops, on this CPU in one run.

The same network with the same (random) weights, the same images, batch and number of threads:

    python benchmarks/perf/features.py [IMAGES] [SIDE]

torch-fidelity is left out where it is not installed.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from harness.metrics.base import Encoder
from harness.metrics.inception import InceptionClean, InceptionTensorflow, build_network

BATCH = 16


def random_weights(path: Path) -> Path:
    torch.manual_seed(0)
    network = build_network()
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter)
    torch.save(network.state_dict(), path)
    return path


def clean_fid(images: torch.Tensor, weights: Path) -> np.ndarray:
    """clean-fid's `get_model_features`, around the network of its own with these weights."""
    from cleanfid.fid import get_model_features

    network = build_network()
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.fc = torch.nn.Identity()
    network.eval()
    start = iter(range(0, len(images), BATCH))

    def generate(noise: torch.Tensor) -> torch.Tensor:
        at = next(start)
        return images[at : at + BATCH]

    found: np.ndarray = get_model_features(
        generate, lambda x: network((x - 128) / 128), mode="clean", num_gen=len(images),
        batch_size=BATCH, device=torch.device("cpu"), verbose=False,
    )  # fmt: skip
    return found


def torch_fidelity(images: torch.Tensor, weights: Path) -> np.ndarray:
    """torch-fidelity's extractor in its own loop."""
    from torch.utils.data import TensorDataset
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.utils import get_featuresdict_from_dataset

    class Pictures(TensorDataset):
        def __getitem__(self, at: int) -> torch.Tensor:
            return images[at]

    extractor = FeatureExtractorInceptionV3(
        "bench", ["2048"], feature_extractor_weights_path=str(weights)
    )
    found = get_featuresdict_from_dataset(
        Pictures(images), extractor, BATCH, cuda=False, save_cpu_ram=True, verbose=False
    )
    features: np.ndarray = found["2048"].numpy()
    return features


def ours(encoder: Encoder, images: torch.Tensor) -> np.ndarray:
    encoder.load("cpu")
    with torch.inference_mode():
        return np.concatenate([encoder.encode(batch).numpy() for batch in images.split(BATCH)])


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    found = work()
    return found, time.perf_counter() - start


def pairs(
    images: torch.Tensor, weights: Path
) -> Iterator[tuple[str, Encoder, Callable[[], np.ndarray]]]:
    yield "clean-fid", InceptionClean(str(weights)), lambda: clean_fid(images, weights)
    if importlib.util.find_spec("torch_fidelity"):
        encoder = InceptionTensorflow(str(weights))
        yield "torch-fidelity", encoder, lambda: torch_fidelity(images, weights)


def main(count: int, side: int) -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (count, 3, side, side), np.uint8))
    print(
        f"{count} images of {side}x{side}, batch {BATCH}, "
        f"{torch.get_num_threads()} threads: images/s"
    )
    with tempfile.TemporaryDirectory() as folder:
        weights = random_weights(Path(folder) / "inception.pth")
        for name, encoder, theirs in pairs(images, weights):
            ours(encoder, images[:BATCH])  # loads, warms up
            mine, fast = timed(lambda encoder=encoder: ours(encoder, images))  # type: ignore[misc]
            expected, slow = timed(theirs)
            worst = np.abs(mine - expected).max() / np.abs(expected).max()
            print(f"{name:<16}{count / slow:>8.1f}   ours {count / fast:>8.1f}"
                  f"{slow / fast:>7.2f}x   (relative difference {worst:.1e})")  # fmt: skip


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [128, 256][len(numbers) :]))
