"""Runs of different models in one comparison."""

from __future__ import annotations

from harness.core.errors import HarnessError
from harness.store.run import Run


def check_models(candidate: Run, baseline: Run) -> None:
    """Raise HarnessError for runs of different models that do not start from the same noise.

    Where they do, different models may be compared: what is told then is of model and sampler
    together.
    """
    one, other = candidate.spec, baseline.spec
    if candidate.imported or baseline.imported or one.model == other.model:
        return
    options = {"noise_key": "--noise-key", "size": "--size"}
    for name, option in options.items():
        a, b = (_told(getattr(spec, name)) for spec in (one, other))
        if a != b:
            raise HarnessError(
                f"{candidate.path} and {baseline.path} are runs of different models, {one.model} "
                f"and {other.model}. These can be compared where both start from the same noise, "
                f"but their {name} is {a} and {b}: generate both with the same {option} and "
                "prompts, or compare runs of one model"
            )


def _told(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
