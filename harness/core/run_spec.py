"""A run's specification: model, sampler, size, precision and noise key; and its id, a hash."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError


def parse_size(text: str) -> tuple[int, int]:
    """Height and width in pixels from `HxW` or `S` (square)."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower())
    if not match:
        raise HarnessError(f"cannot read size {text!r}: expected HxW, for example 512x768")
    return int(match[1]), int(match[2] or match[1])


DISTILLED = "distilled_guidance"
"""The setting of a model that takes guidance as an input: `MODEL(distilled_guidance=8)`."""

DECLARED_GUIDANCE = "nominal_guidance"
"""The parameter by which a user declares the nominal guidance scale of a pipeline function."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that determines an image of a run, besides its prompt and seed.

    `sampler` holds every parameter, defaults filled in. `size` is null for imported images, of
    which nothing but their source is known. `run_id` names the run's folder; the requested prompts
    and seeds are not part of it, so that more of them extend a run.
    """

    model: str
    sampler: Call
    size: tuple[int, int] | None  # height, width
    dtype: str
    noise_key: str
    negative: str | None = None
    guide: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunSpec:
        call = Call(data["sampler"]["name"], data["sampler"]["params"])
        size = data["size"] and tuple(data["size"])
        return cls(**{**data, "sampler": call, "size": size})

    @property
    def distilled_guidance(self) -> float | None:
        """The guidance scale input of a guidance-distilled network, else None."""
        scale = parse_call(self.model).params.get(DISTILLED) if DISTILLED in self.model else None
        return None if scale is None else float(scale)

    @property
    def declared_guidance(self) -> float | None:
        """The nominal guidance scale that a user declared of a pipeline function, else None."""
        scale = self.sampler.params.get(DECLARED_GUIDANCE)
        return None if scale is None else float(scale)

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width in pixels; not for imported images."""
        assert self.size is not None, "imported images are not made"
        return self.size

    @property
    def run_id(self) -> str:
        """The run's name: its sampler's, and 8 digits of a hash of all fields."""
        return hashed(self.sampler.name, self.to_dict())


def hashed(sampler: str, fields: dict[str, Any]) -> str:
    """The id of the run of a sampler whose specification has these fields."""
    text = json.dumps(fields, sort_keys=True)
    name = re.sub("[:@]", "-", sampler)  # of a function in a file
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
