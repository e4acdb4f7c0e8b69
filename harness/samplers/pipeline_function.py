"""A paper's own pipeline as a sampler: `pipeline:./mine.py:run(steps=20)`.

The function takes a diffusers pipeline and makes the pictures by itself, in whatever way:

    def run(pipeline, prompts, latents, generators, steps=20, guidance=5.0):
        return pipeline(prompts, latents=latents, generator=generators, num_inference_steps=steps,
                        guidance_scale=guidance, output_type="latent").images

See GIVEN for what it is given, and docs/pipelines.md for what it may return.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, get_type_hints

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.run_spec import DECLARED_GUIDANCE
from harness.samplers.base import PIPELINE, SAMPLERS, Positive, Sampler, Source
from harness.samplers.source_file import FORM, execute, function_of, read_source, within

PREFIX = "pipeline:"

GIVEN = (
    "pipeline", "prompts", "latents", "generators", "height", "width", "negative_prompts",
)  # fmt: skip
"""Parameters of the function that are given to it, by name: the pipeline; texts, or numbers of
classes; each picture's unit noise [B, ...] as the pipeline takes it; each picture's generator, for
whatever else is drawn; the pictures' size in pixels; texts or None."""

_LOOKS = "def {}(pipeline, prompts, latents, generators, steps=20)"


def is_pipeline_function(name: str) -> bool:
    """Whether a sampler's name means a function of a pipeline."""
    return name.startswith(PREFIX)


def load_pipeline_function(name: str) -> Sampler:
    """Register the sampler `pipeline:PATH.py:FUNCTION`, by its file's name and text, and return it.

    Raises HarnessError for a file that is not there or does not run, and for a function that is not
    in it or has another signature.
    """
    form = FORM.fullmatch(name.removeprefix(PREFIX))
    if form is None:
        raise HarnessError(f"cannot read {name!r}: expected {PREFIX}FILE.py:FUNCTION")
    source = read_source(form, PREFIX)
    if source.name in SAMPLERS:
        return SAMPLERS.get(source.name)
    with SAMPLERS.aside():
        function = function_of(execute(source), source)
    own = _own(function, source)
    title = (inspect.getdoc(function) or source.function).splitlines()[0]
    return SAMPLERS.add(
        source.name,
        Sampler(
            name=source.name,
            title=title,
            paper=source.path,
            run=_guarded(function, source),
            ladder=(),
            check=None,
            complete=lambda params: params,
            variants=lambda params: {},
            own=own | {DECLARED_GUIDANCE: (Positive | None, None)},
            needs=(PIPELINE,),
            source=source,
        ),
    )


def kept_in(folder: str, name: str) -> str:
    """The text of a sampler of this name whose file lies in a folder."""
    prefix = PREFIX if is_pipeline_function(name) else ""
    return f"{prefix}{folder}/{name.removeprefix(PREFIX)}"


def takes(call: Call, name: str) -> bool:
    """Whether the function of a resolved call takes one of GIVEN."""
    return name in inspect.signature(SAMPLERS.get(call.name).run).parameters


def _own(function: Callable[..., Any], source: Source) -> dict[str, tuple[Any, Any]]:
    """The parameters that a user may set, with annotation and default."""
    parameters = inspect.signature(function).parameters
    line = f"{source.path}, line {function.__code__.co_firstlineno}"
    if problem := _problem(parameters):
        raise HarnessError(
            f"{line}: {source.function} is no function of a pipeline: {problem}; "
            f"write {_LOOKS.format(source.function)}"
        )
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:  # annotations that mean nothing
        raise HarnessError(f"{line}: {type(error).__name__}: {error}") from error
    return {
        name: (hints.get(name, Any), one.default)
        for name, one in parameters.items()
        if name not in GIVEN
    }


def _problem(parameters: Any) -> str | None:
    """What is wrong with a function's parameters."""
    for name, one in parameters.items():
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            return f"it takes any {one}, so its parameters cannot be checked"
        if one.kind is one.POSITIONAL_ONLY:
            return f"its parameter {name} cannot be given by name"
        if name == DECLARED_GUIDANCE:
            return f"{name} declares its guidance, and is not given to it"
        if one.default is one.empty and name not in GIVEN:
            return f"its parameter {name} needs a default"
    if missing := [name for name in ("pipeline", "prompts") if name not in parameters]:
        return f"it takes no {missing[0]}"
    if not {"latents", "generators"} & set(parameters):
        return "it takes neither latents nor generators, so all seeds would be one picture"
    return None


def _guarded(function: Callable[..., Any], source: Source) -> Callable[..., Any]:
    """The function with those of the arguments given that it takes; its errors as HarnessError."""
    taken = inspect.signature(function).parameters

    @wraps(function)
    def run(**given: Any) -> Any:
        before = _random_states()
        try:
            result = function(**{name: one for name, one in given.items() if name in taken})
        except (HarnessError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:
            raise within(source, error) from error
        if any(not torch.equal(a, b) for a, b in zip(before, _random_states(), strict=True)):
            raise HarnessError(
                f"{source.path}: {source.function} draws from torch's global generator, so that no "
                "picture could be made again: take generators, one for each prompt"
            )
        return result

    return run


def _random_states() -> list[torch.Tensor]:
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *on_gpus]
