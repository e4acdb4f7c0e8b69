"""What a pipeline's own first steps say: what its network is given, and how branches become one.

Nothing here needs weights: the network answers with random numbers, of which pipelines make
weighted sums. Four steps are watched, since a rule may change after the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from harness.core.errors import HarnessError, first_line
from harness.models.pipelines.capture.call_form import CallForm
from harness.models.pipelines.capture.norms import at_norm_of
from harness.models.pipelines.capture.own_noise import OwnNoise, find_noise
from harness.models.pipelines.capture.watch import NetworkCall, WatchedStep, watch

STEPS = 4
PROBED_CFG = 3.0
"""The guidance parameter at which branches are read: any at which there are two."""
_PROMPT = "a red cube on a table"
_EXACT = 1e-4
"""The error up to which a fit of float32 numbers counts as exact: some 1000 roundings."""


@dataclass(frozen=True)
class Branch:
    """Where a branch's output is found: which call of a step, and which of its rows."""

    call: int
    row: int


@dataclass(frozen=True)
class Reading:
    """How a pipeline uses its network.

    `state` and `time` are the names of its arguments; `told` (slope, offset) makes the scheduler's
    time what the network is told. `shape` is one row of the pipeline's state and `given` of the
    network's argument. `scales` are what the network's argument is of the state, at the watched
    `times`. `sign` makes outputs predictions. `weight` is what the pipeline's guidance parameter
    PROBED_CFG amounts to as w of u + w (c - u), and `usual` what its default does; `norm`: the
    guided output is brought to the conditional's norm. `negative` is the negative prompt that
    stands for none, where the pipeline needs one for its unconditional branch.
    """

    state: str
    time: str
    told: tuple[float, float]
    shape: tuple[int, ...]
    given: tuple[int, ...]
    listed: bool
    copies: int
    rows: int
    scales: tuple[float, ...]
    times: tuple[float, ...]
    sign: float
    cond: Branch
    uncond: Branch | None
    weight: float
    usual: float
    norm: bool
    negative: str | None
    noise: OwnNoise


