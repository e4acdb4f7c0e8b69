"""How a command shows its help: options by purpose, what takes a value, text that flows."""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args

from typer.core import TyperCommand, TyperOption
from typer.models import CommandInfo, OptionInfo

_USUAL = "Options"
_PANELS = {
    "Prompts and pictures": (
        "split",
        "column",
        "image_column",
        "prompts_folder",
        "size",
        "dtype",
        "decode_dtype",
        "guide",
        "negative",
        "objects",
        "noise_key",
        "noise",
        "latents",
    ),
    "What is equal in a fair comparison": ("match", "match_guidance", "curve"),
    "Where results go": ("results", "out", "track", "log"),
    "Machine": (
        "device",
        "threads",
        "batch_size",
        "tf32",
        "compile",
        "workers",
        "shard",
        "claim",
    ),
}
"""Options that are seldom needed, by what they are for."""

_LAST = ("dry_run", "verbose", "help")
_FEW = 9  # options that need no order


class GroupedCommand(TyperCommand):
    """A command whose options stand in groups."""

    def get_params(self, ctx: Any) -> list[Any]:
        found = super().get_params(ctx)
        options = [one for one in found if isinstance(one, TyperOption)]
        for one in options:
            if one.name == "help":
                one.metavar = ""
        for one in options if len(options) > _FEW else []:
            one.rich_help_panel = _panel(one.name or "")
        return sorted(found, key=lambda one: one.name in _LAST)


def _panel(name: str) -> str:
    return next((panel for panel, names in _PANELS.items() if name in names), _USUAL)


def arrange(command: CommandInfo) -> None:
    """Show a command's options in groups, with a word for a value, and its text as it flows."""
    command.cls = GroupedCommand
    callback = command.callback
    assert callback is not None
    command.help = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(callback.__doc__ or ""))
    signature = inspect.signature(callback, eval_str=True)
    callback.__signature__ = signature  # type: ignore[attr-defined]  # it holds what is set here
    for one in signature.parameters.values():
        kind, *about = get_args(one.annotation) or (one.annotation,)
        for option in about:
            if isinstance(option, OptionInfo) and option.metavar is None:
                option.metavar = _word(kind)


def _word(kind: Any) -> str:
    """What stands for a value of this type: nothing for a switch."""
    kinds = {kind, *get_args(kind)}
    return "" if bool in kinds else "N" if kinds & {int, float, list[int]} else "TEXT"
