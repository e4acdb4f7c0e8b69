"""What an experiment is told is read once: no text is parsed, no sampler rehearsed again."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core import call
from harness.engine import rehearsal, resolve
from harness.experiments import survey, tuning
from tests.conftest import harness

COMMANDS = (survey, tuning)  # they must be there before their imports are counted


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter[str]]:
    """How often each text was parsed, and each sampler resolved and rehearsed."""
    found: dict[str, Counter[str]] = {}

    def counted(name: str, function: Any, told: Callable[..., str]) -> Any:
        found[name] = Counter()

        def wrapped(*arguments: Any, **more: Any) -> Any:
            found[name][told(*arguments)] += 1
            return function(*arguments, **more)

        return wrapped

    for name, function, told in (
        ("parse_call", call.parse_call, str),
        ("resolve", resolve.resolve, lambda *values: str(values)),
        ("rehearse", rehearsal.rehearse, lambda ladders, call: str(call)),
    ):
        count = counted(name, function, told)
        for module in [m for n, m in sys.modules.items() if n.startswith("harness")]:
            if getattr(module, name, None) is function:
                monkeypatch.setattr(module, name, count)
    return found


def _common(folder: Path) -> list[str]:
    rows = "".join(f"p{i},class {i}\n" for i in range(10))
    (folder / "p.csv").write_text("id,prompt\n" + rows)
    common = ["--model", "gmm", "--prompts", str(folder / "p.csv"), "--metrics", "contrast"]
    return [*common, "--results", str(folder), "--workers", "1"]


def _resume(
    counts: dict[str, Counter[str]], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> set[str]:
    """Run a command a second time: each text is parsed once, and all that were are returned."""
    assert harness(monkeypatch, *command) == 0
    for found in counts.values():
        found.clear()
    assert harness(monkeypatch, *command) == 0
    most = {name: max(found.values()) for name, found in counts.items()}
    assert most == {"parse_call": 1, "rehearse": 1, "resolve": 1}
    return {text for text in counts["parse_call"] if "split" not in text}


def test_a_resumed_bench_reads_each_text_and_rehearses_each_sampler_once(
    counts: dict[str, Counter[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = ["bench", "zigzag(steps=3)", *_common(tmp_path)]
    read = _resume(counts, monkeypatch, command)
    assert read == {"zigzag(steps=3)", "ddim", "gmm", "contrast", "hpsv2"}  # which decides


def test_so_does_a_tuning(
    counts: dict[str, Counter[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was chosen is neither written out nor read again."""
    command = ["tune", "heun(steps=3)", "--vary", "guidance=1,2", *_common(tmp_path)]
    read = _resume(counts, monkeypatch, command)
    assert read == {"heun(steps=3)", "ddim", "v(v=1)", "v(v=2)", "gmm", "contrast", "hpsv2"}


def test_so_does_a_survey(
    counts: dict[str, Counter[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every candidate has the same baseline, and two of them are the same sampler."""
    path = tmp_path / "three.yaml"
    path.write_text(
        "{title: t, model: gmm, prompts: unprompted, metrics: [contrast], steps: 3, guidance: 3, "
        "candidates: [zigzag, {sampler: heun, label: one}, {sampler: heun, label: two}]}"
    )
    read = _resume(counts, monkeypatch, ["bench", "--bench", str(path), *_common(tmp_path)])
    assert read == {"zigzag", "heun", "ddim", "gmm", "contrast"}