class Reader:
    """Reads a pipeline; `question` holds what every call of it is asked."""

    def __init__(
        self,
        pipeline: Any,
        part: str,
        form: CallForm,
        size: tuple[int, int],
        options: Mapping[str, Any],
        distilled: float | None,
    ) -> None:
        self.pipeline, self.part, self.form, self.size = pipeline, part, form, size
        self._fixed: dict[str, Any] = {"options": options, "distilled": distilled}

    def read(self) -> Reading:
        """The whole reading; HarnessError for what cannot be run, with what was measured."""
        negative = None
        steps = self._watch(PROBED_CFG)
        if self._branches(steps[0]) == 1 and self.form.cfg and self.form.takes_negative:
            asked = self._watch(PROBED_CFG, negative="")
            if self._branches(asked[0]) > 1:
                steps, negative = asked, ""
        first = steps[0].calls[0]
        state = next(iter(first.inputs))
        rows = _rows(first.inputs[state])
        shape, copies = self._state(steps)
        time = self._time_name(steps, state)
        told, times = _told([_row_value(s.calls[0].inputs[time]) for s in steps], steps)
        fits = [self._fit(step, copies) for step in steps]
        self._check_rule([fit.weights for fit in fits])
        fit = fits[0]
        given = first.inputs[state]
        listed = isinstance(given, list)
        return Reading(
            state=state,
            time=time,
            told=told,
            shape=shape,
            given=tuple((given[0] if listed else given[:1]).shape),
            listed=listed,
            copies=copies,
            rows=rows,
            scales=tuple(self._scale(step, state, copies) for step in steps),
            times=times,
            sign=fit.sign,
            cond=fit.cond,
            uncond=fit.uncond,
            weight=fit.weight,
            usual=self._usual(negative, copies),
            norm=fit.norm,
            negative=negative,
            noise=self._noise(negative),
        )

    def _noise(self, negative: str | None) -> OwnNoise:
        def first_state(more: dict[str, Any]) -> Any:
            return self._watch(PROBED_CFG, negative=negative, steps=1, **more)[0].sample

        return find_noise(self.pipeline, first_state, "latents" in self.form.parameters)

    def state_size(self) -> int:
        """How many numbers the pipeline's state has."""
        (step,) = self._watch(self.form.default(self.form.cfg), steps=1)
        return int(step.sample[0].numel())

    def _watch(
        self,
        cfg: float | None,
        *,
        count: int = 1,
        negative: str | None = None,
        steps: int = STEPS,
        **more: Any,
    ) -> list[WatchedStep]:
        what = 1 if self.form.classes else _PROMPT
        question = self.form.question(
            what, self.size, STEPS, count=count, cfg=cfg, negative=negative, **self._fixed
        )
        question |= more
        generator = torch.Generator().manual_seed(0)

        def answer(inputs: dict[str, Any]) -> Any:
            return _random_like(next(iter(inputs.values())), self._channels, generator)

        def follow(sample: Any) -> Any:
            if not isinstance(sample, torch.Tensor):
                raise HarnessError(
                    f"{self.form.name} has a {type(sample).__name__} for its state, which cannot "
                    "be stacked to one tensor"
                )
            return 0.9 * sample

        try:
            seen = watch(self.pipeline, self.part, question, answer, steps, follow)
        except HarnessError:
            raise
        except Exception as error:  # whatever a pipeline raises that is not understood
            raise HarnessError(
                f"{self.form.name} cannot be run: its own call says {type(error).__name__}: "
                f"{first_line(error)}"
            ) from error
        if len(seen) < steps or not seen[0].calls:
            raise HarnessError(
                f"{self.form.name} cannot be run: of {steps} steps its scheduler made {len(seen)}, "
                f"with {len(seen[0].calls) if seen else 0} evaluations of its {self.part} in one"
            )
        follow(seen[0].sample)
        return seen

    @property
    def _channels(self) -> tuple[int, int] | None:
        """Channels in and out, where the network also predicts a variance."""
        config = getattr(self.pipeline, self.part).config
        into, out = config.get("in_channels"), config.get("out_channels")
        return (into, out) if into and out == 2 * into else None

    def _branches(self, step: WatchedStep) -> int:
        return sum(_rows(next(iter(call.inputs.values()))) for call in step.calls)

    def _state(self, steps: list[WatchedStep]) -> tuple[tuple[int, ...], int]:
        """The shape of one row of the state, and how often it stands in what is stepped."""
        sample = steps[0].sample
        copies = len(sample)
        if copies > 2 or any(not torch.equal(sample[:1], row[None]) for row in sample[1:]):
            raise HarnessError(
                f"{self.form.name} steps {copies} states for one picture, which are not one"
            )
        return tuple(sample.shape[1:]), copies

    def _time_name(self, steps: list[WatchedStep], state: str) -> str:
        """The argument beside the state that changes from step to step: the time."""
        first, later = (steps[at].calls[0].inputs for at in (0, 2))
        changed = [
            name for name in first if name != state and not _equal(first[name], later.get(name))
        ]
        if len(changed) != 1:
            others = ", ".join(changed) or "nothing"
            raise HarnessError(
                f"{self.form.name} changes {others} from step to step beside the state: expected "
                "one time"
            )
        return changed[0]

    def _scale(self, step: WatchedStep, state: str, copies: int) -> float:
        """What the network's argument is of the state."""
        given = step.calls[0].inputs[state]
        one = (given[0] if isinstance(given, list) else given[:1]).double().flatten()
        own = step.sample[:1].double().flatten()
        if one.numel() != own.numel():
            raise HarnessError(
                f"{self.form.name} gives its network {one.numel()} numbers for a state of "
                f"{own.numel()}: its input is not the state"
            )
        scale = float(one @ own / (own @ own))
        error = float((one - scale * own).norm() / one.norm())
        if error > _EXACT:
            raise HarnessError(
                f"{self.form.name} gives its network an input that is no multiple of the state "
                f"(off by {error:.2g})"
            )
        return scale

    def _fit(self, step: WatchedStep, copies: int) -> Fit:
        outputs = [row for call in step.calls for row in _output_rows(call)]
        places = [
            Branch(at, row)
            for at, call in enumerate(step.calls)
            for row in range(_rows(next(iter(call.inputs.values()))))
        ]
        prediction = step.prediction[: len(step.prediction) // copies]
        return fit(self.form.name, outputs, places, prediction)

    def _check_rule(self, weights: list[tuple[float, ...]]) -> None:
        for at, one in enumerate(weights[1:], start=2):
            if len(one) != len(weights[0]) or any(
                abs(a - b) > 1e-3 for a, b in zip(one, weights[0], strict=True)
            ):
                shown = [", ".join(f"{w:.3g}" for w in row) for row in (weights[0], one)]
                raise HarnessError(
                    f"{self.form.name} changes how its branches are combined: weights {shown[0]} "
                    f"in the first of {STEPS} steps, {shown[1]} in step {at}"
                )

    def _usual(self, negative: str | None, copies: int) -> float:
        """What the pipeline's default guidance amounts to; 1 where it uses one branch."""
        if self.form.cfg is None:
            return 1.0
        default = self.form.default(self.form.cfg)
        (step,) = self._watch(default, negative=negative, steps=1)
        return round(self._fit(step, copies).weight, 6)


@dataclass(frozen=True)
class Fit:
    """A step's prediction as a weighted sum of its network's outputs."""

    weights: tuple[float, ...]
    sign: float
    cond: Branch
    uncond: Branch | None
    weight: float
    norm: bool


def fit(name: str, outputs: list[torch.Tensor], places: list[Branch], target: torch.Tensor) -> Fit:
    """The weights of outputs (one row each) in a prediction; HarnessError where it is no weighted
    sum of one or two, nor one at the conditional output's norm."""
    size = target.numel()
    columns = torch.stack([one.double().flatten()[:size] for one in outputs], 1)
    goal = target.double().flatten()
    weights = torch.linalg.lstsq(columns, goal[:, None]).solution[:, 0]
    error = float((columns @ weights - goal).norm() / goal.norm())
    total = float(weights.sum())
    used = [at for at, one in enumerate(weights.tolist()) if abs(one) > 1e-4]
    shown = ", ".join(f"{one:.3g}" for one in weights.tolist())
    if len(used) > 2 and error < _EXACT:
        raise HarnessError(
            f"{name} combines {len(used)} branches of its network, with weights {shown}: only a "
            "conditional and an unconditional one are understood"
        )
    if error < _EXACT and abs(abs(total) - 1) < 1e-3:
        return _fit_of(weights, places, used, norm=False)
    linear = _normed(columns, goal, target.shape)
    if linear is not None:
        return _fit_of(linear, places, [0, 1], norm=True)
    raise HarnessError(
        f"{name} does not combine its branches as u + w (c - u): the best weights are {shown}, of "
        f"sum {total:.3g}, and leave {error:.2g} of the prediction unexplained. Where an option of "
        "the pipeline causes it, switch it off: MODEL(option=false)"
    )


def _fit_of(weights: torch.Tensor, places: list[Branch], used: list[int], *, norm: bool) -> Fit:
    total = float(weights.sum())
    share = [float(one) / total for one in weights]
    cond = max(used, key=lambda at: share[at])
    others = [at for at in range(len(places)) if at != cond]
    away = next((at for at in others if at in used), others[0] if others else None)
    return Fit(
        tuple(weights.tolist()),
        1.0 if total > 0 else -1.0,
        places[cond],
        None if away is None else places[away],
        share[cond],
        norm,
    )


def _normed(columns: torch.Tensor, goal: torch.Tensor, shape: torch.Size) -> torch.Tensor | None:
    """Weights [2] of a prediction that is a weighted sum at the conditional output's norm.

    The direction of each part along the last axis is that of u + w (c - u), so the two outputs and
    the prediction lie in one plane there: solved for w, then compared as a whole.
    """
    if columns.shape[1] != 2:
        return None
    for cond in (0, 1):
        c, u = (columns[:, at].reshape(shape) for at in (cond, 1 - cond))
        for sign in (1.0, -1.0):
            w = _weight_of_direction(u, c, sign * goal.reshape(shape))
            if w is None or w <= 1:
                continue
            made = sign * at_norm_of(u + w * (c - u), c)
            if float((made - goal.reshape(shape)).norm() / goal.norm()) < _EXACT:
                found = torch.zeros(2, dtype=torch.float64)
                found[cond], found[1 - cond] = sign * w, sign * (1 - w)
                return found
    return None


def _weight_of_direction(u: torch.Tensor, c: torch.Tensor, goal: torch.Tensor) -> float | None:
    """w for which u + w (c - u) points along `goal` in every row of the last axis: the median."""
    u, c, goal = (one.reshape(-1, one.shape[-1]) for one in (u, c, goal))
    a = torch.stack([u, c], 2)  # [rows, width, 2]
    parts = torch.linalg.lstsq(a, goal[:, :, None]).solution[:, :, 0]
    total = parts.sum(1)
    good = total.abs() > 1e-6
    return float((parts[good, 1] / total[good]).median()) if bool(good.any()) else None


def _output_rows(call: NetworkCall) -> list[torch.Tensor]:
    return list(call.output)


def _rows(state: Any) -> int:
    return len(state)


def _row_value(time: Any) -> float:
    return float(time.flatten()[0]) if isinstance(time, torch.Tensor) else float(time)


def _told(
    told: list[float], steps: list[WatchedStep]
) -> tuple[tuple[float, float], tuple[float, ...]]:
    """The slope and offset that make the scheduler's times what the network is told."""
    times = [float(step.time) for step in steps]
    slope = (told[-1] - told[0]) / (times[-1] - times[0])
    offset = told[0] - slope * times[0]
    most = max(map(abs, told)) or 1.0
    for time, value in zip(times, told, strict=True):
        if abs(slope * time + offset - value) > 1e-5 * most:
            raise HarnessError(
                f"the network is told the times {', '.join(f'{one:.5g}' for one in told)} for the "
                f"scheduler's {', '.join(f'{one:.5g}' for one in times)}, which is no straight line"
            )
    return (slope, offset), tuple(times)


def _equal(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and torch.equal(one, two)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_equal(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)):
        return len(one) == len(two) and all(map(_equal, one, two))
    return bool(one is two or one == two)


def _random_like(state: Any, channels: tuple[int, int] | None, generator: torch.Generator) -> Any:
    """Random numbers in place of a network's output."""
    if isinstance(state, (list, tuple)):
        return [_random_like(one, None, generator) for one in state]
    shape = list(state.shape)
    if channels and state.ndim == 4 and shape[1] == channels[0]:
        shape[1] = channels[1]
    return torch.randn(shape, generator=generator)
