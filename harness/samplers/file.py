"""Samplers from a user's own file, `./mine.py:sample(steps=20)`, without packaging.

The function is a plain one, `sample(denoise, x, sigmas, noise, *, guidance: float = 5.0, ...)`, or
one that is decorated with `@sampler(...)`. The file's text is part of what identifies a run; what
the file imports is not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.samplers.base import HANDED, SAMPLERS, Denoise, Noise, Sampler, Source, sampler
from harness.samplers.source_file import FORM, execute, function_of, read_source, within

_LOOKS = "def {}(denoise, x, sigmas, noise, *, guidance: float = 5.0)"


def is_file_sampler(name: str) -> bool:
    """Whether a sampler's name means a function of a file."""
    return FORM.fullmatch(name) is not None


def load_sampler(name: str) -> Sampler:
    """Register the sampler `PATH.py:FUNCTION`, as `FILE.py:FUNCTION@DIGEST`, and return it.

    With `@DIGEST` behind it, only that text is taken. Raises HarnessError for a file that is not
    there or does not run, and for a function that is not in it or is no sampler.
    """
    form = FORM.fullmatch(name)
    assert form is not None, name
    source = read_source(form)
    if source.name in SAMPLERS:
        return SAMPLERS.get(source.name)
    with SAMPLERS.aside() as declared:
        function = function_of(execute(source), source)
    _check_signature(function, source)
    found = [entry for entry in declared.values() if entry.run is function]
    with SAMPLERS.aside():
        entry = found[0] if found else _plain(function, source)
    run = _guarded(function, source)
    return SAMPLERS.add(source.name, replace(entry, name=source.name, run=run, source=source))


def _check_signature(function: Callable[..., torch.Tensor], source: Source) -> None:
    kinds = inspect.Parameter
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    own = [p for p in parameters if p.kind is kinds.KEYWORD_ONLY]
    problem = ""
    if starred := [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]:
        problem = f"it takes any {starred[0]}, so its parameters cannot be checked"
    elif len(positional) > 4 and positional[4].default is not kinds.empty:
        problem = f"there must be a * before its parameter {positional[4].name}"
    elif len(positional) != 4:
        problem = f"it takes {len(positional)} positional arguments, not 4"
    elif bare := [p.name for p in own if p.default is kinds.empty and p.name not in HANDED]:
        problem = f"its parameter {bare[0]} needs a default"
    if problem:
        line = function.__code__.co_firstlineno
        raise HarnessError(
            f"{source.path}, line {line}: {source.function} is no sampler: {problem}; "
            f"write {_LOOKS.format(source.function)}"
        )


def _plain(function: Callable[..., torch.Tensor], source: Source) -> Sampler:
    """An entry for an undecorated function; its needs are those among its parameters."""
    parameters = inspect.signature(function).parameters.values()
    needs = tuple(p.name for p in parameters if p.name in HANDED and p.default is p.empty)
    title = (inspect.getdoc(function) or source.function).splitlines()[0]
    try:
        sampler(source.name, title=title, paper=source.path, needs=needs)(function)
    except Exception as error:  # annotations that mean nothing
        line = function.__code__.co_firstlineno
        raise HarnessError(
            f"{source.path}, line {line}: {type(error).__name__}: {error}"
        ) from error
    return SAMPLERS.get(source.name)


def _guarded(function: Callable[..., torch.Tensor], source: Source) -> Callable[..., torch.Tensor]:
    """The function, its exceptions and invalid results raised as HarnessError."""

    @wraps(function)
    def run(
        denoise: Denoise, x: torch.Tensor, sigmas: torch.Tensor, noise: Noise, **own: Any
    ) -> torch.Tensor:
        shape, state = x.shape, torch.get_rng_state()
        try:
            result = function(denoise, x, sigmas, noise, **own)
        except (HarnessError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:
            raise within(source, error) from error
        if not isinstance(result, torch.Tensor) or result.shape != shape:
            found = tuple(result.shape) if isinstance(result, torch.Tensor) else repr(result)
            raise HarnessError(
                f"{source.path}: {source.function} must return the last state, of the shape of x, "
                f"{tuple(shape)}; it returned {found}"
            )
        if not torch.equal(state, torch.get_rng_state()):
            raise HarnessError(
                f"{source.path}: {source.function} draws from torch's global generator, so that no "
                "image could be made again: take noise(), each sample's next unit normals"
            )
        return result

    return run
