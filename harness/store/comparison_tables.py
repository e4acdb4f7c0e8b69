"""A comparison on disk: `compare/*.parquet` with `compare/comparison.json`, and the same in memory.

One candidate run against any number of named baselines ("own", "matched cost", ...), on any number
of metrics. The first metric is the headline.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pandas as pd

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.run_spec import RunSpec
from harness.store import files
from harness.store.run import Run

CANDIDATE = "candidate"

CURVE = "curve"
"""Folder, below the candidate's run, of its comparison with the baseline's guidance curve."""

PAIRS = {
    "comparison": "string",
    "metric": "string",
    "item_id": "string",
    "prompt_id": "string",
    "prompt": "string",
    "category": "string",
    "seed": "int64",
    "b_seed": "Int64",  # the baseline's seed, where the pair is not of one noise; else null
    "a_value": "float64",
    "b_value": "float64",
    "a_failed": "string",  # null, or why there is no picture
    "b_failed": "string",
    "outcome": "float64",  # 1 candidate better, 0.5 tie, 0 baseline better; null if left out
    "left_out": "string",  # why the pair does not count
}
"""`pairs.parquet`: one row a pair, metric and comparison; a is the candidate, b the baseline."""

RATES = {
    "comparison": "string",
    "metric": "string",
    "direction": "string",
    "category": "string",  # null: all categories together
    "role": "string",  # primary (declared before looking) or exploratory
    "prompts": "int64",  # prompts with a pair that counts
    "seeds": "int64",
    "pairs": "int64",
    "wins": "int64",
    "ties": "int64",
    "losses": "int64",
    "a_failed": "int64",
    "b_failed": "int64",
    "left_out": "int64",  # pairs with a picture on both sides and no score on one
    "a_unpaired": "int64",  # items of the candidate that the baseline lacks
    "b_unpaired": "int64",
    "winning_rate": "float64",  # [0, 1]
    "low": "float64",
    "high": "float64",
    "effective": "float64",  # coin flips that give an interval this wide
    "p_value": "float64",
    "p_method": "string",
    "verdict": "string",  # wins, loses, equivalent, undecided or undefined: decisions.verdict
    "detectable": "float64",  # smallest winning rate that as many flips show in 80 % of cases
    "reason": "string",  # why a number above is null
    "warning": "string",  # why the interval is to be read with care
    "binary": "bool",  # whether all scores are 0 or 1
    "only_a": "Int64",  # pairs where a alone is 1; null unless binary, as the next two
    "only_b": "Int64",
    "mcnemar_p": "float64",  # exact for one seed, by flips of whole prompts for more
    "difference": "float64",  # mean of a - b in the metric's units; risk difference if binary
    "difference_low": "float64",
    "difference_high": "float64",
    "difference_pairs": "int64",  # pairs with a score on both sides
    "difference_prompts": "int64",
    "difference_reason": "string",
    "effect": "float64",  # difference in the baseline's within-prompt seed deviations
    "effect_low": "float64",
    "effect_high": "float64",
    "effect_reason": "string",
    "correlation": "float64",  # of the two scores of a pair
    "correlation_low": "float64",
    "correlation_high": "float64",
    "correlation_reason": "string",
    "crossed": "float64",  # winning rate over all pairs of two different seeds of a prompt
    "crossed_low": "float64",
    "crossed_high": "float64",
    "crossed_prompts": "int64",
    "crossed_reason": "string",
}
"""`winning_rates.parquet`: one row a comparison, metric and category, and one over all."""

SUMMARY = {
    "run": "string",  # candidate, or the comparison's name
    "run_id": "string",
    "metric": "string",
    "direction": "string",
    "mean": "float64",  # over prompts, of the run's own images
    "low": "float64",
    "high": "float64",
    "images": "int64",  # images with a score
    "prompts": "int64",
    "failed": "int64",
    "reason": "string",
    "nfe": "float64",  # mean network evaluations an image, all networks and branches
    "nfe_images": "int64",
    "nfe_by_branch": "string",  # JSON: {"network/branch": mean}
    "seconds": "float64",  # per image, as measured on `device`
    "timed_images": "int64",
    "device": "string",
    "macs": "float64",  # multiply-accumulates an image, without text encoder and decoder
    "se": "float64",  # of the mean, over prompts
    "seed_sd": "float64",  # standard deviation of the seeds' means; null with one seed
    "standing": "string",  # best, tied (not told apart from the best at 95 %), or null
}
"""`summary.parquet`: one row a run and metric, with what an image cost beside its score."""

SET_SCORES = {
    "run": "string",
    "run_id": "string",
    "metric": "string",
    "title": "string",
    "about": "string",
    "direction": "string",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "images": "int64",
    "failed": "int64",
    "reason": "string",
    "warning": "string",  # why it should not be set beside the candidate's
    "difference": "float64",  # candidate minus this run, over the same images
    "difference_low": "float64",
    "difference_high": "float64",
    "difference_reason": "string",
}
"""`set_scores.parquet`: one row a run and set metric."""

_TABLES = {"pairs": PAIRS, "winning_rates": RATES, "summary": SUMMARY, "set_scores": SET_SCORES}


@dataclass(frozen=True)
class MetricInfo:
    """What a comparison must know of a metric. `name` is its folder under `scores/`.

    `least` and `most` are the ends of its range; null where it has none.
    """

    name: str
    direction: Literal["higher", "lower"]
    title: str = ""
    about: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def arrow(self) -> str:
        return "↑" if self.direction == "higher" else "↓"

    @property
    def label(self) -> str:
        return self.title or self.name


@dataclass(frozen=True)
class Primary:
    """The one result that decides, declared before looking: a metric and a comparison, by name."""

    metric: str
    comparison: str


@dataclass(frozen=True)
class SetScore:
    """One number for a whole run. `run` is "candidate" or the name of a comparison.

    `identity` tells which version and weights of the metric gave it; null: not known. `left_out`
    are the values with one block of prompts (or seeds) left out, `items` names exactly the images:
    both are needed for the interval of a difference.
    """

    run: str
    metric: MetricInfo
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    identity: str | None = None
    left_out: tuple[float, ...] = ()
    items: str | None = None


@dataclass(frozen=True)
class Cost:
    """What an image of a run cost: means over `nfe_images` and `timed_images` images.

    `nfe` counts every network and branch, `nfe_by_branch` ("network/branch") splits it. `seconds`
    are those of sampling and decoding on `device`, null where nothing was timed; they are known by
    shard, so that `timed_images` counts all images of the shards that hold some of the items.
    `macs` are multiply-accumulates of an image, without text encoder and decoder, `calls` those of
    the denoiser, `sigmas` the ladder's first and last level; null where they are not known.
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

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Cost:
        return cls(**{**data, "sigmas": data["sigmas"] and tuple(data["sigmas"])})


