"""The references of commands and of the Python face, generated from what they declare.

`python -m harness.cli.reference` writes them into `docs/`. They are read from signatures and
docstrings and not from printed help, so that they are the same on every terminal and Python.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo, ParameterInfo

from harness.cli.option_types import SHARED

_COMMANDS = """# Commands

For whoever looks up an option. Made from the commands themselves by `make docs`;
`harness COMMAND --help` says the same.

"""
_PYTHON = """# Python

For whoever calls the harness from a notebook or a script. Made from the docstrings by `make docs`;
`help(harness.NAME)` says the same. Names are of `harness` where no other module is told. All of it
in use: [notebook.ipynb](notebook.ipynb).

"""
_RESULTS: dict[str, dict[str, tuple[str, ...]]] = {
    "harness.store.run": {"Run": ("images", "scores", "frame", "shards", "paired")},
    "harness.runs.forecast": {"Forecast": ()},
    "harness.face.answers": {
        "Answer": (),
        "Comparison": (),
        "Tuned": (),
        "Survey": (),
        "Matrix": (),
    },
}
"""Classes by module, with those of their members that are for everybody; none named: all."""
_HEAD = ["| | default | |", "|---|---|---|"]
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_PARTS: dict[str, tuple[str, ...]] = {
    "Make": ("generate", "sample", "import_images", "export", "load_run"),
    "Judge": ("evaluate", "compare", "report", "power", "as_torchmetric"),
    "Make and judge": ("bench", "survey", "sweep", "tune", "ablate"),
    "Extend": ("sampler", "policy", "metric", "prompt_set", "model"),
}


def commands() -> str:
    """The reference of the command line, as Markdown."""
    from harness import cli

    cli.load_commands()
    shown = [(one.name, one.callback) for one in cli.app.registered_commands if not one.hidden]
    epilogs = {one.callback: one.epilog for one in cli.app.registered_commands}
    for group in cli.app.registered_groups:
        assert group.typer_instance is not None
        for one in group.typer_instance.registered_commands:
            called = (one.name or _word(one.callback)).strip("-")
            shown.append((f"{group.name} {called}", one.callback))
            epilogs[one.callback] = one.epilog
    names = [name or _word(callback) for name, callback in shown]
    index = " · ".join(f"[{name}](#{_anchor(f'harness {name}')})" for name in names)
    parts = [
        _command(name, callback, epilogs[callback])
        for name, (_, callback) in zip(names, shown, strict=True)
        if callback is not None
    ]
    return "\n".join([_COMMANDS + index + "\n", *parts, _shared()])


def _word(callback: Callable[..., object] | None) -> str:
    return callback.__name__.strip("_").replace("_", "-") if callback else ""


def _anchor(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _command(name: str, callback: Callable[..., object], epilog: str | None) -> str:
    """A command's section: usage, what it does, arguments and options, examples."""
    parameters = list(_declared(callback))
    places = [row for row in parameters if isinstance(row[1], ArgumentInfo)]
    options = [row for row in parameters if isinstance(row[1], OptionInfo)]
    shares = any(row[2].annotation is SHARED["tiny"] for row in options)
    own = [row for row in options if not (shares and row[0] in SHARED)]
    needed = [_needed(*row) for row in options if row[2].default is inspect.Parameter.empty]
    others = ["[OPTIONS]"] if len(options) > len(needed) else []
    usage = " ".join(["harness", name, *map(_place, places), *needed, *others])
    lines = [f"## harness {name}\n", f"    {usage}\n", _prose(inspect.getdoc(callback) or "")]
    if rows := [_row(_name(*row), *row[1:]) for row in [*places, *own]]:
        lines += ["", *_HEAD, *rows]
    if shares:
        lines += [
            "",
            f"And [the shared options](#shared-options){_but(key for key, *_ in options)}.",
        ]
    if epilog:
        text = re.sub(r"\[/?bold\]", "`", epilog).replace("\\[", "[")
        lines += ["", text]
    return "\n".join(lines) + "\n"


