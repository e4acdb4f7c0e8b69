"""Single pictures for typed prompts, and replays of recorded noise."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from harness.core.errors import HarnessError
from harness.engine.batch import Batch
from harness.engine.noise import NoiseStreams, RecordedNoise, check_seeds, stream_key
from harness.engine.policies.like import check_alone
from harness.models.base import Model, ModelEntry
from harness.runs.batch_size import images_at_once
from harness.runs.folder import Settings
from harness.runs.loaded import compiled, open_models
from harness.runs.plan import PlannedRun
from harness.store.image_arrays import load_arrays


@dataclass(frozen=True)
class Request:
    """Pictures to draw, one row each; `notes` as a prompt set has them (core.shards.Prompt)."""

    prompts: list[str]
    negatives: list[str | None]
    seeds: list[int]
    notes: list[dict[str, Any]]


def prompts_of(entry: ModelEntry, prompts: Sequence[str], classes: Sequence[int]) -> list[str]:
    """The prompts of a request: as typed, or `class N` for each class.

    With neither, a model of classes draws one for each picture.
    """
    if prompts and classes:
        raise HarnessError("--prompt and --class contradict each other: give one kind")
    if not prompts and not classes and entry.classes is None:
        raise HarnessError(f"model {entry.name} needs a --prompt")
    return list(prompts) or [f"class {number}" for number in classes] or [""]


def expand(
    prompts: Sequence[str],
    negatives: Sequence[str],
    seeds: Sequence[int],
    recorded: int | None,
    objects: Sequence[str] = (),
) -> Request:
    """One row a picture: every prompt with every seed, or the `recorded` rows of a noise file.

    `negatives` is empty (what the checkpoint does without), one for all, or one a prompt; so are
    `objects`, each a text such as "cat, hat".
    """
    minus = _one_each(negatives, prompts, "negative prompts")
    named = _one_each(objects, prompts, "--objects")
    notes = [{} if names is None else {"objects": names} for names in named]
    rows = list(zip(prompts, minus, notes, strict=True))
    if recorded is None:
        chosen = [(row, seed) for seed in seeds for row in rows]
    elif len(prompts) in (1, recorded):
        chosen = [(row, 0) for row in rows for _ in range(recorded // len(prompts))]
    else:
        raise HarnessError(
            f"the noise file holds {recorded} samples for {len(prompts)} prompts: give one prompt, "
            "or one for each sample"
        )
    return Request(
        [row[0] for row, _ in chosen],
        [row[1] for row, _ in chosen],
        [seed for _, seed in chosen],
        [row[2] for row, _ in chosen],
    )


def check_noise(noise_key: str, request: Request) -> None:
    """Raise HarnessError for seeds that have no noise, and for two pictures that would be one: the
    same prompt and noise."""
    check_seeds(dict.fromkeys(request.seeds), noise_key)
    known: dict[tuple[str, str | None, str, int], int] = {}
    rows = zip(request.prompts, request.negatives, request.notes, request.seeds, strict=True)
    for at, (text, negative, notes, seed) in enumerate(rows):
        key = (text, negative, str(notes), stream_key(noise_key, text, seed, at))
        if (other := known.setdefault(key, at)) != at:
            raise HarnessError(
                f"pictures {other + 1} and {at + 1} would be the same: prompt {text[:40]!r} from "
                f"equal noise (seeds {request.seeds[other]} and {seed}, noise_key={noise_key})"
            )


def _one_each(values: Sequence[str], prompts: Sequence[str], what: str) -> list[str | None]:
    """A value for every prompt, of none, one for all, or one each."""
    if len(values) not in (0, 1, len(prompts)):
        raise HarnessError(
            f"{len(values)} {what} for {len(prompts)} prompts: give none, one, or one for each"
        )
    wanted: list[str | None] = list(values) or [None]
    return wanted * len(prompts) if len(wanted) == 1 else wanted


def check_outputs(folder: str | None, latents: str | None) -> None:
    """Raise, before any work, if the pictures' folder or the latents' file cannot be written."""
    if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise HarnessError(f"--out {folder} is a file: give a folder")
    if latents is not None and not Path(latents).resolve().parent.is_dir():
        raise HarnessError(f"--latents {latents}: there is no folder {Path(latents).parent}")


def read_noise(path: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`noise` [N, C, H, W] unit normal and `draws` [K, N, C, H, W] (or None) of an .npz file."""
    if not Path(path).is_file():
        raise HarnessError(f"there is no noise file {path}")
    try:
        arrays = load_arrays(path, ("noise", "draws"))
    except HarnessError as error:
        raise HarnessError(f"cannot read {path} as .npz of noise: {error}") from None
    if "noise" not in arrays:
        raise HarnessError(f"{path} holds no array 'noise' [N,C,H,W]; it holds draws")
    noise, draws = arrays["noise"], arrays.get("draws")
    for name, array, axes in (("noise", noise, 4), ("draws", draws, 5)):
        if array is not None and (array.ndim != axes or array.dtype.kind != "f"):
            raise HarnessError(
                f"{path}: {name} must be floats with {axes} axes, found {array.dtype} {array.shape}"
            )
    if draws is not None and draws.shape[1:] != noise.shape:
        raise HarnessError(f"{path}: draws {draws.shape} do not fit noise {noise.shape}")
    return torch.from_numpy(noise), None if draws is None else torch.from_numpy(draws)


