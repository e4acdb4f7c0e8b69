"""`import harness`: a whole benchmark with nothing else, and what it promises."""

from __future__ import annotations

import inspect
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

import harness
from harness.core.registry import Registry


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_import_loads_no_heavy_library() -> None:
    heavy = ["torch", "pandas", "pyarrow", "diffusers", "matplotlib", "pydantic", "numpy", "typer"]
    code = f"import sys, harness; dir(harness); print(*[m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", [name for name in harness.__all__ if name != "__version__"])
def test_every_name_is_there_and_documented(name: str) -> None:
    found = getattr(harness, name)
    assert name in dir(harness)
    assert (inspect.getdoc(found) or "").strip()
    if inspect.isfunction(found):
        hints = inspect.signature(found)
        assert hints.return_annotation is not inspect.Signature.empty
        assert all(p.annotation is not p.empty for p in hints.parameters.values())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'benhc'"):
        harness.benhc  # noqa: B018


def test_a_whole_benchmark_with_nothing_else() -> None:
    samplers = ["ddim(steps=2)", "heun(steps=2)"]
    a, b = harness.generate(samplers, model="gmm", prompts="prompts.txt", seeds=range(2))
    scores = harness.evaluate([a, b], "contrast")
    found = harness.compare(a, b, metrics="contrast")
    assert list(scores["n"]) == [4, 4]
    assert "heun" in found.verdict
    assert {"winning_rate", "low", "high", "pairs"} <= set(found.rates.columns)
    assert found.verdict in found._repr_html_()
    assert found.report().name == "index.html"


@pytest.fixture(autouse=True)
def _prompts(_here: None) -> None:
    Path("prompts.txt").write_text("class 0\nclass 1\n")


def test_one_sampler_gives_its_run_and_a_run_its_tables(tmp_path: Path) -> None:
    run = harness.generate("ddim(steps=2)", model="gmm", prompts=Path("prompts.txt"), seeds=0)
    assert not isinstance(run, list)
    harness.evaluate(Path(run.path), ["contrast", "saturation"])
    again = harness.load_run(Path(run.path))
    assert len(again.images()) == 2
    assert list(again.scores().columns[-2:]) == ["contrast", "saturation"]
    assert again.scores()["contrast"].notna().all()
    assert "ddim" in again._repr_html_()


def test_texts_that_mean_the_same_are_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["ddim(steps=1)", "ddim(steps=1, eta=0)", "heun(steps=1)"]
    runs = harness.generate(texts, model="gmm", prompts="prompts.txt")
    assert [run.spec.sampler.name for run in runs] == ["ddim", "heun"]
    images = sum(len(run.frame("images", ["item_id"])) for run in runs)
    assert f"generate: {images}/{images}" in capsys.readouterr().err


def test_without_metrics_those_that_both_runs_have_are_compared() -> None:
    a, b = harness.generate(["ddim(steps=2)", "heun(steps=2)"], model="gmm", prompts="prompts.txt")
    with pytest.raises(harness.HarnessError, match="no metric in common"):
        harness.compare(a, b)
    harness.evaluate([a, b], "contrast")
    harness.evaluate(a, "saturation")
    assert set(harness.compare(a, b).rates["metric"]) == {"contrast"}


def test_sample_gives_pictures() -> None:
    pictures = harness.sample(
        "ddim(steps=1)", model="gmm", prompt=["class 0", "class 1"], seed=[0, 1]
    )
    assert [type(picture) for picture in pictures] == [Image.Image] * 4
    assert pictures[0].size == (8, 8)
    assert not list(Path().glob("samples*"))


def test_wrong_requests_are_one_message() -> None:
    with pytest.raises(harness.HarnessError, match="did you mean 'ddim'"):
        harness.generate("dimm", model="gmm", prompts="prompts.txt")
    with pytest.raises(harness.HarnessError, match="whole number"):
        harness.generate("ddim", model="gmm", prompts="prompts.txt", seeds=[])
    with pytest.raises(harness.HarnessError, match=r"holds no run"):
        harness.load_run("nowhere")
    with pytest.raises(harness.HarnessError, match="no sampler is named"):
        harness.generate([], model="gmm", prompts="prompts.txt")
    with pytest.raises(harness.HarnessError, match="no value of guidance"):
        harness.sweep("ddim", vary={"guidance": []}, model="gmm", prompts="prompts.txt")
    for name in ("threads", "batch_size"):
        with pytest.raises(harness.HarnessError, match=f"{name} 0: at least 1"):
            harness.generate("ddim", model="gmm", prompts="prompts.txt", **{name: 0})
    assert not list(Path("results").rglob("run.json"))  # which would say threads: 0 for ever
    with pytest.raises(harness.HarnessError, match="workers 0: at least 1"):
        harness.bench("ddim", model="gmm", prompts="prompts.txt", workers=0)


