"""The recipes of benchmarks/launch are valid, call the harness as it is, and make equal bytes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

from harness import cli
from tests.runs.conftest import shard_bytes

LAUNCH = Path(__file__).parents[2] / "benchmarks" / "launch"
SHELL = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
EXAMPLE = ["zigzag(steps=50)", "--model", "sdxl", "--prompts", "drawbench", "--seeds", "0-3"]

STUB = """#!{python}
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps(sys.argv) + "\\n")
"""


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    """The harness's commands, as its own parser has them."""
    cli.load_commands()
    root: Any = typer.main.get_command(cli.app)
    return dict(root.commands)


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """A folder of programs that note how they were called; srun runs what it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    texts = {name: STUB.format(python=sys.executable) for name in ("torchrun", "harness")}
    texts |= {"srun": '#!/bin/bash\nexec "$@"\n', "scontrol": "#!/bin/bash\necho node0\necho node1"}
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def _calls(stubs: Path, script: list[str], **variables: str) -> list[list[str]]:
    """What a script calls: lists of words that begin with torchrun or harness."""
    noted = stubs.parent / "calls"
    path = f"{stubs}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "CALLS": str(noted), **variables}
    done = subprocess.run(script, env=env, cwd=LAUNCH.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in noted.read_text().splitlines()]
    return [[Path(words[0]).name, *words[1:]] for words in lines]


def _of_torchrun(words: list[str]) -> Any:
    """The words of a call of torchrun, by torchrun's own parser."""
    assert words[0] == "torchrun"
    read = get_args_parser().parse_args(words[1:])
    assert (read.module, read.training_script) == (True, "harness")
    return read


def _check(words: list[str], commands: dict[str, Any]) -> dict[str, Any]:
    """The options of a call of the harness, by its own parser."""
    context = commands[words[0]].make_context(words[0], words[1:])
    return dict(context.params)


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_scripts_are_valid_and_say_how_they_are_called(path: Path) -> None:
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    text = path.read_text()
    assert text.startswith("#!/bin/bash\n# ")
    assert "set -euo pipefail" in text
    assert f"benchmarks/launch/{path.name} " in text


def test_one_machine(stubs: Path, commands: dict[str, Any]) -> None:
    (call,) = _calls(stubs, ["bash", str(LAUNCH / "torchrun.sh"), *EXAMPLE])
    read = _of_torchrun(call)
    assert (read.standalone, read.nproc_per_node) == (True, "auto")
    assert _check(read.training_script_args, commands)["seeds"] == "0-3"


def test_many_machines(stubs: Path, commands: dict[str, Any]) -> None:
    script = ["bash", str(LAUNCH / "torchrun-machines.sh"), *EXAMPLE]
    (call,) = _calls(stubs, script, HEAD="node0", MACHINES="1:4")
    read = _of_torchrun(call)
    assert (read.nnodes, read.rdzv_endpoint, read.max_restarts) == ("1:4", "node0:29400", 3)
    assert _check(read.training_script_args, commands)["model"] == "sdxl"
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode != 0
    assert "HEAD: the name or address of the first machine" in done.stderr


def test_slurm_with_torchrun(stubs: Path, commands: dict[str, Any]) -> None:
    script = ["bash", str(LAUNCH / "slurm-torchrun.sbatch"), *EXAMPLE]
    slurm = {"SLURM_JOB_NODELIST": "node[0-1]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "77"}
    (call,) = _calls(stubs, script, **slurm)
    read = _of_torchrun(call)
    assert (read.nnodes, read.rdzv_endpoint, read.rdzv_id) == ("2", "node0:29400", "77")
    _check(read.training_script_args, commands)


def test_a_slurm_array(stubs: Path, commands: dict[str, Any]) -> None:
    script = ["bash", str(LAUNCH / "slurm-array.sbatch"), *EXAMPLE]
    ((name, *words),) = _calls(stubs, script, SLURM_ARRAY_TASK_ID="3")
    assert name == "harness"
    first, parts = map(int, _check(words, commands)["shard"].split("/"))
    assert first == 3
    asked = re.search(r"#SBATCH --array=0-(\d+)", (LAUNCH / "slurm-array.sbatch").read_text())
    assert asked
    assert parts == int(asked[1]) + 1


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("slurm-*")), ids=lambda path: path.name)
def test_slurm_reads_the_options_before_the_first_command(path: Path) -> None:
    body = path.read_text().partition("set -euo")
    assert "#SBATCH" not in body[2]
    asked = re.findall(r"(?m)^#SBATCH (\S+)", body[0])
    assert all(re.fullmatch(r"--[a-z-]+(=\S+)?", one) for one in asked)
    assert {one.partition("=")[0] for one in asked} >= {"--job-name", "--time", "--output"}


