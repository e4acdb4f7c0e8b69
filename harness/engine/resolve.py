"""Resolving a sampler's call: every parameter filled in and checked, its policies' included."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from harness.core.call import Call
from harness.core.errors import HarnessError, unknown
from harness.engine.policies.base import policies
from harness.samplers.base import LADDER, SAMPLERS, Count, Sampler, Source
from harness.samplers.diffusers_solvers import scheduler_name
from harness.samplers.file import is_file_sampler, load_sampler
from harness.samplers.pipeline_function import is_pipeline_function, load_pipeline_function


class Mistyped(HarnessError):
    """A parameter's value has the wrong type."""


def resolve(call: Call, defaults: dict[str, Any]) -> Call:
    """The call of a sampler with every parameter filled in and checked.

    The sampler is a registered one, a function of a file, `PATH.py:FUNCTION` (samplers/file.py), or
    of a pipeline (samplers/pipeline_function.py), or
    a scheduler of diffusers, `diffusers:NAME` (samplers/diffusers_solvers.py). `defaults` (of
    the model or the benchmark) fill in for `steps` and `guidance` where the call does not give
    them; parameters that are None are left out. Raises HarnessError for unknown names, values of a
    wrong kind, and parameters that contradict each other.
    """
    if call.name not in SAMPLERS and is_pipeline_function(call.name):
        return _resolved(load_pipeline_function(call.name), call.params, defaults)
    if call.name not in SAMPLERS and is_file_sampler(call.name):
        return _resolved(load_sampler(call.name), call.params, defaults)
    return _resolved(SAMPLERS.get(scheduler_name(call.name)), call.params, defaults)


def _resolved(sampler: Sampler, params: dict[str, Any], defaults: dict[str, Any]) -> Call:
    kinds = _kinds(sampler)
    for name in params:
        if name not in kinds:
            raise unknown("parameter", name, kinds, where=f"sampler {sampler.name}")
    values = {name: default for name, (_, default) in sampler.own.items()}
    values |= {name: value for name, value in defaults.items() if name in kinds} | params
    if params.get("sigmas") is not None and not sampler.whole:
        values |= _own_ladder(sampler, params)
    if values.get("steps") is None and not sampler.whole:
        raise HarnessError(f"sampler {sampler.name} needs steps: write {sampler.name}(steps=20)")
    checked = {name: _checked(sampler, name, kinds[name], values[name]) for name in values}
    checked = sampler.complete({k: value for k, value in checked.items() if value is not None})
    checked = {n: _checked(sampler, n, kinds[n], checked[n]) for n in kinds if n in checked}
    for policy in () if sampler.whole else policies():
        policy.check(checked)
    if sampler.check:
        sampler.check(checked)
    return Call(sampler.name, checked)


def _own_ladder(sampler: Sampler, params: dict[str, Any]) -> dict[str, Any]:
    """`sigmas` as numbers, and the steps that they are; they are the whole of a ladder."""
    name = f"sampler {sampler.name}"
    if others := [key for key in params if key in LADDER and key != "sigmas" and params[key]]:
        raise HarnessError(f"{name}: sigmas are the whole ladder, so {others[0]} contradicts them")
    sigmas = read_sigmas(params["sigmas"])
    steps = len(sigmas) - 1
    if steps < 1:
        raise HarnessError(f"{name}: sigmas need two levels or more, the first and the last")
    if params.get("steps", steps) != steps:
        raise HarnessError(
            f"{name}: {len(sigmas)} sigmas are the levels of {steps} steps, not of "
            f"{params['steps']}: leave steps out"
        )
    return {"sigmas": sigmas, "steps": steps}


def read_sigmas(given: Any) -> Any:
    """A list of sigmas as it is, or the numbers in a file: apart by spaces, commas or lines, or
    JSON's list. So a run's identity is the numbers, whatever the file is called."""
    if not isinstance(given, str):
        return given if isinstance(given, list) else [given]
    try:
        text = Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise HarnessError(
            f"cannot read sigmas={given!r}: give [14.6, 6.4, ..., 0] or a text file of such numbers"
        ) from None
    words = text.replace(",", " ").replace("[", " ").replace("]", " ").split()
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise HarnessError(f"sigmas={given}: {error}") from None


def parameters(sampler: Sampler) -> dict[str, Any]:
    """Every parameter that may be set, with its default (None: the model's or the ladder's)."""
    return {name: sampler.own.get(name, (None, None))[1] for name in _kinds(sampler)}


def _kinds(sampler: Sampler) -> dict[str, Any]:
    """The annotations of a sampler's parameters, in the order in which they are written."""
    if sampler.whole:
        return {name: kind for name, (kind, _) in sampler.own.items()}
    kinds = {"steps": Count, **{name: LADDER[name] for name in sampler.ladder}}
    owners = [(f"policy {entry.name}", entry.parameters) for entry in policies()]
    owners += [(f"sampler {sampler.name}", {key: kind for key, (kind, _) in sampler.own.items()})]
    for owner, found in owners:
        if taken := [name for name in found if name in kinds]:
            raise HarnessError(f"{owner}: there is a parameter {taken[0]} already, rename it")
        kinds |= found
    return kinds


def _checked(sampler: Sampler, name: str, kind: Any, value: Any) -> Any:
    if value is None and "none" in get_args(kind):
        value = "none"  # the word, where it is one of the choices
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        found = error.errors()[0]
        problem = found["msg"].removeprefix("Input ")
        mistyped = found["type"].endswith("_type") or found["type"] == "literal_error"
        raise (Mistyped if mistyped else HarnessError)(
            f"sampler {sampler.name}: parameter {name}={value!r} {problem}"
        ) from None


def source_of(call: Call) -> Source | None:
    """The file that a resolved call's sampler comes from; None for those of packages."""
    return SAMPLERS.get(call.name).source


def portable(call: Call) -> Call:
    """A resolved call that means the same in another process on this machine."""
    source = source_of(call)
    return Call(source.location, call.params) if source else call


def split_parameters(call: Call) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A resolved call's parameters for the ladder, the guidance policies and the function."""
    names = {name for entry in policies() for name in entry.parameters}
    ladder = {k: v for k, v in call.params.items() if k == "steps" or k in LADDER}
    policy = {k: v for k, v in call.params.items() if k in names}
    own = {k: v for k, v in call.params.items() if k not in ladder and k not in policy}
    return ladder, policy, own
