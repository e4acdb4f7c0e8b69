"""The encoders of set metrics by name: any of them goes with any statistic."""

from __future__ import annotations

from harness.core.call import parse_call
from harness.core.errors import unknown
from harness.metrics.base import Encoder, construct
from harness.metrics.clip_features import ClipFeatures, CmmdFeatures
from harness.metrics.dinov2 import Dinov2
from harness.metrics.inception import InceptionClean, InceptionPytorch, InceptionTensorflow

ENCODERS: dict[str, type[Encoder]] = {
    cls.name: cls
    for cls in (
        InceptionTensorflow,
        InceptionClean,
        InceptionPytorch,
        Dinov2,
        ClipFeatures,
        CmmdFeatures,
    )
}


def make_encoder(text: str) -> Encoder:
    """The encoder of a text such as `dinov2(resize=pil)`.

    Raises HarnessError for an unknown name or parameter (with the closest) and a wrong value.
    """
    call = parse_call(text)
    if call.name not in ENCODERS:
        raise unknown("encoder", call.name, ENCODERS)
    return construct("encoder", ENCODERS[call.name], call)
