"""Benchmark and evaluation harness for diffusion samplers: which one really wins?

    import harness

    run = harness.generate("zigzag(steps=20)", model="sdxl", prompts="drawbench", seeds="0-3")
    base = harness.generate("ddim(steps=50)", model="sdxl", prompts="drawbench", seeds="0-3")
    harness.evaluate([run, base], ["hpsv2", "clip"])
    harness.compare(run, base, metrics="hpsv2").verdict

    harness.bench("zigzag", model="sdxl")   # all of it, and the baseline at equal cost and guidance

Names are looked up when they are first used, so that `import harness` loads no heavy library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from harness.core.errors import HarnessError as HarnessError
    from harness.core.shards import Prompt as Prompt
    from harness.engine.policies.base import GuidancePolicy as GuidancePolicy
    from harness.engine.policies.base import PolicyContext as PolicyContext
    from harness.engine.policies.base import policy as policy
    from harness.face.benchmarks import ablate as ablate
    from harness.face.benchmarks import bench as bench
    from harness.face.benchmarks import survey as survey
    from harness.face.benchmarks import sweep as sweep
    from harness.face.benchmarks import tune as tune
    from harness.face.extending import model as model
    from harness.face.extending import prompt_set as prompt_set
    from harness.face.judging import compare as compare
    from harness.face.judging import evaluate as evaluate
    from harness.face.judging import power as power
    from harness.face.judging import report as report
    from harness.face.making import generate as generate
    from harness.face.making import import_images as import_images
    from harness.face.making import load_run as load_run
    from harness.face.making import sample as sample
    from harness.face.sharing import export as export
    from harness.face.torchmetric import as_torchmetric as as_torchmetric
    from harness.metrics import Encoder as Encoder
    from harness.metrics import ItemMetric as ItemMetric
    from harness.metrics import PromptMetric as PromptMetric
    from harness.metrics import SetMetric as SetMetric
    from harness.metrics import Undefined as Undefined
    from harness.metrics import metric as metric
    from harness.samplers.base import Denoise as Denoise
    from harness.samplers.base import Noise as Noise
    from harness.samplers.base import epsilon as epsilon
    from harness.samplers.base import sampler as sampler

_HOMES = {
    # what makes
    "harness.face.making": ("generate", "sample", "import_images", "load_run"),
    # what judges
    "harness.face.judging": ("evaluate", "compare", "report", "power"),
    "harness.face.torchmetric": ("as_torchmetric",),
    "harness.face.benchmarks": ("bench", "survey", "sweep", "tune", "ablate"),
    # what hands on
    "harness.face.sharing": ("export",),
    # what registers one's own, and what that is written with
    "harness.face.extending": ("prompt_set", "model"),
    "harness.samplers.base": ("sampler", "Denoise", "Noise", "epsilon"),
    "harness.engine.policies.base": ("policy", "GuidancePolicy", "PolicyContext"),
    "harness.metrics": (
        "metric",
        "ItemMetric",
        "PromptMetric",
        "SetMetric",
        "Encoder",
        "Undefined",
    ),
    "harness.core.shards": ("Prompt",),
    "harness.core.errors": ("HarnessError",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
