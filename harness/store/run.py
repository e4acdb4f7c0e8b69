"""A run's folder: `run.json`, `cost.json`, its card, shards of images, timing, features, scores."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.core.errors import HarnessError, NothingMade
from harness.core.run_spec import RunSpec
from harness.core.shards import Prompt, Shard
from harness.store import card, files, index
from harness.store.ownership import SEALED, Owner
from harness.store.packing import whole
from harness.store.resuming import difference, warn_of_changes
from harness.store.run_layout import SHARDS, layout_of, new_layout

log = logging.getLogger(__name__)

MODEL_AT = "model read from"
"""In a run's `environment`: the folder, file or hub id of a model that is no registered name."""

NO_GUIDANCE = "no guidance scale"
"""In a run's `environment`: why its sampler has none; absent where it has one."""

AS_SAMPLED = "as sampled"
"""In a run's `environment`: what a sampler made of its parameters on the ladder; absent mostly."""


class Run:
    """An opened run folder (a local path or a URL).

    `record` is `run.json`: `spec` (see RunSpec), `resolved` (what else changes pixels: the
    checkpoint's revision, threads, device type) and `environment` (versions, commit). Every shard
    says that it is this run's, see `owner`: others are refused where they are read.
    """

    def __init__(self, path: str, record: dict[str, Any]) -> None:
        self.path = path.rstrip("/")
        self.record = record
        self.spec = RunSpec.from_dict(record["spec"])
        self.owner = Owner.of(self.path, record)
        self.layout = layout_of(record)

    @classmethod
    def open(cls, path: str) -> Run:
        """Open an existing run; raises HarnessError where there is none."""
        where = files.join(path, "run.json")
        if not files.exists(where):
            check_free(path)
            raise HarnessError(f"{path} holds no run: there is no run.json in it")
        record = files.read_json(where)
        try:
            return cls(path, record)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise HarnessError(f"{where} is damaged: no record of a run ({error!r})") from None

    @classmethod
    def find(cls, path: str, run_id: str) -> Run | None:
        """The run of this id at `path`; None where there is none, or another one."""
        if not files.exists(files.join(path, "run.json")):
            return None
        run = cls.open(path)
        return run if run.spec.run_id == run_id else None

    @classmethod
    def create(
        cls, path: str, spec: RunSpec, resolved: dict[str, Any], environment: dict[str, Any]
    ) -> Run:
        """Open the run of this spec at `path`, writing `run.json` if it is new.

        Raises HarnessError if the folder holds a run with another spec or other resolved values,
        or shards without a `run.json`, which are nobody's.
        """
        where = files.join(path, "run.json")
        record = {
            "run_id": spec.run_id,
            "spec": spec.to_dict(),
            "resolved": resolved,
            "environment": environment,
            SEALED: True,
            SHARDS: asdict(new_layout(spec)),
        }
        if not files.exists(where):
            check_free(path)
            if files.write_new(where, files.as_json(record).encode()):
                run = cls(path, record)
                run.update_card()
                return run
        run = cls.open(path)
        for part, asked in (("spec", spec.to_dict()), ("resolved", resolved)):
            if different := difference(run.record[part], asked):
                key, old, new = different
                raise HarnessError(
                    f"{path} holds another run: its {key} is {old!r}, now {new!r}. "
                    "Choose another output folder or remove that one"
                )
        warn_of_changes(path, run.record["environment"], environment)
        return run

    @property
    def imported(self) -> dict[str, Any] | None:
        """Where imported images come from, and how they were declared; None for a run made here."""
        declared: dict[str, Any] | None = self.record["resolved"].get("imported")
        return declared

    @property
    def paired(self) -> bool:
        """Whether its images start from the same noise as others' at the same prompt and seed."""
        about = self.trial() if self.imported is None else self.imported
        return about is None or bool(about["paired"])

    def declare(self, imported: dict[str, Any]) -> None:
        """Replace the record of where imported images come from."""
        self.record["resolved"]["imported"] = imported
        files.write_json(files.join(self.path, "run.json"), self.record, self.owner)

    def drop(self, shard: str) -> None:
        """Remove a shard's images and everything that was computed from them."""
        files.remove(self.file("images", shard))
        for kind in ("scores", "features"):
            for name in files.list_files(files.join(self.path, kind), ""):
                files.remove(self.file(f"{kind}/{name}", shard))

    def cost(self) -> dict[str, Any] | None:
        """`cost.json`, None if it was not counted: multiply-accumulates of one `picture`, and of
        one `evaluation` of the main network on one sample; `calls` of the denoiser for the picture;
        the ladder's first and last level, `sigma_max` and `sigma_min`; the picture's `evaluations`
        by "network/branch"; and how many an image were planned, `rehearsed`."""
        where = files.join(self.path, "cost.json")
        return self.owner.opened(where, files.read_json(where)) if files.exists(where) else None

    def set_cost(self, cost: dict[str, Any]) -> None:
        """Write `cost.json`, see `cost`."""
        where = files.join(self.path, "cost.json")
        files.write_json(where, self.owner.marked(cost), self.owner)

    def trial(self) -> dict[str, Any] | None:
        """`trial.json` of a run by a function of a pipeline: whether it takes our noise (`paired`),
        and whether a batch's pictures are made `together` or one by one, and `why`."""
        where = files.join(self.path, "trial.json")
        return files.read_json(where) if files.exists(where) else None

    def set_trial(self, trial: dict[str, Any]) -> None:
        """Write `trial.json`, see `trial`."""
        files.write_json(files.join(self.path, "trial.json"), trial, self.owner)

    def set_pipeline(self, read: dict[str, Any]) -> None:
        """Write into `run.json` what was read of a pipeline that is not written out here, and how
        its self-check came out; the first to be written stays."""
        if "pipeline" not in self.record:
            self.record["pipeline"] = read
            files.write_json(files.join(self.path, "run.json"), self.record)

    def keep(self, name: str, text: str) -> None:
        """Keep a copy of a file that the run was made with."""
        files.write_text(files.join(self.path, name), text, self.owner)

    def file(self, kind: str, name: str) -> str:
        """The path of a shard of one kind: `images`, `timing`, `scores/<metric>`, ..."""
        return index.shard_file(self.path, kind, name)

    def has_images(self, shard: Shard) -> bool:
        """Whether the images of a shard are here; see `lacking`."""
        return self.lacking(shard) is None

    def lacking(self, shard: Shard) -> Shard | None:
        """The shard that is to be made so that the images of this one are here: with those that its
        file holds already. None where they are here: these prompts and seeds, or more of the same.

        Raises HarnessError if its file holds other prompts, which must not be lost or mixed.
        """
        key = self.items_key("images", shard.name)
        if key is None or key == shard.items_key:
            return shard if key is None else None
        columns = ["seed", "prompt_id", "prompt", "category", "notes"]
        rows = self.read("images", shard.name, columns)
        seeds = set(rows["seed"].to_pylist())
        stored = list(dict.fromkeys(tuple(row.values()) for row in rows.drop(["seed"]).to_pylist()))
        asked = [(p.id, p.text, p.category, p.notes_json) for p in shard.part]
        both = min(len(stored), len(asked))
        if stored[:both] != asked[:both]:
            repeat = len({row[1] for row in stored}) < len(stored)
            why = ". Its texts repeat: equal texts are one prompt now" if repeat else ""
            raise HarnessError(
                f"{self.path} holds images of other prompts ({stored[0][1]!r} ..., now "
                f"{asked[0][1]!r} ...): choose another folder for the results{why}"
            )
        if len(stored) >= len(asked) and seeds.issuperset(shard.at):
            return None
        more = [Prompt(p, text, kind, json.loads(notes)) for p, text, kind, notes in stored[both:]]
        return replace(shard, part=(*shard.part, *more), at=tuple(sorted(seeds.union(shard.at))))

    def write(
        self,
        kind: str,
        name: str,
        table: pa.Table,
        items_key: str,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Write a shard of one kind, with the key of its items, and further metadata.

        Raises NothingMade where the folder is no longer this run's.
        """
        marks = {**(metadata or {}), **self.owner.marks(kind, name, items_key)}
        files.write_table(self.file(kind, name), table, marks, keeper=self.owner)

    def read(self, kind: str, name: str, columns: list[str] | None = None) -> pa.Table:
        """A shard of one kind, of these columns; None: all.

        Raises HarnessError for one that is damaged, or of another run.
        """
        table = files.read_table(self.file(kind, name), columns)
        self.owner.accept(kind, name, files.metadata(table))
        return table

    def read_items(self, kind: str, items: Sequence[str], like: Run, name: str) -> pa.Table | None:
        """Rows of one kind, of these items in their order; None unless all of them are there.

        They are those of the shard `name` of the run `like`: mostly of a shard of this name, too,
        unless one of the runs is of a version that cut all shards to one size.
        """
        wanted = pa.array(items, pa.string())
        names = [name] if self.layout == like.layout else list(self.places(items))
        tables = [self.read(kind, one) for one in names if self.items_key(kind, one) is not None]
        if not tables:
            return None
        held = pa.concat_tables(table.replace_schema_metadata(None) for table in tables)
        rows = pc.index_in(wanted, held["item_id"])
        return None if rows.null_count else held.take(rows)

    def fail_images(self, shard: str, reasons: Mapping[int, str]) -> None:
        """Record, by row, why imported images have no picture; the shard keeps its items key."""
        key, table = self.items_key("images", shard), self.read("images", shard)
        assert key is not None, shard
        failed = table["failed"].to_pylist()
        for row, reason in reasons.items():
            failed[row] = reason
        place = table.schema.get_field_index("failed")
        column = pa.array(failed, table.schema.field(place).type)
        table = table.set_column(place, table.schema.field(place), column)
        self.write("images", shard, table, key)

    def items_key(self, kind: str, name: str) -> str | None:
        """The key a shard was written with; None if there is no such file."""
        return self.metadata(kind, name).get("items")

    def metadata(self, kind: str, name: str) -> dict[str, str]:
        """The key-value metadata of a shard, from its footer; empty if there is no such file.

        Raises HarnessError for one that is damaged, or of another run.
        """
        path = self.file(kind, name)
        if not files.exists(path):
            return {}
        found = files.read_metadata(path)
        self.owner.accept(kind, name, found)
        return found

    def shards(self, kind: str = "images") -> list[str]:
        """Names of the complete shards of one kind, sorted by seed, then prompts."""
        names = files.list_files(files.join(self.path, kind), ".parquet")
        return [name.removesuffix(".parquet") for name in names]

    def frame(
        self, kind: str, columns: list[str] | None = None, names: list[str] | None = None
    ) -> pd.DataFrame:
        """All rows of one kind, or of the shards `names`. Leave `image` out unless it is wanted."""
        names = self.shards(kind) if names is None else names
        if not names:
            raise HarnessError(f"{self.path} holds no {kind}")
        return self.read_all(kind, names, columns).table.to_pandas()

    def read_all(
        self,
        kind: str,
        names: Iterable[str],
        columns: list[str] | None = None,
        join: index.Join = whole,
    ) -> index.Shards:
        """`read` of many shards, in their order: from the index as far as it holds."""
        return index.read(self.owner, kind, names, columns, join)

    def _repr_html_(self) -> str:
        """HTML for notebooks: the specification, the number of images and the metrics scored."""
        scored = ", ".join(files.list_files(files.join(self.path, "scores"), "")) or "nothing yet"
        shown = {
            **card.described(self.spec),
            "images": f"{len(self.images()) if self.shards() else 0:,}",
            "scored on": scored,
            "folder": self.path,
        }
        rows = (f"<tr><th>{escape(k)}</th><td>{escape(str(v))}</td></tr>" for k, v in shown.items())
        return f"<table>{''.join(rows)}</table>"

    def images(self) -> pd.DataFrame:
        """One row an image, without its picture: ids, prompt, category, seed, in `failed` why there
        is no picture, evaluations, nominal guidance scale."""
        return self.frame("images", index.LIGHT)

    def scores(self) -> pd.DataFrame:
        """One row an image and a column for each metric that has been evaluated, NaN where it is
        undefined (the reasons are in `frame("scores/<metric>")`)."""
        found = self.images()[["item_id", "prompt", "category", "seed"]]
        for metric in files.list_files(files.join(self.path, "scores"), ""):
            values = self.frame(f"scores/{metric}", ["item_id", "value"])
            found = found.merge(values.rename(columns={"value": metric}), "left", "item_id")
        return found

    def places(self, items: Collection[str]) -> dict[str, dict[str, int]]:
        """By image shard, the rows of the given items, as far as the run holds them."""
        found: dict[str, dict[str, int]] = {}
        if not (names := self.shards("images")):
            return found
        images = self.read_all("images", names, ["item_id"])
        ids = images.table["item_id"]
        rows = np.flatnonzero(pc.is_in(ids, pa.array(set(items), pa.string())))
        ends = np.cumsum(images.counts)
        shards = np.searchsorted(ends, rows, "right")
        within = rows - (ends - images.counts)[shards]
        for shard, row, item in zip(shards, within, ids.take(rows).to_pylist(), strict=True):
            found.setdefault(names[shard], {})[item] = int(row)
        return found

    def update_index(self) -> None:
        """Make whole-run reads of images (without pictures), timing and scores fast.

        The card is brought up to date, too.
        """
        scores = files.list_files(files.join(self.path, "scores"), "")
        for kind in ["images", "timing", *(f"scores/{name}" for name in scores)]:
            index.update(self.owner, kind)
        self.update_card()

    def update_card(self) -> None:
        """Write `README.md` where it does not list the tables that are here; see `card`.

        A folder that cannot be written to goes without. Raises NothingMade where it is no longer
        this run's.
        """
        self.owner.check()
        where = files.join(self.path, card.NAME)
        text = card.card(self.spec, self._kinds())
        held = files.read_bytes(where) if files.exists(where) else None
        if held is None or (card.MARK.encode() in held and held != text.encode()):
            try:
                files.write_text(where, text, self.owner)
            except NothingMade:
                raise
            except (HarnessError, OSError) as error:
                log.warning("%s: `datasets` cannot tell its tables apart: %s", self.path, error)

    def _kinds(self) -> list[str]:
        """The kinds of tables that the run holds; always images, which it will hold."""
        parts = [
            f"{kind}/{name}"
            for kind in ("scores", "features")
            for name in files.list_files(files.join(self.path, kind), "")
        ]
        return ["images", *(kind for kind in ["timing", "guidance", *parts] if self.shards(kind))]


def check_free(path: str, kinds: Collection[str] = ("images", "timing", "guidance")) -> None:
    """Raise HarnessError where a folder without `run.json` holds shards of a run."""
    for kind in kinds:
        inside = files.join(path, kind)
        if any(name.startswith("part-") for name in files.list_files(inside, ".parquet")):
            raise HarnessError(
                f"{path} holds {kind} and no run.json, so nobody knows what run they are of: "
                "choose another folder, or remove that one"
            )
