"""Results that a device hands over late: read a batch behind, all at once, none of them lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from harness.core.errors import HarnessError
from harness.evaluation import evaluate, pending, reference_building, shard_results
from harness.evaluation.readback import Readback, stacked
from harness.metrics.base import make_metrics
from tests.evaluation.test_evaluate import ALL, Blue, Channels, Red, _fakes, make_run, stored

__all__ = ["_fakes"]


class Late(Readback):
    """As of a GPU: copies hold nothing before the wait."""

    happened: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[tuple[torch.Tensor, torch.Tensor]] = []

    @property
    def pending(self) -> bool:
        return bool(self.copies)

    def copy(self, found: Any) -> Any:
        Late.happened.append("computed")
        if not isinstance(found, torch.Tensor):
            return found
        host = torch.full_like(found, torch.nan)
        self.copies.append((host, found))
        return host

    def wait(self) -> None:
        Late.happened.append("read")
        for host, found in self.copies:
            host.numpy()[...] = found.numpy()
        self.copies = []


@pytest.fixture
def _late(monkeypatch: pytest.MonkeyPatch) -> None:
    Late.happened = []
    for module in (shard_results, reference_building):
        monkeypatch.setattr(module, "Readback", Late)


def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blue's scores stay on the device."""
    monkeypatch.setattr(Blue, "score", lambda self, images, rows: self.encoder.encode(images)[:, 2])


def test_late_results_are_those_of_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    on_device(monkeypatch)
    plain, late = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    evaluate(plain, ALL, batch_size=3)
    request.getfixturevalue("_late")
    report = evaluate(late, ALL, batch_size=3)
    assert stored(late) == stored(plain)
    assert report.outcomes["test-blue"].computed_shards == 6
    assert pending(late, ALL) == []


@pytest.mark.usefixtures("_late")
def test_the_next_batch_is_computed_before_the_last_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that of the next shard; a batch is waited for once, whatever the number of metrics."""
    on_device(monkeypatch)
    evaluate(make_run(tmp_path), ["test-blue", "test-spread"], batch_size=3)
    assert len(Channels.passes) == 10
    two = ["computed", "computed"]
    assert Late.happened == [*two, *[*two, "read"] * 9, "read"]


@pytest.mark.usefixtures("_late")
def test_a_shard_that_waits_is_stored_when_the_next_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, passes = make_run(tmp_path), [0]

    def score(self: Any, images: torch.Tensor, rows: Any) -> torch.Tensor:
        passes[0] += 1
        if passes[0] == 3:
            raise KeyboardInterrupt
        return images.float().mean((1, 2, 3))

    monkeypatch.setattr(Red, "score", score)
    with pytest.raises(KeyboardInterrupt):
        evaluate(run, ["test-red"])
    assert len(stored(run)) == 2


@pytest.mark.usefixtures("_late")
def test_what_fails_when_it_is_read_names_its_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Red, "score", lambda self, images, rows: images.float().mean((2, 3)))
    with pytest.raises(HarnessError, match="test-red failed: TypeError"):
        evaluate(make_run(tmp_path), ["test-red"])


def test_metrics_that_are_made_stay_loaded_from_run_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(Channels, "setup", lambda self, device: loaded.append(device))
    made = make_metrics(ALL)
    runs = [make_run(tmp_path / name) for name in "ab"]
    for run in runs:
        evaluate(run, made)
    assert loaded == ["cpu"]
    assert make_metrics(made) == made
    whole = make_run(tmp_path / "c")
    evaluate(whole, ALL)
    assert stored(runs[1]) == stored(whole)


def test_nothing_is_waited_for_on_a_cpu() -> None:
    readback, found = Readback(), torch.arange(3.0)
    assert readback.copy(found) is found
    assert readback.copy([1, 2]) == [1, 2]
    assert not readback.pending
    readback.wait()


def test_pictures_are_stacked_in_order() -> None:
    pictures = [torch.full((3, 2, 4), i, dtype=torch.uint8).numpy() for i in range(3)]
    images = stacked(pictures, "cpu")
    assert images.dtype == torch.uint8
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2]