def test_skypilot(stubs: Path, commands: dict[str, Any]) -> None:
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    assert task.keys() <= {"name", "num_nodes", "resources", "workdir", "envs", "setup", "run"}
    assert task["resources"].keys() <= {"accelerators", "use_spot"}
    given = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2"}
    given |= {"SKYPILOT_NODE_RANK": "1", **task["envs"]}
    (call,) = _calls(stubs, ["bash", "-euc", task["run"]], **given)
    read = _of_torchrun(call)
    assert (read.nnodes, read.rdzv_endpoint) == ("2", "10.0.0.1:29400")
    options = _check(read.training_script_args, commands)
    assert options["results"] == "s3://my-bucket/drawbench"


def test_kubernetes(commands: dict[str, Any]) -> None:
    job = yaml.safe_load((LAUNCH / "kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["metadata"].keys() & {"name", "generateName"}
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["completionMode"], pod["restartPolicy"]) == ("Indexed", "OnFailure")
    assert spec["parallelism"] <= spec["completions"]
    (container,) = pod["containers"]
    assert container["image"]
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted == {one["name"] for one in pod["volumes"]}
    words = [one.replace("$(JOB_COMPLETION_INDEX)", "7") for one in container["args"]]
    assert _check(words, commands)["shard"] == f"7/{spec['completions']}"


def test_accelerate_reads_its_file(commands: dict[str, Any]) -> None:
    path = LAUNCH / "accelerate.yaml"
    read = load_config_from_file(str(path))
    assert (read.distributed_type.value, read.num_processes) == ("MULTI_GPU", 8)
    assert read.use_cpu is False  # with it one process is started
    head = path.read_text().split("\n`")[0].split("\n# `accelerate config`")[0]
    words = shlex.split(head.replace("\\\n#", "").lstrip("# "))
    assert words[:2] == ["accelerate", "launch"]
    asked = launch_command_parser().parse_args(words[2:])
    assert (asked.config_file, asked.module) == (str(path.relative_to(Path.cwd())), True)
    assert asked.training_script == "harness"
    _check(asked.training_script_args, commands)


INSTRUCTION = re.compile(r"(FROM|WORKDIR|COPY|RUN|ENV|ENTRYPOINT) \S")


def test_the_image_is_made_of_what_is_here() -> None:
    lines = (LAUNCH / "Dockerfile").read_text().splitlines()
    steps = [line for line in lines if line and not line.startswith("#")]
    assert steps[0].startswith("FROM python:3.")
    assert all(INSTRUCTION.match(step) for step in steps)
    copied = [word for step in steps if step.startswith("COPY") for word in step.split()[1:-1]]
    assert all((LAUNCH.parents[1] / word).exists() for word in copied)
    assert {"pyproject.toml", "README.md", "harness", "benchmarks", "refs"} <= set(copied)
    assert json.loads(steps[-1].removeprefix("ENTRYPOINT ")) == ["harness"]


@pytest.mark.parametrize("command", ["generate", "evaluate", "make-shards"])
def test_no_launcher_takes_an_option_of_ours_for_its_own(
    command: str, commands: dict[str, Any]
) -> None:
    """Both read words that abbreviate their own options, or could, wherever these stand."""
    for option in (name for one in commands[command].params for name in one.opts):
        if option.startswith("--"):
            ours = [command, option, "x"]
            for parser in (get_args_parser(), launch_command_parser()):
                read = parser.parse_args(["-m", "harness", *ours])
                assert read.training_script_args == ours


def test_the_guide_names_every_recipe() -> None:
    text = (LAUNCH / "README.md").read_text()
    named = set(re.findall(r"\]\(([\w.-]+)\)", text))
    recipes = {path.name for path in LAUNCH.iterdir()} - {"README.md"}
    assert named >= recipes
    assert all((LAUNCH / name).exists() for name in named)


# What follows runs the recipes.

GENERATE = ["ddim(steps=3, eta=1)", "--model", "gmm", "--seeds", "0-7", "--device", "cpu"]


def _started(script: list[str], **variables: str) -> subprocess.Popen[str]:
    bin_folder = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": bin_folder, **variables}
    pipe = subprocess.PIPE
    return subprocess.Popen(script, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def _ended(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        told, _ = process.communicate(timeout=300)
        assert process.returncode == 0, told


@pytest.mark.slow
def test_parts_of_a_slurm_array_make_one_run(
    prompts: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    script = ["bash", str(LAUNCH / "slurm-array.sbatch"), *GENERATE, "--prompts", str(prompts)]
    script += ["--out", str(tmp_path / "run")]
    for task in "10":
        _ended(_started(script, SLURM_ARRAY_TASK_ID=task, PARTS="2"))
    assert shard_bytes(tmp_path / "run") == expected


@pytest.mark.slow
def test_accelerate_by_its_file(prompts: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    script = [sys.executable, "-m", "accelerate.commands.launch"]
    script += ["--config_file", str(LAUNCH / "accelerate.yaml"), "--num_processes", "2"]
    script += ["-m", "harness", "generate", *GENERATE, "--prompts", str(prompts)]
    _ended(_started([*script, "--out", str(tmp_path / "run")]))
    assert shard_bytes(tmp_path / "run") == expected
    assert {path.name for path in (tmp_path / "run" / "logs").iterdir()} == {
        "rank-0.log",
        "rank-1.log",
    }


SLOW = """
import time


def slow(denoise, x, sigmas, noise, *, guidance=1.0):
    time.sleep(0.3 * len(x))
    return denoise(x, sigmas[0], guidance)
"""

Machines = list[tuple[list[str], dict[str, str]]]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


@pytest.fixture(params=["two network namespaces", "one machine"])
def machines(request: pytest.FixtureRequest) -> Iterator[tuple[str, Machines]]:
    """The address of the first, and of each machine how a command is run there, and variables.

    As network namespaces each has interfaces and addresses of its own, joined by a cable.
    """
    if request.param == "one machine":
        yield "127.0.0.1", [([], {"PET_RDZV_CONF": f"is_host={n}"}) for n in (1, 0)]
        return
    names = [f"harness{os.getpid()}-{n}" for n in (0, 1)]
    ends = [f"hv{os.getpid()}-{n}" for n in (0, 1)]
    made: list[str] = []
    try:
        for name in names:
            _ip("netns", "add", name)
            made.append(name)
        _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for n, (name, end) in enumerate(zip(names, ends, strict=True)):
            _ip("link", "set", end, "netns", name)
            _ip("-n", name, "addr", "add", f"10.77.0.{n + 1}/24", "dev", end)
            _ip("-n", name, "link", "set", end, "up")
            _ip("-n", name, "link", "set", "lo", "up")
    except (OSError, subprocess.CalledProcessError) as error:
        for name in made:
            _ip("netns", "del", name)
        pytest.skip(f"no network namespaces here: {error}")
    yield (
        "10.77.0.1",
        [
            (
                ["ip", "netns", "exec", name],
                {
                    "GLOO_SOCKET_IFNAME": end,
                    "PET_LOCAL_ADDR": f"10.77.0.{n + 1}",
                    "PET_RDZV_CONF": f"is_host={1 - n}",
                },
            )
            for n, (name, end) in enumerate(zip(names, ends, strict=True))
        ],
    )
    for name in names:
        _ip("netns", "del", name)


@pytest.mark.slow
def test_two_machines_make_the_bytes_of_one(
    machines: tuple[str, Machines], prompts: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    head, places = machines
    script = ["bash", str(LAUNCH / "torchrun-machines.sh"), *GENERATE, "--prompts", str(prompts)]
    script += ["--out", str(tmp_path / "run")]
    agents = []
    for before, variables in places:
        given = {"HEAD": head, "MACHINES": "2", "PROCESSES": "1", "PORT": "29533", **variables}
        agents.append(_started([*before, *script], **given))
        time.sleep(0.5)
    _ended(*agents)
    assert shard_bytes(tmp_path / "run") == expected
    logs = [path.read_text() for path in sorted((tmp_path / "run" / "logs").iterdir())]
    assert [f"rank {n} of 2" in log for n, log in enumerate(logs)] == [True, True]


@pytest.mark.long
@pytest.mark.slow
def test_what_is_left_of_the_machines_goes_on(
    machines: tuple[str, Machines], prompts: Path, tmp_path: Path
) -> None:
    """One of two is killed with its process: the other makes what is free, says who is gone, and
    after torchrun's restart what was lost."""
    (tmp_path / "slow.py").write_text(SLOW)
    call = [f"{tmp_path}/slow.py:slow(steps=1)", *GENERATE[1:], "--prompts", str(prompts)]
    script = ["bash", str(LAUNCH / "torchrun-machines.sh"), *call, "--out", str(tmp_path / "run")]
    head, places = machines
    agents = []
    for before, variables in places:
        variables["PET_RDZV_CONF"] += ",last_call_timeout=5"  # seconds to wait for more of 1:2
        given = {"HEAD": head, "MACHINES": "1:2", "PROCESSES": "1", "PORT": "29534", **variables}
        agents.append(_started([*before, *script], **given))
    began = time.monotonic()
    while len(list(tmp_path.glob("run/images/*.parquet"))) < 2:
        assert time.monotonic() - began < 200
        time.sleep(0.1)
    logs = sorted((tmp_path / "run" / "logs").glob("rank-*.log"))
    assert len(logs) == 2
    lost = psutil.Process(agents[1].pid)
    for process in [*lost.children(recursive=True), lost]:
        process.kill()
    agents[1].wait(20)
    told, _ = agents[0].communicate(timeout=200)
    assert agents[0].returncode == 0, told
    assert re.search(
        r"1 of 2 processes have died or hang: .* rank \d \(.*\): generate: part-", told
    )
    assert re.search(r"(\d+) of \1 shards complete", told)
