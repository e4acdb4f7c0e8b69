"""Benchmarks, read from YAML: one file each under `benchmarks/`, or a user's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from harness.core.data import data_path
from harness.core.errors import HarnessError, unknown
from harness.store.curve_rule import GUIDANCE_CURVE

PUBLIC_DEFAULT = "drawbench"
"""The benchmark of models without a benchmark of their name."""

M = TypeVar("M", bound=BaseModel)

_MOST_BYTES, _DEEPEST, _MOST_ALIASES = 1 << 18, 30, 16


class PublishedNumbers(BaseModel):
    """Published numbers of one setting: scores and winning rates in [0, 1] by metric, and where.

    `refs/published.yaml` holds them by name. `n` images and `nfe` evaluations an image are null
    where the source does not state them; `differs` states how their definitions differ from
    this harness's metrics of those names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    scores: dict[str, float] = {}
    winning_rates: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    n: Annotated[int, Field(ge=1)] | None
    nfe: Annotated[float, Field(gt=0)] | None
    differs: str | None = None


class Candidate(BaseModel):
    """One of a benchmark's candidates; in YAML also the sampler's text alone.

    `model`, `guide` and `baseline` replace the benchmark's; `baseline_model` is the baseline's,
    where it is not the candidate's (the weak model, or the one with a LoRA, of one latent shape).
    `published` is a name of `refs/published.yaml`. `series` names the curve, of score against cost,
    that it is a point of; default: its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sampler: str
    label: str | None = None
    model: str | None = None
    guide: str | None = None
    baseline: str | None = None
    baseline_model: str | None = None
    published: str | None = None
    series: str | None = None

    @property
    def name(self) -> str:
        """The label, or the sampler's text."""
        return self.label or self.sampler


_DECLARABLE = (
    "own",
    "matched cost",
    "matched guidance",
    "matched cost and guidance",
    GUIDANCE_CURVE,
)


def _comparison(name: str) -> str:
    if name not in _DECLARABLE:
        raise ValueError(str(unknown("comparison", name, _DECLARABLE)))
    return name


class DeclaredResult(BaseModel):
    """The primary result, declared before looking: one of the metrics, one comparison."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    comparison: Annotated[str, AfterValidator(_comparison)]


class BestOf(BaseModel):
    """The metric that chooses the best of several pictures of the baseline; not the judges'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verifier: str


def _candidate(given: Any) -> Any:
    return {"sampler": given} if isinstance(given, str) else given


def _plain_name(name: str) -> str:
    """A benchmark's name, which is that of its folder of results."""
    if not re.fullmatch(r"\w[^/\\:\x00-\x1f]{0,99}", name):
        raise ValueError(
            f"{name[:60]!r} is no name: it begins with a letter or digit, holds no / \\ or :, and "
            "has at most 100 characters. The folder of the results is --results"
        )
    return name


