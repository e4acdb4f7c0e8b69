"""The best of several pictures of a cheaper run: which metric may choose, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence

from harness.comparison.best_of import Rival
from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.evaluation.picture_cost import picture_macs
from harness.experiments.scoring import metric_info
from harness.metrics.base import METRICS, ItemMetric, Metric, SetMetric, checks, make_metric
from harness.metrics.common_network import common_network
from harness.store.run import Run


def make_verifier(text: str | Call, judges: Sequence[Metric]) -> ItemMetric:
    """The metric that chooses, which must score single images.

    Raises HarnessError where it has the network of the first of `judges`, which verdicts go by.
    """
    verifier = make_metric(text)
    if not isinstance(verifier, ItemMetric):
        raise HarnessError(
            f"the verifier {verifier.name} cannot choose one of several pictures: take a metric "
            "that scores single images (harness list metrics)"
        )
    headline = next((judge for judge in judges if not isinstance(judge, SetMetric)), None)
    if headline and (reason := common_network(verifier, headline)):
        raise HarnessError(
            f"{reason}, and what a network chose must not be judged by it: take another verifier, "
            "or name another metric first"
        )
    return verifier


def usable_verifier(call: Call, judges: Sequence[Metric]) -> ItemMetric | str:
    """The metric that chooses, or why there is none here: not installed, weights missing, or not
    fit to choose for these judges."""
    if call.name not in METRICS:
        return f"this installation has no metric {call.name} to choose by"
    try:
        verifier = make_verifier(call, judges)
    except HarnessError as error:
        return str(error)
    return checks([verifier]).get(verifier.label, verifier)


def make_rival(
    run: Run, verifier: ItemMetric, judges: Sequence[Metric], unit: str = "macs"
) -> Rival:
    """The best of several pictures of `run`, which has the verifier's scores."""
    shared = {judge.label: common_network(verifier, judge) for judge in judges}
    return Rival(
        run,
        metric_info(verifier),
        {label: reason for label, reason in shared.items() if reason},
        *picture_macs(run, verifier),
        unit=unit,
    )
