"""Images made elsewhere as a run: prompts from a table, a prompt set or the images' own rows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import PurePosixPath

from harness import __version__
from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.run_spec import RunSpec
from harness.runs.manifest import Declared, describe
from harness.runs.ranks import Ranks
from harness.store import files
from harness.store.collections import is_image, open_images
from harness.store.image_files import Entry, Images
from harness.store.pictures import Broken
from harness.store.rows import ImportedItem, imported_key, imported_table
from harness.store.run import Run, check_free


def is_run(path: str) -> bool:
    """Whether a folder holds a run."""
    return files.exists(files.join(path, "run.json"))


def import_images(
    source: str,
    declared: Declared,
    *,
    out: str | None = None,
    results: str = "results",
    name: str | None = None,
    progress: Callable[[int], object] = lambda images: None,
) -> Run:
    """Import a folder, zip or Parquet of images (see `open_images`) as a run.

    It lies in `out`, or below `results/imported`; its rows name the images' files, and hold the
    pictures themselves only where they came in a table. An image that has changed since the last
    import is noticed, and nothing else is written again.

    Raises HarnessError for missing files, unknown columns, prompts that do not match and the like,
    before anything is written.
    """
    source = _place(source)
    declared = replace(
        declared,
        prompts=declared.prompts and _absolute(declared.prompts),
        manifest=declared.manifest and _absolute(declared.manifest),
    )
    spec = _spec(source, name)
    folder = folder_of(source, out, results, name)
    if is_run(folder):
        declared = _recorded(Run.open(folder), source, declared)
    images = _open(source, declared.image_column)
    items = list(describe(images, declared))
    run = _run(folder, spec, source, declared)
    _write(run, images, items, progress)
    return run


def folder_of(source: str, out: str | None, results: str, name: str | None = None) -> str:
    """The folder of the run that `source` is imported as."""
    return out or f"{results}/imported/{_spec(_place(source), name).run_id}"


def _place(source: str) -> str:
    """The whole path of a source, which may be a pattern."""
    return source if "://" in source else os.path.abspath(source)


def _absolute(path: str) -> str:
    """The whole path of a file that is here; the name of a prompt set, or a URL, as it is."""
    return os.path.abspath(path) if "://" not in path and os.path.exists(path) else path


def _spec(source: str, name: str | None) -> RunSpec:
    name = name or re.sub(
        r"\.(zip|parquet|tar|npz|npy)$", "", PurePosixPath(source).name, flags=re.IGNORECASE
    )
    name = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "images"
    return RunSpec("imported", Call(name, {"source": source}), None, "unknown", "unknown")


def _recorded(run: Run, source: str, declared: Declared) -> Declared:
    """What is declared now, completed by what an earlier import declared."""
    before = run.imported
    if before is None or before["source"] != source:
        held = "a run made here" if before is None else f"the images of {before['source']}"
        raise HarnessError(f"{run.path} holds {held}: choose another folder for {source}")
    now = {key: value for key, value in asdict(declared).items() if value is not None}
    return Declared(**{key: now.get(key, before[key]) for key in asdict(declared)})


def _run(folder: str, spec: RunSpec, source: str, declared: Declared) -> Run:
    imported = {"source": source, **asdict(declared), "paired": bool(declared.paired)}
    if not is_run(folder):
        return Run.create(folder, spec, {"imported": imported}, {"harness": __version__})
    run = Run.open(folder)
    if run.imported != imported:
        run.declare(imported)
    return run


def _open(source: str, column: str | None) -> Images:
    if files.is_folder(source):
        if files.list_files(files.join(source, "timing"), ".parquet"):
            check_free(source)  # once a run's
        names = [name for name, _ in files.walk(source)]
        runs = [name for name in names if PurePosixPath(name).name == "run.json"]
        if runs and not any(map(is_image, names)):
            folder = files.join(source, str(PurePosixPath(runs[0]).parent))
            raise HarnessError(f"{source} holds runs: name them, for example {folder}")
    return open_images(source, column)


def _write(
    run: Run, images: Images, items: Sequence[ImportedItem], progress: Callable[[int], object]
) -> None:
    """Write the shards that are new or changed and remove those that are no more."""
    place = {entry.name: at for at, entry in enumerate(images.entries)}
    names = []
    for number, at in enumerate(run.layout.slices(len(items))):
        part = items[at : at + run.layout.size(at)]
        names.append(f"part-00000-{number:05d}")
        key = imported_key(part)
        if run.items_key("images", names[-1]) != key:
            embedded = _embedded(images, [i.entry for i in part if i.entry], place)
            run.write("images", names[-1], imported_table(part, embedded), key)
        progress(len(part))
    for shard in set(run.shards("images")) - set(names):
        run.drop(shard)


def _embedded(
    images: Images, entries: Sequence[Entry], place: Mapping[str, int]
) -> dict[str, bytes | Broken]:
    """The bytes of images that have no file of their own, by name."""
    wanted = {entry.name for entry in entries if entry.url is None}
    if not wanted:
        return {}
    places = [place[name] for name in wanted]
    read = images.read(min(places), max(places) + 1)
    return {entry.name: data for entry, data in read if entry.name in wanted}


def imported(
    source: str,
    declared: Declared,
    ranks: Ranks,
    out: str | None,
    results: str,
    name: str | None = None,
) -> str:
    """Import images on the first rank, while the others wait; the run's folder."""
    count = ranks.name("import")
    if ranks.rank == 0:
        import_images(
            source,
            declared,
            out=out,
            results=results,
            name=name,
            progress=lambda images: ranks.add(count, images),
        )
    ranks.barrier(count, lambda: ranks.add(count, 0))
    return folder_of(source, out, results, name)
