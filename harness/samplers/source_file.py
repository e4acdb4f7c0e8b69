"""A user's Python file with a function that makes pictures: found, read and executed.

The file's text is part of what identifies a run; what the file imports is not.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.core.errors import HarnessError, unknown
from harness.samplers.base import Source

FORM = re.compile(r"(?P<path>.+\.py)(?::(?P<function>\w*))?(?:@(?P<digest>[0-9a-f]+))?")
"""`PATH.py:FUNCTION`, or with the digest that the text must have."""


def read_source(form: re.Match[str], prefix: str = "") -> Source:
    """The file of a match of FORM; HarnessError where it is not there or has changed."""
    text = _read(form["path"])
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    if form["digest"] and form["digest"] != digest:
        raise HarnessError(f"{form['path']} has changed since this run was planned: start it again")
    path = str(Path(form["path"]).resolve())
    return Source(path, text, digest, form["function"] or "", prefix)


def _read(path: str) -> str:
    file = Path(path)
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = [one.name for one in file.parent.glob("*.py")]
        raise unknown("file", file.name, beside, f"a sampler in {file.parent.resolve()}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"cannot read {path}: {error}") from None


def execute(source: Source) -> ModuleType:
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
        raise within(source, error) from error
    return module


def function_of(module: ModuleType, source: Source) -> Callable[..., Any]:
    """The function that the source names; HarnessError where there is none."""
    functions = {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }
    if not source.function:
        named = f"{source.prefix}{source.path}:{next(iter(functions), 'sample')}"
        raise HarnessError(
            f"{source.path} is a file: name the function as well, {named}; it defines "
            f"{', '.join(functions) or 'none'}"
        )
    if source.function not in functions:
        raise unknown("function", source.function, functions, where=source.path)
    return functions[source.function]


def within(source: Source, error: BaseException) -> HarnessError:
    """An exception in the user's code, with the last line of the file that led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == source.path]
    where = f"{source.path}, line {lines[-1]}" if lines else source.path
    message = " ".join(str(error).split())
    return HarnessError(f"{where}: {type(error).__name__}{f': {message}' if message else ''}")