def _shared() -> str:
    """The options that bench, sweep, tune and ablate share."""
    from harness.experiments.options import Options

    rows = [
        (key, next(_abouts(kind)), inspect.Parameter(key, _KEYWORD, default=getattr(Options, key)))
        for key, kind in SHARED.items()
    ]
    table = [_row(_name(*row), *row[1:]) for row in rows]
    about = "Of bench, sweep, tune and ablate; what is not given is the benchmark's or the model's."
    return "\n".join(["## Shared options\n", about, "", *_HEAD, *table]) + "\n"


def _but(given: Iterable[str]) -> str:
    """Which of the shared options are not among the given ones, in words."""
    known = set(given)
    lacking = [f"`--{key.replace('_', '-')}`" for key in SHARED if key not in known]
    return f", but for {', '.join(lacking)}" if lacking else ""


def _declared(callback: Callable[..., object]) -> Iterator[tuple[str, Any, inspect.Parameter]]:
    """A command's parameters that help shows, with their Argument or Option."""
    for key, one in inspect.signature(callback, eval_str=True).parameters.items():
        about = next(_abouts(one.annotation), ArgumentInfo())
        if not about.hidden:
            yield key, about, one


def _abouts(annotation: Any) -> Iterator[Any]:
    """The Argument or Option of an annotated type."""
    return (each for each in get_args(annotation)[1:] if isinstance(each, ParameterInfo))


def _title(key: str, about: Any) -> str:
    return about.metavar or key.upper()


def _several(one: inspect.Parameter) -> bool:
    kinds = [_plain(one.annotation), *get_args(_plain(one.annotation))]
    return any(get_origin(kind) is list for kind in kinds)


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _place(row: tuple[str, Any, inspect.Parameter]) -> str:
    key, about, one = row
    text = _title(key, about) + ("..." if _several(one) and not about.metavar else "")
    return text if one.default is inspect.Parameter.empty else f"[{text}]"


def _needed(key: str, about: Any, one: inspect.Parameter) -> str:
    return f"--{key.strip('_').replace('_', '-')} {_title(key.strip('_'), about)}"


def _name(key: str, about: Any, one: inspect.Parameter) -> str:
    """A row's first cell: an argument's name, or an option's flags."""
    if isinstance(about, ArgumentInfo):
        return f"`{_title(key, about).strip('.')}`"
    first = [about.default] if isinstance(about.default, str) else []  # of Annotated[..., Option()]
    named = [flag for text in [*first, *(about.param_decls or ())] for flag in text.split("/")]
    flags = named or [f"--{key.strip('_').replace('_', '-')}"]
    again = ", repeated" if _several(one) else ""
    return ", ".join(f"`{flag}`" for flag in flags) + again


def _row(name: str, about: Any, one: inspect.Parameter) -> str:
    default = "required" if one.default is inspect.Parameter.empty else _shown(one.default)
    return f"| {name} | {default} | {_cell(about.help or '')} |"


def _shown(default: object) -> str:
    """A default that says something; what is off, unset or empty does not."""
    return "" if default is None or default is False or default == "" else f"`{default}`"


def _cell(text: str) -> str:
    return _escaped(text.replace("\\[", "[").replace("\n", " ")).replace("|", "\\|")


def _escaped(text: str) -> str:
    """A text with what Markdown would take for HTML as it stands, but in `code`."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        p if p.startswith("`") else p.replace("<", "&lt;").replace("*", r"\*") for p in pieces
    )


def _prose(text: str) -> str:
    """A docstring's paragraphs, with the indented code in it as it is."""
    lines = (line if line.startswith("    ") else _escaped(line) for line in text.splitlines())
    return "\n".join(lines)


def python() -> str:
    """The reference of the Python face, as Markdown."""
    import harness

    told = {name for names in _PARTS.values() for name in names}
    others = [name for name in harness.__all__ if name not in told and not name.startswith("_")]
    parts = [_PYTHON]
    for title, names in _PARTS.items():
        parts += [f"## {title}\n", *(_function(name, getattr(harness, name)) for name in names)]
        if title == "Make and judge":
            parts.append(_options(names))
    parts.append("## What they return\n")
    for module, classes in _RESULTS.items():
        home = import_module(module)
        parts += [_class(getattr(home, name), module, names) for name, names in classes.items()]
    parts.append("## What extensions are written with\n")
    parts += [_other(name, getattr(harness, name)) for name in others]
    return "\n".join(parts)


