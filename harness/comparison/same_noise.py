"""Check that two runs start from the same noise, so that their images are pairs."""

from __future__ import annotations

from harness.core.errors import HarnessError
from harness.store.run import Run

_OPTIONS = {"noise_key": "--noise-key", "size": "--size"}


def check_same_noise(candidate: Run, baseline: Run) -> None:
    """Raise HarnessError for runs that do not start from the same noise.

    Imported images are taken as declared. Runs of different models may be compared where they do:
    differences are then of model and sampler together.
    """
    if candidate.imported or baseline.imported:
        return
    one, other = candidate.spec, baseline.spec
    for name, option in _OPTIONS.items():
        a, b = getattr(one, name), getattr(other, name)
        if a == b:
            continue
        sides = f"{candidate.path} and {baseline.path}"
        if one.model == other.model:
            raise HarnessError(
                f"{sides} do not start from the same noise: their {name} is {a!r} and {b!r}. "
                f"Generate the baseline with the candidate's {name}"
            )
        raise HarnessError(
            f"{sides} are runs of different models, {one.model} and {other.model}. These can be "
            f"compared where both start from the same noise, but their {name} is {_text(a)} and "
            f"{_text(b)}: generate both with the same {option} and prompts, or compare runs of one "
            "model"
        )


def _text(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
