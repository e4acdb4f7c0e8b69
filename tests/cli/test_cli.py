"""The command line: help at once, one line and exit code 2 for a mistake, whole benchmarks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from harness import __version__
from harness.store.run import Run
from tests.conftest import TINY_SDXL, harness

GOLDEN = TINY_SDXL.parent


def test_help_needs_no_heavy_library() -> None:
    code = (
        "import sys; from harness import cli; sys.argv = ['harness', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in ('torch', 'pandas', 'pydantic', 'pyarrow') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "bench" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harness(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"harness {__version__}\n"


def test_runs_of_different_models_are_told_to_be_such(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    prompts = _file(tmp_path, "p.txt", "class 1\nclass 2\n")
    asked = ["generate", "--prompts", prompts, "--sampler", "ddim(steps=2)", "--model"]
    models = {"a": ["gmm"], "b": ["shapes-edm"], "c": ["gmm", "--noise-key", "seed"]}
    for name, model in models.items():
        assert harness(monkeypatch, *asked, *model, "--out", str(tmp_path / name)) == 0
    found = {}
    for name in "bc":
        runs = [str(tmp_path / "a"), str(tmp_path / name)]
        assert harness(monkeypatch, "compare", *runs, "--metrics", "contrast") == 2
        found[name] = capsys.readouterr().err
    assert "runs of different models, gmm and shapes-edm. These can be compared" in found["b"]
    assert (
        "their noise_key is prompt and seed: generate both with the same --noise-key"
        in (found["b"])
    )
    assert "Generate the baseline with the candidate's noise_key" in found["c"]


def test_what_is_complete_is_not_said_to_be_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    prompts = _file(tmp_path, "p.txt", "class 1\n")
    asked = ["generate", "--model", "gmm", "--prompts", prompts, "--out", str(tmp_path / "run")]
    for said in ("generate: 1/1 in", "generate: nothing to do"):
        assert harness(monkeypatch, *asked, "--sampler", "ddim(steps=3)") == 0
        assert said in capsys.readouterr().err
    run = Run.open(str(tmp_path / "run"))
    for said in ("1/1 in", "nothing to do"):
        assert harness(monkeypatch, "evaluate", run.path, "--metrics", "contrast") == 0
        assert f"evaluate {run.spec.run_id}: {said}" in capsys.readouterr().err


def test_set_metrics_alone_compare_no_pairs_and_what_to_do_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    prompts = _file(tmp_path, "p.txt", "class 1\nclass 2\n")
    runs = [str(tmp_path / name) for name in ("ddim", "heun")]
    for run in runs:
        asked = ["--sampler", f"{Path(run).name}(steps=2)", "--prompts", prompts, "--out", run]
        assert harness(monkeypatch, "generate", "--model", "gmm", *asked) == 0
        assert harness(monkeypatch, "evaluate", run, "--metrics", "contrast") == 0
    assert harness(monkeypatch, "compare", *runs, "--metrics", "shapes-fd") == 2
    assert "shapes-fd scores whole runs" in (error := capsys.readouterr().err)
    assert "--metrics contrast,shapes-fd" in error


def _file(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bench", "zigzg"], "did you mean 'zigzag'"),
        (["bench", "--model", "sdlx"], "did you mean 'sdxl'"),
        (["bench", "--metrics", "shapes-alignmet"], "did you mean 'shapes-alignment'"),
        (["bench", "--bench", "drawbnch"], "did you mean 'drawbench'"),
        (["bench", "--prompts", "drawbnch"], "did you mean 'drawbench'"),
        (["bench", "zigzag(steps=10, zigzag_steps=12)"], "at most 9"),
        (["bench", "zigzag(inversion_guidanc=1)"], "did you mean 'inversion_guidance'"),
        (["bench", "ddim"], "compared with itself"),
        (["bench", "--seeds", "5-2"], "write 2-5"),
        (["bench", "--size", "60x66"], "must be multiples of"),
        (["bench", "--match", "cost"], "known: macs, nfe, seconds"),
        (["bench", "--device", "tpu7"], "unknown device 'tpu7'"),
        (["bench", "--device", "cuda:77"], "torch sees"),
        (["bench", "--results", "file"], "cannot write file/"),
        (["sample", "--prompt", "a", "--latents", "no/x.npz"], "there is no folder no"),
        (["sample", "--prompt", "a", "--out", "file"], "is a file"),
        (["sample", "--prompt", "a", "--noise", "file"], "cannot read file"),
        (["sample", "--prompt", "a", "--noise", "x.npz", "--seed", "3"], "goes without --seed"),
        (["bench", "zigzag", "--model", "sdxl"], "hf download stabilityai/stable-diffusion-xl"),
        (["list", "sampler"], "did you mean 'samplers'"),
        (["evaluate", "nowhere", "--metrics", "shapes-exact"], "there are no images at"),
        (["generate", "--sampler", "ddim", "--shard", "2/2"], "i from 0 to n-1"),
        (["generate", "--sampler", "ddim", "--sampler", "heun", "--out", "x"], "give one sampler"),
        (["sample", "--prompt", "a", "--noise", "none.npz"], "no noise file none.npz"),
        (
            ["generate", "--model", "gmm", "--sampler", "ddim"],
            "shapes is the default, name a set or a file with --prompts",
        ),
        (
            ["generate", "--model", "gmm", "--sampler", "ddim", "--prompts", "shapes"],
            "knows the prompts 'class 0' to 'class",
        ),
        (
            ["generate", "--model", "shapes-edm", "--sampler", "ddim", "--prompts", "shapes"],
            "takes 'class 0' to 'class 47', not 'a",
        ),
        (["power", "--rate", "0.6", "--prompts", "100"], "which rate they show: give one"),
        (["power", "--ties", "1.5"], "ties is 1.5: it must be at least 0 and below 1"),
        (["power", "--alpha", "0"], "alpha is 0: it must be above 0 and below 1"),
        (["power", "--rate", "1.5"], "it lies between 0 and 1"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert harness(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert len([line for line in error.splitlines() if line.startswith("harness: ")]) == 1
    assert list(tmp_path.rglob("*.parquet")) == []
    assert list(tmp_path.rglob("run.json")) == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("empty.txt", "\n\n", "no prompts"),
        ("other.csv", "size,colour\n1,red\n", "column"),
        ("twice.csv", "id,prompt\n1,a\n1,b\n", "stands for 2 prompts"),
    ],
)
def test_bad_prompt_files(
    name: str,
    text: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    path = _file(tmp_path, name, text)
    generate = ["generate", "--model", "gmm", "--sampler", "ddim", "--results", str(tmp_path)]
    assert harness(monkeypatch, *generate, "--prompts", path) == 2
    assert words in capsys.readouterr().err


def test_a_folder_with_another_spec_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    prompts = _file(tmp_path, "p.txt", "class 1\n")
    common = ["generate", "--model", "gmm", "--prompts", prompts, "--out", str(tmp_path / "run")]
    assert harness(monkeypatch, *common, "--sampler", "ddim(steps=3)") == 0
    assert harness(monkeypatch, *common, "--sampler", "ddim(steps=4)") == 2
    assert "holds another run" in capsys.readouterr().err


@pytest.mark.golden
@pytest.mark.parametrize(
    ("sampler", "case", "nfe"),
    [
        ("zigzag(steps=10, inversion=released, guidance=5.5, inversion_guidance=0)", "zz_T10", 47),
        ("ddim(steps=10, guidance=5.5)", "std_T10", 20),
        ("zigzag(steps=10, inversion=exact, guidance=5.5)", "intended_zz_T10", 47),
    ],
)
def test_sample_replays_recorded_noise(
    sampler: str, case: str, nfe: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recorded = np.load(GOLDEN / f"io_{case}.npz")
    np.savez(tmp_path / "noise.npz", noise=recorded["init_latent"])
    arguments = ["--model", str(TINY_SDXL), "--prompt", "A Man on a Bicycle, MineScaft Style"]
    arguments += ["--sampler", sampler, "--size", "64x64", "--noise", str(tmp_path / "noise.npz")]
    monkeypatch.chdir(tmp_path)
    assert harness(monkeypatch, "sample", *arguments, "--latents", "out.npz") == 0
    out = np.load(tmp_path / "out.npz")
    np.testing.assert_allclose(out["latents"], recorded["final_latent"], atol=1e-4, rtol=0)
    assert (out["nfe_cond"] + out["nfe_uncond"]).tolist() == [nfe]


def test_sample_refuses_a_noise_file_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.savez(tmp_path / "n.npz", noise=np.zeros((1, 3, 8, 8)), draws=np.zeros((1, 1, 3, 8, 8)))
    common = ["sample", "--model", "gmm", "--noise", str(tmp_path / "n.npz")]
    common += ["--latents", str(tmp_path / "out.npz"), "--sampler", "ddim(steps=2)"]
    assert harness(monkeypatch, *common, "--prompt", "class 1") == 2
    assert "1 recorded draws were not used" in capsys.readouterr().err
    assert harness(monkeypatch, *common, "--prompt", "class 1", "--prompt", "class 2") == 2
    assert "1 samples for 2 prompts" in capsys.readouterr().err


def test_sample_draws_every_prompt_with_every_seed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prompts = ["--prompt", "class 1", "--prompt", "class 2", "--seed", "0", "--seed", "1"]
    where = ["--out", str(tmp_path), "--sampler", "ddim(steps=2)"]
    assert harness(monkeypatch, "sample", "--model", "gmm", *prompts, *where) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["0000-seed0.png", "0001-seed0.png", "0002-seed1.png", "0003-seed1.png"]


def _tiny_clip(folder: Path) -> str:
    """A random open_clip model; the text of the metric that uses it."""
    tower = {"layers": 1, "width": 32}
    vision = {"image_size": 32, "patch_size": 16, "head_width": 16, **tower}
    text = {"context_length": 77, "vocab_size": 49408, "heads": 2, **tower}
    name = "harness-bench-tiny"
    config = folder / f"{name}.json"
    config.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(open_clip.create_model(name).state_dict(), folder / "tiny.pt")
    return f"clip(model={name}, pretrained={folder / 'tiny.pt'})"


def test_a_whole_benchmark_on_a_tiny_sdxl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The path of `make bench SAMPLER=zigzag MODEL=sdxl`, on a folder of SDXL's format."""
    prompts = _file(tmp_path, "p.txt", "a man on a bicycle\na small yellow dog\n<b>a & b</b>\n")
    arguments = ["bench", "zigzag(steps=3)", "--model", str(TINY_SDXL), "--prompts", prompts]
    arguments += ["--metrics", _tiny_clip(tmp_path), "--results", str(tmp_path / "results")]
    arguments += ["--workers", "1", "--seeds", "0-1"]
    assert harness(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    assert "CLIP score" in printed
    root = tmp_path / "results" / "p" / "model"
    runs = {path.name.split("-")[0]: [] for path in root.iterdir()}
    for path in root.iterdir():
        runs[path.name.split("-")[0]].append(Run.open(str(path)))
    (zigzag,) = runs["zigzag"]
    assert len(runs["ddim"]) > 4  # own, three fair ones, and the guidance curve
    params = [run.spec.sampler.params for run in runs["ddim"]]
    nfe = [set(run.frame("images")["nfe"]) for run in runs["ddim"]]
    own = zigzag.spec.sampler.params["guidance"]
    assert set(zigzag.frame("images")["nfe"]) == {3 * 2 + 2 * 3}
    guided = {(p["steps"], p["guidance"]): n for p, n in zip(params, nfe, strict=True)}
    assert guided[3, own] == {6}
    assert guided[6, own] == guided[12, 1.0] == {12}
    assert len({guidance for _, guidance in guided}) >= 6
    page = Path(zigzag.path, "report", "index.html").read_text()
    assert "<b>a & b</b>" not in page
    assert "http://" not in page.replace("http://www.w3.org/", "")

    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("part-*.parquet")}
    assert harness(monkeypatch, *arguments) == 0
    assert capsys.readouterr().out == printed
    assert {path: path.stat().st_mtime_ns for path in root.rglob("part-*.parquet")} == stamps


