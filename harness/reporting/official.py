"""NFE by the conventions of the samplers' official codes, which differ."""

from __future__ import annotations

from harness.core.call import Call

_CALLS = ("restart", "asyndm")
_FORWARDS = ("zigzag", "w2sd")

NOTE = (
    "Official count: of the sampler's own code. Restart and AsynDM count calls of the network, a "
    "guided pair once; Z-Sampling and W2SD run both branches at each call where guidance is above "
    "1, and one elsewhere."
)


def official_count(call: Call, calls: int | None) -> int | None:
    """The published code's evaluations of an image, from the `calls` of the denoiser; None where
    they are not known, or the sampler has no code with a count of its own.

    Restart (Xu et al. 2023, arXiv:2306.14878; on Stable Diffusion, too) and AsynDM count network
    calls; Z-Sampling and W2SD evaluate two samples a call, unless guidance is at most 1.
    """
    if calls is None or call.name in _CALLS:
        return calls
    guidance = call.params.get("guidance")
    if call.name not in _FORWARDS or guidance is None:
        return None
    return 2 * calls if guidance > 1 else calls
