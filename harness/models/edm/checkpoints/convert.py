"""Converts a published checkpoint's network to safetensors and JSON."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from harness.core.errors import HarnessError
from harness.models.edm.checkpoints.checkpoint import read_checkpoint
from harness.models.edm.foreign_weights import foreign_weights


def convert(path: Path, out: Path | None = None, network: str | None = None) -> tuple[Path, Path]:
    """Write `NAME.safetensors` and `NAME.json` into `out` (default: beside the file).

    NAME is the file's own, followed by `network` where that is given. Tensors keep their types.
    Raises HarnessError if a file of that name exists, or if there is no such network.
    """
    from safetensors.torch import save_file

    if path.suffix == ".safetensors" and path.is_file():
        known = foreign_weights(path)
        raise HarnessError(known or f"{path} is a .safetensors already: only .pkl and .pt convert")
    chosen = read_checkpoint(path).network(network)
    about = {
        "class_name": chosen.known_class(str(path)),
        "init_kwargs": chosen.init_kwargs,
        "attributes": chosen.attributes,
        "parameters": chosen.parameters,
        "source": path.name,
    }
    folder = path.parent if out is None else out
    name = path.stem if network is None else f"{path.stem}-{network}"
    weights, description = (folder / f"{name}.{suffix}" for suffix in ("safetensors", "json"))
    for target in (weights, description):
        if target.exists():
            raise HarnessError(f"{target} exists: remove it, or choose another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}.") as temporary:
            parts = Path(temporary) / weights.name, Path(temporary) / description.name
            save_file(chosen.state_dict(), parts[0], metadata={"format": "pt"})
            parts[1].write_text(json.dumps(about, indent=1) + "\n")
            for part, target in zip(parts, (weights, description), strict=True):
                part.replace(target)
    except OSError as error:
        raise HarnessError(f"cannot write {folder}: {error.strerror}") from None
    return weights, description
