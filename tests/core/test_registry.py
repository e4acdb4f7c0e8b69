from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.errors import HarnessError, unknown
from harness.core.registry import Registry
from harness.models.base import MODELS
from harness.samplers.base import SAMPLERS


def test_modules_of_the_package_register_themselves() -> None:
    assert {"ddim", "heun", "dpmpp_2m", "zigzag"} <= set(SAMPLERS.names())
    assert {"shapes", "gmm", "sd15", "sd21", "sdxl", "dreamshaper-xl"} <= set(MODELS.names())


def test_an_unknown_name_names_the_closest() -> None:
    with pytest.raises(HarnessError, match="unknown sampler 'zigzg': did you mean 'zigzag'"):
        SAMPLERS.get("zigzg")
    assert "known: a, b" in str(unknown("thing", "quite else", ["b", "a"]))


def test_a_name_is_registered_once() -> None:
    registry: Registry[int] = Registry("thing", "harness.samplers")
    registry.add("a", 1)
    with pytest.raises(HarnessError, match="twice"):
        registry.add("a", 2)


PLUGIN = """
from harness.metrics.base import ItemMetric, metric

@metric("tiny-red", title="Red", direction="higher", range=(0, 1), model="none",
             paper="-", licence="-", needs_prompts=False)
class Red(ItemMetric):
    def score(self, images, rows):
        return (images[:, 0].double().mean((1, 2)) / 255).tolist()
"""


def with_plugin(folder: Path, source: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run code where a package with a metric is installed."""
    (folder / "tiny_red.py").write_text(source)
    info = folder / "tiny_red-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-red\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[harness.metrics]\ntiny-red = tiny_red:Red\n")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{root}", "COLUMNS": "400"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_an_installed_package_adds_a_metric(tmp_path: Path) -> None:
    code = (
        "import sys; from harness import cli; from harness.metrics.base import make_metric\n"
        "import torch\n"
        "images = torch.full((1, 3, 2, 2), 51, dtype=torch.uint8)\n"
        "print(make_metric('tiny-red').score(images, []))\n"
        "sys.argv = ['harness', 'list', 'metrics']; cli.main()"
    )
    done = with_plugin(tmp_path, PLUGIN, code)
    assert done.stdout.startswith("[0.2]"), done.stderr
    assert "tiny-red" in done.stdout


def test_a_package_that_does_not_load_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; from harness import cli\nsys.argv = ['harness', 'list', 'metrics']; cli.main()"
    )
    done = with_plugin(tmp_path, "import no_such_module", code)
    assert done.returncode == 2
    assert "metric 'tiny-red' of the installed package tiny-red does not load" in done.stderr
    assert "no_such_module" in done.stderr
    assert "Traceback" not in done.stderr
