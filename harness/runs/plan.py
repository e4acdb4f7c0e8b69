"""Planned runs: checked, with all parameters filled in, before weights are loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from harness.core.call import Call, parse_call, show_value
from harness.core.errors import HarnessError, NotHere, unknown
from harness.core.run_spec import DECLARED_GUIDANCE, RunSpec
from harness.core.shards import Prompt
from harness.engine.batch import variants_of
from harness.engine.ensemble import check_guide, check_needs
from harness.engine.needs import ModelClock
from harness.engine.noise import NOISE_KEYS
from harness.engine.policies.base import POLICIES
from harness.engine.probes.coefficients import NotAffine, sampler_coefficients
from harness.engine.probes.independence import check_independent
from harness.engine.rehearsal import rehearse
from harness.engine.resolve import resolve
from harness.models.base import DECODE_DTYPE, DTYPES, MODELS, Ladders, ModelEntry
from harness.models.class_labels import encode_classes
from harness.models.load import find
from harness.models.pipelines.loading_options import PLACEMENT
from harness.samplers.base import SAMPLERS
from harness.samplers.pipeline_function import takes

log = logging.getLogger(__name__)

Rehearsal = tuple[torch.Tensor, dict[tuple[str, str], int]]
"""A sampler's ladder [N+1], and its evaluations an image by (network, branch)."""


_ITSELF = "sampler's own"
_LENDER = "shapes"  # its ladder is Stable Diffusion's, and always here


@dataclass(frozen=True)
class PlannedRun:
    """A run to be made: everything checked, no weights loaded. `nfe` is its cost an image.

    `spec.sampler` is the resolved call. `others` are the revisions of the further models that it
    needs, by what the user typed. `sigmas` and `nfe` are None of a function of a pipeline, whose
    evaluations are counted as it runs.
    """

    planner: Planner
    spec: RunSpec
    sigmas: torch.Tensor | None
    nfe: int | None
    others: dict[str, Callable[[], str]]

    @property
    def entry(self) -> ModelEntry:
        """The model's entry in the registry."""
        return self.planner.entry

    @property
    def model(self) -> Call:
        """The model as the user typed it."""
        return self.planner.model

    def dry_run(self, call: Call) -> Rehearsal:
        """Another resolved sampler's ladder and evaluations on the same model."""
        return self.planner.dry_run(call, guided=self.spec.guide is not None)

    @property
    def remark(self) -> str | None:
        """What becomes of the sampler's parameters on this ladder; None: what they say."""
        call = self.spec.sampler
        if self.sigmas is None:
            return None
        clock = ModelClock(self.planner.ladders, self.entry.name)
        return SAMPLERS.get(call.name).remark(call.params, self.sigmas, clock)

    @property
    def cost_text(self) -> str:
        """Its cost an image in words."""
        known = self.nfe is not None
        return f"{self.nfe} evaluations an image" if known else "evaluations counted as it runs"

    @property
    def folder(self) -> str:
        """The run's folder below a benchmark's: `<model>/<sampler>-<hash>`."""
        return f"{self.spec.model.replace('/', '--')}/{self.spec.run_id}"


