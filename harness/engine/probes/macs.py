"""Multiply-accumulates of one evaluation, and of a whole picture."""

from __future__ import annotations

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
from harness.engine.resolve import resolve
from harness.models.pipelines.pipeline_model import PipelineModel
from harness.samplers.base import SAMPLERS


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
    """The multiply-accumulates of one picture, by torch's flop counter while it is made."""
    once = resolve(Call("ddim", {"steps": 1, "guidance": 1.0}), {})
    picture, batch = _count(models, spec, prompt, spec.sampler)
    evaluation, _ = _count(models, spec, prompt, once)
    calls = len(batch.applied.scales) if batch.applied else None
    made = {f"{net}/{branch}": rows[0] for (net, branch), rows in batch.evaluations.items()}
    return Ledger(
        picture, evaluation, calls, {name: count for name, count in made.items() if count}
    )


def _count(models: Ensemble, spec: RunSpec, prompt: Prompt, call: Call) -> tuple[int, Batch]:
    """Multiply-accumulates, and the picture."""
    model = models.model
    shape = model.latent_shape(spec.pixels)
    noise = NoiseStreams([0], shape, dtype=model.state_dtype, device=model.device)
    models.encode([prompt.text], [spec.negative])  # so that encoding is not counted
    with FlopCounterMode(display=False) as counter:
        notes = [prompt.notes]
        batch = models.run(call, [prompt.text], [spec.negative], noise, notes, scales=ANY_SCALE)
    return _within_networks(counter, models, call, batch) // 2, batch


def _within_networks(counter: FlopCounterMode, models: Ensemble, call: Call, batch: Batch) -> int:
    """Operations; of a function of a pipeline, which encodes and decodes by itself, those within
    the networks that were evaluated."""
    if not SAMPLERS.get(call.name).whole:
        return int(counter.get_total_flops())
    main = type(cast(PipelineModel, models.model).net).__name__
    names = {main if network == "main" else network for network, _ in batch.evaluations}
    by_module = counter.get_flop_counts()
    return sum(int(sum(by_module[name].values())) for name in names if name in by_module)
