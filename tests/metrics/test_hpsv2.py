"""HPSv2 on open_clip equals the hpsv2 package's own `score`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.core.errors import HarnessError
from harness.metrics.base import ItemMetric, make_metric
from harness.metrics.encoders import ItemRow
from harness.metrics.hpsv2_package import VOCABULARY
from tests.conftest import Certify

open_clip = pytest.importorskip("open_clip")

LONG = " ".join(["a very long prompt"] * 40)
PROMPTS = ["a cat", "Two  DOGS &amp; a café — “naïve”", LONG]
SIZES = [(64, 64), (224, 224), (200, 300), (301, 140)]
TINY = {  # ViT-H-14 in all but depth and width
    "embed_dim": 32,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "head_width": 16, "patch_size": 14},
    "text_cfg": {
        "context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2,
    },
}  # fmt: skip
DEPTH = 3
"""Of the reduced ViT-H-14 that is compared with the package's: all widths are the real ones."""


def reduced(depth: int) -> dict[str, Any]:
    folder = Path(open_clip.__file__).parent / "model_configs"
    config: dict[str, Any] = json.loads((folder / "ViT-H-14.json").read_text())
    config["vision_cfg"]["layers"] = config["text_cfg"]["layers"] = depth
    return config


def save_checkpoint(folder: Path, config: dict[str, Any]) -> Path:
    """Random weights as the official files hold them, for the model called ViT-H-14 from now on."""
    configs = folder / "configs"
    configs.mkdir()
    (configs / "ViT-H-14.json").write_text(json.dumps(config))
    open_clip.add_model_config(configs)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-H-14")
    torch.save({"epoch": 1, "state_dict": model.state_dict()}, folder / "HPS_v2_compressed.pt")
    return folder / "HPS_v2_compressed.pt"


@pytest.fixture(scope="module")
def _real_config() -> Iterator[None]:
    from open_clip import factory

    held = list(factory._MODEL_CONFIG_PATHS)
    yield
    factory._MODEL_CONFIG_PATHS[:] = held
    factory._rescan_model_configs()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, _real_config: None) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("hps"), TINY)


def pictures() -> list[np.ndarray[Any, Any]]:
    generator = np.random.default_rng(1)
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def scores(text: str, prompts: list[str]) -> list[list[float]]:
    """Of every picture (in batches of its size, twice in each) for every prompt."""
    metric = make_metric(text)
    assert isinstance(metric, ItemMetric)
    metric.check()
    metric.load("cpu")
    found = []
    with torch.inference_mode():
        metric.prepare(prompts)
        for picture in pictures():
            images = torch.from_numpy(picture).permute(2, 0, 1).expand(len(prompts), -1, -1, -1)
            found.append(list(metric.values(images, [ItemRow(prompt) for prompt in prompts])))
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("antialias", [True, False])
def test_score_is_the_cosine_after_a_resize_of_the_tensor(tiny: Path, antialias: bool) -> None:
    from torchvision.transforms import v2

    found = scores(f"hpsv2(checkpoint={tiny}, antialias={str(antialias).lower()})", PROMPTS)
    model = open_clip.create_model("ViT-H-14", pretrained=str(tiny)).eval()
    for picture, ours in zip(pictures(), found, strict=True):
        pixels = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
        height, width = pixels.shape[1:]
        size = [round(height * 224 / max(height, width)), round(width * 224 / max(height, width))]
        mode = "bicubic"
        if [height, width] != size:
            pixels = torch.nn.functional.interpolate(
                pixels[None], size, mode=mode, antialias=antialias
            )[0]
        square = torch.zeros(3, 224, 224)
        top, left = (224 - size[0]) // 2, (224 - size[1]) // 2
        square[:, top : top + size[0], left : left + size[1]] = pixels
        square = v2.functional.normalize(
            square, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
        )
        with torch.inference_mode():
            seen = model.encode_image(square[None], normalize=True)
            said = model.encode_text(open_clip.get_tokenizer("ViT-H-14")(PROMPTS), normalize=True)
        np.testing.assert_allclose(ours, (said @ seen[0]).numpy(), atol=1e-6)


def test_a_score_does_not_depend_on_the_batch(tiny: Path) -> None:
    together = scores(f"hpsv2(checkpoint={tiny})", PROMPTS)
    alone = [scores(f"hpsv2(checkpoint={tiny})", [prompt]) for prompt in PROMPTS]
    for i, single in enumerate(alone):
        np.testing.assert_allclose([row[i] for row in together], [r[0] for r in single], atol=1e-6)