def draw(
    job: PlannedRun,
    request: Request,
    settings: Settings,
    noise_file: tuple[torch.Tensor, torch.Tensor | None] | None = None,
) -> tuple[Model, Batch]:
    """Sample every row of the request; the model, which decodes the result, and the batch."""
    check_alone(job.spec.sampler)
    torch.set_num_threads(settings.threads)
    models = open_models(job, settings.device, tf32=settings.tf32)
    models.warn_of_cut([*request.prompts, *request.negatives])
    model = models.model
    size = images_at_once(models, job, settings, request.prompts[0])
    networks, parts = compiled(models, settings), []
    size = networks.fit(len(request.prompts), size) if networks else size
    for at in range(0, len(request.prompts), size):
        rows = slice(at, at + size)
        noise = (
            streams(job, request, rows, model)
            if noise_file is None
            else _recorded(job, rows, model, noise_file)
        )
        texts, negatives = request.prompts[rows], request.negatives[rows]
        with networks.at(size) if networks else nullcontext():
            batch = models.run(job.spec.sampler, texts, negatives, noise, request.notes[rows])
        if isinstance(noise, RecordedNoise):
            noise.close()
        parts.append(batch)
    return model, _joined(parts)


def streams(job: PlannedRun, request: Request, rows: slice, model: Model) -> NoiseStreams:
    """The noise of some rows of a request, each from its own stream."""
    texts, seeds = request.prompts[rows], request.seeds[rows]
    keys = [
        stream_key(job.spec.noise_key, text, seed, rows.start + i)
        for i, (text, seed) in enumerate(zip(texts, seeds, strict=True))
    ]
    shape = model.latent_shape(job.spec.pixels)
    return NoiseStreams(keys, shape, dtype=model.state_dtype, device=model.device)


def _recorded(
    job: PlannedRun, rows: slice, model: Model, noise_file: tuple[torch.Tensor, torch.Tensor | None]
) -> RecordedNoise:
    noise, draws = noise_file
    shape = model.latent_shape(job.spec.pixels)
    if tuple(noise.shape[1:]) != shape:
        height, width = job.spec.pixels
        raise HarnessError(
            f"the noise file's samples are {tuple(noise.shape[1:])}, but {job.entry.name} at "
            f"{height}x{width} needs {shape}"
        )
    return RecordedNoise(noise[rows], None if draws is None else draws[:, rows], model.device)


def _joined(parts: list[Batch]) -> Batch:
    keys = parts[0].evaluations
    pixels = [part.pixels for part in parts if part.pixels is not None]
    return Batch(
        torch.cat([part.native for part in parts]),
        {key: [n for part in parts for n in part.evaluations[key]] for key in keys},
        [c for part in parts for c in part.classes or []] or None,
        pixels=torch.cat(pixels) if pixels else None,
    )


def save_latents(path: str, batch: Batch, seeds: Sequence[int] | None) -> None:
    """`latents` [N, C, H, W] in the model's own variables, and evaluations [N] of each branch:
    `nfe_cond` and `nfe_uncond`; a guide's count as unconditional, those under perturbed attention
    are `nfe_perturbed`. `seeds` [N], without recorded noise, and `classes` [N] where there are."""
    if batch.pixels is not None:
        raise HarnessError(f"--latents {path}: the sampler returns pictures, not latents")
    arrays: dict[str, Any] = {"latents": batch.native.cpu().numpy()}
    counts = {"cond": np.zeros(len(batch.native), int), "uncond": np.zeros(len(batch.native), int)}
    for (network, branch), evaluations in batch.evaluations.items():
        branch = "uncond" if network == "guide" else branch
        counts[branch] = counts.get(branch, 0) + np.array(evaluations)
    arrays |= {f"nfe_{branch}": count for branch, count in counts.items()}
    if seeds is not None:
        arrays["seeds"] = np.array(seeds, np.int64)
    if batch.classes:
        arrays["classes"] = np.array(batch.classes)
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def as_pictures(pixels: torch.Tensor) -> list[Image.Image]:
    """PIL pictures of uint8 [B, 3, H, W]."""
    return [Image.fromarray(one.permute(1, 2, 0).contiguous().numpy()) for one in pixels]


def save_pictures(folder: str, pictures: Sequence[Image.Image], seeds: Sequence[int]) -> list[Path]:
    """PNG files named by place and seed (never by prompt), and their paths."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = [Path(folder) / f"{i:04d}-seed{seed}.png" for i, seed in enumerate(seeds)]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path)
    return paths