@pytest.fixture
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    from harness.engine.policies.base import POLICIES
    from harness.metrics.base import METRICS
    from harness.models.base import MODELS
    from harness.prompts.base import PROMPT_SETS
    from harness.samplers.base import SAMPLERS

    registry: Registry[object]
    for registry in (SAMPLERS, METRICS, POLICIES, MODELS, PROMPT_SETS):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.mark.usefixtures("_registries")
def test_ones_own_sampler_metric_prompts_and_model_run_together() -> None:
    @harness.sampler("mine", title="Mine", paper="-")
    def mine(denoise, x, sigmas, noise, *, guidance: float = 1.0):  # type: ignore[no-untyped-def]
        for s, t in pairwise(sigmas):
            x = x + (t - s) * harness.epsilon(x, denoise(x, s, guidance), s)
        return x

    @harness.metric(
        "redness", title="Redness", direction="higher", model="-", paper="-", licence="-"
    )
    class Redness(harness.ItemMetric):  # type: ignore[misc]
        def score(self, images, rows):  # type: ignore[no-untyped-def]
            return (images[:, 0].float().mean((1, 2)) / 255).tolist()

    @harness.prompt_set("two-classes")
    def two_classes() -> list[str]:
        """Two classes."""
        return ["class 0", "class 1"]

    from harness.models.base import MODELS

    gmm = MODELS.get("gmm")

    @harness.model("twin", size=(8, 8), ladders=gmm.ladders, steps=2, guidance=1.0, dtype="float64")
    def twin(request):  # type: ignore[no-untyped-def]
        """Another mixture."""
        return gmm.load(request)

    run, ddim = harness.generate(["mine", "ddim"], model="twin", prompts="two-classes", out=None)
    harness.evaluate([run, ddim], "redness")
    assert torch.allclose(
        torch.tensor(run.scores()["redness"]), torch.tensor(ddim.scores()["redness"])
    )
    assert run.spec.model == "twin"


@pytest.mark.usefixtures("_registries")
def test_ones_own_policy_goes_with_every_sampler() -> None:
    @harness.policy("twice", title="Twice", paper="-")
    class Twice(harness.GuidancePolicy):  # type: ignore[misc]
        def __init__(self, at, *, twice: bool | None = None) -> None:  # type: ignore[no-untyped-def]
            self.factor = 2 if twice else 1

        def scale(self, scale, step):  # type: ignore[no-untyped-def]
            return self.factor * scale

    ours = "ddim(steps=2, guidance=1.5, twice=true)"
    runs = harness.generate(
        [ours, "ddim(steps=2, guidance=3.0)"], model="gmm", prompts="prompts.txt"
    )
    harness.evaluate(runs, "contrast")
    one, two = (run.scores()["contrast"] for run in runs)
    pd.testing.assert_series_equal(one, two)


@pytest.mark.usefixtures("_registries")
def test_what_is_registered_in_one_process_is_run_in_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @harness.sampler("mine", title="Mine", paper="-")
    def mine(denoise, x, sigmas, noise, *, guidance: float = 1.0):  # type: ignore[no-untyped-def]
        return denoise(x, sigmas[0], guidance)

    @harness.policy("twice", title="Twice", paper="-")
    class Twice(harness.GuidancePolicy):  # type: ignore[misc]
        def __init__(self, at, *, twice: bool | None = None) -> None: ...  # type: ignore[no-untyped-def]

    def started(command: list[str], workers: int, settings: object) -> None:
        raise RuntimeError(f"{command[0]} in {workers} processes")

    monkeypatch.setattr("harness.experiments.stages.launch", started)
    monkeypatch.setattr("harness.experiments.stages.planned_processes", lambda *of: of[-1])
    of = {"vary": {"guidance": [1, 2]}, "model": "gmm", "prompts": "prompts.txt", "seeds": "0-4"}
    of |= {"metrics": "contrast", "device": "cpu", "workers": 2}
    for own, named in (("mine(steps=1)", "sampler mine"), ("ddim(twice=true)", "policy twice")):
        caplog.clear()
        assert len(harness.sweep(own, **of).points) == 2
        assert f"{named} is registered in this process alone" in caplog.text
    with pytest.raises(RuntimeError, match="make-shards in 2 processes"):
        harness.sweep("heun(steps=1)", **of)


def test_a_bench_with_seeds_and_paths_as_python_has_them() -> None:
    found = harness.bench(
        "heun(steps=2)",
        model="gmm",
        baseline="ddim(steps=2)",
        prompts=Path("prompts.txt"),
        seeds=range(2),
        metrics=["contrast"],
        curve="none",
        results=Path("r"),
        workers=1,
        size=8,
    )
    assert {"own", "matched cost"} <= set(found.rates["comparison"])
    assert Path(found.folder).is_relative_to("r")
    again = harness.report(found.folder)
    assert again.verdict == found.verdict
    with pytest.raises(TypeError, match="seedz"):
        harness.bench("heun", seedz="0")