class Planner:
    """Plans runs of one model; its settings are checked once, for all of them.

    A sampler that is asked for again is the same PlannedRun, neither resolved nor rehearsed a
    second time. Loads no weights.
    """

    def __init__(
        self,
        model: str | Call,
        *,
        size: tuple[int, int] | None = None,
        dtype: str | None = None,
        device: str = "cpu",
        noise_key: str | None = None,
        negative: str | None = None,
        guide: str | None = None,
    ) -> None:
        """`dtype` is the model's own on a GPU (mostly float16) and float32 elsewhere, unless the
        model computes in one only. `noise_key` is `prompt` for text, and `seed` where there is
        none. `guide` is a second model that guidance leads away from."""
        self.model = parse_call(model) if isinstance(model, str) else model
        self.entry = entry = find(self.model)
        self.model = Call(self.model.name, {**entry.settings, **self.model.params})
        if DECODE_DTYPE in self.model.params and not entry.decoder:
            raise HarnessError(f"{entry.name} has no decoder: leave {DECODE_DTYPE} out")
        self.noise_key = noise_key or ("prompt" if entry.classes is None else "seed")
        if self.noise_key not in NOISE_KEYS:
            raise unknown("noise key", self.noise_key, NOISE_KEYS)
        self.size = size or entry.size
        height, width = self.size
        if height % entry.size_multiple or width % entry.size_multiple or not all(self.size):
            raise HarnessError(
                f"size {height}x{width}: height and width must be multiples of "
                f"{entry.size_multiple} for {entry.name}"
            )
        self.dtype = _dtype(entry, dtype, device)
        self.negative = negative
        self.guide, self._guide_is_given = guide or entry.guide, bool(guide)
        self._guide_entry = find(self.guide) if self.guide else None
        if self._guide_entry:
            check_guide(entry, self._guide_entry)
        self._planned: dict[str, PlannedRun] = {}
        self._rehearsed: dict[tuple[str, bool], Rehearsal] = {}
        self.lent: str | None = None

    @cached_property
    def ladders(self) -> Ladders:
        """Builds the model's ladders without weights.

        Where nothing may be downloaded and its configuration is not here, they are those of another
        model, so that evaluations can be counted; `lent` then says so.
        """
        try:
            ladders = self.entry.ladders(self.model.params)
        except NotHere:
            self.lent = f"counted on {_LENDER}'s ladder, as {self.entry.name}'s is not here"
            ladders = find(_LENDER).ladders({})
        return ladders.at(self.size) if hasattr(ladders, "at") else ladders

    def plan(
        self, sampler: str | Call | PlannedRun, defaults: Mapping[str, Any] | None = None
    ) -> PlannedRun:
        """Check a sampler and fill in its parameters; raises HarnessError.

        `defaults` (a benchmark's steps and guidance) come before the model's own, and after what
        the sampler's text says.
        """
        if isinstance(sampler, PlannedRun):
            return sampler
        asked = parse_call(sampler) if isinstance(sampler, str) else sampler
        key = f"{asked} {dict(defaults)}" if defaults else str(asked)
        if key not in self._planned:
            call = resolve(asked, self._own | dict(defaults or {}))
            if str(call) not in self._planned:
                self._planned[str(call)] = self._checked(call)
            self._planned[key] = self._planned[str(call)]
        return self._planned[key]

    @property
    def _own(self) -> dict[str, Any]:
        """The model's own parameters of samplers."""
        own: dict[str, Any] = {"steps": self.entry.steps}
        if self.entry.guidance is not None:
            own["guidance"] = self.entry.guidance
        return own | dict(self.entry.defaults)

    def origins(
        self,
        sampler: str | Call | PlannedRun,
        defaults: Mapping[str, Any] | None = None,
        source: str = "",
    ) -> str:
        """Where a plan's guidance and steps come from, in words: what was typed, `defaults` of a
        `source`, the model, or the sampler itself. Empty for what was planned before."""
        if isinstance(sampler, PlannedRun):
            return ""
        asked = parse_call(sampler) if isinstance(sampler, str) else sampler
        places = {"as typed": asked.params, source: defaults or {}}
        places[f"model {self.entry.name}"] = self._own
        taken = self.plan(asked, defaults).spec.sampler.params
        found: dict[str, list[str]] = {}
        for name in ("guidance", "steps"):
            if name in taken:
                place = next((place for place, held in places.items() if name in held), _ITSELF)
                found.setdefault(place, []).append(f"{name} {show_value(taken[name])}")
        return ", ".join(f"{' and '.join(named)} ({place})" for place, named in found.items())

    def known(self, text: str) -> PlannedRun:
        """The run that was planned before, by its resolved sampler's text."""
        return self._planned[text]

    def dry_run(self, call: Call, *, guided: bool) -> Rehearsal:
        """A resolved sampler's ladder and evaluations, beside a guide or without; see rehearse."""
        key = (str(call), guided)
        if key not in self._rehearsed:
            self._rehearsed[key] = rehearse(
                self.ladders, call, unconditional=self.entry.unconditional, guided=guided
            )
        return self._rehearsed[key]

    def _checked(self, call: Call) -> PlannedRun:
        entry, guide = self.entry, self.guide
        check_needs(entry, call)
        if SAMPLERS.get(call.name).whole:
            return self._of_pipeline(call)
        others = {s["model"]: find(s["model"]) for s in variants_of(call).values() if "model" in s}
        sigmas, evaluations = self.dry_run(call, guided=guide is not None)
        if not _ours(call):
            branches = {"unconditional": entry.unconditional, "guided": guide is not None}
            check_independent(self.ladders, call, **branches)
        if guide is not None and not evaluations["guide", "cond"]:
            if self._guide_is_given:
                log.warning("the guide %s is left out: %s does not need it", guide, call)
            guide = None
        elif guide is not None and self._guide_entry:
            others[guide] = self._guide_entry
        revisions = {name: other.revision for name, other in others.items()}
        spec = self._spec(call, guide)
        return PlannedRun(self, spec, sigmas, sum(evaluations.values()), revisions)

    def _of_pipeline(self, call: Call) -> PlannedRun:
        """The run of a function of a pipeline, of which a dry run tells nothing."""
        if self._guide_is_given:
            log.warning("the guide %s is left out: %s does not take it", self.guide, call)
        if self.negative is not None and not takes(call, "negative_prompts"):
            raise HarnessError(
                f"{call.name} takes no parameter negative_prompts, so the negative prompt would be "
                "left out: add it to the function"
            )
        if DECODE_DTYPE in self.model.params:
            raise HarnessError(f"{call.name} decodes as it likes: leave {DECODE_DTYPE} out")
        return PlannedRun(self, self._spec(call, None), None, None, {})

    def _spec(self, call: Call, guide: str | None) -> RunSpec:
        return RunSpec(
            model=str(Call(self.entry.name, _of_identity(self.model.params))),
            sampler=call,
            size=self.size,
            dtype=self.dtype,
            noise_key=self.noise_key,
            negative=self.negative,
            guide=guide,
        )