@dataclass(frozen=True)
class Guidance:
    """A run's nominal guidance scale: the mean over `n` images and their standard deviation `sd`;
    null, with a reason, where there is none."""

    value: float | None
    n: int
    reason: str | None = None
    sd: float | None = None


@dataclass(frozen=True)
class RunFacts:
    """One side of a comparison: what was run, how much of it, and its cost."""

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
    guidance: Guidance

    @property
    def paired(self) -> bool:
        """Whether its images start from the same noise as others' at the same prompt and seed."""
        return bool((self.resolved.get("imported") or {"paired": True})["paired"])

    @classmethod
    def of(cls, run: Run, items: pd.DataFrame, cost: Cost, guidance: Guidance) -> RunFacts:
        """The facts of `run`, whose images (without pictures) are `items`."""
        spec: RunSpec = run.spec
        counts = items["failed"].dropna().value_counts().sort_index()
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
            environment=run.record["environment"],
            prompts=int(items["prompt_id"].nunique()),
            seeds=sorted(int(seed) for seed in items["seed"].unique()),
            images=len(items),
            failed={str(reason): int(count) for reason, count in counts.items()},
            cost=cost,
            guidance=guidance,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunFacts:
        return cls(
            **{
                **data,
                "sampler": Call(**data["sampler"]),
                "size": data["size"] and tuple(data["size"]),
                "cost": Cost.from_dict(data["cost"]),
                "guidance": Guidance(**data["guidance"]),
            }
        )


