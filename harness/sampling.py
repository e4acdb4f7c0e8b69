"""A model, a sampler and its guidance policy brought together for one batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import torch

from harness.errors import HarnessError
from harness.models.applied import Applied
from harness.models.base import Condition, Ladders, Model, ModelEntry
from harness.models.branches import Conditioned
from harness.models.classes import DRAWN
from harness.models.denoiser import Denoiser, Objects
from harness.models.load import load
from harness.objects import ObjectRequest
from harness.samplers.base import SAMPLERS, Noise, split_parameters
from harness.samplers.guidance import make_guidance
from harness.spec import Call
from harness.targets import Targets, TextModel

Evaluations = dict[tuple[str, str], list[int]]
"""(network, branch): evaluations of each sample."""


class Streams(Noise, Protocol):
    """Each sample's own noise, and integers for what else is drawn."""

    def integers(self, high: int) -> torch.Tensor: ...


@dataclass
class Batch:
    """What sampling gives: `native` [B, C, h, w] in the model's own variables, and its cost.

    `classes` are those of a model of classes, given or drawn; `applied` is what guidance did.
    """

    native: torch.Tensor
    evaluations: Evaluations
    classes: list[int] | None = None
    applied: Applied | None = None


@torch.inference_mode()
def run_sampler(
    model: Model,
    call: Call,
    condition: Condition,
    negative: Condition | None,
    noise: Streams,
    guide: Conditioned | None = None,
    others: Mapping[str, Conditioned] | None = None,
    objects: Objects | None = None,
    applied: Applied | None = None,
    scales: torch.Tensor | None = None,
) -> Batch:
    """Run a resolved sampler on a batch; `noise()` gives unit normals [B, *latent_shape].

    Guidance leads away from `guide` where there is one; `others` are the sampler's variants that
    are models of their own; `objects` are those of the batch's prompts. What guidance does is noted
    in `applied`, or a new one. `scales` [B] are those that `guidance_like` gives the samples.
    """
    if scales is None:
        check_alone(call)
    sigmas, policy, own = _parts(model, call, scales)
    first = noise()
    variants = dict(others or {})
    if model.classes:
        condition = _with_classes(condition, noise, model.classes)
        guide = Conditioned(guide.network, condition) if guide else None
        variants = {name: Conditioned(one.network, condition) for name, one in variants.items()}
    lora = {k: v for k, v in variants_of(call).items() if "lora" in v}
    for name, network in (model.variants(lora) if lora else {}).items():
        variants[name] = Conditioned(network, condition, negative)
    denoise = Denoiser(model, condition, negative, policy, variants, guide, None, objects, applied)
    x = model.start(first, sigmas[0])
    x = SAMPLERS.get(call.name).run(denoise, x, sigmas, noise, **own)
    return Batch(
        model.native(x, sigmas[-1]),
        {key: count.tolist() for key, count in denoise.evaluations.items()},
        condition["class"].tolist() if "class" in condition else None,
        denoise.applied,
    )


def check_alone(call: Call) -> None:
    """Raise HarnessError for a sampler that needs another run beside the one that is made."""
    if like := call.params.get("guidance_like"):
        raise HarnessError(
            f"guidance_like={like} names a run in the same folder, which has each image's scale: "
            "it goes with harness generate and harness bench, not with single pictures"
        )


def variants_of(call: Call) -> dict[str, dict[str, Any]]:
    """The networks that a resolved sampler asks for by name, with their settings."""
    return SAMPLERS.get(call.name).variants(call.params)


def _with_classes(condition: Condition, noise: Streams, classes: int) -> Condition:
    """The condition with classes drawn where none are given.

    A class is drawn even where one is given, as the published code does, so that later draws do not
    depend on it.
    """
    given = condition["class"]
    given = torch.where(given == DRAWN, noise.integers(classes).to(given), given)
    if bool((given == DRAWN).any()):
        raise HarnessError("recorded noise tells no class: name each picture's (--class)")
    return {"class": given}


def _parts(
    ladders: Ladders, call: Call, scales: torch.Tensor | None = None
) -> tuple[torch.Tensor, Any, dict[str, Any]]:
    ladder, policy, own = split_parameters(call)
    sigmas, factors = ladders.ladder(**ladder), None
    if policy.pop("guidance_like", None):
        policy.pop("guidance_estimate", None)
        factors = (ANY_SCALE if scales is None else scales) / own["guidance"]
    return sigmas, make_guidance(sigmas, **policy, factors=factors), own


ANY_SCALE = torch.tensor([2.0], dtype=torch.float64)
"""Stands for an image's own guidance scale where there is no image: it takes both branches."""


def rehearse(
    ladders: Ladders, call: Call, *, unconditional: bool = True, guided: bool = False
) -> tuple[torch.Tensor, dict[tuple[str, str], int]]:
    """A sampler's ladder [N+1] and its evaluations per sample, without a network.

    `unconditional`: the model has that branch; `guided`: there is a second network to guide by.
    Raises HarnessError for what is wrong with the sampler on this ladder, so it is also the check
    before any weights are loaded.
    """
    denoise, sigmas, _ = rehearsed(
        Denoiser, ladders, call, unconditional=unconditional, guided=guided
    )
    return sigmas, {key: int(count[0]) for key, count in denoise.evaluations.items()}


D = TypeVar("D", bound=Denoiser)