def test_the_embedded_benchmark_ends_in_a_winning_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = ["--results", str(tmp_path), "--workers", "1", "--limit", "5"]
    metrics = ["--metrics", "shapes-alignment,shapes-exact"]
    assert harness(monkeypatch, "bench", "zigzag(steps=4)", *metrics, *results) == 0
    printed = capsys.readouterr().out
    assert "winning rate" in printed
    assert "matched cost" in printed
    (report,) = tmp_path.rglob("report.md")
    assert "5" in report.read_text()


def test_a_candidate_that_costs_and_guides_as_the_baseline_gets_its_declared_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ["heun(steps=2)", "--baseline", "edm(steps=2)", "--metrics", "shapes-alignment"]
    results = ["--results", str(tmp_path), "--workers", "1", "--limit", "2", "--curve", "none"]
    assert harness(monkeypatch, "bench", *asked, *results, "--verbose") == 0
    printed = capsys.readouterr().out
    assert "own settings = matched cost and guidance" in " ".join(printed.split())
    assert "Declared as primary" in printed


@pytest.mark.parametrize(
    "what", ["samplers", "policies", "models", "metrics", "prompts", "benchmarks"]
)
def test_lists(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harness(monkeypatch, "list", what) == 0
    expected = {
        "samplers": "zigzag",
        "policies": "guidance_rescale",
        "models": "dreamshaper-xl",
        "metrics": "shapes-alignment",
        "prompts": "geneval",
        "benchmarks": "pickapic",
    }
    assert expected[what] in capsys.readouterr().out


def test_the_certificate_is_printed_of_samplers_and_metrics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert harness(monkeypatch, "list", "samplers", "--certified") == 0
    printed = capsys.readouterr().out
    assert "zigzag" in printed
    assert "Without a reference: cfgpp" in printed
    assert harness(monkeypatch, "list", "models", "--certified") == 2
    assert "'list samplers' or 'list metrics'" in capsys.readouterr().err
    case = {"what": "metric clip", "test": "t.py::test_equal", "reference": "torchmetrics 1.9.0"}
    errors = [{"worst_error": error, "largest_value": 0.5} for error in (1e-9, 3e-7)]
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / "certified.json").write_text(json.dumps([case | e for e in errors]))
    monkeypatch.setattr("harness.core.data.data_path", tmp_path.joinpath)
    assert harness(monkeypatch, "list", "metrics", "--certified") == 0
    printed = capsys.readouterr().out
    (row,) = [line.split() for line in printed.splitlines() if "torchmetrics" in line]
    assert row == ["clip", "torchmetrics", "1.9.0", "2", "3.0e-07", "0.5", "test_equal"]
    assert "Without a reference: " in printed