def test_a_report_names_the_command_that_was_typed_and_no_other_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = harness.generate(["ddim(steps=1)", "heun(steps=1)"], model="gmm", prompts="prompts.txt")
    harness.evaluate(runs, "contrast")
    for program, told in (
        ("/usr/bin/harness", ["harness -f x"]),
        ("/lib/harness/__main__.py", ["harness -f x"]),
        ("/lib/ipykernel_launcher.py", []),
        ("", []),
    ):
        monkeypatch.setattr("sys.argv", [program, "-f", "x"])
        assert harness.compare(*runs, metrics="contrast").tables.commands == told


def test_a_sweep_takes_values_as_a_mapping() -> None:
    found = harness.sweep(
        "ddim",
        vary={"steps": [1, 2]},
        model="gmm",
        prompts="prompts.txt",
        metrics="contrast",
        workers=1,
    )
    assert len(found.points) == 2
    assert "ddim" in found._repr_html_()


def test_metrics_as_torchmetrics() -> None:
    pictures = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8)
    contrast = harness.as_torchmetric("contrast")
    contrast.update(pictures[:2])
    contrast.update(pictures[2:])
    whole = harness.as_torchmetric("contrast")
    whole.update(pictures)
    assert contrast.compute() == pytest.approx(whole.compute().item(), rel=1e-6)
    assert contrast.higher_is_better

    distance = harness.as_torchmetric("shapes-fd")
    distance.update(pictures)
    first = distance.metric.statistic()
    rows = distance.metric.encoder.encode(pictures).numpy()
    expected = first.value(first.gather(rows))
    found = distance.compute()
    assert (
        torch.isnan(found) if not isinstance(expected, float) else found == pytest.approx(expected)
    )
    with pytest.raises(harness.HarnessError, match="prompt"):
        harness.as_torchmetric("shapes-alignment").update(pictures)


def _scaled(factor: float) -> None:
    """Registers a sampler and a metric, whose code is what `factor` makes it."""
    source = f"""
import harness

@harness.sampler("scaled", title="Scaled", paper="-")
def scaled(denoise, x, sigmas, noise, *, guidance: float = 1.0):
    return {factor} * denoise(x, sigmas[0], guidance)

@harness.metric("scaled-mean", title="Mean", direction="higher", model="-", paper="-", licence="-")
class ScaledMean(harness.ItemMetric):
    def score(self, images, rows):
        return ({factor} * images.float().mean((1, 2, 3))).tolist()
"""
    exec(compile(source, f"<cell {factor}>", "exec"), {"__name__": "__main__"})


@pytest.mark.usefixtures("_registries")
def test_a_definition_that_is_run_again_replaces_the_first_and_its_pictures_are_its_own() -> None:
    _scaled(1.0)
    about = {"model": "gmm", "prompts": "prompts.txt"}
    run = harness.generate("scaled(steps=1)", **about, out="one")
    first = harness.evaluate(run, "scaled-mean")["value"][0]
    _scaled(0.5)
    with pytest.raises(harness.HarnessError, match="code of sampler scaled is"):
        harness.generate("scaled(steps=1)", **about, out="one")
    assert harness.evaluate(run, "scaled-mean")["value"][0] == pytest.approx(first / 2)


COMMANDS = {"import": "import_images"}


@pytest.mark.parametrize(
    "command",
    [
        "bench",
        "sweep",
        "tune",
        "ablate",
        "generate",
        "sample",
        "evaluate",
        "import",
        "compare",
        "report",
        "power",
    ],
)
def test_commands_have_the_parameters_of_their_functions(command: str) -> None:
    from typer.main import get_command

    from harness.cli import app, load_commands

    load_commands()
    group = get_command(app)
    known = {p.name for p in group.commands[command].params}  # type: ignore[attr-defined]
    function = inspect.signature(getattr(harness, COMMANDS.get(command, command)))
    assert known - {"help", "typed", "verbose"} == set(function.parameters) - {"say", "note"}


@pytest.mark.usefixtures("_registries")
def test_images_that_failed_say_so_in_the_table() -> None:
    @harness.sampler("endless", title="Endless", paper="-")
    def endless(denoise, x, sigmas, noise, *, guidance: float = 1.0):  # type: ignore[no-untyped-def]
        return denoise(x, sigmas[0], guidance) * float("nan")

    with pytest.raises(harness.HarnessError, match="every picture of endless failed"):
        harness.generate("endless", model="gmm", prompts="prompts.txt", out="endless")
    run = harness.load_run("endless")
    (row,) = harness.evaluate(run, "contrast").to_dict("records")
    assert row["n"] == 0
    assert row["reason"] == "contrast: 0 of 2 images scored; 2 not: failed: not finite"
