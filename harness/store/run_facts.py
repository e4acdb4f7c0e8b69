"""What a comparison records of a run: settings, cost, guidance scale, images, failures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.core.call import Call
from harness.core.run_spec import RunSpec
from harness.store.run import Run


@dataclass(frozen=True)
class Cost:
    """The cost of an image of a run: means over `nfe_images` and `timed_images` images.

    `nfe` counts every network and branch, `nfe_by_branch` ("network/branch") splits it. `seconds`
    are those of sampling and decoding on `device`, null where nothing was timed; they are known by
    shard, so that `timed_images` counts all images of the shards that hold some of the items.
    `macs` are multiply-accumulates of an image, without text encoder and decoder, `calls` those of
    the denoiser, `sigmas` the ladder's first and last level; null where they are not known.
    `nfe_least` and `nfe_most` are those of an image, `rehearsed` is what was planned for each. Of
    the `timed_batches`, `seconds_quartiles` are those of an image's seconds.
    """

    nfe: float | None
    nfe_images: int
    nfe_by_branch: dict[str, float]
    seconds: float | None
    timed_images: int
    device: str
    macs: float | None = None
    calls: int | None = None
    sigmas: tuple[float, float] | None = None
    nfe_least: int | None = None
    nfe_most: int | None = None
    rehearsed: int | None = None
    seconds_quartiles: tuple[float, float, float] | None = None
    timed_batches: int = 0

    @property
    def differs(self) -> bool:
        """Whether images were evaluated otherwise than planned, or not all as often."""
        return (
            self.nfe is not None
            and self.rehearsed is not None
            and {self.nfe_least, self.nfe_most} != {self.rehearsed}
        )


@dataclass(frozen=True)
class NominalScale:
    """A run's nominal guidance scale: the mean over `n` images and their standard deviation `sd`;
    null, with a reason, where there is none."""

    value: float | None
    n: int
    reason: str | None = None
    sd: float | None = None


@dataclass(frozen=True)
class Choice:
    """How the pictures of a BEST_OF comparison were chosen from those of a run.

    Of every `n` pictures of a prompt the one that `verifier`, a metric by its label, scores best is
    kept. `left_over` pictures were in no group of `n`; `unranked` groups had no picture with a
    score. `macs` are the verifier's multiply-accumulates for one picture, without its text encoder;
    null with a `reason`.
    """

    n: int
    verifier: str
    left_over: int
    unranked: int
    macs: float | None
    reason: str | None = None


@dataclass(frozen=True)
class RunFacts:
    """A run in a comparison: its specification, its numbers of prompts and images, and its cost.

    With `choice` it stands for the pictures that were chosen from the run's: the cost is that of
    all pictures which one was chosen from, and `images` are those that were kept.
    """

    path: str
    run_id: str
    model: str
    sampler: Call
    size: tuple[int, int] | None  # null: imported images
    dtype: str
    noise_key: str
    negative: str | None
    revision: str | None
    resolved: dict[str, Any]
    environment: dict[str, Any]
    prompts: int
    seeds: list[int]
    images: int
    failed: dict[str, int]  # reason to count
    cost: Cost
    guidance: NominalScale
    choice: Choice | None = None
    own_noise: bool = False  # whether it was made here, but not from the noise of others

    @property
    def columns(self) -> dict[str, Any]:
        """The run's columns of SUMMARY and SET_SCORES, the same in each of its rows."""
        cost = {**vars(self.cost), "nfe_by_branch": json.dumps(self.cost.nfe_by_branch)}
        return {**cost, "run_id": self.run_id, "failed": sum(self.failed.values())}

    @property
    def paired(self) -> bool:
        """Whether its images start from the same noise as others' at the same prompt and seed."""
        return bool((self.resolved.get("imported") or {"paired": not self.own_noise})["paired"])

    @classmethod
    def of(cls, run: Run, items: pd.DataFrame, cost: Cost, guidance: NominalScale) -> RunFacts:
        """The facts of `run`, whose images (without pictures) are `items`."""
        spec: RunSpec = run.spec
        counts = items["failed"].dropna().astype("str").value_counts().sort_index()
        return cls(
            path=run.path,
            run_id=spec.run_id,
            model=spec.model,
            sampler=spec.sampler,
            size=spec.size,
            dtype=spec.dtype,
            noise_key=spec.noise_key,
            negative=spec.negative,
            revision=run.record["resolved"].get("revision"),
            resolved=run.record["resolved"],
            own_noise=not (run.imported or run.paired),
            environment=run.record["environment"],
            prompts=int(items["prompt_id"].nunique()),
            seeds=sorted(int(seed) for seed in items["seed"].unique()),
            images=len(items),
            failed={str(reason): int(count) for reason, count in counts.items()},
            cost=cost,
            guidance=guidance,
        )
