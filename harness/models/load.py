"""From what a user typed to a model entry, and to a loaded model."""

from __future__ import annotations

from pathlib import Path

from harness.errors import HarnessError, unknown
from harness.models.base import DTYPES, MODELS, LoadRequest, Model, ModelEntry
from harness.models.edm.files import FILES, file_entry
from harness.models.hub import any_hub_entry, is_hub_id
from harness.models.local import folder_entry
from harness.spec import Call, parse_call


def find(spec: str | Call) -> ModelEntry:
    """The entry of a registry name, a pipeline folder, a network's file or a hub id.

    Loads no weights. Raises HarnessError for what is none of them.
    """
    name = (parse_call(spec) if isinstance(spec, str) else spec).name
    if name in MODELS:
        return MODELS.get(name)
    path = Path(name).expanduser()
    if path.is_dir():
        return folder_entry(path, path.resolve().name)
    if path.is_file() or path.suffix in FILES:
        return file_entry(path)
    if is_hub_id(name) and not name.startswith("."):
        return any_hub_entry(name)
    if "/" in name:
        raise HarnessError(f"there is no model folder {name}")
    raise unknown("model", name, MODELS.names())


def load(spec: str | Call, *, device: str = "cpu", dtype: str = "float32") -> Model:
    """The loaded model of `spec`, which may override settings: `PATH(prediction_type=...)`."""
    call = parse_call(spec) if isinstance(spec, str) else spec
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    return find(call).load(LoadRequest(call.params, device, dtype))
