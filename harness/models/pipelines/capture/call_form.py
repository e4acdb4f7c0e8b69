"""How a pipeline of diffusers is called: its prompts or classes, guidance, size, own options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from harness.core.errors import HarnessError, unknown
from harness.core.run_spec import DISTILLED

_NO_PICTURES = {
    "num_frames": "makes videos",
    "frames": "makes videos",
    "video_length": "makes videos",
    "audio": "makes sound",
    "strength": "changes a given picture",
    "mask_image": "fills in a given picture",
    "control_image": "needs a picture to follow",
}

_OFF: dict[str, Any] = {
    "use_resolution_binning": False,
    "complex_human_instruction": None,
    "clean_caption": False,
}
"""Options that would change the size that was asked for, or rewrite prompts."""

_OURS = (
    "prompt", "class_labels", "height", "width", "num_inference_steps", "guidance_scale",
    "true_cfg_scale", "generator", "latents", "output_type", "return_dict", "timesteps", "sigmas",
    "num_images_per_prompt", "guidance_rescale", "negative_prompt", "args", "kwargs",
)  # fmt: skip
"""Parameters of a call that the harness gives itself."""


@dataclass(frozen=True)
class CallForm:
    """What a pipeline's call takes, read from its signature.

    `cfg` is the parameter of classifier-free guidance and `distilled` that of a guidance scale
    which is an input of the network, where there may be one.
    """

    name: str
    parameters: Mapping[str, inspect.Parameter]
    classes: bool
    cfg: str | None
    distilled: str | None

    @classmethod
    def of(cls, kind: Any, network: Mapping[str, Any]) -> CallForm:
        """The form of a pipeline class, whose network has this configuration; HarnessError for one
        that does not make pictures from text or classes."""
        found = dict(inspect.signature(kind.__call__).parameters)
        found.pop("self", None)
        classes = "class_labels" in found
        name = kind.__name__
        for parameter, why in _NO_PICTURES.items():
            if any(key.startswith(parameter) for key in found):
                raise HarnessError(
                    f"{name} {why}: the harness runs pipelines that make pictures from text or "
                    "classes"
                )
        if not classes and "prompt" not in found:
            raise HarnessError(
                f"{name} takes neither a prompt nor class_labels: the harness runs pipelines that "
                "make pictures from text or classes"
            )
        needed = [
            key
            for key, one in found.items()
            if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD
        ]
        if extra := [key for key in needed if key not in ("prompt", "class_labels")]:
            raise HarnessError(f"{name} needs {extra[0]}, which a prompt does not give")
        scale = "guidance_scale" if "guidance_scale" in found else None
        true = "true_cfg_scale" if "true_cfg_scale" in found else None
        embeds = network.get("guidance_embeds") or network.get("time_cond_proj_dim") is not None
        cfg = true or (None if embeds else scale)
        return cls(name, found, classes, cfg, scale if embeds else None)

    @property
    def options(self) -> list[str]:
        """The options of a call that a user may set: `MODEL(option=value)`."""
        return [
            key
            for key, one in self.parameters.items()
            if key not in _OURS
            and not key.endswith(("_embeds", "_mask", "_image", "image", "_embeds_t5", "_llama3"))
            and not key.startswith(("callback", "negative_", "prompt_"))
            and _plain(one.default)
        ]

    def chosen(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The options that a user set, and those that are off unless they are set."""
        off = {key: value for key, value in _OFF.items() if key in self.parameters}
        return off | {key: value for key, value in overrides.items() if key in self.options}

    def default(self, name: str | None) -> Any:
        """A parameter's default; None where it has none."""
        found = None if name is None else self.parameters[name].default
        return None if found is inspect.Parameter.empty else found

    def question(
        self,
        what: str | int,
        size: tuple[int, int],
        steps: int,
        *,
        count: int = 1,
        cfg: float | None = None,
        distilled: float | None = None,
        negative: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The arguments of a call for `count` pictures of a prompt or a class."""
        asked: dict[str, Any] = {"num_inference_steps": steps, **(options or {})}
        asked["class_labels" if self.classes else "prompt"] = [what] * count
        if "height" in self.parameters:
            asked |= {"height": size[0], "width": size[1]}
        if negative is not None:
            asked["negative_prompt"] = [negative] * count
        if self.cfg and cfg is not None:
            asked[self.cfg] = cfg
        if self.distilled and distilled is not None:
            asked[self.distilled] = distilled
        if "generator" in self.parameters:  # whatever is drawn, the process's own is left alone
            asked["generator"] = torch.Generator().manual_seed(0)
        return asked

    @property
    def takes_negative(self) -> bool:
        return "negative_prompt" in self.parameters


def check_overrides(form: CallForm, overrides: Mapping[str, Any], others: list[str]) -> None:
    """Raise HarnessError for an override that is no option, nor one of `others`; and for a
    distilled guidance scale that is no such number, or that the network does not take."""
    known = [*form.options, *others, DISTILLED]
    for name in overrides:
        if name not in known:
            raise unknown("parameter", name, known, where=form.name)
    scale = overrides.get(DISTILLED)
    if scale is None:
        return
    if form.distilled is None:
        raise HarnessError(f"{DISTILLED}: this network does not take guidance as an input")
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 <= scale < 1e6:
        raise HarnessError(f"{DISTILLED}={scale!r} must be a guidance scale")


def _plain(value: Any) -> bool:
    """Whether a default is a value that a user can write."""
    return value is None or isinstance(value, (bool, int, float, str, list))
