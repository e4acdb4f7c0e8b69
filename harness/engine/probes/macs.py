"""Multiply-accumulates of one evaluation, and of a whole picture."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import cast

from torch.utils.flop_counter import FlopCounterMode

from harness.core.call import Call
from harness.core.run_spec import RunSpec
from harness.core.shards import Prompt
from harness.engine.batch import Batch
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.engine.policies.like import ANY_SCALE
from harness.engine.probes.priced import Meter, PricedNetwork
from harness.engine.resolve import resolve
from harness.models.pipelines.pipeline_model import PipelineModel
from harness.samplers.base import SAMPLERS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ledger:
    """Multiply-accumulates of matrix products, convolutions and attention, for one picture.

    `picture`: of all that its sampler evaluates, whatever the networks, with what it adds to them
    (AsynDM's time embeddings, say); without text encoder and decoder. `evaluation`: of the main
    network, once, on one sample. `calls`: of the denoiser, for the picture; codes that evaluate
    both branches always would count two evaluations each; None of a function of a
    pipeline. `evaluations` are the picture's by
    "network/branch".
    """

    picture: int
    evaluation: int
    calls: int | None
    evaluations: dict[str, int]


def count_macs(models: Ensemble, spec: RunSpec, prompt: Prompt) -> Ledger:
    """The multiply-accumulates of one picture, by torch's flop counter.

    Its sampler runs without values, and each kind of evaluation is computed once for all runs of
    the loaded `models`, mostly without their weights. A picture is made where that does not tell:
    by functions of a pipeline, by samplers that look into a network (AsynDM, whose embeddings
    depend on the picture), and by those of a user that look at values.
    """
    once = resolve(Call("ddim", {"steps": 1, "guidance": 1.0}), {})
    models.encode([prompt.text], [spec.negative], spec.sampler)  # so that encoding is not counted
    picture, batch = _count(models, spec, prompt, spec.sampler)
    evaluation, _ = _count(models, spec, prompt, once)
    calls = len(batch.applied.scales) if batch.applied else None
    made = {f"{net}/{branch}": rows[0] for (net, branch), rows in batch.evaluations.items()}
    return Ledger(
        picture, evaluation, calls, {name: count for name, count in made.items() if count}
    )


def _count(models: Ensemble, spec: RunSpec, prompt: Prompt, call: Call) -> tuple[int, Batch]:
    """Multiply-accumulates, and the picture."""
    sampler, meter = SAMPLERS.get(call.name), Meter()
    if not sampler.whole and not sampler.abilities:
        priced = models.standing_in(lambda model, kinds: PricedNetwork(model, kinds, meter))
        try:
            counter, batch = _run(priced, spec, prompt, call)
        except Exception as error:  # whatever a look at no value leads to
            log.debug("%s makes a picture to be counted: %s", call, error)
        else:
            return (int(counter.get_total_flops()) + meter.total) // 2, batch
    counter, batch = _run(models, spec, prompt, call)
    return _within_networks(counter, models, call, batch) // 2, batch


def _run(
    models: Ensemble, spec: RunSpec, prompt: Prompt, call: Call
) -> tuple[FlopCounterMode, Batch]:
    model = models.model
    shape = model.latent_shape(spec.pixels)
    noise = NoiseStreams([0], shape, dtype=model.state_dtype, device=model.device)
    with FlopCounterMode(display=False) as counter:
        notes = [prompt.notes]
        batch = models.run(call, [prompt.text], [spec.negative], noise, notes, scales=ANY_SCALE)
    return counter, batch


def _within_networks(counter: FlopCounterMode, models: Ensemble, call: Call, batch: Batch) -> int:
    """Operations; of a function of a pipeline, which encodes and decodes by itself, those within
    the networks that were evaluated."""
    if not SAMPLERS.get(call.name).whole:
        return int(counter.get_total_flops())
    main = type(cast(PipelineModel, models.model).net).__name__
    names = {main if network == "main" else network for network, _ in batch.evaluations}
    by_module = counter.get_flop_counts()
    return sum(int(sum(by_module[name].values())) for name in names if name in by_module)
