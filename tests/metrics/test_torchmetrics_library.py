"""Metrics of torchmetrics on our runs: what their own classes give for the same pictures."""

from __future__ import annotations

import csv
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from PIL import Image
from torchmetrics import functional, image, multimodal

import harness
from harness.core.errors import HarnessError
from harness.evaluation.set_scores import SetScore, set_score
from harness.metrics import Encoder, encoder
from harness.metrics.base import SetMetric, checks, make_metric
from harness.metrics.encoders import ENCODERS
from harness.metrics.library_parts import _clip
from harness.metrics.library_sets import LibraryNetwork
from harness.store.run import Run
from tests.conftest import TINY_SDXL

SIDE, COUNT = 64, 24


def _imported(folder: Path, pictures: np.ndarray[Any, Any]) -> Run:
    """A run of pictures [n, H, W, 3], each of a prompt of its own."""
    folder.mkdir()
    with (folder / "table.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "prompt", "prompt_id", "seed"])
        for at, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / f"{at:02}.png")
            rows.writerow([f"{at:02}.png", f"a cat {at}", f"p{at:02}", 0])
    where = folder.parent / f"{folder.name}-run"
    return harness.import_images(folder, manifest=folder / "table.csv", paired=True, out=where)


def _random(seed: int, count: int = COUNT) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A run, and another whose pictures are near its."""
    folder = tmp_path_factory.mktemp("runs")
    one = _random(0)
    two = (one // 8 * 7 + _random(1) // 8).astype(np.uint8)
    two[3] = one[3]
    return _imported(folder / "one", one), _imported(folder / "two", two)


@pytest.fixture(scope="module")
def pictures(runs: tuple[Run, Run]) -> tuple[torch.Tensor, torch.Tensor]:
    """The pictures of both runs as floats of 0 to 1, by item."""
    one = _random(0)
    two = (one // 8 * 7 + _random(1) // 8).astype(np.uint8)
    two[3] = one[3]
    both = [torch.from_numpy(p).permute(0, 3, 1, 2).float() / 255 for p in (one, two)]
    return both[0], both[1]


def _scores(run: Run, metric: str) -> list[float]:
    harness.evaluate(run, metric)
    frame = run.frame(f"scores/{make_metric(metric).label}")
    return [float(value) for value in frame.sort_values("item_id")["value"]]


@pytest.mark.parametrize(
    ("text", "theirs"),
    [
        ("PSNR", lambda a, b: functional.peak_signal_noise_ratio(a, b, data_range=1.0)),
        (
            "StructuralSimilarityIndexMeasure, sigma=1.0, kernel_size=[7, 7]",
            lambda a, b: functional.structural_similarity_index_measure(
                a, b, sigma=1.0, kernel_size=(7, 7), data_range=1.0
            ),
        ),
        ("uqi", functional.universal_image_quality_index),
    ],
)
def test_pictures_are_compared_with_those_of_another_run(
    runs: tuple[Run, Run],
    pictures: tuple[torch.Tensor, torch.Tensor],
    text: str,
    theirs: Callable[..., Any],
) -> None:
    found = _scores(runs[1], f"torchmetrics({text}, reference={runs[0].path})")
    for at, value in enumerate(found):
        a, b = (side[at : at + 1] for side in pictures)
        expected = float(theirs(b, a))
        if np.isfinite(expected):
            assert value == pytest.approx(expected, abs=1e-5)
        else:  # of equal pictures
            assert np.isnan(value)
            assert at == 3


def test_a_metric_without_a_reference_scores_each_picture(
    runs: tuple[Run, Run], pictures: tuple[torch.Tensor, torch.Tensor]
) -> None:
    found = _scores(runs[0], "torchmetrics(TV)")
    expected = functional.total_variation(pictures[0], reduction="none")
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_lpips_between_runs(
    runs: tuple[Run, Run],
    pictures: tuple[torch.Tensor, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    file = Path(SqueezeNet1_1_Weights.DEFAULT.url).name
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "hub" / "checkpoints" / file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    metric = f"torchmetrics(LPIPS, net_type=squeeze, reference={runs[0].path})"
    found = _scores(runs[1], metric)
    own = image.LearnedPerceptualImagePatchSimilarity("squeeze", reduction="none", normalize=True)
    with torch.inference_mode():
        expected = own(pictures[1], pictures[0]).flatten().tolist()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert found[3] == 0
    assert min(found[:3]) > 0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny CLIP with random weights."""
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPProcessor,
        CLIPTokenizer,
    )

    folder = str(tmp_path_factory.mktemp("clip") / "openai-tiny")
    tokenizer = CLIPTokenizer.from_pretrained(TINY_SDXL / "tokenizer")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "projection_dim": 16}
    text = {"vocab_size": len(tokenizer), "eos_token_id": len(tokenizer) - 1}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**small, **heads, **text},
        vision_config={**small, **heads, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    CLIPModel(config).eval().save_pretrained(folder)
    size = {"shortest_edge": 32}
    processor = CLIPImageProcessor(size=size, crop_size={"height": 32, "width": 32})
    CLIPProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def test_clip_iqa_and_clip_score(
    runs: tuple[Run, Run], pictures: tuple[torch.Tensor, torch.Tensor], clip: str
) -> None:
    model: Any = partial(_clip, clip)
    found = _scores(runs[0], f"torchmetrics(CLIP-IQA, model_name_or_path={clip})")
    quality = multimodal.CLIPImageQualityAssessment(model, data_range=1.0)
    assert found == pytest.approx(quality(pictures[0]).tolist(), rel=1e-4)
    pair = f"torchmetrics(CLIP-IQA, model_name_or_path={clip}, prompts=[[Good, Bad]])"
    assert _scores(runs[0], pair) != found
    several = f"torchmetrics(CLIP-IQA, model_name_or_path={clip}, prompts=[quality, noisiness])"
    with pytest.raises(HarnessError, match=r"gives 2 numbers \(quality, noisiness\): ask for one"):
        _scores(runs[0], several)
    agreement = multimodal.CLIPScore(model)
    found = _scores(runs[0], f"torchmetrics(CLIPScore, model_name_or_path={clip})")
    whole = (pictures[0] * 255).round().to(torch.uint8)
    expected = [float(agreement(whole[at], f"a cat {at}")) for at in range(COUNT)]
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-3)


