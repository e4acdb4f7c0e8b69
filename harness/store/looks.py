"""The log of looks, beside a run: how often one question was asked of a sample that grows.

Who makes more images until a comparison is significant finds 7 to 20 % of false ones instead of
5 %. So every comparison of two runs leaves a trace in the candidate's folder: `looks/*.json`, a
file for each new set of pairs, which is never changed. Two commands at once write two files; the
same pairs again write none. Nothing in them depends on the clock.

A question is one baseline, setting and metric; another one counts its own looks. The sample is what
lies in the run's folder: other prompts, a tiny cut, and the dev and test splits have folders of
their own, and so looks of their own; fewer of the same prompts or seeds are a look at that sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from harness.store import files, results

FOLDER = "looks"


@dataclass(frozen=True)
class Look:
    """A comparison's look at its question: the `number`-th, null where the log has a `problem`.

    `images` are the pairs that were to be compared, with those that are left out. `planned` is how
    many the benchmark declared and `level` what p has to be below at this look; null where nothing
    was declared: then p is not corrected.
    """

    comparison: str
    metric: str
    number: int | None
    images: int
    planned: int | None = None
    level: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class LogEntry:
    """A look as it is logged: the `question`, and what was there to see.

    `question` names the baseline's run, with the setting, and the metric; `hash` is that of the
    pairs and their outcomes, `number` counts the looks at the question up to this one.
    """

    question: tuple[str, str]
    hash: str
    images: int
    pairs: int
    p_value: float | None
    number: int = 0

    @property
    def key(self) -> tuple[tuple[str, str], str]:
        return self.question, self.hash


def log_looks(run: str, seen: Sequence[LogEntry]) -> list[list[LogEntry]]:
    """Log what was not seen before in the folder of a run; for each of `seen`, all looks at its
    question, with itself last. Raises HarnessError where the log cannot be read or written."""
    folder = files.join(run, FOLDER)
    known = _known(folder)
    new: list[LogEntry] = []
    for entry in seen:
        if entry.key not in known:
            before = sum(question == entry.question for question, _ in known)
            known[entry.key] = replace(entry, number=before + 1)
            new.append(known[entry.key])
    if new:
        name = hashlib.sha256(repr(sorted(entry.key for entry in new)).encode()).hexdigest()[:16]
        files.write_json(files.join(folder, f"{name}.json"), [asdict(entry) for entry in new])
    return [[*_others(entry, known.values()), known[entry.key]] for entry in seen]


def _others(entry: LogEntry, known: Iterable[LogEntry]) -> list[LogEntry]:
    alike = (one for one in known if one.question == entry.question and one.hash != entry.hash)
    return sorted(alike, key=lambda one: (one.number, one.images))


def _known(folder: str) -> dict[tuple[tuple[str, str], str], LogEntry]:
    """The looks in a log; one that two commands logged at once counts once."""
    known: dict[tuple[tuple[str, str], str], LogEntry] = {}
    for name in files.stamps(folder, ".json"):
        path = files.join(folder, name)
        for entry in results.parsed(list[LogEntry], files.read_json(path), path):
            held = known.setdefault(entry.key, entry)
            known[entry.key] = min(held, entry, key=lambda one: one.number)
    return known