def test_truncated_prompts_are_noticed(tiny: Path) -> None:
    metric = make_metric(f"hpsv2(checkpoint={tiny})")
    assert isinstance(metric, ItemMetric)
    assert [metric.truncates(prompt) for prompt in PROMPTS] == [False, False, True]


@pytest.mark.parametrize("name", ["hpsv2", "hpsv2.1"])
def test_absent_weights_say_what_to_download(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HarnessError) as caught:
        make_metric(name).check()
    message = str(caught.value)
    assert f"xswu/HPSv2 (file HPS_{name[3:]}_compressed.pt)" in message
    assert f"{name}(checkpoint=PATH)" in message
    with pytest.raises(HarnessError, match=r"there is no file /nowhere\.pt"):
        make_metric(f"{name}(checkpoint=/nowhere.pt)").check()


def test_a_backend_that_is_not_installed_says_how_to_get_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HarnessError, match=r"pip install --no-deps hpsv2==1\.2\.0 clint args"):
        make_metric(f"hpsv2(checkpoint={tiny}, backend=package)").check()


THEIRS = """
import json, sys
from PIL import Image
folder, configs, checkpoint = sys.argv[1:]
try:
    import turtle
except ImportError:  # without tkinter; the package imports a name of it and does not use it
    import types
    sys.modules["turtle"] = types.ModuleType("turtle")
    sys.modules["turtle"].forward = None
import hpsv2
from hpsv2 import img_score
from hpsv2.src.open_clip import factory
factory.add_model_config(configs)
make = img_score.create_model_and_transforms
# without the download of other weights, which the checkpoint replaces
img_score.create_model_and_transforms = lambda name, tag, **rest: make(name, None, **rest)
import huggingface_hub
huggingface_hub.hf_hub_download = lambda *a, **k: checkpoint
prompts = json.load(open(f"{folder}/prompts.json"))
images = [f"{folder}/{i}.png" for i in range(4)]
print(json.dumps([[float(x) for x in hpsv2.score(images, p)] for p in prompts]))
"""

OURS = """
import json, sys
import numpy as np, open_clip, torch
from PIL import Image
from harness.metrics.base import make_metric
from harness.metrics.encoders import ItemRow
from harness.metrics.hpsv2_package import import_package
folder, configs, checkpoint = sys.argv[1:]
import_package()
from hpsv2.src.open_clip import factory
factory.add_model_config(configs)
open_clip.add_model_config(configs)
metric = make_metric(f"hpsv2(checkpoint={checkpoint}, backend=package)")
metric.check()
metric.load("cpu")
prompts = json.load(open(f"{folder}/prompts.json"))
metric.prepare(prompts)
arrays = [np.array(Image.open(f"{folder}/{i}.png")) for i in range(4)]
images = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
rows = [[metric.values(image[None], [ItemRow(p)])[0] for image in images] for p in prompts]
print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """hpsv2 1.2.0 without what it asks for, in a folder of its own."""
    folder = tmp_path_factory.mktemp("package")
    wanted = ["hpsv2==1.2.0", "clint==0.5.1", "args==0.1.0"]
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    command = [sys.executable, "-m", "pip", "install", *options, *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"hpsv2 1.2.0 cannot be installed here: {done.stderr.strip()[-300:]}")
    return folder


@pytest.mark.golden
@pytest.mark.slow
@pytest.mark.usefixtures("_real_config")
def test_score_equals_the_packages(package: Path, tmp_path: Path, certify: Certify) -> None:
    checkpoint = save_checkpoint(tmp_path, reduced(DEPTH))
    for i, picture in enumerate(pictures()):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))
    ours = np.transpose(scores(f"hpsv2(checkpoint={checkpoint})", PROMPTS))

    root = Path(__file__).parents[2]

    def run(code: str, packages: Path) -> list[list[float]]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(packages), str(root)])}
        arguments = [str(tmp_path), str(tmp_path / "configs"), str(checkpoint)]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        rows: list[list[float]] = json.loads(done.stdout.splitlines()[-1])
        return rows

    through_backend = run(OURS, package)
    complete = tmp_path / "complete"
    shutil.copytree(package, complete)
    vocabulary = Path(open_clip.tokenizer.default_bpe())
    shutil.copy(vocabulary, complete / "hpsv2" / "src" / "open_clip" / VOCABULARY)
    theirs = run(THEIRS, complete)
    # Float32 networks of the same weights, batched here and one by one there.
    certify("metric hpsv2", ours, theirs, atol=1e-6, reference="hpsv2 1.2.0")
    np.testing.assert_array_equal(through_backend, theirs)
    assert np.std(theirs) > 1e-3
