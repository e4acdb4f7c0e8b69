"""A captured pipeline as a model: its own texts and decoder, our loop around its network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.core.libraries import quiet
from harness.models.base import Condition
from harness.models.class_labels import encode_classes
from harness.models.decoder_dtype import decode_in, decoder_dtype
from harness.models.pipelines.capture.call_form import CallForm
from harness.models.pipelines.capture.captured_schedule import CapturedSchedule
from harness.models.pipelines.capture.leaves import (
    Axes,
    NoRows,
    moved,
    row_axes,
    shape_of,
    stack,
    take_row,
)
from harness.models.pipelines.capture.reading import PROBED_CFG, Branch, Reading
from harness.models.pipelines.capture.watch import (
    NetworkCall,
    answering,
    as_step,
    stepping,
    watch,
)
from harness.models.pipelines.pipeline_model import PipelineModel

_KEPT_BATCHES = 4
_DECODED_PIXELS = 2**20


@dataclass(frozen=True)
class CapturePlan:
    """What is known of a captured pipeline without its weights, at one size."""

    part: str
    form: CallForm
    size: tuple[int, int]
    options: Mapping[str, Any]
    distilled: float | None
    classes: int | None
    reading: Reading
    schedule: CapturedSchedule


@dataclass(frozen=True)
class Captured:
    """What the network is given for one prompt and branch: arguments of one row, on the CPU."""

    inputs: dict[str, Any]
    call: int
    shape: Hashable


class CapturedModel(PipelineModel):
    """A pipeline that is not written out.

    Conditions are numbers of captured arguments, on the CPU: rows whose arguments are of one shape
    are evaluated together, others one by one.
    """

    condition_device = torch.device("cpu")
    decodes_apart = False  # the pipeline's own call is what decodes

    def __init__(self, name: str, pipeline: Any, plan: CapturePlan) -> None:
        self.part, self.plan, self.classes = plan.part, plan, plan.classes
        super().__init__(name, pipeline, plan.schedule)
        self.reading, self.record = plan.reading, dict[str, Any]()
        self._known: dict[int, Captured] = {}
        self._numbers: dict[tuple[str, Any], int] = {}
        self._axes = self._row_axes()
        self._batches: OrderedDict[tuple[int, ...], dict[str, Any]] = OrderedDict()

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """One row of the pipeline's state, with 1 for axes that it does not have."""
        if size != self.plan.size:
            raise HarnessError(
                f"{self.name} was loaded for {self.plan.size[0]}x{self.plan.size[1]} pixels, not "
                f"for {size[0]}x{size[1]}"
            )
        return latent_shape(self.reading.shape)

    def as_latents(self, noise: torch.Tensor) -> torch.Tensor:
        rows = noise.to(self.device, self.dtype).split(1)
        if (own := self.reading.noise.latents) is None:
            return torch.cat(rows).reshape(len(rows), *self.reading.shape)
        return torch.cat([own.arranged(row) for row in rows])

    def latents_shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        return tuple(self.reading.shape)

    def start(self, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return self.plan.schedule.start(noise.to(self.device, self.state_dtype), sigma)

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> Condition:
        if self.classes is not None:
            return encode_classes(prompts, self.classes, self.name, self.condition_device)
        return {"prompt": torch.tensor([self._number("prompt", text) for text in prompts])}

    @torch.inference_mode()
    def encode_negative(self, negatives: Sequence[str | None]) -> Condition | None:
        if self.reading.uncond is None:
            if any(negatives):
                raise HarnessError(f"model {self.name} takes no negative prompt")
            return None
        if self.classes is not None:
            if any(negatives):
                raise HarnessError(f"model {self.name} takes no negative prompt")
            return {"class": torch.full((len(negatives),), self.classes)}
        if any(negatives) and not self.plan.form.takes_negative:
            raise HarnessError(f"model {self.name} takes no negative prompt")
        return {"prompt": torch.tensor([self._number("negative", text) for text in negatives])}

    @torch.inference_mode()
    def _row_axes(self) -> tuple[Axes, ...]:
        """The row axes of what each call of a step is given: what grows with a second picture."""
        what = 0 if self.plan.form.classes else ""
        one, two = (self._first_calls(self.question(what, 2, count=count)) for count in (1, 2))
        try:
            return tuple(row_axes(a.inputs, b.inputs) for a, b in zip(one, two, strict=True))
        except (NoRows, ValueError, KeyError):
            raise HarnessError(
                f"{self.name} ({self.plan.form.name}): what its network is given for two pictures "
                "is not what it is given for one, twice"
            ) from None

    def _first_calls(self, question: Mapping[str, Any], *, warn: bool = False) -> list[NetworkCall]:
        """The network's calls up to the pipeline's first step, which it goes without."""
        (step,) = watch(self.pipeline, self.part, question, self._silence, 1, warn=warn)
        return step.calls

    def _number(self, kind: str, text: Any) -> int:
        """The number of a prompt, a negative prompt or a class, captured at first use."""
        if (kind, text) not in self._numbers:
            number = len(self._numbers)
            self._known[number] = self._capture(kind, text)
            self._numbers[kind, text] = number
        return self._numbers[kind, text]

    def _capture(self, kind: str, text: Any) -> Captured:
        """Runs the pipeline for this prompt alone, without its network, up to its first step."""
        away = kind == "negative" or text == self.classes
        what = text if not away else 0 if self.plan.form.classes else ""
        reading = self.reading
        negative = text if kind == "negative" and text is not None else reading.negative
        question = self.question(what, 2, negative=negative)
        branch = reading.uncond if away else reading.cond
        assert branch is not None
        calls = self._first_calls(question, warn=True)  # of prompts that are cut, say
        return self._row(calls[branch.call].inputs, branch)

    def _row(self, inputs: dict[str, Any], branch: Branch) -> Captured:
        axes = self._axes[branch.call]
        rows = len(inputs[self.reading.state])
        row = take_row(inputs, axes, branch.row, rows)
        rest = {key: one for key, one in row.items() if key not in self._moving}
        shape = shape_of(rest, {key: axes[key] for key in rest})
        row |= {key: _kind_of(row[key]) for key in self._moving}
        return Captured(moved(row, "cpu"), branch.call, (branch.call, shape))

    @property
    def _moving(self) -> tuple[str, str]:
        """The arguments that change from step to step."""
        return self.reading.state, self.reading.time

    def _silence(self, inputs: dict[str, Any]) -> Any:
        """Zeros in place of the network's output."""
        state = inputs[self.reading.state]
        if isinstance(state, list):
            return [torch.zeros_like(one) for one in state]
        channels = list(state.shape)
        config = self.net.config
        if len(channels) == 4 and config.get("out_channels") == 2 * (
            config.get("in_channels") or 0
        ):
            channels[1] *= 2
        return state.new_zeros(channels)

    def question(self, what: Any, steps: int, **changed: Any) -> dict[str, Any]:
        """The arguments of a call of the pipeline."""
        plan = self.plan
        asked = {"cfg": PROBED_CFG, "distilled": plan.distilled, "options": plan.options, **changed}
        asked.setdefault("negative", self.reading.negative)
        return plan.form.question(what, plan.size, steps, **asked)

    def network_at(
        self,
        variant: str | None,
        x: torch.Tensor,
        sigma: torch.Tensor,
        time: torch.Tensor,
        condition: Condition,
    ) -> torch.Tensor:
        if self._lora is not None:
            self._lora.use(variant)
        z = self.plan.schedule.network_input(x, sigma)
        slope, offset = self.reading.told
        told = slope * self.plan.schedule.time_of(time) + offset
        told = told.to(x.device, non_blocking=True).flatten().expand(len(x))
        numbers = self._rows_of(condition)
        output: torch.Tensor | None = None
        for rows in self._groups(numbers):
            chosen = slice(None) if len(rows) == len(numbers) else rows
            made = self._evaluated(z[chosen], told[chosen], tuple(numbers[row] for row in rows))
            if len(rows) == len(numbers):
                return self.reading.sign * made
            output = made.new_empty(len(x), *made.shape[1:]) if output is None else output
            output[rows] = made
        assert output is not None
        return self.reading.sign * output

    def _rows_of(self, condition: Condition) -> list[int]:
        if self.classes is None:
            return condition["prompt"].tolist()
        return [self._number("class", label) for label in condition["class"].tolist()]

    def _groups(self, numbers: Sequence[int]) -> list[list[int]]:
        """Rows whose arguments are of one shape, in order."""
        groups: dict[Hashable, list[int]] = {}
        for row, number in enumerate(numbers):
            groups.setdefault(self._known[number].shape, []).append(row)
        return list(groups.values())

    def _evaluated(
        self, z: torch.Tensor, told: torch.Tensor, numbers: tuple[int, ...]
    ) -> torch.Tensor:
        """The network's output as rows of the pipeline's state."""
        reading = self.reading
        inputs = dict(self._batch(numbers))
        z = z.to(inputs[reading.state].dtype)
        inputs[reading.state] = (
            [one.reshape(reading.given) for one in z]
            if reading.listed
            else z.reshape(-1, *reading.given[1:])
        )
        whole = not inputs[reading.time].is_floating_point()
        inputs[reading.time] = told.to(torch.float32 if whole else inputs[reading.time].dtype)
        output = self.net(**inputs)
        output = output[0] if isinstance(output, tuple) else output.sample
        rows = torch.stack(list(output)) if isinstance(output, list) else output
        size = z[0].numel()
        return rows.flatten(1)[:, :size].reshape(len(rows), *latent_shape(reading.shape))

    def _batch(self, numbers: tuple[int, ...]) -> dict[str, Any]:
        """The arguments of some rows together, on the model's device; the latest are kept."""
        if numbers not in self._batches:
            found = [self._known[number] for number in numbers]
            axes = self._axes[found[0].call]
            together = {
                key: one
                if key in self._moving
                else stack([f.inputs[key] for f in found], axes[key])
                for key, one in found[0].inputs.items()
            }
            self._batches[numbers] = moved(together, self.device)
            if len(self._batches) > _KEPT_BATCHES:
                self._batches.popitem(last=False)
        self._batches.move_to_end(numbers)
        return self._batches[numbers]

    @torch.inference_mode()
    def decode(self, native: torch.Tensor) -> torch.Tensor:
        """Pictures by the pipeline's own tail: what it does after its last step."""
        height, width = self.plan.size
        at_once = max(1, _DECODED_PIXELS // (height * width))
        pixels = torch.cat([self._tail(part) for part in native.split(at_once)])
        if tuple(pixels.shape[1:3]) != self.plan.size:
            raise HarnessError(
                f"{self.name} makes pictures of {pixels.shape[1]}x{pixels.shape[2]} where "
                f"{height}x{width} were asked for: take that --size"
            )
        return pixels.permute(0, 3, 1, 2).contiguous()

    def _tail(self, native: torch.Tensor) -> torch.Tensor:
        """Pictures uint8 [B, H, W, 3]."""
        reading = self.reading
        dtype = self._settled()
        kinds: list[torch.dtype] = []

        def last(prediction: Any, time: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
            kinds.append(sample.dtype)
            state = native.reshape(-1, *reading.shape).to(sample.device, kinds[0])
            state = state if dtype is None else state.to(dtype)
            return as_step(torch.cat([state] * reading.copies), kwargs)

        what = 0 if self.plan.form.classes else ""
        question = self.question(what, 2, count=len(native)) | {"output_type": "np"}
        with (
            quiet(),
            answering(self.pipeline, self.part, self._silence),
            stepping(self.pipeline, last),
        ):
            pictures = torch.as_tensor(self.pipeline(**question)[0])
        return (pictures.float() * 255).round().clamp(0, 255).to("cpu", torch.uint8)

    def _settled(self) -> torch.dtype | None:
        """The decoder's precision where it is not left to the pipeline; it is then converted once,
        which pipelines that do so by themselves would do for every batch, and back."""
        asked, vae = self.decode_dtype, self.vae
        if vae is None or (asked is None and not hasattr(self.pipeline, "upcast_vae")):
            return None
        dtype = decoder_dtype(vae, self.dtype, asked)
        if dtype == self.dtype and asked is None:
            return None
        if asked is not None and getattr(vae.config, "force_upcast", False):
            vae.register_to_config(force_upcast=False)  # or the pipeline would convert it
        decode_in(vae, dtype)
        return dtype


def _kind_of(value: Any) -> torch.Tensor:
    """An empty tensor of the kind of an argument that changes from step to step."""
    if isinstance(value, list):
        return _kind_of(value[0])
    return torch.as_tensor(value).new_empty(0)


def latent_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Three axes: 1 is added in front, or taken out where there are more."""
    axes = [1] * (3 - len(shape)) + list(shape)
    while len(axes) > 3 and 1 in axes:
        axes.remove(1)
    if len(axes) != 3:
        raise HarnessError(f"a state of {len(shape)} axes, {shape}, is no picture's")
    return (axes[0], axes[1], axes[2])