class Benchmark(BaseModel):
    """A benchmark, of one `candidate` or of several `candidates` with one table for all.

    `steps` and `guidance` are for all samplers; None is the model's own. `baseline` may be null
    where there are `candidates`: then nothing is paired. `tiny` replaces keys to make a cut that
    runs anywhere in a minute. `vary` names values of parameters (`interval[0]` for an entry of
    one): every candidate is run with every combination.

    `guide` is a second model that guidance leads away from, for all runs. `curve` are the guidance
    weights at which the baseline is run at matched cost: null are some around those compared, none
    for several candidates; with a curve these are compared at matched guidance alone, too, and
    each gets a report of its own. The first metric is the
    headline. `primary` declares which result decides, for every candidate; without it all are
    exploratory. Its comparison "guidance curve" is with the baseline at its best guidance. With it
    `limit` prompts by `seeds` are declared to be there when it decides: a look at fewer images has
    a stricter level. `margin` is how far from one half a winning rate may be and still not matter:
    an interval within it is called equivalent. `population` is what results over all prompts speak
    of: prompts like these, in these categories, or with `categories` categories like these, of
    which there must be five; intervals, p-values and verdicts are then clustered by category.
    `best_of` also compares with the cheapest rival: as
    many pictures of the baseline as cost no more than the candidate's, of which a metric keeps
    the best. `baseline_published` are published numbers of the baseline, as `published` of a
    candidate; `pictures` is of how many prompts and seeds the report shows every run's picture.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_plain_name)]
    title: str
    description: str = ""
    model: str
    prompts: str
    limit: Annotated[int, Field(ge=1)] | None = None
    seeds: str = "0"
    candidate: str | None = None
    candidates: list[Annotated[Candidate, BeforeValidator(_candidate)]] = []
    vary: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    baseline: str | None = "ddim"
    steps: Annotated[int, Field(ge=1)] | None = None
    guidance: float | None = None
    guide: str | None = None
    noise_key: str | None = None
    dtype: Literal["float32", "float16", "bfloat16", "float64"] | None = None
    curve: list[float] | None = None
    metrics: Annotated[list[str], Field(min_length=1)]
    primary: DeclaredResult | None = None
    margin: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    tiny: dict[str, Any] = {}
    population: Literal["prompts", "categories"] = "prompts"
    best_of: BestOf | None = None
    baseline_published: str | None = None
    pictures: Annotated[int, Field(ge=0, le=24)] = 0

    @model_validator(mode="after")
    def _one_or_several(self) -> Benchmark:
        if bool(self.candidate) == bool(self.candidates):
            raise ValueError("give either candidate or candidates")
        if self.candidate and self.baseline is None:
            raise ValueError("a single candidate needs a baseline")
        if self.vary and not self.candidates:
            raise ValueError("vary goes with candidates, a list, not with a single candidate")
        labels = [candidate.name for candidate in self.candidates]
        if repeated := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"two candidates are called {repeated[0]!r}: give them labels")
        if self.primary and self.baseline is None:
            raise ValueError("a primary result needs a baseline")
        if self.pictures and not self.candidates:
            raise ValueError("pictures go with candidates, a list, not with a single candidate")
        if self.population != "prompts" and self.baseline is None:
            raise ValueError("a population needs a baseline: without one nothing is compared")
        if self.primary and self.primary.metric not in self.metrics:
            raise ValueError(
                f"the primary metric {self.primary.metric!r} is none of {', '.join(self.metrics)}"
            )
        decides = self.primary and self.primary.comparison
        if decides == GUIDANCE_CURVE and (self.curve == [] or (self.candidates and not self.curve)):
            raise ValueError(f"the primary comparison is the {GUIDANCE_CURVE}: give curve: weights")
        return self

    @property
    def defaults(self) -> dict[str, Any]:
        """Sampler parameters that the benchmark sets."""
        params = {"steps": self.steps, "guidance": self.guidance}
        return {name: value for name, value in params.items() if value is not None}


def names() -> list[str]:
    """The benchmarks that come with the harness."""
    return sorted(path.stem for path in data_path("benchmarks").glob("*.yaml"))


def load(name: str, tiny: bool = False) -> Benchmark:
    """The benchmark of this name, or of a YAML file at this path; `tiny` its small cut."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if name not in names():
            raise unknown("benchmark", name, names())
        path = data_path("benchmarks") / f"{name}.yaml"
    data = _read(path)
    if not isinstance(data.get("tiny") or {}, dict):
        raise HarnessError(f"benchmark {path}: tiny must hold keys and values, such as 'limit: 4'")
    for key in [*data, *(data.get("tiny") or {})]:
        if key not in Benchmark.model_fields:
            raise unknown("key", str(key), Benchmark.model_fields, where=f"benchmark {path}")
    if tiny:
        if not data.get("tiny"):
            raise HarnessError(
                f"benchmark {name} has no tiny cut: it has no key 'tiny'. Cut it with --limit"
            )
        data |= {"name": f"{data.get('name', path.stem)}-tiny", **data["tiny"], "tiny": {}}
    return _checked(Benchmark, {"name": path.stem, **data}, str(path))


def load_published(name: str) -> PublishedNumbers:
    """The published numbers of this name in `refs/published.yaml`."""
    path = data_path("refs/published.yaml")
    data = _read(path)
    if name not in data:
        raise unknown("published result", name, data)
    return _checked(PublishedNumbers, data[name], f"{path}: {name}")


def _read(path: Path) -> dict[str, Any]:
    import yaml

    if path.exists() and not path.is_file():
        raise HarnessError(f"{path} is no file: expected a benchmark's YAML")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise HarnessError(f"{path} has more than {_MOST_BYTES:,} bytes: it is no benchmark")
        text = path.read_text(encoding="utf-8")
        _check_tokens(yaml.scan(text), path)
        data = yaml.safe_load(text)
    except FileNotFoundError:
        raise HarnessError(f"there is no benchmark file {path}") from None
    except (yaml.YAMLError, OSError, ValueError) as error:  # ValueError: bad dates, long numbers
        line = " ".join(str(error).split())
        raise HarnessError(f"cannot read {path}: {line}") from None
    if not isinstance(data, dict):
        raise HarnessError(f"{path} must hold keys and values, such as 'model: shapes'")
    return data


def _check_tokens(tokens: Iterable[Any], path: Path) -> None:
    """Raise HarnessError for YAML nested too deeply, or whose aliases may stand for any amount."""
    import yaml

    depth = aliases = 0
    flow = yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken
    block = yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken
    ends = yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken
    for token in tokens:
        depth += isinstance(token, (*flow, *block)) - isinstance(token, ends)
        aliases += isinstance(token, yaml.AliasToken)
        if depth > _DEEPEST:
            raise HarnessError(f"{path}: more than {_DEEPEST} levels of keys and lists")
        if aliases > _MOST_ALIASES:
            raise HarnessError(f"{path}: more than {_MOST_ALIASES} aliases (*NAME): write them out")


def _checked(kind: type[M], data: Any, where: str) -> M:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        at = "".join(f"{part}: " for part in first["loc"])
        raise HarnessError(f"{where}: {at}{first['msg']}") from None


def chosen(name: str | None, model: str | None, tiny: bool = False) -> Benchmark:
    """The benchmark of this name; by default the one named like the model, or PUBLIC_DEFAULT."""
    model = model or "shapes"
    return load(name or (model if model in names() else PUBLIC_DEFAULT), tiny)
