"""The model entry of a captured pipeline: read without weights, checked when they are loaded."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.core.run_spec import DISTILLED
from harness.models.base import Ladders, LoadRequest, check_side
from harness.models.pipelines.capture.call_form import CallForm, check_overrides
from harness.models.pipelines.capture.captured_model import CapturedModel, CapturePlan
from harness.models.pipelines.capture.captured_schedule import captured_schedule
from harness.models.pipelines.capture.hollow import hollow_pipeline, pipeline_class
from harness.models.pipelines.capture.reading import Reader
from harness.models.pipelines.capture.self_check import check_itself
from harness.models.pipelines.capture.watch import timesteps_asked
from harness.models.pipelines.loading import open_pipeline, other_network
from harness.models.pipelines.loading_options import LoadingOptions

_CLASSES = ("num_embeds_ada_norm", "num_class_embeds", "num_classes")
_PROMPT = "a red cube on a table"


class CapturedLadders:
    """The ladders of a captured pipeline at its own size, and at others by `at`."""

    def __init__(self, folder: Path, overrides: Mapping[str, Any]) -> None:
        self._folder, self._overrides = folder, overrides
        check_settings(folder, overrides)

    def at(self, size: tuple[int, int]) -> Ladders:
        return plan_of(self._folder, self._overrides, size).schedule

    def ladder(self, steps: int, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self.at(own_size(self._folder)).ladder(steps, *args, **kwargs)


def plan_of(folder: Path, overrides: Mapping[str, Any], size: tuple[int, int]) -> CapturePlan:
    """What is known of a pipeline at a size, with a user's settings; HarnessError for one that
    cannot be run."""
    return _plan(folder, json.dumps(dict(overrides), sort_keys=True), size)


@lru_cache(maxsize=32)
def _plan(folder: Path, settings: str, size: tuple[int, int]) -> CapturePlan:
    overrides = json.loads(settings)
    form = check_settings(folder, overrides)
    check_size(folder, size)
    pipeline, part = copy.copy(hollow_pipeline(folder)), network_of(folder)
    pipeline.scheduler = _scheduler(pipeline.scheduler, overrides)
    distilled = overrides.get(DISTILLED, form.default(form.distilled))
    options = form.chosen(overrides)
    with torch.inference_mode():
        reading = Reader(pipeline, part, form, size, options, distilled).read()
    own_steps = steps_of(form)

    def ask(steps: int) -> tuple[Any, dict[str, Any]]:
        question = form.question(
            0 if form.classes else _PROMPT, size, steps, distilled=distilled, options=options
        )
        return timesteps_asked(pipeline, question)

    plain = max(abs(scale - 1) for scale in reading.scales) > 1e-4
    schedule = captured_schedule(pipeline.scheduler, ask, plain, own_steps)
    for time, scale in zip(reading.times, reading.scales, strict=True):
        if abs(schedule.scale(time) / scale - 1) > 1e-3:
            raise HarnessError(
                f"{form.name} gives its network the state times {scale:.4g} at time {time:.4g}, "
                f"where {type(pipeline.scheduler).__name__} has {schedule.scale(time):.4g}"
            )
    classes = _classes(pipeline, part, form)
    return CapturePlan(part, form, size, options, distilled, classes, reading, schedule)


def steps_of(form: CallForm) -> int:
    """The pipeline's own number of steps."""
    return int(form.default("num_inference_steps") or 50)


def network_of(folder: Path) -> str:
    """The name of the pipeline's one network; HarnessError where there is none or several."""
    from diffusers import ModelMixin

    parts = hollow_pipeline(folder).components
    found = [
        name
        for name, part in parts.items()
        if isinstance(part, ModelMixin) and ("transformer" in name or "unet" in name)
    ]
    if len(found) != 1:
        kind = pipeline_class(folder).__name__
        shown = " and ".join(found) or "no unet or transformer"
        raise HarnessError(f"{kind} has {shown}: a pipeline of one network is needed")
    if parts.get("scheduler") is None:
        raise HarnessError(f"{pipeline_class(folder).__name__} has no scheduler")
    return found[0]


def form_of(folder: Path) -> CallForm:
    """How the folder's pipeline is called; HarnessError for one that makes no pictures."""
    kind = pipeline_class(folder)
    CallForm.of(kind, {})  # before anything is laid out
    return CallForm.of(kind, getattr(hollow_pipeline(folder), network_of(folder)).config)


def check_settings(folder: Path, overrides: Mapping[str, Any]) -> CallForm:
    """The call's form; HarnessError for settings that the pipeline does not have."""
    form, part = form_of(folder), network_of(folder)
    check_overrides(form, overrides, [part, *_scheduler_settings(folder)])
    source = overrides.get(part)
    if part in overrides and not isinstance(source, str):
        raise HarnessError(f"{part}={source!r} must be a folder or a hub id")
    return form


