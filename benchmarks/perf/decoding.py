"""What evaluation loses to reading pictures: images of a zip, decoded ahead or in between.

    python -m benchmarks.perf.decoding [--images 256] [--side 512] [--network SECONDS]

The network is a wait of so many seconds a batch (left out: as long as one core decodes it), as of a
GPU that leaves the cores alone. The same pixels reach it either way.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from harness.evaluation.batches import batches
from harness.runs.importing import import_images
from harness.runs.manifest import Declared
from harness.store.pictures import Broken, decode
from harness.store.run import Run
from harness.store.scores import image_rows

BATCH = 64


def images(path: Path, count: int, side: int) -> None:
    """A zip of PNGs with some structure: noise does not compress, flat colour decodes at once."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:side, 0:side] / side
    with zipfile.ZipFile(path, "w") as archive:
        for at in range(count):
            waves = np.sin(rng.uniform(5, 50, (3, 2)) @ np.stack([rows, columns]).reshape(2, -1))
            picture = 127 + 100 * waves + rng.normal(0, 4, waves.shape)
            pixels = picture.clip(0, 255).astype(np.uint8).reshape(3, side, side)
            buffer = io.BytesIO()
            Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, "PNG")
            archive.writestr(f"{at:06d}.png", buffer.getvalue())


def between(run: Run) -> Iterator[list[object]]:
    """A batch is decoded when it is asked for, on one core."""
    for shard in run.shards():
        rows = image_rows(run, shard)
        for at in range(0, len(rows), BATCH):
            datas = [row.read() for row in rows[at : at + BATCH]]
            yield [data if isinstance(data, Broken) else decode(data) for data in datas]


def ahead(run: Run) -> Iterator[list[object]]:
    """As `harness evaluate` does."""
    for batch in batches(run.shards(), lambda shard: image_rows(run, shard), BATCH):
        yield list(batch.pictures)


def measure(stream: Iterator[list[object]], network: float) -> tuple[float, str]:
    """Seconds for everything, and a hash of all pixels."""
    digest = hashlib.sha256()
    began = time.perf_counter()
    for pictures in stream:
        time.sleep(network)
        digest.update(np.stack(pictures).tobytes())
    return time.perf_counter() - began, digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--network", type=float, help=f"seconds a batch of {BATCH}")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "images.zip")
        images(source, asked.images, asked.side)
        run = import_images(str(source), Declared(), out=f"{folder}/run")
        decoding, pixels = measure(between(run), 0)
        count = -(-asked.images // BATCH)
        network = decoding / count if asked.network is None else asked.network
        slow, same = measure(between(run), network)
        fast, also = measure(ahead(run), network)
    assert pixels == same == also
    print(f"{asked.images} PNGs of {asked.side}x{asked.side}, batches of {BATCH}")
    for name, seconds in (
        ("network alone", network * count),
        ("decoding alone, one core", decoding),
        ("decoded in between", slow),
        ("decoded ahead (harness evaluate)", fast),
    ):
        print(f"{name:34}{seconds:7.2f} s  {asked.images / seconds:8.1f} images/s")
    print(f"ratio {slow / fast:.2f}, the same pixels")


if __name__ == "__main__":
    main()
