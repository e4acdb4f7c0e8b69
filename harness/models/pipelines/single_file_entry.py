"""The model that a single-file checkpoint is, with the configurations of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.core.errors import HarnessError
from harness.fetch.fingerprints import files_fingerprint
from harness.fetch.hub_files import small_files
from harness.models.base import ModelEntry
from harness.models.pipelines.local import folder_entry, load_folder
from harness.models.pipelines.single_file import kind_of, unreached


def single_file_entry(path: Path, overrides: Mapping[str, Any]) -> ModelEntry | None:
    """The entry of a checkpoint in one file; None for another file.

    Reads the names of its tensors and the small files of the repository whose kind it is, which are
    downloaded where they are not there; HarnessError where they cannot be.
    """
    if (repo := kind_of(path)) is None:
        return None
    try:
        folder = small_files(repo)
    except HarnessError as error:
        raise HarnessError(f"{unreached(path, repo)} ({error})") from None
    weights = {"single_file": str(path)}
    return folder_entry(
        folder,
        path.stem,
        overrides,
        source=f"{path.name}, of the kind of {repo}",
        revision=lambda: files_fingerprint({path.name: path}),
        load=lambda request: load_folder(
            replace(request, overrides={**request.overrides, **weights}), folder, path.stem
        ),
    )