def _scheduler_settings(folder: Path) -> list[str]:
    config = hollow_pipeline(folder).scheduler.config
    return [name for name in config if not name.startswith("_")]


def _scheduler(own: Any, overrides: Mapping[str, Any]) -> Any:
    """The pipeline's scheduler with the user's settings of it."""
    changed = {name: value for name, value in overrides.items() if name in own.config}
    if not changed:
        return own
    try:
        return type(own).from_config(own.config, **changed)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise HarnessError(f"{type(own).__name__}: {error}") from None


def own_size(folder: Path) -> tuple[int, int]:
    """Height and width in pixels of the pictures that the pipeline makes by itself."""
    pipeline, form = hollow_pipeline(folder), form_of(folder)
    fixed = [form.default(side) for side in ("height", "width") if side in form.parameters]
    if len(fixed) == 2 and all(isinstance(side, int) for side in fixed):
        return int(fixed[0]), int(fixed[1])
    scale = scale_of(pipeline)
    config = getattr(pipeline, network_of(folder)).config
    side = getattr(pipeline, "default_sample_size", None) or config.get("sample_size")
    side = side if isinstance(side, int) else 1024 // scale
    return side * scale, side * scale


def scale_of(pipeline: Any) -> int:
    """Pixels of a side of the picture for one of its latents."""
    if (scale := getattr(pipeline, "vae_scale_factor", None)) is not None:
        return int(scale)
    blocks = getattr(pipeline.vae.config, "block_out_channels", None) if pipeline.vae else None
    return 2 ** (len(blocks) - 1) if blocks else 1


def size_multiple(folder: Path) -> int:
    """What height and width must be multiples of: the least by which the state grows exactly."""
    height, width = own_size(folder)
    pipeline = hollow_pipeline(folder)
    patch = getattr(pipeline, network_of(folder)).config.get("patch_size")
    scale = scale_of(pipeline) * (patch if isinstance(patch, int) else 1)
    for multiple in (scale, 2 * scale, 4 * scale, 8 * scale):
        try:
            check_size(folder, (height + multiple, width))
        except HarnessError:
            continue
        return multiple
    return height  # it makes one size


@lru_cache(maxsize=64)
@torch.inference_mode()
def check_size(folder: Path, size: tuple[int, int]) -> None:
    """Raise HarnessError for a size that the pipeline does not make, or makes of another."""
    form, own = form_of(folder), own_size(folder)
    if size == own:
        return
    if "height" not in form.parameters:
        check_side(form.name, size, own[0])
    found, usual = (
        Reader(
            hollow_pipeline(folder), network_of(folder), form, asked, form.chosen({}), 1.0
        ).state_size()
        for asked in (size, own)
    )
    if found * own[0] * own[1] != usual * size[0] * size[1]:
        raise HarnessError(f"{form.name} makes no pictures of {size[0]}x{size[1]}, but of others")


def _classes(pipeline: Any, part: str, form: CallForm) -> int | None:
    if not form.classes:
        return None
    config = getattr(pipeline, part).config
    found = next((config[name] for name in _CLASSES if config.get(name)), None)
    if found is None:
        raise HarnessError(f"{form.name} does not say how many classes its network knows")
    return int(found)


def captured_about(folder: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What a ModelEntry says of a captured pipeline, by its own defaults; reads no weights."""
    form, size = form_of(folder), own_size(folder)
    plan = plan_of(folder, overrides, size)
    reading, pipeline = plan.reading, hollow_pipeline(folder)
    flow = plan.schedule.double
    return {
        "size": size,
        "size_multiple": size_multiple(folder),
        "steps": steps_of(form),
        "guidance": reading.usual,
        "unconditional": reading.uncond is not None,
        "batch_size": 4,
        "classes": _classes(pipeline, plan.part, form),
        "gpu_dtype": "bfloat16" if flow else "float16",
        "settings": {} if form.distilled is None else {DISTILLED: plan.distilled},
        "defaults": {"guidance_norm": True} if reading.norm else {},
        "distils": form.distilled is not None,
    }


def load_captured(
    request: LoadRequest,
    folder: Path,
    name: str,
    variant: str | None = None,
    options: LoadingOptions | None = None,
) -> CapturedModel:
    """The loaded model of a pipeline folder, after its self-check."""
    size = request.size or own_size(folder)
    plan, overrides = plan_of(folder, request.overrides, size), request.overrides
    components: dict[str, Any] = {}
    if (source := overrides.get(plan.part)) is not None:
        components[plan.part] = other_network(source, folder, plan.part, request.dtype)
    options = options or LoadingOptions()
    pipeline = open_pipeline(folder, request, components, variant, part=plan.part, options=options)
    pipeline.scheduler = copy.deepcopy(plan.schedule.scheduler)
    pipeline.watermark = None
    model = CapturedModel(name, pipeline, plan)
    model.record = check_itself(model)
    return model