def _function(name: str, function: Callable[..., object]) -> str:
    text = _doc(function).replace("the module's docstring", f"`help({function.__module__})`")
    return f"### {name}\n\n{_call(name, function)}\n\n{text}\n"


def _call(name: str, function: Callable[..., object]) -> str:
    """A function's signature as code, a parameter a line where it is long."""
    own = inspect.unwrap(function)
    parameters = inspect.signature(own, follow_wrapped=False).parameters.values()
    given = [one for one in parameters if one.name != "self"]
    texts, starred = [], False
    for one in given:
        if one.kind is one.KEYWORD_ONLY and not starred:
            texts.append("*")
        starred |= one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        texts.append(_parameter(one))
    back = f" -> {own.__annotations__['return']}" if "return" in own.__annotations__ else ""
    line = f"{name}({', '.join(texts)}){back}"
    if len(line) > 100:
        line = "\n".join([f"{name}(", *(f"    {text}," for text in texts), f"){back}"])
    return f"```\n{line}\n```"


def _parameter(one: inspect.Parameter) -> str:
    stars = "**" if one.kind is one.VAR_KEYWORD else "*" if one.kind is one.VAR_POSITIONAL else ""
    kind = "" if one.annotation is one.empty or stars else f": {one.annotation}"
    if one.default is one.empty:
        return f"{stars}{one.name}{kind}"
    known = isinstance(one.default, str | int | float | tuple | type(None))
    default = repr(one.default) if known else "..."
    return f"{one.name}{kind} = {default}"


def _doc(thing: Any) -> str:
    return _prose(inspect.getdoc(thing) or "")


def _options(functions: Iterable[str]) -> str:
    """The options that benchmark functions share, with what the command line says of them."""
    import harness
    from harness.experiments.options import Options

    rows = [
        f"| `{name}` | `{_cell(kind)}` | {_shown(getattr(Options, name))} | "
        f"{_cell(next(_abouts(SHARED[name])).help or '')} |"
        for name, kind in Options.__annotations__.items()
    ]
    without = []
    for function in functions:
        taken = inspect.signature(getattr(harness, function)).parameters
        if lacking := [f"`{name}`" for name in SHARED if name not in taken]:
            without.append(f"`{function}` has no {', '.join(lacking)}.")
    head = ["| | type | default | |", "|---|---|---|---|"]
    about = f"`**options`. {_doc(Options)} {' '.join(without)}\n"
    return "\n".join(["### Options of these\n", about, *head, *rows]) + "\n"


def _class(made: type, module: str = "", names: Collection[str] = ()) -> str:
    """A class: what it is, and its documented public members, or those in `names`."""
    where = f"`{module}.{made.__name__}`. " if module else ""
    lines = [f"### {made.__name__}\n", f"{where}{_doc(made)}\n"]
    for name, member in vars(made).items():
        told = inspect.isfunction(member) or isinstance(member, property)
        hidden = name.startswith("_") and name != "__call__"
        if told and not hidden and member.__doc__ and (not names or name in names):
            lines.append(_member(name, member))
    return "\n".join(lines).rstrip() + "\n"


def _member(name: str, member: Any) -> str:
    called = name
    if not isinstance(member, property):
        parameters = list(inspect.signature(member).parameters.values())[1:]
        called = f"{name}({', '.join(map(_parameter, parameters))})"
    text = " ".join(_doc(member).split())
    return f"- `{called.removeprefix('__call__')}`: {text}"


def _other(name: str, thing: Any) -> str:
    return _class(thing) if inspect.isclass(thing) else _function(name, thing)


PAGES: dict[str, Callable[[], str]] = {"commands.md": commands, "python.md": python}


def main(folder: str = "docs") -> None:
    """Write the pages."""
    for name, make in PAGES.items():
        Path(folder, name).write_text(make(), encoding="utf-8")
        typer.echo(f"{folder}/{name}")


if __name__ == "__main__":
    main()
