"""One text is one prompt, also where a run's table names it by several ids."""

from __future__ import annotations

import logging
from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
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
    kept = np.ones(len(images), bool)
    ids, texts = images["prompt_id"], images["prompt"]
    if len(pc.unique(texts)) == len(pc.unique(ids)):
        return images, kept  # an id has one text
    codes, names = pd.factorize(ids.cast(pa.string()).to_pandas().fillna(""), sort=True)
    text, written = pd.factorize(texts.cast(pa.string()).to_pandas().fillna(""))
    some = np.array([bool(one.strip()) for one in written])[text]
    rows = pd.DataFrame({"id": codes, "text": text, "seed": images["seed"].to_numpy()})[some]
    named = len(rows["id"].unique()), len(rows["text"].unique())
    if named[0] == named[1]:
        return images, kept
    if run.imported is None and run.spec.noise_key in _OF_TEXT_AND_SEED:
        again = rows["id"] != rows.groupby(["text", "seed"])["id"].transform("first")
        kept[rows.index[again]] = False
        rows = rows[~again]
    codes[rows.index] = rows.groupby("text")["id"].transform("min")
    place = images.schema.get_field_index("prompt_id")
    one = pa.array(names[codes], pa.string()).dictionary_encode()
    images = images.set_column(place, "prompt_id", one)
    _say(run.path, *named, len(kept), int(kept.sum()))
    return images.filter(kept), kept


@cache
def _say(path: str, ids: int, texts: int, images: int, distinct: int) -> None:
    """Say, once, what is counted as one."""
    of = f"; of its {images:,} images, {distinct:,} are distinct" if distinct < images else ""
    log.warning(
        "%s: %s prompt ids stand for %s distinct texts: one text counts as one prompt%s",
        path, f"{ids:,}", f"{texts:,}", of,
    )  # fmt: skip