def plan(
    model: str,
    sampler: str | Call,
    *,
    defaults: Mapping[str, Any] | None = None,
    size: tuple[int, int] | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    noise_key: str | None = None,
    negative: str | None = None,
    guide: str | None = None,
) -> PlannedRun:
    """Check a run and fill in its defaults; raises HarnessError before any weights are loaded.

    See Planner, and its method of this name.
    """
    planner = Planner(
        model,
        size=size,
        dtype=dtype,
        device=device,
        noise_key=noise_key,
        negative=negative,
        guide=guide,
    )
    return planner.plan(sampler, defaults)


def _of_identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A model's settings without those of where its parts lie, which change no picture."""
    return {name: value for name, value in settings.items() if name not in PLACEMENT}


def _ours(call: Call) -> bool:
    """Whether a resolved sampler is one of the harness, whose properties are tested."""
    return SAMPLERS.get(call.name).run.__module__.startswith("harness.")


def _dtype(entry: ModelEntry, asked: str | None, device: str) -> str:
    """The precision that was asked for, or the model's default on a device."""
    if asked is not None and asked not in DTYPES:
        raise unknown("dtype", asked, DTYPES)
    if asked and entry.dtype and asked != entry.dtype:
        raise HarnessError(f"model {entry.name} computes in {entry.dtype} only, not in {asked}")
    return asked or entry.dtype or (entry.gpu_dtype if device.startswith("cuda") else "float32")


def check_prompts(entry: ModelEntry, prompts: Iterable[Prompt]) -> None:
    """Raise HarnessError for prompts that a model does not take, as far as its entry knows."""
    texts = list(dict.fromkeys(prompt.text for prompt in prompts))
    entry.known(texts)
    if entry.classes is not None:
        encode_classes(texts, entry.classes, entry.name, torch.device("cpu"))


def unscaled(job: PlannedRun) -> str | None:
    """Why a user's sampler has no guidance scale; None where it has one, as ours have."""
    if _ours(job.spec.sampler):
        return None
    if job.sigmas is None:
        return None if job.spec.declared_guidance is not None else _UNKNOWN_GUIDANCE
    try:
        sampler_coefficients(job.planner.ladders, job.spec.sampler)
    except NotAffine as error:
        return str(error)
    return None


_UNKNOWN_GUIDANCE = (
    "guidance scale unknown: a function of a pipeline guides as it likes; if it amounts to one "
    f"scale, declare that, as {DECLARED_GUIDANCE}=5.5"
)


def registered_here(planned: PlannedRun) -> dict[str, Callable[..., object]]:
    """What a run uses that only this process knows, by kind and name: samplers, policies and models
    that a script or a notebook registers."""
    local: dict[str, Callable[..., object]] = {}
    call = planned.spec.sampler
    sampler = SAMPLERS.get(call.name)
    if sampler.source is None and SAMPLERS.only_here(sampler.run):
        local[f"sampler {call.name}"] = sampler.run
    for name, policy in POLICIES:
        if POLICIES.only_here(policy.make) and policy.parameters.keys() & call.params.keys():
            local[f"policy {name}"] = policy.make
    for model in (planned.model.name, *(parse_call(other).name for other in planned.others)):
        if model in MODELS and MODELS.only_here(MODELS.get(model).load):
            local[f"model {model}"] = MODELS.get(model).load
    return local
