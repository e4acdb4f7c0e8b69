"""One text is one prompt, also where a run's table names it by several ids."""

from __future__ import annotations

import logging
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.store.run import Run

log = logging.getLogger(__name__)

_OF_TEXT_AND_SEED = ("prompt", "seed")
"""Noise keys by which equal texts start from the same noise at a seed."""


def one_prompt_a_text(run: Run, images: pa.Table) -> tuple[pa.Table, NDArray[np.bool_]]:
    """A run's images (with `prompt_id`, `prompt` and `seed`), each once, and which rows they are.

    The `prompt_id` of a text with several is the first of them in alphabetical order. Images of one
    text and seed are one image, unless they were made elsewhere or from noise by their place
    (`noise_key=index`): the first of them is kept. Empty texts are none: there ids are prompts.
    Says so once, where it changes anything.
    """
    names = ["prompt_id", "prompt"]
    pairs = images.select(names).group_by(names, use_threads=False).aggregate([]).to_pandas()
    pairs = pairs[pairs["prompt"].fillna("").str.strip() != ""]
    several = pairs.loc[pairs.duplicated("prompt"), "prompt"]
    kept = np.ones(len(images), bool)
    if several.empty:
        return images, kept
    rows = images.select([*names, "seed"]).to_pandas()
    rows = rows[rows["prompt"].isin(several)]
    if run.imported is None and run.spec.noise_key in _OF_TEXT_AND_SEED:
        first = rows.groupby(["prompt", "seed"])["prompt_id"].transform("first")
        kept[rows.index[rows["prompt_id"] != first]] = False
        rows = rows[rows["prompt_id"] == first]
    ids = images["prompt_id"].to_pandas()
    ids[rows.index] = rows.groupby("prompt")["prompt_id"].transform("min")
    place = images.schema.get_field_index("prompt_id")
    column = pa.array(ids, pa.string(), from_pandas=True)
    images = images.set_column(place, "prompt_id", column).filter(kept)
    _say(run.path, len(pairs), pairs["prompt"].nunique(), len(kept), int(kept.sum()))
    return images, kept


@cache
def _say(path: str, ids: int, texts: int, images: int, distinct: int) -> None:
    """Say, once, what is counted as one."""
    of = f"; of its {images:,} images, {distinct:,} are distinct" if distinct < images else ""
    log.warning(
        "%s: %s prompt ids stand for %s distinct texts: one text counts as one prompt%s",
        path, f"{ids:,}", f"{texts:,}", of,
    )  # fmt: skip
