"""Align Your Steps: levels that were optimised for a model, as diffusers ships their tables.

Sabour et al. 2024, Align Your Steps: Optimizing Sampling Schedules in Diffusion Models,
arXiv:2404.14507.
"""

from __future__ import annotations

import numpy as np
import torch

from harness.core.errors import HarnessError

TABLES = {
    "StableDiffusionPipeline": "StableDiffusionSigmas",
    "StableDiffusionXLPipeline": "StableDiffusionXLSigmas",
}
"""The table of a pipeline class, by its name in diffusers' AysSchedules."""

_SAME_RANGE = 0.01


def ays_levels(table: str, steps: int, sigma_min: float, sigma_max: float) -> torch.Tensor:
    """The sigmas [steps+1] of a table, between its levels log-linear in their index as the paper's
    authors do; from the model's highest to its lowest level, which stands for the table's 0.

    Raises HarnessError for a model that does not begin where the table does.
    """
    from diffusers.schedulers.scheduling_utils import AysSchedules

    levels = np.array([*AysSchedules[table][:-1], sigma_min])
    if abs(sigma_max / levels[0] - 1) > _SAME_RANGE:
        raise HarnessError(
            f"spacing=ays begins at sigma {levels[0]:g}, as the models that it was made for; this "
            f"model's highest level is {sigma_max:.6g}"
        )
    levels[0] = sigma_max
    even = np.linspace(0, len(levels) - 1, steps + 1)
    found = torch.from_numpy(np.exp(np.interp(even, np.arange(len(levels)), np.log(levels))))
    found[0], found[-1] = sigma_max, sigma_min  # but for the logarithm's rounding
    return found
