"""Files of the Hugging Face hub: revisions, configurations, and weights when they are needed.

A hub id is `OWNER/NAME`, or `OWNER/NAME@REVISION` with a commit, tag or branch. Files in the hub's
cache are not requested again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants

from harness.core.errors import HarnessError, first_line
from harness.fetch.download import check_may_download, forbidden

_SMALL = ["model_index.json", "*/config.json", "scheduler/*.json", "tokenizer*/*"]
_NO_NETWORK_AFTER = 5  # seconds


def is_hub_id(name: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?", name) is not None


def cached_file(repo: str, names: Iterable[str]) -> str | None:
    """The path of the first of these files that the hub's cache holds."""
    name, wanted = _split(repo)
    cached = (huggingface_hub.try_to_load_from_cache(name, file, revision=wanted) for file in names)
    return next((path for path in cached if isinstance(path, str)), None)


def ask(repo: str) -> Any:
    """The hub's ModelInfo of a repository; raises what its client raises, within seconds.

    Ask before a download, for which the client tries for a minute where there is no network.
    """
    check_may_download(repo)
    name, wanted = _split(repo)
    api = huggingface_hub.HfApi()
    return api.model_info(name, revision=wanted, timeout=_NO_NETWORK_AFTER)


@lru_cache
def revision(repo: str) -> str:
    """The commit of a hub id: that of the local cache, else the hub's current one.

    Raises HarnessError if neither has it.
    """
    for file in ("model_index.json", "unet/config.json", "transformer/config.json", "config.json"):
        if cached := cached_file(repo, [file]):
            return Path(cached).parents[file.count("/")].name
    check_may_download(repo)
    with _hub(repo):
        return str(ask(repo).sha)


@lru_cache
def small_files(repo: str) -> Path:
    """The folder of a pipeline's snapshot, with its configurations and tokenizers."""
    folder = _fetch(repo, _SMALL)
    if not (folder / "model_index.json").exists():
        raise HarnessError(f"{repo} is no diffusers pipeline: it has no model_index.json")
    return folder


def fetch_weights(repo: str, parts: Sequence[str], half: bool) -> str | None:
    """Download the weights of a pipeline's parts; returns their variant, "fp16" or None.

    With `half` the fp16 files are taken wherever a part has them.
    """
    folder = small_files(repo)
    inner = [f"{part}/" for part in parts if (folder / part / "config.json").exists()]
    return _fetch_tensors(repo, folder, inner, half)


def fetch_network(repo: str, part: str, half: bool) -> tuple[Path, str | None]:
    """Download a network; returns its folder and the variant of its weights, "fp16" or None.

    The network is in the repository's folder `part`, or at its root.
    """
    root = _fetch(repo, ["config.json", f"{part}/config.json"])
    inner = f"{part}/" if (root / part / "config.json").exists() else ""
    folder = root / inner
    if not (folder / "config.json").exists():
        raise HarnessError(f"{repo} has no {part}: neither {part}/config.json nor config.json")
    return folder, _fetch_tensors(repo, root, [inner], half)


_FP16 = ("*.fp16*.safetensors", "*.safetensors.index.fp16.json")
_FULL = ("*.safetensors", "*.safetensors.index.json")
_NOT_FULL = ["*fp16*", "*non_ema*"]


def held_variant(folder: Path) -> str | None:
    """The variant of a local pipeline's, or network's, weights: "fp16" where a part has these
    alone, as `save_pretrained(variant="fp16")` leaves it; else None."""
    for place in [folder, *(inner for inner in folder.iterdir() if inner.is_dir())]:
        halves = {path.name for path in place.glob(_FP16[0])}
        if halves and not {path.name for path in place.glob(_FULL[0])} - halves:
            return "fp16"
    return None


