"""Benchmarks: what to run, as data. One YAML file each under `benchmarks/`, or a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.data import data_path
from harness.errors import HarnessError, unknown

PUBLIC_DEFAULT = "drawbench"
"""The benchmark of a model for which no benchmark is the first choice."""


class Benchmark(BaseModel):
    """A benchmark. `steps` and `guidance` are for all samplers; None is the model's own.

    `guide` is a second model that guidance leads away from, for all runs. The first metric is the
    headline.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    description: str = ""
    model: str
    prompts: str
    limit: Annotated[int, Field(ge=1)] | None = None
    seeds: str = "0"
    candidate: str
    baseline: str = "ddim"
    steps: Annotated[int, Field(ge=1)] | None = None
    guidance: float | None = None
    guide: str | None = None
    noise_key: str | None = None
    metrics: Annotated[list[str], Field(min_length=1)]

    @property
    def defaults(self) -> dict[str, Any]:
        """Sampler parameters that the benchmark sets."""
        found = {"steps": self.steps, "guidance": self.guidance}
        return {name: value for name, value in found.items() if value is not None}


def names() -> list[str]:
    return sorted(path.stem for path in data_path("benchmarks").glob("*.yaml"))


def load(name: str) -> Benchmark:
    """The benchmark of this name, or of a YAML file at this path."""
    import yaml

    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if name not in names():
            raise unknown("benchmark", name, names())
        path = data_path("benchmarks") / f"{name}.yaml"
    try:
        data = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise HarnessError(f"there is no benchmark file {path}") from None
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise HarnessError(f"cannot read {path}: {line}") from None
    if not isinstance(data, dict):
        raise HarnessError(f"{path} must hold keys and values, such as 'model: shapes'")
    for key in data:
        if key not in Benchmark.model_fields:
            raise unknown("key", str(key), Benchmark.model_fields, where=f"benchmark {path}")
    try:
        return Benchmark(**{"name": path.stem, **data})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise HarnessError(f"{path}: {where}: {first['msg']}") from None


def for_model(model: str) -> Benchmark:
    """The benchmark that is a model's first choice: the one of its name, if any."""
    return load(model if model in names() else PUBLIC_DEFAULT)
