"""Registering, naming, describing and checking metrics."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.core.errors import HarnessError
from harness.metrics.base import (
    METRICS,
    ItemMetric,
    SetMetric,
    checks,
    describe,
    make_metric,
    make_metrics,
    metric,
)
from harness.metrics.encoders import ENCODERS, Encoder, make_encoder, per_batch
from harness.metrics.set_statistics import Reference


class Brightness(Encoder):
    name = "test-brightness"
    width = 1
    passes = 0

    @per_batch
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        return images.float().mean((1, 2, 3))[:, None]


def tiny(name: str) -> type[ItemMetric]:
    @metric(
        name,
        title="Tiny",
        direction="higher",
        model="none",
        paper="none",
        licence="none",
        needs_prompts=False,
    )
    @dataclass
    class Tiny(ItemMetric):
        power: float = 1.0
        file: str = ""

        def build_encoder(self) -> Encoder:
            return Brightness()

        def check(self) -> None:
            if self.file:
                raise HarnessError(f"download {self.file} from example.org")

        def score(self, images, rows):  # type: ignore[no-untyped-def]
            return (self.encoder.encode(images)[:, 0] ** self.power).tolist()

    return Tiny


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    METRICS.names()
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    tiny("test-tiny")
    tiny("test-other")


def test_parameters_name_the_folder_only_where_they_differ_from_defaults() -> None:
    assert make_metric("test-tiny").label == "test-tiny"
    assert make_metric("test-tiny(power=1.0)").label == "test-tiny"
    changed = make_metric("test-tiny(power=2.0)")
    assert changed.label.startswith("test-tiny-")
    assert str(changed.call) == "test-tiny(power=2.0)"
    assert changed.label != make_metric("test-tiny(power=3.0)").label


def test_identity_follows_parameters_version_and_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make_metric("test-tiny")
    before = plain.identity()
    assert before == make_metric("test-tiny").identity()
    assert before != make_metric("test-tiny(power=2.0)").identity()
    monkeypatch.setattr(Brightness, "weights", lambda self: "other")
    assert plain.identity() != before
    monkeypatch.undo()
    monkeypatch.setattr(type(plain), "version", 2)
    assert plain.identity() != before


def test_metrics_share_an_encoder_and_its_pass() -> None:
    first, second, again = make_metrics(
        ["test-tiny", "test-other", "test-tiny(power=1.0)", "clip"]
    )[:3]
    assert again.name == "clip", "the same metric twice is one metric"
    assert first.encoder is second.encoder
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    for each in (first, second):
        assert isinstance(each, ItemMetric)
        assert each.score(images, []) == [0.0, 0.0]
    assert isinstance(first.encoder, Brightness)
    assert first.encoder.passes == 1
    first.encoder.encode(images.clone())
    assert first.encoder.passes == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shapes-alingment", "did you mean 'shapes-alignment'"),
        ("clip(modle=ViT-B-32)", "did you mean 'model'"),
        ("clip(model=5)", "model=5 should be a valid string"),
        ("test-tiny(power=big)", "power='big' should be a valid number"),
        ("shapes-exact(power=2)", "unknown parameter 'power'"),
    ],
)
def test_bad_metrics_are_refused_with_one_message(text: str, message: str) -> None:
    with pytest.raises(HarnessError) as caught:
        make_metric(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checks_name_what_is_missing_and_leave_the_others() -> None:
    metrics = make_metrics(["test-tiny", "test-other(file=w.safetensors)"])
    missing = checks(metrics)
    assert list(missing) == [metrics[1].label]
    assert "w.safetensors from example.org" in missing[metrics[1].label]


def test_every_metric_describes_itself() -> None:
    about = {entry.name: entry for entry in describe()}
    assert {"clip", "shapes-alignment", "shapes-clip", "shapes-exact", "shapes-fd"} <= set(about)
    assert about["clip"].parameters == {
        "model": "ViT-L-14",
        "pretrained": "openai",
        "scale": "cosine",
    }
    assert (about["shapes-fd"].kind, about["shapes-fd"].direction) == ("set", "lower")
    for entry in about.values():
        assert entry.title
        assert entry.model
        assert entry.licence
        assert entry.range[0] < entry.range[1]


def test_registering_what_is_no_metric_fails() -> None:
    from harness.metrics.base import metric

    register = metric("test-wrong", title="", direction="lower", model="", paper="", licence="")
    with pytest.raises(TypeError, match="SetMetric"):
        register(object)  # type: ignore[type-var]


def test_metrics_are_listed_without_heavy_libraries() -> None:
    code = (
        "import sys, harness.evaluation, harness.metrics.base as b; b.describe();"
        "print([m for m in ('torch', 'open_clip', 'transformers', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_documentations_examples_are_whole_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    import harness.metrics
    from harness.metrics import base, encoders

    ENCODERS.names()
    monkeypatch.setattr(ENCODERS, "_entries", dict(ENCODERS._entries))
    METRICS._entries.pop("contrast")  # the first example stands for it
    names = {name: getattr(harness.metrics, name) for name in harness.metrics.__all__}
    names |= {"dataclass": dataclass, "math": math, "np": np, "__name__": __name__}
    for module in (base, encoders):
        doc = Path(str(module.__file__)).read_text().split('"""')[1]
        blocks = re.findall(r"^(?: {4}.*\n|\n)+", doc, re.M)
        exec(textwrap.dedent("\n".join(blocks)), names)
    images = torch.tensor([0, 255], dtype=torch.uint8).expand(2, 3, 4, 2)
    item = make_metric("contrast")
    assert isinstance(item, ItemMetric)
    assert item.score(images, []) == pytest.approx([0.5, 0.5], abs=0.02)
    encoder = make_encoder("mean-colour")
    assert encoder.encode(images).tolist() == [[127.5] * 3] * 2
    found = make_metric("clip-distance(reference=mine)")
    assert isinstance(found, SetMetric)
    assert found.features.convention == "clip"
    with pytest.raises(HarnessError, match="unknown reference 'mine'"):
        found.statistic()
    statistic = names["MeanDistance"](Reference(np.zeros(3), np.eye(3), 9, {}))
    state = statistic.gather(encoder.encode(images).numpy())
    assert statistic.value(state) == pytest.approx(127.5 * 3**0.5)