def test_doctor_says_in_ten_lines_what_this_machine_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harness(monkeypatch, "doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "benchmark shapes: ready (model, prompts, every metric)" in lines
    assert len(lines) == 9 + torch.cuda.device_count() - torch.cuda.is_available()


def test_doctor_tells_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harness(monkeypatch, "doctor", "--model", "gmm", "--metrics", "saturation") == 0
    model, metric = capsys.readouterr().out.splitlines()
    assert model.startswith("model gmm: ready (")
    assert metric == "metric saturation: ready"
    assert harness(monkeypatch, "doctor", "--model", "sdxl") == 1
    assert "hf download stabilityai/stable-diffusion-xl-base-1.0" in capsys.readouterr().out
    assert harness(monkeypatch, "doctor", "--bench", "shapes-edm") == 0
    assert "benchmark shapes-edm: ready" in capsys.readouterr().out
    for wrong, near in (("--model", "shape"), ("--metrics", "saturatoin"), ("--bench", "shape")):
        assert harness(monkeypatch, "doctor", wrong, near) in (1, 2)
        captured = capsys.readouterr()
        assert "did you mean" in captured.out + captured.err
    assert harness(monkeypatch, "doctor", "network.pkl", "--model", "gmm") == 2
    assert "--model asks about this machine" in capsys.readouterr().err


def test_list_tells_all_of_one_sampler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harness(monkeypatch, "list", "samplers", "zigzag") == 0
    printed = capsys.readouterr().out
    assert "Z-Sampling (zigzag). Bai et al. 2025" in printed
    assert "  guidance = 5.5; where it is not given, the benchmark's, else the model's" in printed
    assert "  inversion_guidance = 0.0\n" in printed
    assert harness(monkeypatch, "list", "samplers", "zig") == 2
    assert "did you mean 'zigzag'" in capsys.readouterr().err
    assert harness(monkeypatch, "list", "models", "sdxl") == 2
    assert "takes no name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["bench", "zigzag", "steps=10"], "'zigzag(steps=10)'"),
        (["sample", "zigzag(rounds=2)", "steps=10"], "'zigzag(rounds=2, steps=10)'"),
        (["bench", "ddim", "heun"], "one sampler is expected, not 2: ddim, heun"),
        (["generate"], "no sampler is named"),
        (["tune", "--vary", "guidance=1,2"], "no sampler is named"),
        (["guidance", "ddim", "--sampler", "heun"], "one sampler is expected"),
    ],
)
def test_a_misplaced_sampler_is_told_its_place(
    asked: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert harness(monkeypatch, *asked) == 2
    assert message in capsys.readouterr().err


def test_one_seed_may_be_meant_as_a_number_of_seeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seeds, said in (("4", "seed 4 alone; 4 seeds are 0-3"), ("0", ""), ("0-3", "")):
        assert harness(monkeypatch, "generate", "nothing", "--seeds", seeds) == 2
        assert said in (printed := capsys.readouterr().err)
        assert ("alone" in printed) == bool(said)
