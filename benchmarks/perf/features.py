"""FID features: ours against clean-fid's and torch-fidelity's own loops, on this CPU in one run.

The same network with the same (random) weights, the same images, batch and number of threads:

    python benchmarks/perf/features.py [IMAGES] [SIDE]

Networks are built, and every loop has run once, before the clock starts. Images per second, and per
second of CPU, which other programs do not slow down. torch-fidelity is left out where it is not
installed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from harness.metrics.encoders import Encoder
from harness.metrics.inception import InceptionClean, InceptionTensorflow, build_network

BATCH = 16

Extract = Callable[[torch.Tensor], np.ndarray]


def random_weights(path: Path) -> Path:
    torch.manual_seed(0)
    network = build_network()
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter)
    torch.save(network.state_dict(), path)
    return path


def clean_fid(weights: Path) -> Extract:
    """clean-fid's `get_model_features`, around the network of its own with these weights."""
    from cleanfid.fid import get_model_features

    network = build_network()
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.fc = torch.nn.Identity()
    network.eval()

    def extract(images: torch.Tensor) -> np.ndarray:
        batches = iter(images.split(BATCH))
        found: np.ndarray = get_model_features(
            lambda noise: next(batches), lambda x: network((x - 128) / 128), mode="clean",
            num_gen=len(images), batch_size=BATCH, device=torch.device("cpu"), verbose=False,
        )  # fmt: skip
        return found

    return extract


def torch_fidelity(weights: Path) -> Extract:
    """torch-fidelity's extractor in its own loop."""
    from torch.utils.data import TensorDataset
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.utils import get_featuresdict_from_dataset

    class Pictures(TensorDataset):
        def __getitem__(self, at: int) -> torch.Tensor:
            found: torch.Tensor = self.tensors[0][at]
            return found

    extractor = FeatureExtractorInceptionV3(
        "bench", ["2048"], feature_extractor_weights_path=str(weights)
    )

    def extract(images: torch.Tensor) -> np.ndarray:
        found = get_featuresdict_from_dataset(
            Pictures(images), extractor, BATCH, cuda=False, save_cpu_ram=True, verbose=False
        )
        features: np.ndarray = found["2048"].numpy()
        return features

    return extract


def ours(encoder: Encoder) -> Extract:
    encoder.load("cpu")

    def extract(images: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return np.concatenate([encoder.encode(batch).numpy() for batch in images.split(BATCH)])

    return extract


def timed(extract: Extract, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Features, and seconds by the wall and of CPU."""
    extract(images[:BATCH])
    start = time.perf_counter(), time.process_time()
    found = extract(images)
    return found, np.subtract((time.perf_counter(), time.process_time()), start)


def pairs(weights: Path) -> Iterator[tuple[str, Extract, Extract]]:
    yield "clean-fid", ours(InceptionClean(str(weights))), clean_fid(weights)
    if importlib.util.find_spec("torch_fidelity"):
        yield "torch-fidelity", ours(InceptionTensorflow(str(weights))), torch_fidelity(weights)


def main(count: int, side: int) -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (count, 3, side, side), np.uint8))
    print(f"{count} images of {side}x{side}, batch {BATCH}, {torch.get_num_threads()} threads")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; images/s, of CPU in brackets")
    with tempfile.TemporaryDirectory() as folder:
        for name, mine, theirs in pairs(random_weights(Path(folder) / "inception.pth")):
            found, fast = timed(mine, images)
            expected, slow = timed(theirs, images)
            worst = np.abs(found - expected).max() / np.abs(expected).max()
            (a, a_busy), (b, b_busy) = count / fast, count / slow
            print(
                f"{name:<16}{b:>6.1f} ({b_busy:.1f})   ours {a:>6.1f} ({a_busy:.1f})"
                f"{a / b:>7.2f}x ({a_busy / b_busy:.2f}x)   relative difference {worst:.1e}"
            )


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [128, 256][len(numbers) :]))