def _fetch_tensors(repo: str, root: Path, folders: Sequence[str], half: bool) -> str | None:
    """Download the weights in folders (`unet/`) below `root`; returns "fp16" if some are that."""

    def hold(folder: str, pattern: str) -> bool:
        return any((root / folder).glob(pattern))

    if half:
        _fetch(repo, [f"{folder}{name}" for folder in folders for name in _FP16])
    lacking = [folder for folder in folders if not (half and hold(folder, _FP16[0]))]
    if lacking:
        _fetch(repo, [f"{folder}{name}" for folder in lacking for name in _FULL], _NOT_FULL)
    if empty := [folder.rstrip("/") for folder in lacking if not hold(folder, _FULL[0])]:
        of = f" of its {empty[0]}" if empty[0] else ""
        raise HarnessError(
            f"{repo} has no weights{of} as .safetensors, which is all that is loaded"
        )
    return "fp16" if len(lacking) < len(folders) else None


def _split(repo: str) -> tuple[str, str | None]:
    name, _, wanted = repo.partition("@")
    return name, wanted or None


def _fetch(repo: str, patterns: Sequence[str], ignored: Sequence[str] | None = None) -> Path:
    """Download the files of these patterns; returns the snapshot's folder."""
    commit = revision(repo)  # quick, where there is neither a cache nor a network
    with _hub(repo):
        return Path(
            huggingface_hub.snapshot_download(
                _split(repo)[0],
                revision=commit,
                allow_patterns=list(patterns),
                ignore_patterns=list(ignored) if ignored else None,
                local_files_only=forbidden(),
            )
        )


@contextlib.contextmanager
def _hub(repo: str) -> Iterator[None]:
    """Errors of the hub's client as a HarnessError that says what to do."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, wanted = _split(repo)
    try:
        yield
    except Exception as error:  # the first match: GatedRepoError is a RepositoryNotFoundError
        meanings: list[tuple[type[Exception], str]] = [
            (
                GatedRepoError,
                f"{name} is gated: accept its licence on its hub page, then run 'hf auth login'",
            ),
            (RepositoryNotFoundError, f"the hub has no model {name!r} (or it is private)"),
            (RevisionNotFoundError, f"{name} has no commit, tag or branch {wanted!r}"),
            (LocalEntryNotFoundError, _unreachable(repo, error)),
            (EntryNotFoundError, f"{name} is no diffusers pipeline: {first_line(error)}"),
            (Exception, _unreachable(repo, error)),
        ]
        text = next(text for kind, text in meanings if isinstance(error, kind))
        raise HarnessError(text) from None


def _unreachable(repo: str, error: Exception) -> str:
    name, wanted = _split(repo)
    pinned = f" --revision {wanted}" if wanted else ""
    return (
        f"the weights of {repo} are not (all) on this machine and the hub cannot be reached "
        f"({type(error).__name__}). Where there is a network, run: hf download {name}{pinned} "
        "--include '*.json' '*/*.txt' '*/*.model' '*/*.safetensors'. Without one here, copy what "
        "it fetched (its folder under ~/.cache/huggingface/hub, or the pipeline's own folder, "
        "whose path is then the model: MODEL=/path/to/folder)"
    )


def fetch_files(what: str, repo: str, names: Sequence[str], parameter: str) -> list[str]:
    """Paths of single files of a repository, fetched if they are not in the hub's cache.

    Raises HarnessError where that fails, which says what to download and how to name it: `what` are
    "the weights of ...", `parameter` is `hpsv2(checkpoint=PATH)`.
    """
    held = [path for name in names if (path := cached_file(repo, [name]))]
    if len(held) == len(names):
        return held
    check_may_download(place(repo, names))
    try:
        ask(repo)
        return [str(huggingface_hub.hf_hub_download(repo, name)) for name in names]
    except Exception as error:  # any failure of the network
        raise absent(what, error, place(repo, names), parameter) from None


def absent(what: str, reason: Exception, where: str, parameter: str) -> HarnessError:
    """The error for weights that are not here and cannot be downloaded, with what to do."""
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else first_line(reason)
    several = " and " in where
    return HarnessError(
        f"{what} are not on this machine and cannot be fetched: {why}. Download {where} where "
        f"there is a network, and name the {'folder' if several else 'file'} as a parameter: "
        f"{parameter}"
    )


def place(repo: str, names: Sequence[str]) -> str:
    """The URL of a repository with the names of the files to get from it."""
    *first, last = names
    files = f"files {', '.join(first)} and {last}" if first else f"file {last}"
    return f"{constants.ENDPOINT}/{repo} ({files})"
