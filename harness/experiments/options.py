"""The options that bench, survey, sweep, tune and ablate share, declared once.

A function takes them as `**options`; `with_options` gives it a keyword for each, as Python and the
command line see it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any, TypeVar, get_type_hints

from harness.core.call import split_list
from harness.core.errors import HarnessError

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to compare, on what, and how to run it; None is the benchmark's or the model's value.

    Several values are a list or a text with commas: `metrics`, `curve` ("auto", "none" or guidance
    weights). `seeds` is "0-3" or "0,2,5-8", a number or several, `size` "HxW" or (height, width).
    """

    model: str | None = None
    bench: str | None = None  # a benchmark by name, or its YAML file; None: the model's own
    baseline: str | None = None
    guide: str | None = None
    seeds: str | int | Iterable[int | str] | None = None
    tiny: bool = False
    prompts: str | None = None
    metrics: str | Sequence[str] | None = None
    split: str | None = None
    limit: int | None = None
    column: str | None = None
    prompts_folder: str | None = None
    match: str = "macs"
    match_guidance: str = "constant"
    curve: str | Sequence[float] = "auto"
    results: str = "results"
    size: str | int | tuple[int, int] | None = None
    dtype: str | None = None
    decode_dtype: str | None = None  # the decoder's precision, a setting of the model
    device: str | None = None
    threads: int = 1
    batch_size: int | str | None = None  # "auto": by the GPU's memory, the default there
    tf32: bool = False
    compile: bool = False
    workers: int | None = None
    track: str | None = None  # tensorboard, wandb or mlflow
    log_folder: str | None = None  # for a log of each process; None: logs/ with the runs


def _without(*names: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(Options) if field.name not in names)


OPTIONS = _without()
OF_SWEEP = _without("baseline", "match", "match_guidance", "curve")
OF_ABLATION = _without("baseline", "match_guidance", "curve")
OF_TUNING = ("baseline", *_without("baseline", "split"))


def with_options(
    names: Sequence[str], described: Mapping[str, Any] | None = None
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """A decorator: declares a function's `**options` as the fields `names` of Options.

    They follow its own parameters, in this order. `described` holds annotations in place of the
    types.
    """
    kinds = described or get_type_hints(Options)
    defaults = {field.name: field.default for field in fields(Options)}
    kind = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(name, kind, default=defaults[name], annotation=kinds[name])
        for name in names
    ]

    def declare(function: Callable[..., R]) -> Callable[..., R]:
        @wraps(function)
        def checked(*arguments: Any, **keywords: Any) -> R:
            signature.bind(*arguments, **keywords)
            return function(*arguments, **keywords)

        signature = inspect.signature(function, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        signature = signature.replace(parameters=[*own, *shared])
        checked.__signature__ = signature  # type: ignore[attr-defined]
        return checked

    return declare


def curve_weights(curve: str | Sequence[float]) -> list[float] | None:
    """The guidance weights of `curve`; None where they are to be chosen."""
    if curve in ("auto", "none"):
        return None if curve == "auto" else []
    try:
        return [float(one) for one in (split_list(curve) if isinstance(curve, str) else curve)]
    except ValueError:
        message = f"--curve {curve!r} is neither auto nor none nor weights such as 1,2,4,8"
        raise HarnessError(message) from None
