"""Class labels as conditions, from prompts `class N`; an empty prompt draws a class at random."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from harness.core.errors import HarnessError
from harness.models.base import Condition

DRAWN = -1
"""The label that stands for a class to be drawn from the picture's own random stream."""


def encode_classes(
    prompts: Sequence[str], classes: int, name: str, device: torch.device
) -> Condition:
    """{"class": int64 [B]} of the prompts `class N`, 0 <= N < classes; DRAWN for an empty prompt.

    Raises HarnessError for any other prompt. A model without classes takes the empty one only.
    """
    labels = []
    for prompt in prompts:
        match = re.fullmatch(r"class (\d+)", prompt.strip())
        number = DRAWN if not prompt.strip() else int(match[1]) if match else classes
        if number >= classes:
            allowed = f"'class 0' to 'class {classes - 1}'" if classes else "no prompt"
            raise HarnessError(f"model {name} takes {allowed}, not {prompt!r}")
        labels.append(number)
    return {"class": torch.tensor(labels, device=device)}
