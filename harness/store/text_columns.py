"""Columns of texts that repeat, by their places among the different ones.

No text becomes a Python object: of millions of prompts these would be most of the memory.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Codes = NDArray[np.int64]


def coded(column: pd.Series) -> tuple[Codes, pa.Array]:
    """Texts as places in an array, which may hold others, too; -1 where there is none."""
    if isinstance(column.dtype, pd.ArrowDtype):
        held = _one(pa.array(column))
        return held.indices.fill_null(-1).to_numpy(), held.dictionary.cast(pa.large_string())
    if not isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype("category")
    return column.cat.codes.to_numpy(), _one(pa.array(column.cat.categories, pa.large_string()))


def texts(column: pd.Series) -> pa.Array:
    """The texts themselves, null where there is none."""
    if not isinstance(column.dtype, pd.ArrowDtype | pd.CategoricalDtype):
        return _one(pa.array(column, pa.large_string(), from_pandas=True))
    codes, known = coded(column)
    return known.take(pa.array(codes, mask=codes < 0))


def places(column: pa.Array, among: pa.Array) -> Codes:
    """Where each text first stands in another array; -2 where it does not."""
    found = pc.fill_null(pc.index_in(column, value_set=among), -2)
    return np.asarray(found, np.int64)


def place(text: str, among: pa.Array) -> int:
    """Where a text first stands in an array; -1 where it does not."""
    return int(pc.index(among, text).as_py())


def numbered(column: pd.Series) -> Codes:
    """The different texts, or numbers, numbered from 0 in the order in which they come."""
    numbers = column if pd.api.types.is_integer_dtype(column.dtype) else coded(column)[0]
    return pd.factorize(numbers)[0]


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
