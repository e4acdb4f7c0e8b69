"""A pipeline without its weights, to see what it does before they are downloaded or loaded.

Networks and autoencoders are laid out without memory. Text encoders give zeros of the right shape.
Tokenizers and the scheduler are the folder's own.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import HarnessError, first_line
from harness.core.libraries import quiet
from harness.models.pipelines.configurations import read_json
from harness.models.pipelines.loading import UNUSED


@lru_cache(maxsize=8)
def hollow_pipeline(folder: Path) -> Any:
    """The pipeline in `folder` with no weights; HarnessError where a part is unknown or missing."""
    kind, index = pipeline_class(folder), read_json(folder / "model_index.json")
    settings = {key: one for key, one in index.items() if not key.startswith("_")}
    with quiet():
        parts = {
            name: _part(folder, name, value) if isinstance(value, list) else value
            for name, value in settings.items()
        }
        made = _made(type(kind.__name__, (_OnCpu, kind), {"__module__": kind.__module__}), parts)
        made.set_progress_bar_config(disable=True)
    return made


def _made(kind: Any, parts: dict[str, Any]) -> Any:
    taken = inspect.signature(kind.__init__).parameters
    if missing := [
        name
        for name, one in taken.items()
        if one.default is one.empty and name not in (*parts, "self")
    ]:
        raise HarnessError(f"{kind.__name__} needs {missing[0]}, which model_index.json lacks")
    try:
        return kind(**{name: part for name, part in parts.items() if name in taken})
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        raise HarnessError(f"{kind.__name__} cannot be set up: {first_line(error)}") from None


def pipeline_class(folder: Path) -> Any:
    """The folder's class of diffusers; HarnessError for one that diffusers does not have."""
    import diffusers

    name = read_json(folder / "model_index.json").get("_class_name")
    if isinstance(name, str) and name.endswith("Pipeline") and hasattr(diffusers, name):
        return getattr(diffusers, name)
    raise HarnessError(
        f"{folder}: {name!r} is no pipeline of diffusers {diffusers.__version__}: a newer one "
        "may have it; code that comes with a checkpoint is not run"
    )


def _part(folder: Path, name: str, value: list[str | None]) -> Any:
    """A component without weights; None for one that is absent or not used."""
    if value[0] is None or name in UNUSED:
        return None
    kind = _class_of(folder, value)
    if not (isinstance(kind, type) and issubclass(kind, torch.nn.Module)):
        return _read(kind, folder / name)
    read_json(folder / name / "config.json")
    return _laid_out(kind, folder / name) if hasattr(kind, "load_config") else HollowEncoder(
        kind, folder / name
    )  # fmt: skip


def _class_of(folder: Path, value: list[str | None]) -> Any:
    from diffusers.pipelines.pipeline_loading_utils import simple_get_class_obj

    try:
        return simple_get_class_obj(*value)
    except (ImportError, AttributeError, ValueError) as error:
        raise HarnessError(f"{folder}: {value[1]} is not known: {first_line(error)}") from None


def _read(kind: Any, folder: Path) -> Any:
    """A scheduler, tokenizer or processor."""
    if not folder.is_dir():
        raise HarnessError(f"{folder.parent} is not complete: it has no {folder.name}/")
    try:
        return kind.from_pretrained(str(folder))
    except (OSError, ValueError, ImportError, TypeError) as error:
        raise HarnessError(f"cannot read {folder}: {first_line(error)}") from None


def _laid_out(kind: Any, folder: Path) -> Any:
    """A network of diffusers whose parameters take no memory."""
    from accelerate import init_empty_weights

    try:
        with init_empty_weights():
            return kind.from_config(kind.load_config(str(folder))).eval()
    except (OSError, ValueError, TypeError) as error:
        raise HarnessError(f"cannot read {folder}: {first_line(error)}") from None


class _OnCpu:
    """A pipeline that computes on the CPU, wherever its parameters are."""

    _execution_device = torch.device("cpu")
    device = torch.device("cpu")


class HollowEncoder(torch.nn.Module):
    """A text encoder that gives zeros of its own shapes for any text."""

    dtype = torch.float32
    device = torch.device("cpu")

    def __init__(self, kind: Any, folder: Path) -> None:
        super().__init__()
        self.config = kind.config_class.from_pretrained(str(folder))
        text = getattr(self.config, "text_config", None) or self.config
        widths = [getattr(text, name, None) for name in ("hidden_size", "d_model", "n_embd")]
        if not (width := next((one for one in widths if one), None)):
            raise HarnessError(f"{folder}: {kind.__name__} is no text encoder that is understood")
        self._width = int(width)
        layers = getattr(text, "num_hidden_layers", None) or getattr(text, "num_layers", None)
        self._layers = int(layers or 0)
        self._tokens_first = kind.__module__.startswith("diffusers.")  # as ChatGLM's are
        projects = kind.__name__.endswith("WithProjection")
        self._projection = int(text.projection_dim) if projects else None

    def forward(self, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> HollowText:
        rows, tokens = input_ids.shape
        axes = (tokens, rows) if self._tokens_first else (rows, tokens)
        text = torch.zeros(*axes, self._width)
        pooled = torch.zeros(rows, self._projection or self._width)
        return HollowText(text, pooled, self._layers, self._projection is not None)


class HollowText:
    """What a text encoder returns, as pipelines read it."""

    def __init__(
        self, text: torch.Tensor, pooled: torch.Tensor, layers: int, projected: bool
    ) -> None:
        self.last_hidden_state, self.pooler_output, self.text_embeds = text, pooled, pooled
        self.hidden_states = (text,) * (layers + 1)
        self._first = pooled if projected else text

    def __getitem__(self, index: int) -> torch.Tensor:
        return (self._first, self.pooler_output)[index]
