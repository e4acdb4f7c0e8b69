"""Arrow schemas of every table that the harness writes about items."""

from __future__ import annotations

import json

import pyarrow as pa

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_NFE = pa.list_(
    pa.struct([("network", pa.string()), ("branch", pa.string()), ("evaluations", pa.int32())])
)


def _hugging_face(schema: pa.Schema) -> pa.Schema:
    """Mark `image` as an Image for `datasets.load_dataset("parquet", ...)`."""

    def feature(field: pa.Field) -> dict[str, object] | list[object]:
        if field.name == "image":
            return {"_type": "Image"}
        if field.name == "nfe_by_branch":
            inner = {
                f.name: {"dtype": str(f.type), "_type": "Value"} for f in field.type.value_type
            }
            return {"feature": inner, "_type": "List"}
        dtype = "float64" if pa.types.is_float64(field.type) else str(field.type)
        return {"dtype": dtype, "_type": "Value"}

    features = {field.name: feature(field) for field in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


IMAGES = _hugging_face(
    pa.schema(
        [
            ("item_id", pa.string()),
            ("prompt_id", pa.string()),
            ("prompt", pa.string()),
            ("category", pa.string()),
            ("notes", pa.string()),  # JSON
            ("seed", pa.int64()),
            ("class", pa.int32()),  # label of a class-conditional model, given or drawn
            ("image", _IMAGE),  # PNG
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("failed", pa.string()),  # null, or why there is no picture
            ("nfe", pa.int32()),  # evaluations on this sample, all networks and branches
            ("nfe_by_branch", _NFE),
            ("guidance_scale", pa.float64()),  # nominal; null where undefined, see GUIDANCE
        ]
    )
)
"""One row an item: `images/part-*.parquet`."""

IMPORTED = _hugging_face(pa.schema([*IMAGES, ("stamp", pa.string())]))
"""The same for images made elsewhere: `image` mostly names their file, which had this stamp."""

_CURVE = pa.list_(pa.float64())

GUIDANCE = pa.schema(
    [
        ("item_id", pa.string()),
        ("sigma", _CURVE),  # the level at which each step begins
        ("travel", _CURVE),  # |d sigma|
        ("scale", _CURVE),  # the step's nominal guidance scale
        ("push", _CURVE),  # the norm of c - u; null where it is unknown
        ("ga_eval", pa.float64()),  # that estimate, see ga_eval.py; null where no step is altered
        ("level", _CURVE),  # of each evaluation, in order: the state's level,
        ("coefficient", _CURVE),  # that of its noise prediction in the result,
        ("weight", _CURVE),  # the scale applied to it,
        ("distance", _CURVE),  # and the norm of its c - u; null where one branch was evaluated
    ]
)
"""One row an item: `guidance/part-*.parquet`; none where guidance is no weight of c - u."""

TIMING = pa.schema(
    [
        ("shard", pa.string()),
        ("images", pa.int32()),
        ("seconds", pa.float64()),  # sampling and decoding, without loading and writing
        ("device", pa.string()),
        ("threads", pa.int32()),
        ("batch_images", pa.list_(pa.int32())),  # of each batch, in order
        ("batch_seconds", _CURVE),
    ]
)
"""One row a shard: `timing/part-*.parquet`; not in the images, whose bytes hold no timings."""

SCORES = pa.schema(
    [
        ("item_id", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),  # null where undefined
        ("reason", pa.string()),  # why it is null
    ]
)
"""One row an item: `scores/<metric>/part-*.parquet`."""


def features(width: int) -> pa.Schema:
    """One row an item: `features/<encoder>/part-*.parquet`; null with a reason without picture."""
    return pa.schema(
        [
            ("item_id", pa.string()),
            ("feature", pa.list_(pa.float32(), width)),
            ("reason", pa.string()),  # why it is null
        ]
    )