@dataclass(frozen=True)
class Comparison:
    """The answer: runs by role ("candidate" first), tables as documented above.

    `absent` names the comparisons that were not made, with the reason, `same` those whose baseline
    is the very run of another one, which is told once, with that one's name. `commands` are those
    that reproduce it. `primary` is what was declared to decide, `margin` how far from one half a
    winning rate may be and still not matter.
    """

    runs: dict[str, RunFacts]
    metrics: list[MetricInfo]
    pairs: pd.DataFrame
    rates: pd.DataFrame
    summary: pd.DataFrame
    set_scores: pd.DataFrame
    absent: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    primary: Primary | None = None
    margin: float | None = None
    same: dict[str, str] = field(default_factory=dict)

    @property
    def candidate(self) -> RunFacts:
        return self.runs[CANDIDATE]

    @property
    def baselines(self) -> dict[str, RunFacts]:
        """The other runs, by the name of their comparison."""
        return {name: run for name, run in self.runs.items() if name != CANDIDATE}

    def rate(self, comparison: str, metric: str) -> pd.Series:
        """The row of the winning rates over all categories."""
        rows, known = self.rates, self.same.get(comparison, comparison)
        here = (rows["comparison"] == known) & (rows["metric"] == metric)
        return rows[here & rows["category"].isna()].iloc[0]

    def save(self, out: str) -> None:
        """Write `compare/` below `out`. Local run paths are kept relative to it."""
        folder = files.join(out, "compare")
        frames = {
            "pairs": self.pairs,
            "winning_rates": self.rates,
            "summary": self.summary,
            "set_scores": self.set_scores,
        }
        for name, frame in frames.items():
            files.write_frame(files.join(folder, f"{name}.parquet"), frame)
        runs = {
            name: {**asdict(run), "path": _relative(run.path, folder)}
            for name, run in self.runs.items()
        }
        record = {
            "runs": runs,
            "metrics": [asdict(metric) for metric in self.metrics],
            "absent": self.absent,
            "same": self.same,
            "commands": self.commands,
            "primary": asdict(self.primary) if self.primary else None,
            "margin": self.margin,
        }
        files.write_json(files.join(folder, "comparison.json"), record)


def holds_comparison(folder: str) -> bool:
    return files.exists(files.join(folder, "compare", "comparison.json"))


def load_comparison(out: str) -> Comparison:
    """Read what `Comparison.save(out)` wrote; raises HarnessError if there is none, or one by
    another version with other columns."""
    folder = files.join(out, "compare")
    where = files.join(folder, "comparison.json")
    if not files.exists(where):
        raise HarnessError(f"{out} holds no comparison: there is no compare/comparison.json in it")
    record = files.read_json(where)
    frames = {name: files.read_frame(files.join(folder, f"{name}.parquet")) for name in _TABLES}
    known = {"guidance"} <= set(record["runs"][CANDIDATE])
    if not known or any(set(_TABLES[name]) - set(frame) for name, frame in frames.items()):
        raise HarnessError(
            f"{folder} was written by another version of the harness: make the comparison again "
            "(harness bench or harness compare; pictures and scores are kept)"
        )
    tables = {name: typed(frame, _TABLES[name]) for name, frame in frames.items()}
    runs = {
        name: RunFacts.from_dict({**run, "path": _absolute(run["path"], folder)})
        for name, run in record["runs"].items()
    }
    return Comparison(
        runs,
        [MetricInfo(**metric) for metric in record["metrics"]],
        tables["pairs"],
        tables["winning_rates"],
        tables["summary"],
        tables["set_scores"],
        record["absent"],
        record["commands"],
        Primary(**record["primary"]) if record["primary"] else None,
        record["margin"],
        record.get("same", {}),
    )


def typed(
    rows: pd.DataFrame | list[dict[str, Any]] | dict[str, Any], columns: dict[str, str]
) -> pd.DataFrame:
    """A table with exactly these columns and types, whatever is null in it."""
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _relative(path: str, folder: str) -> str:
    return path if "://" in path + folder else os.path.relpath(path, folder)


def _absolute(path: str, folder: str) -> str:
    return path if "://" in path else os.path.normpath(os.path.join(folder, path))
