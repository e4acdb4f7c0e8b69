"""A run to be made: everything that can be checked without weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError, unknown
from harness.core.run_spec import RunSpec
from harness.core.shards import Prompt
from harness.engine.batch import variants_of
from harness.engine.ensemble import check_guide, check_needs
from harness.engine.noise import NOISE_KEYS
from harness.engine.probes.coefficients import (
    NotAffine,
    sampler_coefficients,
)
from harness.engine.probes.independence import check_independent
from harness.engine.rehearsal import rehearse
from harness.engine.resolve import resolve
from harness.models.base import DTYPES, ModelEntry
from harness.models.class_labels import encode_classes
from harness.models.load import find
from harness.samplers.base import SAMPLERS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A run to be made: everything checked, no weights loaded. `nfe` is its cost an image.

    `others` are the revisions of the further models that it needs, by what the user typed.
    """

    entry: ModelEntry
    model: Call
    spec: RunSpec
    sigmas: torch.Tensor
    nfe: int
    others: dict[str, Callable[[], str]]

    def dry_run(self, call: Call) -> tuple[torch.Tensor, dict[tuple[str, str], int]]:
        """Another resolved sampler's ladder and evaluations on the same model."""
        return _dry_run(self.entry, self.model, call, self.spec.guide)

    @property
    def folder(self) -> str:
        """The run's folder below a benchmark's: `<model>/<sampler>-<hash>`."""
        return f"{self.spec.model.replace('/', '--')}/{self.spec.run_id}"


def plan(
    model: str,
    sampler: str | Call,
    *,
    defaults: dict[str, Any] | None = None,
    size: tuple[int, int] | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    noise_key: str | None = None,
    negative: str | None = None,
    guide: str | None = None,
) -> Job:
    """Check a run and fill in its defaults; raises HarnessError before any weights are loaded.

    `defaults` (a benchmark's steps and guidance) come before the model's own, and after what the
    sampler's text says. `dtype` is the model's own on a GPU (mostly float16) and float32
    elsewhere, unless the model computes in one only. `noise_key` is `prompt` for text, and `seed`
    where there is none. `guide` is a second model that guidance leads away from.
    """
    model_call = parse_call(model)
    entry = find(model_call)
    noise_key = noise_key or ("prompt" if entry.classes is None else "seed")
    if noise_key not in NOISE_KEYS:
        raise unknown("noise key", noise_key, NOISE_KEYS)
    size = size or entry.size
    if size[0] % entry.size_multiple or size[1] % entry.size_multiple or not all(size):
        raise HarnessError(
            f"size {size[0]}x{size[1]}: height and width must be multiples of "
            f"{entry.size_multiple} for {entry.name}"
        )
    asked = parse_call(sampler) if isinstance(sampler, str) else sampler
    own: dict[str, Any] = {"steps": entry.steps}
    if entry.guidance is not None:
        own["guidance"] = entry.guidance
    call = resolve(asked, own | (defaults or {}))
    check_needs(entry, call)
    others = {s["model"]: find(s["model"]) for s in variants_of(call).values() if "model" in s}
    given, guide = guide, guide or entry.guide
    if guide is not None:
        others[guide] = find(guide)
        check_guide(entry, others[guide])
    sigmas, evaluations = _dry_run(entry, model_call, call, guide)
    if not _ours(call):
        branches = {"unconditional": entry.unconditional, "guided": guide is not None}
        check_independent(entry.ladders(model_call.params), call, **branches)
    if guide is not None and not evaluations["guide", "cond"]:
        if given:
            log.warning("the guide %s is left out: %s does not need it", guide, call)
        del others[guide]
        guide = None
    spec = RunSpec(
        model=str(Call(entry.name, model_call.params)),
        sampler=call,
        size=size,
        dtype=_dtype(entry, dtype, device),
        noise_key=noise_key,
        negative=negative,
        guide=guide,
    )
    revisions = {name: other.revision for name, other in others.items()}
    return Job(entry, model_call, spec, sigmas, sum(evaluations.values()), revisions)


def _dry_run(
    entry: ModelEntry, model: Call, call: Call, guide: str | None
) -> tuple[torch.Tensor, dict[tuple[str, str], int]]:
    ladders = entry.ladders(model.params)
    return rehearse(ladders, call, unconditional=entry.unconditional, guided=guide is not None)


def _ours(call: Call) -> bool:
    """Whether a resolved sampler is one of ours, whose properties are tested."""
    return SAMPLERS.get(call.name).run.__module__.startswith("harness.")


def _dtype(entry: ModelEntry, asked: str | None, device: str) -> str:
    if asked is not None and asked not in DTYPES:
        raise unknown("dtype", asked, DTYPES)
    if asked and entry.dtype and asked != entry.dtype:
        raise HarnessError(f"model {entry.name} computes in {entry.dtype} only, not in {asked}")
    return asked or entry.dtype or (entry.gpu_dtype if device.startswith("cuda") else "float32")


def check_prompts(entry: ModelEntry, prompts: Iterable[Prompt]) -> None:
    """Raise HarnessError for prompts that a model cannot be told, as far as its entry knows."""
    texts = list(dict.fromkeys(prompt.text for prompt in prompts))
    entry.known(texts)
    if entry.classes is not None:
        encode_classes(texts, entry.classes, entry.name, torch.device("cpu"))


def unscaled(job: Job) -> str | None:
    """Why somebody else's sampler has no guidance scale; ours have one."""
    if _ours(job.spec.sampler):
        return None
    try:
        sampler_coefficients(job.entry.ladders(job.model.params), job.spec.sampler)
    except NotAffine as error:
        return str(error)
    return None
