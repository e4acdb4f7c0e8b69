"""Tries a function of a pipeline: whether it takes our noise and keeps pictures apart."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.run_spec import RunSpec
from harness.engine.batch import Batch
from harness.engine.noise import NoiseStreams
from harness.engine.whole_pipelines.calling import Asked, made
from harness.engine.whole_pipelines.network_rows import NetworkRows
from harness.engine.whole_pipelines.restoring import weight_sums
from harness.models.pipelines.pipeline_model import PipelineModel
from harness.samplers.pipeline_function import takes

log = logging.getLogger(__name__)

_KEYS = (1, 2, 3)
_OTHER = 4
_ROUNDING = {torch.float64: 1e-3, torch.float32: 1e-3}
_HALF = 5e-2  # both of the largest number: what rounding makes of another batch


@dataclass(frozen=True)
class Trial:
    """What a few pictures tell of a function of a pipeline.

    `together`: a picture is the same whichever are made with it; else `why` not. `paired`: it
    begins with the noise that it is given. `unconditional`: see NetworkRows.
    """

    together: bool
    paired: bool
    why: str | None
    unconditional: list[list[float]]


def try_out(model: PipelineModel, spec: RunSpec, prompts: Sequence[str]) -> Trial:
    """Make a picture alone and with two others, and once from another noise.

    Raises HarnessError for a function that makes another picture each time, or changes weights.
    """
    texts = _three(prompts)
    tried = _Tried(model, spec, texts)
    sums = weight_sums(model.pipeline)
    alone = tried.alone()
    if weight_sums(model.pipeline) != sums:
        raise HarnessError(
            f"{spec.sampler.name} changes the pipeline's weights, with which later pictures would "
            "be made: put them back before it returns"
        )
    why, unconditional = tried.mixing(alone)
    paired = takes(spec.sampler, "latents") and tried.depends_on_noise(alone)
    return Trial(why is None, paired, why, unconditional)


@dataclass(frozen=True)
class _Tried:
    model: PipelineModel
    spec: RunSpec
    texts: list[str]

    @property
    def call(self) -> Call:
        return self.spec.sampler

    def asked(self) -> Asked:
        negatives = [self.spec.negative] * len(self.texts)
        return Asked.of(self.model, self.texts, negatives, self._streams(_KEYS))

    def _streams(self, keys: Sequence[int]) -> NoiseStreams:
        model = self.model
        shape = model.latent_shape(self.spec.pixels)
        return NoiseStreams(keys, shape, dtype=model.state_dtype, device=model.device)

    def _made(self, asked: Asked, rows: NetworkRows | None = None) -> Batch:
        rows = rows or NetworkRows(self.model, asked)
        return made(self.model, self.call, asked, self.spec.pixels, rows)

    def alone(self) -> torch.Tensor:
        return self._made(self.asked().one(0)).native

    def mixing(self, alone: torch.Tensor) -> tuple[str | None, list[list[float]]]:
        """Why pictures are made one by one, None if they need not be; and what is unconditional."""
        asked = self.asked()
        rows = NetworkRows(self.model, asked)
        try:
            three = self._made(asked, rows).native[:1]
        except torch.cuda.OutOfMemoryError:
            return "three at once do not fit into memory", []
        except HarnessError:
            if rows.uneven:
                return "its network is called with rows of some pictures only", []
            raise
        apart = _difference(three, alone)
        limit = _ROUNDING.get(self.model.dtype, _HALF)
        if apart <= limit:
            return None, rows.unconditional
        if (again := _difference(self.alone(), alone)) > limit:
            raise HarnessError(
                f"{self.call.name} makes another picture each time (by {again:.2g} of its largest "
                "number): take generators for whatever it draws"
            )
        return f"a picture made with two others differs by {apart:.2g}", rows.unconditional

    def depends_on_noise(self, alone: torch.Tensor) -> bool:
        """Whether another noise, with the same generator, makes another picture."""
        if not bool(alone.isfinite().all()):
            return True
        asked, other = self.asked().one(0), self._streams([_OTHER])()
        changed = Asked(asked.texts, asked.negatives, other, asked.generators, asked.classes)
        return _difference(self._made(changed).native, alone) > 0


def _three(prompts: Sequence[str]) -> list[str]:
    """The shortest prompt, which padding may reach, and the two longest; of few, some again."""
    texts = sorted(dict.fromkeys(prompts), key=len)
    return [texts[0], texts[-1], texts[-2 if len(texts) > 2 else 0]]


def _difference(one: torch.Tensor, two: torch.Tensor) -> float:
    """The largest difference of two results, of the largest number."""
    a, b = (part.double().nan_to_num() for part in (one, two))
    size = float(b.abs().max())
    return float((a - b).abs().max()) / size if size else float((a - b).abs().max())
