"""Samplers from a user's own file, `./mine.py:sample(steps=20)`, without packaging.

The function is a plain one, `sample(denoise, x, sigmas, noise, *, guidance: float = 5.0, ...)`, or
one that is decorated with `@sampler(...)`. The file's text is part of what identifies a run; what
the file imports is not.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from harness.core.errors import HarnessError, unknown
from harness.samplers.base import HANDED, SAMPLERS, Denoise, Noise, Sampler, Source, sampler

_FORM = re.compile(r"(?P<path>.+\.py)(?::(?P<function>\w*))?(?:@(?P<digest>[0-9a-f]+))?")
_LOOKS = "def {}(denoise, x, sigmas, noise, *, guidance: float = 5.0)"


def is_file_sampler(name: str) -> bool:
    """Whether a sampler's name means a function of a file."""
    return _FORM.fullmatch(name) is not None


def load_sampler(name: str) -> Sampler:
    """Register the sampler `PATH.py:FUNCTION`, as `FILE.py:FUNCTION@DIGEST`, and return it.

    With `@DIGEST` behind it, only that text is taken. Raises HarnessError for a file that is not
    there or does not run, and for a function that is not in it or is no sampler.
    """
    form = _FORM.fullmatch(name)
    assert form is not None, name
    text = _read(form["path"])
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    if form["digest"] and form["digest"] != digest:
        raise HarnessError(f"{form['path']} has changed since this run was planned: start it again")
    source = Source(str(Path(form["path"]).resolve()), text, digest, form["function"] or "")
    if source.name in SAMPLERS:
        return SAMPLERS.get(source.name)
    with SAMPLERS.aside() as declared:
        function = _function(_execute(source), source)
    _check_signature(function, source)
    found = [entry for entry in declared.values() if entry.run is function]
    with SAMPLERS.aside():
        entry = found[0] if found else _plain(function, source)
    run = _guarded(function, source)
    return SAMPLERS.add(source.name, replace(entry, name=source.name, run=run, source=source))


def _read(path: str) -> str:
    file = Path(path)
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = [one.name for one in file.parent.glob("*.py")]
        raise unknown("file", file.name, beside, f"a sampler in {file.parent.resolve()}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"cannot read {path}: {error}") from None


def _execute(source: Source) -> ModuleType:
    """The file executed as a module of its own, with all rights of the user's code."""
    module = ModuleType(f"harness_sampler_{source.digest}")
    module.__file__ = source.path
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(source.text, source.path, "exec"), module.__dict__)
    except SyntaxError as error:
        raise HarnessError(
            f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
        ) from None
    except (Exception, SystemExit) as error:
        raise _within(source, error) from error
    return module


def _function(module: ModuleType, source: Source) -> Callable[..., torch.Tensor]:
    functions = {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }
    if not source.function:
        named = f"{source.path}:{next(iter(functions), 'sample')}"
        raise HarnessError(
            f"{source.path} is a file: name the function as well, {named}; it defines "
            f"{', '.join(functions) or 'none'}"
        )
    if source.function not in functions:
        raise unknown("function", source.function, functions, where=source.path)
    return functions[source.function]


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
            raise _within(source, error) from error
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


def _within(source: Source, error: BaseException) -> HarnessError:
    """An exception in the user's code, with the last line of the file that led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == source.path]
    where = f"{source.path}, line {lines[-1]}" if lines else source.path
    message = " ".join(str(error).split())
    return HarnessError(f"{where}: {type(error).__name__}{f': {message}' if message else ''}")
