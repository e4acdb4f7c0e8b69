"""A loaded model with the further networks that its runs need; prompts are encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, cast

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.engine.applied import Applied
from harness.engine.batch import Batch, Streams, run_sampler, variants_of
from harness.engine.branches import Conditioned
from harness.engine.encodings import Encodings
from harness.engine.targets import TextModel, find_targets
from harness.engine.whole_pipelines.calling import Asked, run_pipeline
from harness.engine.whole_pipelines.trying import Trial
from harness.models.base import Condition, Model, ModelEntry
from harness.models.compiled import Compiled
from harness.models.load import load
from harness.models.pipelines.pipeline_model import PipelineModel
from harness.samplers.base import SAMPLERS


class Ensemble:
    """A loaded model with the further networks that its runs need; prompts are encoded once.

    `guide` is the network that guidance leads away from. Models that a sampler names are loaded
    at first use, on the model's device, in `dtype`. At `size` (of pictures, in pixels), the latents
    of all must have one shape; None skips that check.
    """

    def __init__(
        self,
        model: Model,
        guide: Model | None = None,
        dtype: str = "float32",
        size: tuple[int, int] | None = None,
    ) -> None:
        self.model, self._dtype, self._size = model, dtype, size
        self._main = _Member(model)
        self._guide = self._fitting(guide) if guide else None
        self._named: dict[str, _Member] = {}
        self.trials: dict[str, Trial] = {}  # of functions of a pipeline, by their calls
        self.compiled: Compiled | None = None
        self.warm: set[tuple[int, int]] = set()  # sizes of pictures that were made before
        self.at_once: dict[object, int] = {}  # images that fit into memory, as tried before

    def guided_by(self, guide: Model | None) -> Ensemble:
        """The same networks, with what is known of them, and this guide in place of its own."""
        other = copy(self)
        other.compiled = None
        other._guide = self._fitting(guide) if guide else None
        return other

    def keep_encodings(self, kept: Encodings) -> None:
        """Look for the model's encoded prompts there, and leave them there."""
        self._main.kept = kept

    @property
    def loaded(self) -> list[Model]:
        """The model, and its guide if there is one."""
        return [self.model] if self._guide is None else [self.model, self._guide.model]

    def encode(
        self, texts: list[str], negatives: list[str | None], call: Call | None = None
    ) -> None:
        """Encode the prompts now, so that the time of sampling does not include it; also for the
        further models of a sampler, if one is given."""
        self._main.conditioned(texts, negatives)
        if self._guide is not None:
            self._conditioned(self._guide, texts, negatives)
        for name in _models_of(call) if call else []:
            self._conditioned(self._member(name), texts, negatives)

    def standing_in(self, price: Callable[[Model, dict[Any, Any]], Any]) -> Ensemble:
        """The same, with what `price` makes of each loaded model and of what it noted of that model
        before; for prompts that are encoded."""
        other = copy(self)
        other._main = self._main.standing_in(price)
        other.model = other._main.model
        other._guide = self._guide and self._guide.standing_in(price)
        other._named = {name: one.standing_in(price) for name, one in self._named.items()}
        return other

    def warn_of_cut(self, texts: Iterable[str | None]) -> None:
        """Warn once of the texts that the model's text encoder cuts, if it has one that tells."""
        if warn := getattr(self.model, "warn_of_cut", None):
            warn(text for text in texts if text)

    def run(
        self,
        call: Call,
        texts: list[str],
        negatives: list[str | None],
        noise: Streams,
        notes: Sequence[Mapping[str, Any]] | None = None,
        applied: Applied | None = None,
        scales: torch.Tensor | None = None,
    ) -> Batch:
        """Sample one batch; see `run_sampler`. `notes`: see core.shards.Prompt.

        A function of a pipeline that was not tried out makes its pictures one by one.
        """
        if SAMPLERS.get(call.name).whole:
            return self._run_pipeline(call, texts, negatives, noise)
        own = self._main.conditioned(texts, negatives)
        others = {
            name: self._conditioned(self._member(setting["model"]), texts, negatives)
            for name, setting in variants_of(call).items()
            if "model" in setting
        }
        guide = self._conditioned(self._guide, texts, negatives) if self._guide else None
        targets = None
        if "targets" in SAMPLERS.get(call.name).needs:
            model = cast(TextModel, self.model)
            targets = partial(find_targets, model, texts, notes or [{}] * len(texts))
        return run_sampler(
            self.model,
            call,
            own.condition,
            own.negative,
            noise,
            guide,
            others,
            targets,
            applied,
            scales,
        )

    def _run_pipeline(
        self, call: Call, texts: list[str], negatives: list[str | None], noise: Streams
    ) -> Batch:
        model, trial = cast(PipelineModel, self.model), self.trials.get(str(call))
        asked = Asked.of(model, texts, negatives, noise)
        assert self._size is not None, "pictures have a size"
        if trial is None:
            return run_pipeline(model, call, asked, self._size, together=False)
        known = trial.unconditional
        return run_pipeline(
            model, call, asked, self._size, together=trial.together, unconditional=known
        )

    def _conditioned(
        self, member: _Member, texts: list[str], negatives: list[str | None]
    ) -> Conditioned:
        """Another model with the same prompts; beside a class-conditional one, the same classes."""
        if self.model.classes is None:
            return member.conditioned(texts, negatives)
        return Conditioned(member.model, self._main.condition(texts))

    def _member(self, spec: str) -> _Member:
        if spec not in self._named:
            device = str(self.model.device)
            other = load(spec, device=device, dtype=self._dtype, size=self._size)
            self._named[spec] = self._fitting(other)
        return self._named[spec]

    def _fitting(self, other: Model) -> _Member:
        if self._size is None:
            return _Member(other)
        one, two = self.model.latent_shape(self._size), other.latent_shape(self._size)
        if one != two:
            raise HarnessError(
                f"{other.name} does not go with {self.model.name}: at {self._size[0]}x"
                f"{self._size[1]} its states are {two}, not {one}"
            )
        return _Member(other)


