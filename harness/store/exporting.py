"""A run's pictures in the forms that other programs read.

A folder or zip is what `fid.py` of EDM and EDM2 reads: `000000/000000.png`, a thousand to a folder,
uncompressed in a zip; `metadata.jsonl` beside them has prompts and seeds, as for `imagefolder` of
`datasets`. Tars are WebDataset's: `000000.png`, `.txt` and `.json` of one sample follow each other.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.core.errors import HarnessError, unknown
from harness.store import files
from harness.store.pictures import Broken
from harness.store.run import Run
from harness.store.scores import ImageRow, image_rows

_MANY = 1000  # pictures in a folder or tar
_ENDINGS = {"JPEG": "jpg", "MPO": "jpg"}


@dataclass(frozen=True)
class Exported:
    """How many pictures were written, and how many of the run's items have none."""

    pictures: int
    without: int = 0


@dataclass(frozen=True)
class _Picture:
    """A picture by its number, with its file's bytes and ending."""

    number: int
    row: ImageRow
    data: bytes
    ending: str

    @property
    def name(self) -> str:
        return f"{self.number:06d}.{self.ending}"

    @property
    def path(self) -> str:
        """As EDM's `generate.py` names it, with `--subdirs`."""
        return f"{self.number - self.number % _MANY:06d}/{self.name}"

    def about(self) -> dict[str, Any]:
        row = self.row
        fields = {"prompt": row.prompt, "prompt_id": row.prompt_id, "seed": row.seed}
        return {**fields, **({"category": row.category} if row.category else {})}


def export(
    run: Run,
    out: str,
    form: str,
    progress: Callable[[int], object] = lambda pictures: None,
) -> Exported:
    """Write a run's pictures to `out`, a new folder, file or URL, in one of FORMATS.

    They are put together beside `out` (for a URL, on this machine) and moved there when they are
    complete. Items without a picture are left out. Raises HarnessError where something is at `out`
    already, and for a run without pictures.
    """
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if files.exists(out) and (not files.is_folder(out) or files.walk(out)):
        raise HarnessError(f"{out} is there already: choose another place, or remove it")
    if not run.shards():
        raise HarnessError(f"{run.path} holds no images: generate them first")
    place = None if "://" in out else os.path.dirname(os.path.abspath(out))
    if place:
        Path(place).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=place) as folder:
        made = Path(folder, "export")
        found = FORMATS[form](run, made, progress)
        if not found.pictures:
            raise HarnessError(f"{run.path} holds no picture: all of its images failed")
        _publish(made, out)
    return found


def _pictures(run: Run) -> Iterator[_Picture | None]:
    """All of them, in order; None for an item that has none.

    The number is the seed where images are seeds alone, else the place in the run.
    """
    seeds_alone = len(set(run.images()["prompt_id"])) == 1
    place = 0
    for shard in run.shards():
        for row in image_rows(run, shard):
            data = row.read()
            number = row.seed if seeds_alone else place
            place += 1
            yield None if isinstance(data, Broken) else _Picture(number, row, data, _ending(data))


def _ending(data: bytes) -> str:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        form = image.format or "PNG"
    return _ENDINGS.get(form, form.lower())


def _counted(
    run: Run, progress: Callable[[int], object], write: Callable[[_Picture], object]
) -> Exported:
    found = Exported(0)
    for picture in _pictures(run):
        progress(1)
        if picture is None:
            found = replace(found, without=found.without + 1)
            continue
        write(picture)
        found = replace(found, pictures=found.pictures + 1)
    return found


def _line(picture: _Picture) -> str:
    about = {"file_name": picture.path, **picture.about()}
    return json.dumps(about, ensure_ascii=False) + "\n"


def _folder(run: Run, out: Path, progress: Callable[[int], object]) -> Exported:
    out.mkdir()
    with open(out / "metadata.jsonl", "w", encoding="utf-8") as table:

        def write(picture: _Picture) -> None:
            path = out / picture.path
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(picture.data)
            table.write(_line(picture))

        return _counted(run, progress, write)


def _zip(run: Run, out: Path, progress: Callable[[int], object]) -> Exported:
    lines: list[str] = []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:

        def write(picture: _Picture) -> None:
            archive.writestr(zipfile.ZipInfo(picture.path), picture.data)
            lines.append(_line(picture))

        found = _counted(run, progress, write)
        archive.writestr(zipfile.ZipInfo("metadata.jsonl"), "".join(lines).encode())
    return found


def _webdataset(run: Run, out: Path, progress: Callable[[int], object]) -> Exported:
    out.mkdir()
    written = 0
    tar: tarfile.TarFile | None = None

    def write(picture: _Picture) -> None:
        nonlocal written, tar
        if written % _MANY == 0:
            if tar:
                tar.close()
            tar = tarfile.open(out / f"{written // _MANY:06d}.tar", "w")  # noqa: SIM115
        assert tar is not None
        members = {
            picture.ending: picture.data,
            "txt": picture.row.prompt.encode(),
            "json": json.dumps(picture.about(), ensure_ascii=False).encode(),
        }
        for ending, data in members.items():
            member = tarfile.TarInfo(f"{picture.number:06d}.{ending}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        written += 1

    try:
        return _counted(run, progress, write)
    finally:
        if tar:
            tar.close()


_OWN = ("index", "claims", "logs")
"""Folders of a run that are of where it was made: logs name machines and their paths."""


def _run_itself(run: Run, out: Path, progress: Callable[[int], object]) -> Exported:
    """The run's own files, its card among them: what `datasets` and the hub read."""
    if run.imported is not None:
        raise HarnessError(
            f"{run.path} is of imported images, which lie elsewhere: take the format folder, zip "
            "or webdataset"
        )
    out.mkdir()
    run.update_card()
    for name, _ in files.walk(run.path):
        if name.split("/")[0] not in _OWN and not Path(name).name.startswith("."):
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files.read_bytes(files.join(run.path, name)))
    frame = run.images()
    progress(len(frame))
    failed = int(frame["failed"].notna().sum())
    return Exported(len(frame) - failed, failed)


FORMATS: dict[str, Callable[[Run, Path, Callable[[int], object]], Exported]] = {
    "folder": _folder,
    "zip": _zip,
    "webdataset": _webdataset,
    "hf": _run_itself,
}


def _publish(made: Path, out: str) -> None:
    """Move what is complete to its place; `run.json` last, as nothing is a run without it."""
    if "://" not in out:
        if os.path.isdir(out):
            os.rmdir(out)  # it is empty
        shutil.move(made, out)
        return
    if made.is_file():
        files.put(str(made), out)
        return
    inside = [path for path in made.rglob("*") if path.is_file()]
    for path in sorted(inside, key=lambda path: (path.name == "run.json", path)):
        files.put(str(path), files.join(out, *path.relative_to(made).parts))