class Blocks(torch.nn.Module):
    """Twelve numbers of a picture uint8 [B, 3, H, W]: its colours' means by quarters."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(pictures.float() / 255, 2).flatten(1)


@pytest.fixture
def blocks() -> Iterator[str]:
    """The name of an encoder of the same numbers."""
    with ENCODERS.aside():

        @encoder("blocks")
        class _Blocks(Encoder):
            width = 12

            def encode(self, images: torch.Tensor) -> torch.Tensor:
                return Blocks()(images)

        yield "blocks"


def _reference(folder: Path, features: torch.Tensor) -> str:
    rows = features.double().numpy()
    file = folder / "real.npz"
    np.savez(file, mu=rows.mean(0), sigma=np.cov(rows.T), n=len(rows), features=rows.astype("f4"),
             encoder="blocks")  # fmt: skip
    return str(file)


def _set_score(run: Run, metric: str) -> SetScore:
    harness.evaluate(run, metric)
    made = make_metric(metric)
    assert isinstance(made, SetMetric)
    return set_score(run, made)


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [
        ("FID", image.FrechetInceptionDistance, {}),
        ("KID", image.KernelInceptionDistance, {"subsets": 5, "subset_size": 10}),
        ("MiFID", image.MemorizationInformedFrechetInceptionDistance, {}),
        ("IS", image.InceptionScore, {"splits": 3}),
    ],
)
def test_sets_are_judged_by_features_that_are_given(
    runs: tuple[Run, Run],
    pictures: tuple[torch.Tensor, torch.Tensor],
    blocks: str,
    tmp_path: Path,
    text: str,
    kind: Any,
    options: dict[str, Any],
) -> None:
    real = torch.from_numpy(_random(7, 30)).permute(0, 3, 1, 2)
    settings = "".join(f", {key}={value}" for key, value in options.items())
    named = "" if text == "IS" else f", reference={_reference(tmp_path, Blocks()(real))}"
    found = _set_score(runs[0], f"torchmetrics({text}, feature={blocks}{settings}{named})")
    theirs: torchmetrics.Metric = kind(feature=Blocks(), **options)
    whole = (pictures[0] * 255).round().to(torch.uint8)
    if named:
        theirs.update(real, real=True)
        theirs.update(whole, real=False)
    else:
        theirs.update(whole)
    torch.manual_seed(0)
    expected = theirs.compute()
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert found.value == pytest.approx(float(expected), rel=1e-4)
    assert found.n == COUNT
    if text == "FID":
        assert found.low is not None
        assert found.high is not None
        assert found.low < float(expected) < found.high
    else:
        assert found.low is None
        assert "draws subsets, splits or cuts off" in str(found.interval_reason)


def test_too_few_pictures_for_a_subset_are_undefined(
    runs: tuple[Run, Run], blocks: str, tmp_path: Path
) -> None:
    named = f"reference={_reference(tmp_path, torch.rand(30, 12))}"
    found = _set_score(runs[0], f"torchmetrics(KID, feature={blocks}, {named})")
    assert found.value is None
    assert "subset_size" in str(found.reason)


def test_a_network_of_torchmetrics_encodes(runs: tuple[Run, Run]) -> None:
    """Its Inception is downloaded; here a small module stands in its place."""
    made = make_metric("torchmetrics(IS)")
    network = made.encoder
    assert isinstance(network, LibraryNetwork)
    network.network = Blocks()
    network.load("cpu")
    assert network.width == 12
    other = make_metric("torchmetrics(IS, feature=2048)").encoder
    assert other is not None
    assert other.label != network.label
    assert network.encode(torch.zeros(2, 3, 8, 8, dtype=torch.uint8)).shape == (2, 12)


def test_without_a_network_the_message_is_clear(
    runs: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(*args: Any, **kwargs: Any) -> Any:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    lpips = f"torchmetrics(LPIPS, reference={runs[0].path})"
    for text in ("torchmetrics(IS, feature=64)", lpips, "torchmetrics(CLIPScore)"):
        (said,) = checks([make_metric(text)]).values()
        assert "it downloads its weights, so run it once where there is a network" in said
        assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Total-Variations", "did you mean 'TotalVariation'"),
        ("SSIM, sigme=2", "did you mean 'sigma'"),
        ("SSIM, data_range=2", "unknown parameter 'data_range'"),
        ("PerceptualPathLength", "no metric of pictures alone: it needs a generator"),
        ("QualityWithNoReference", "it needs several targets of each picture"),
        ("KID, feature=dinov3", "did you mean 'dinov2'"),
        ("PSNR", r"name the run of the others, as torchmetrics:PeakSignalNoiseRatio\(reference"),
        ("PSNR, reference=/nowhere", "holds no run"),
        ("FID, feature=cmmd-clip", "needs something to measure against"),
        ("IS, feature=100", "must be one of"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        make_metric(f"torchmetrics({text})").check()


def test_a_wrong_size_is_undefined(runs: tuple[Run, Run], tmp_path: Path) -> None:
    small = _imported(tmp_path / "small", _random(0)[:, :32, :32])
    metric = f"torchmetrics(PSNR, reference={runs[0].path})"
    assert all(np.isnan(_scores(small, metric)))
    frame = small.frame(f"scores/{make_metric(metric).label}")
    assert set(frame["reason"]) == {"the reference's picture is 64x64"}


def test_every_image_metric_of_torchmetrics_is_known() -> None:
    known = [name for name in image.__all__ if isinstance(getattr(image, name), type)]
    refused = {"PerceptualPathLength", "QualityWithNoReference", "SpatialDistortionIndex"}
    assert len(known) > 20
    for name in {*known} - refused:
        made = make_metric(f"torchmetrics({name})")
        assert made.name == f"torchmetrics:{name}"
        assert str(make_metric(str(made.call)).call) == str(made.call)
        assert ":" not in made.label


def _gathered(one: Any, two: Any) -> Callable[..., list[torch.Tensor]]:
    """What all ranks hold, in the order in which torchmetrics asks for a metric's states."""
    states = [getattr(two, name) for name in two._reductions]
    queue = iter([torch.cat(s) if isinstance(s, list) else s for s in states])
    return lambda tensor, group=None: [tensor, next(queue)]


@pytest.mark.parametrize("name", ["shapes-fd(allow_few=true)", "contrast"])
def test_our_metrics_merge_their_states_as_torchmetrics_does(name: str) -> None:
    whole = torch.from_numpy(_random(3, 20)).permute(0, 3, 1, 2)
    alone, one, two = (harness.as_torchmetric(name) for _ in range(3))
    alone.update(whole)
    one.update(whole[:8])
    two.update(whole[8:])
    expected = alone.compute()
    assert float(one.compute()) != pytest.approx(float(expected), rel=1e-6)
    one.update(whole[:0])  # forgets what was computed
    one.dist_sync_fn, one.distributed_available_fn = _gathered(one, two), lambda: True
    assert float(one.compute()) == pytest.approx(float(expected), rel=1e-6)
