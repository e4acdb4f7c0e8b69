"""Metrics of torchmetrics, made from options, and what identifies their weights."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from harness.core.errors import HarnessError, first_line
from harness.core.libraries import quiet

if TYPE_CHECKING:
    import torch

OURS = ("self", "data_range", "normalize", "reduction", "reset_real_features", "input_img_size")
"""Options that the harness gives: pictures are floats of 0 to 1, and each has a number."""

_MODEL = "model_name_or_path"


def build(kind: Any, options: Mapping[str, Any]) -> Any:
    """A metric of this class, the same one for the same options; HarnessError where there is none,
    as for wrong options and weights that cannot be downloaded."""
    return _built(kind, json.dumps(dict(options), sort_keys=True))


@lru_cache(maxsize=8)
def _built(kind: Any, options: str) -> Any:
    import inspect

    ours = {"data_range": 1.0, "normalize": True}
    taken = inspect.signature(kind.__init__).parameters
    of_sets = "feature" in taken  # which are given features
    given: dict[str, Any] = {k: v for k, v in ours.items() if k in taken and not of_sets}
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given |= _tuples(json.loads(options))
            if _MODEL in taken and given.get(_MODEL, taken[_MODEL].default) != "clip_iqa":
                given[_MODEL] = partial(_clip, given.get(_MODEL, taken[_MODEL].default))
            made = kind(**given, sync_on_compute=False)
    except Exception as error:  # whatever another library raises
        hint = ": it downloads its weights, so run it once where there is a network"
        raise HarnessError(
            f"torchmetrics' {kind.__name__} cannot be made here{hint * isinstance(error, OSError)} "
            f"({type(error).__name__}: {first_line(error)})"
        ) from error
    return made.eval()


def _clip(name: str) -> tuple[Any, Any]:
    """A CLIP of the hub or a folder, and its processor; no code of theirs is executed.

    Some versions of transformers give features with more, of which torchmetrics takes none.
    """
    from transformers import CLIPModel, CLIPProcessor

    model: Any = CLIPModel.from_pretrained(name)
    for method in ("get_image_features", "get_text_features"):
        setattr(model, method, _features(getattr(model, method)))
    return model, CLIPProcessor.from_pretrained(name)


def _features(method: Callable[..., Any]) -> Callable[..., Any]:
    def plain(*args: Any, **kwargs: Any) -> Any:
        found = method(*args, **kwargs)
        return getattr(found, "pooler_output", found)

    return plain


def digest_of(module: Any) -> str:
    """A hash of the library's version and a module's weights; computed once for each module."""
    if not hasattr(module, "_harness_digest"):
        import torchmetrics

        found = hashlib.sha256(torchmetrics.__version__.encode())
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            found.update(name.encode())
            found.update(tensor.detach().cpu().float().numpy().tobytes())
        module._harness_digest = found.hexdigest()
    digest: str = module._harness_digest
    return digest


def one_number(value: Any, name: str) -> torch.Tensor:
    """A metric's result as one number, on its device: the first of a mean and a deviation.

    Raises HarnessError for several numbers by name.
    """
    if isinstance(value, dict):
        raise HarnessError(f"{name} gives {len(value)} numbers ({', '.join(value)}): ask for one")
    import torch

    number = value[0] if isinstance(value, tuple) else value
    if not isinstance(number, torch.Tensor):
        return torch.tensor(number, dtype=torch.float64)
    return number.reshape(())


def _tuples(value: Any) -> Any:
    """Lists as tuples, which torchmetrics takes everywhere."""
    if isinstance(value, dict):
        return {key: _tuples(one) for key, one in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
