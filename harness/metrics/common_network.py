"""Which metrics judge by the same network, so that one must not choose what the other judges."""

from __future__ import annotations

from harness.metrics.base import Metric


def common_network(verifier: Metric, judge: Metric) -> str | None:
    """Why `verifier` must not choose the pictures that `judge` scores; None where it may.

    A picture that is chosen for a network's score is chosen for that network's errors, too, and
    scores better there than anywhere else. So a metric judges neither its own choice nor that of
    another metric with a network of the same family: hpsv2 and hpsv2.1, one architecture fine-tuned
    twice; a CLIP score, and a predictor on top of that CLIP.
    """
    if verifier.name == judge.name:
        return f"{judge.name} is the verifier itself"
    if verifier.family is not None and verifier.family == judge.family:
        return f"{judge.name} has the network of the verifier {verifier.name} ({judge.family})"
    return None
