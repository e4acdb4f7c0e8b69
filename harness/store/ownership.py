"""Whose a run's folder and its files are: checked before a file is written, and where it is read.

Each shard's metadata holds the `run` it is of, the `file` that it is in that run's folder, and the
hash of its `items`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.core.errors import HarnessError, NothingMade
from harness.core.run_spec import RunSpec, hashed
from harness.store import files
from harness.store.sealing import CONTENT

log = logging.getLogger(__name__)

SEALED = "sealed"
"""In a run's record: all of its files say whose they are, and a hash of their content."""


@dataclass(frozen=True)
class Owner:
    """The run that a folder belongs to; `sealed`: files that do not say whose they are are not its.

    `made` is what its pictures depend on, as its `run.json` says.
    """

    path: str
    run_id: str
    sealed: bool
    made: dict[str, Any]

    @classmethod
    def of(cls, path: str, record: dict[str, Any]) -> Owner:
        """The owner that a `run.json` names; raises HarnessError where it was edited."""
        spec = RunSpec.from_dict(record["spec"])
        name = record.get("run_id", spec.run_id)
        if name not in (spec.run_id, hashed(spec.sampler.name, record["spec"])):
            raise HarnessError(
                f"{files.join(path, 'run.json')} was edited: it is of the run {name}, and what it "
                f"says now would be {spec.run_id}. Undo that; for other settings make another run"
            )
        return cls(path, name, bool(record.get(SEALED)), _made(record))

    def check(self) -> None:
        """Raise NothingMade unless the folder still holds this run: it is never made again."""
        where = files.join(self.path, "run.json")
        try:
            held = files.read_json(where)
        except FileNotFoundError:
            raise NothingMade(
                f"{self.path} was removed, or its run.json was, while the run {self.run_id} was "
                "being made: stopped, and nothing more is written there. Run it again"
            ) from None
        if _made(held) != self.made:
            raise NothingMade(
                f"{self.path} now holds another run, {held.get('run_id')}: stopped, and nothing "
                f"more of {self.run_id} is written there. Take another folder, with --out"
            )

    def marked(self, record: dict[str, Any]) -> dict[str, Any]:
        """A JSON record of this run, with whose it is and a hash of what it says."""
        return {**record, "run": self.run_id, CONTENT: _hash(record, self.run_id)}

    def opened(self, where: str, marked: Any) -> dict[str, Any]:
        """What `marked` was given; of earlier versions, which have no marks, as it is.

        Raises HarnessError where it was edited, or is another run's.
        """
        record = {k: v for k, v in dict(marked).items() if k not in ("run", CONTENT)}
        whose = marked.get("run", self.run_id)
        if whose != self.run_id:
            raise HarnessError(f"{where} is of another run, {whose}, not of {self.run_id}")
        if CONTENT in marked and marked[CONTENT] != _hash(record, whose):
            raise HarnessError(
                f"{where} was edited: undo that, or `harness doctor {self.path} --repair` counts "
                "it again"
            )
        return record

    def marks(self, kind: str, name: str, items: str) -> dict[str, str]:
        """The metadata of a shard of one kind."""
        return {"run": self.run_id, "file": f"{kind}/{name}", "items": items}

    def accept(self, kind: str, name: str, metadata: Mapping[str, str]) -> None:
        """Raise HarnessError unless a shard of this metadata is this run's own."""
        if reason := self.foreign(kind, name, metadata):
            where = files.join(self.path, kind, f"{name}.parquet")
            raise HarnessError(
                f"{where} {reason}. `harness doctor {self.path} --repair` removes it and makes it "
                "again"
            )
        if "run" not in metadata:
            _warn_unsealed(self.path)

    def foreign(self, kind: str, name: str, metadata: Mapping[str, str]) -> str | None:
        """Why a shard of this metadata is not this run's own; None if it is."""
        whose, which = metadata.get("run"), metadata.get("file")
        if whose is None:
            return "does not say what run it is of" if self.sealed else None
        if whose != self.run_id:
            return f"is of another run, {whose}, not of {self.run_id}"
        if which != f"{kind}/{name}":
            return f"is another file of this run, {which}"
        return None if CONTENT in metadata else "was edited: the hash of its content is gone"


def _hash(record: dict[str, Any], run_id: str) -> str:
    text = json.dumps([run_id, record], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _made(record: dict[str, Any]) -> dict[str, Any]:
    resolved = {k: v for k, v in record["resolved"].items() if k != "imported"}
    return {"spec": record["spec"], "resolved": resolved}


@cache
def _warn_unsealed(path: str) -> None:
    log.warning(
        "%s was made by an earlier version: its files do not say whose they are, and a change in "
        "them is not noticed. `harness doctor %s --seal` adds that",
        path,
        path,
    )