def _models_of(call: Call) -> list[str]:
    """The further models of a sampler, as its parameters name them."""
    return [setting["model"] for setting in variants_of(call).values() if "model" in setting]


class _Member:
    """A loaded model with the conditions of its prompts, each distinct text encoded once, alone.

    Alone, because the last bits of a text encoder's output depend on the batch; so those that are
    `kept` from one command to the next are what any process would encode.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._known: dict[tuple[str, str | None], Condition | None] = {}
        self._noted: dict[Any, Any] = {}
        self.kept: Encodings | None = None

    def standing_in(self, price: Callable[[Model, dict[Any, Any]], Any]) -> _Member:
        """See Ensemble.standing_in."""
        other = copy(self)
        other.model = price(self.model, self._noted)
        return other

    def condition(self, texts: list[str]) -> Condition:
        found = self._batch("encode", texts)
        assert found is not None
        return found

    def conditioned(self, texts: list[str], negatives: list[str | None]) -> Conditioned:
        """The model with its conditions [len(texts), ...]; `negatives` None: no negative prompt."""
        negative = self._batch("encode_negative", negatives)
        return Conditioned(self.model, self.condition(texts), negative)

    def _batch(self, method: str, texts: Sequence[str | None]) -> Condition | None:
        """Rows where the model keeps them; None where the model has no such branch."""
        parts: list[Condition] = []
        for text in texts:
            if (method, text) not in self._known:
                self._known[method, text] = self._encoded(method, text)
            part = self._known[method, text]
            if part is None:
                return None
            parts.append(part)
        device = getattr(self.model, "condition_device", self.model.device)
        joined = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        return {key: value.to(device, non_blocking=True) for key, value in joined.items()}

    def _encoded(self, method: str, text: str | None) -> Condition | None:
        """The condition of one text, on the CPU."""
        if self.kept and (before := self.kept.read(method, text)):
            return before
        encoded = getattr(self.model, method)([text])
        found = encoded and {key: value.cpu() for key, value in encoded.items()}
        if self.kept and found:
            self.kept.write(method, text, found)
        return cast(Condition | None, found)


def check_guide(main: ModelEntry, guide: ModelEntry) -> None:
    """Raise HarnessError if one model cannot guide another, as far as it shows without weights."""
    if guide.classes not in (0, main.classes):
        raise HarnessError(
            f"{guide.name} cannot guide {main.name}: they are told different things "
            f"({_condition_of(guide)} and {_condition_of(main)})"
        )


def check_needs(entry: ModelEntry, call: Call) -> None:
    """Raise HarnessError if a model lacks an ability that the sampler needs."""
    if SAMPLERS.get(call.name).whole and not entry.pipeline:
        raise HarnessError(
            f"{call.name} is a function of a diffusers pipeline, which {entry.name} does not have: "
            "take a model that is one (harness list models)"
        )
    needed = SAMPLERS.get(call.name).abilities
    if missing := [ability for ability in needed if ability not in entry.abilities]:
        raise HarnessError(
            f"{call.name} needs {' and '.join(missing)}, which {entry.name} does not have: it runs "
            "on Stable Diffusion 1, 2, XL and 3"
        )


def _condition_of(entry: ModelEntry) -> str:
    return "text" if entry.classes is None else f"one of {entry.classes} classes"
