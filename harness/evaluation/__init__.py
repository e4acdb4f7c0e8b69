"""Evaluation: scores and features of a run's images, set scores, reference statistics."""

from harness.evaluation.evaluating import EvaluationReport, Outcome, evaluate, pending
from harness.evaluation.set_scores import SetScore, by_seed_range, set_score

__all__ = [
    "EvaluationReport",
    "Outcome",
    "SetScore",
    "by_seed_range",
    "evaluate",
    "pending",
    "set_score",
]