def rehearsed(
    kind: type[D],
    ladders: Ladders,
    call: Call,
    width: int = 1,
    *,
    unconditional: bool = True,
    guided: bool = False,
    noise: Noise | None = None,
) -> tuple[D, torch.Tensor, torch.Tensor]:
    """Run a sampler on a `kind` of denoiser without a network, in float64: the denoiser, the ladder
    and what the sampler returns. It begins at zeros [1, width, 2, 2], or with `noise` at its first
    draw [B, width, 2, 2] times the ladder's first level."""
    sigmas, policy, own = _parts(ladders, call)
    x = torch.zeros(1, width, 2, 2, dtype=torch.float64)
    if noise is not None:
        x = sigmas[0] * noise().to(x)
    row = {"row": torch.zeros(len(x))}
    stub = Conditioned(_Stub(), row, row if unconditional else None)
    others = dict.fromkeys(variants_of(call), stub)
    guide = stub if guided else None
    denoise = kind(
        stub.network, row, stub.negative, policy, others, guide, ladders, _rehearsed_objects
    )
    draws = noise or _Silence(x)
    return denoise, sigmas, SAMPLERS.get(call.name).run(denoise, x, sigmas, draws, **own)


class _Silence:
    """Noise of zeros."""

    def __init__(self, like: torch.Tensor) -> None:
        self._like = like

    def __call__(self, shape: Sequence[int] | None = None) -> torch.Tensor:
        return torch.zeros_like(self._like) if shape is None else torch.zeros(1, *shape)

    def skip(self) -> None:
        pass


class _Stub:
    """A network that sees nothing and says zero."""

    name = "this model"

    def perturbed(self, layers: tuple[str, ...]) -> _Stub:
        return self

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        return torch.zeros_like(x)

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return output

    def start(self, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return noise

    @contextmanager
    def attention_maps(self, size: tuple[int, int], rows: slice) -> Iterator[_StubMaps]:
        yield _StubMaps()


class _StubMaps:
    mean = torch.ones(1, 1, 2, 2)


def _rehearsed_objects(request: ObjectRequest) -> tuple[torch.Tensor, torch.Tensor]:
    """As many objects as there are strengths; prompts' own are not known yet."""
    strengths = torch.tensor(request.strength or 0.0).reshape(1, -1)
    return torch.ones(1, strengths.shape[1], 1), strengths


class Ensemble:
    """A loaded model with the further networks that its runs need; prompts are encoded once.

    `guide` is the network that guidance leads away from. Models that a sampler names are loaded
    when they are first needed, on the model's device, in `dtype`. At `size` (of the pictures), the
    states of all must have one shape; None leaves that to the networks.
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

    def encode(self, texts: list[str], negatives: list[str | None]) -> None:
        """Have the conditions ready, so that the time that sampling takes is without them."""
        self._main.conditioned(texts, negatives)
        if self._guide is not None:
            self._told(self._guide, texts, negatives)

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
        """Sample one batch; see `run_sampler`. `notes` are the prompts' own, see spec.Prompt."""
        own = self._main.conditioned(texts, negatives)
        others = {
            name: self._told(self._member(setting["model"]), texts, negatives)
            for name, setting in variants_of(call).items()
            if "model" in setting
        }
        guide = self._told(self._guide, texts, negatives) if self._guide else None
        objects = None
        if "attention maps" in SAMPLERS.get(call.name).needs:
            objects = Targets(cast(TextModel, self.model), texts, notes or [{}] * len(texts))
        return run_sampler(
            self.model,
            call,
            own.condition,
            own.negative,
            noise,
            guide,
            others,
            objects,
            applied,
            scales,
        )

    def _told(self, member: _Member, texts: list[str], negatives: list[str | None]) -> Conditioned:
        """Another model told the same prompts; beside a model of classes, the very same classes."""
        if self.model.classes is None:
            return member.conditioned(texts, negatives)
        return Conditioned(member.model, self._main.condition(texts))

    def _member(self, spec: str) -> _Member:
        if spec not in self._named:
            other = load(spec, device=str(self.model.device), dtype=self._dtype)
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


class _Member:
    """A loaded model with the conditions of its prompts, each distinct text encoded once, alone.

    Alone, because what a text encoder gives in a batch depends in its last bits on the batch.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._known: dict[tuple[str, str | None], Condition | None] = {}

    def condition(self, texts: list[str]) -> Condition:
        found = self._batch("encode", texts)
        assert found is not None
        return found

    def conditioned(self, texts: list[str], negatives: list[str | None]) -> Conditioned:
        """The model with its conditions [len(texts), ...]; of classes, `negatives` are None."""
        negative = self._batch("encode_negative", negatives)
        return Conditioned(self.model, self.condition(texts), negative)

    def _batch(self, method: str, texts: Sequence[str | None]) -> Condition | None:
        """Rows on the model's device; None where the model has no such branch."""
        parts: list[Condition] = []
        for text in texts:
            if (method, text) not in self._known:
                found = getattr(self.model, method)([text])
                self._known[method, text] = found and {k: v.cpu() for k, v in found.items()}
            part = self._known[method, text]
            if part is None:
                return None
            parts.append(part)
        return {k: torch.cat([part[k] for part in parts]).to(self.model.device) for k in parts[0]}


def check_guide(main: ModelEntry, guide: ModelEntry) -> None:
    """Raise HarnessError if one model cannot guide another; what can be told without weights."""
    if guide.classes not in (0, main.classes):
        raise HarnessError(
            f"{guide.name} cannot guide {main.name}: they are told different things "
            f"({_told(guide)} and {_told(main)})"
        )


def check_needs(entry: ModelEntry, call: Call) -> None:
    """Raise HarnessError if a sampler asks for what a model cannot do."""
    missing = [need for need in SAMPLERS.get(call.name).needs if need not in entry.abilities]
    if missing:
        raise HarnessError(
            f"{call.name} needs {' and '.join(missing)}, which {entry.name} does not have: it runs "
            "on Stable Diffusion 1, 2, XL and 3"
        )


def _told(entry: ModelEntry) -> str:
    return "text" if entry.classes is None else f"one of {entry.classes} classes"
