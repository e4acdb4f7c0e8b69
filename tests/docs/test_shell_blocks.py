"""The shell lines of the pages are read by the command's own parser; those marked `runs` run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from harness import cli
from harness.core.call import Call, parse_call, split_list
from harness.engine.resolve import resolve
from harness.experiments import benchmark
from harness.metrics.base import make_metric
from harness.models.base import MODELS
from harness.prompts.base import PROMPT_SETS
from harness.samplers.file import is_file_sampler
from tests.conftest import harness
from tests.docs.pages import PAGES, ROOT, Block, blocks, commands, text_of

SHELL = [block for page in sorted(PAGES) for block in blocks(page, "sh", "bash")]
OTHERS = {"pip", "git", "cd", "export", "rsync", "python", "source"}
"""Commands that are not ours, and are left alone."""

MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.fixture(scope="module")
def root() -> Any:
    cli.load_commands()
    return typer.main.get_command(cli.app)


def stands_for(text: str) -> bool:
    """Whether a word is for the reader to fill in: DIR, RUN_A, FILE.yaml."""
    return bool(re.fullmatch(r"[A-Z][A-Z_]*(\.\w+)?", text))


def known_sampler(text: str) -> None:
    call = parse_call(text)
    if stands_for(call.name):
        return
    if is_file_sampler(call.name):
        call = Call("ddim", {k: v for k, v in call.params.items() if k in ("steps", "guidance")})
    resolve(call, {"steps": 10})


def known_model(text: str) -> None:
    name = parse_call(text).name
    if not stands_for(name) and "/" not in name and not name.endswith((".pkl", ".safetensors")):
        MODELS.get(name)


def known_metrics(text: str) -> None:
    for one in split_list(text):
        if one != "human" and not stands_for(one):
            make_metric(one)


def known_prompts(text: str) -> None:
    name = parse_call(text).name
    if not stands_for(name) and not Path(name).suffix:
        PROMPT_SETS.get(name)


def known_benchmark(text: str) -> None:
    if not stands_for(text) and not text.endswith(".yaml"):
        benchmark.load(text)


CHECKS: dict[str, Callable[[str], None]] = {
    "sampler": known_sampler,
    "typed": known_sampler,
    "model": known_model,
    "guide": known_model,
    "metrics": known_metrics,
    "verifier": known_metrics,
    "bench": known_benchmark,
}


def check_command(root: Any, words: list[str]) -> None:
    """Read a command of ours as it would be read, and look its names up; nothing is run."""
    command, context = root, None
    while hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, f"no command {name}"
        command = command.commands[name]
    context = command.make_context(command.name, list(words))
    checks = dict(CHECKS)
    if command.name not in ("power", "evaluate", "import"):
        checks["prompts"] = known_prompts
    if "tiny" in context.params:
        checks["baseline"] = known_sampler
    for key, check in checks.items():
        given = context.params.get(key) or []
        for text in [given] if isinstance(given, str) else given:
            check(text)


def check_make(words: list[str]) -> None:
    """A target, and variables, that the Makefile has."""
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            assert f"$({name})" in MAKEFILE, f"make knows no {name}"
            if name in ("SAMPLER", "MODEL", "BENCH"):
                CHECKS[name.lower()](value)
        else:
            assert re.search(rf"^{name}:", MAKEFILE, re.M), f"make has no target {name}"


def ours(words: list[str]) -> list[str] | None:
    """The words behind `harness`, or a launcher's `-m harness`; None of another command."""
    if words[0] == "harness":
        return words[1:]
    at = [i for i in range(len(words) - 1) if words[i : i + 2] == ["-m", "harness"]]
    return words[at[0] + 2 :] if at else None


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_line_is_understood(root: Any, block: Block) -> None:
    for words in commands(block):
        if (mine := ours(words)) is not None:
            check_command(root, mine)
        elif words[0] == "make":
            check_make(words[1:])
        else:
            assert words[0] in OTHERS, f"{block}: what is {words[0]}?"


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(one, marks=[pytest.mark.slow] * ("slow" in one.marks))
        for one in SHELL
        if "runs" in one.marks
    ],
    ids=str,
)
def test_what_is_marked_so_runs(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in commands(block):
        assert words[0] == "harness"
        assert harness(monkeypatch, *words[1:]) == 0, " ".join(words)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_commands_in_sentences_exist(root: Any, page: str) -> None:
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S)
    for name in re.findall(r"`harness ([a-z]+)[^`]*`", prose):
        assert name in root.commands, f"{page}: harness {name}"
