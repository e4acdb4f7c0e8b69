"""Register prompt sets and models of one's own; samplers, metrics and policies have decorators in
their rooms (`harness.sampler`, `harness.metric`, `harness.policy`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from harness.core.shards import Prompt
from harness.prompts.base import PromptSource, register

if TYPE_CHECKING:
    from harness.models.base import Ladders, LoadRequest, Model

P = TypeVar("P", bound=Callable[[], Iterable["str | Prompt"]])
L = TypeVar("L", bound=Callable[["LoadRequest"], "Model"])


def prompt_set(
    name: str, *, home: str = "", licence: str = "", citation: str = ""
) -> Callable[[P], P]:
    """Register a function that returns prompts as the prompt set `name`.

    It is called once, now. It returns texts or `harness.Prompt(id, text, category, notes)`; texts
    have their place as id. The first line of its docstring describes the set.
    """

    def decorate(function: P) -> P:
        prompts = [
            Prompt(f"{i:05d}", one) if isinstance(one, str) else one
            for i, one in enumerate(function())
        ]
        register(
            PromptSource(
                name=name,
                description=(function.__doc__ or name).strip().partition("\n")[0],
                home=home or f"{function.__module__}.{function.__name__}",
                licence=licence,
                citation=citation,
                prompts=len(prompts),
                categories=len({prompt.category for prompt in prompts}),
                parse=lambda files: prompts,
            )
        )
        return function

    return decorate


def model(
    name: str,
    *,
    size: tuple[int, int],
    ladders: Callable[[dict[str, Any]], Ladders],
    steps: int,
    guidance: float | None = None,
    size_multiple: int = 1,
    batch_size: int = 16,
    source: str = "",
    licence: str = "",
    revision: str = "1",
    classes: int | None = None,
    unconditional: bool = True,
    dtype: str | None = None,
    abilities: Sequence[str] = (),
) -> Callable[[L], L]:
    """Register a function that loads a model (see `harness.models.base.Model`) as `name`.

    `size` (height, width) in pixels, `steps` and `guidance` are the defaults of its paper.
    `ladders(overrides)` returns what builds its ladders without weights. `revision` names the
    weights: another one is another run. The rest as of `harness.models.base.ModelEntry`. The first
    line of the function's docstring is the model's title.
    """
    from harness.models.base import MODELS, ModelEntry

    def decorate(function: L) -> L:
        entry = ModelEntry(
            name=name,
            title=(function.__doc__ or name).strip().partition("\n")[0],
            source=source or f"{function.__module__}.{function.__name__}",
            licence=licence,
            size=size,
            size_multiple=size_multiple,
            steps=steps,
            guidance=guidance,
            batch_size=batch_size,
            dtype=dtype,
            classes=classes,
            unconditional=unconditional,
            abilities=frozenset(abilities),
            revision=lambda: revision,
            ladders=ladders,
            load=function,
        )
        MODELS.add(name, entry)
        return function

    return decorate
