"""The command `harness`. Heavy libraries are imported when a command runs, so help is instant."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from harness import __version__
from harness.core.errors import HarnessError, NothingMade

app = typer.Typer(
    name="harness",
    help="Which diffusion sampler really wins? Same prompts, same noise, same cost, "
    "every number with an interval.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: [bold]harness bench zigzag --model shapes[/bold]",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"harness {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of the command itself."""


_FIRST = ("bench", "generate", "evaluate", "compare", "report", "sample")


def _place(command: Callable[..., object] | None) -> tuple[int, str]:
    """Sort key of a command in help: the stages in their order, then the others by name."""
    name = command.__name__.strip("_") if command else ""
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST)), name


def load_commands() -> None:
    """Register every command, in the order of help."""
    from harness.cli import (  # noqa: F401
        arena,
        benchmark_commands,
        doctor,
        export,
        guidance,
        information,
        judging_commands,
        making_commands,
        models,
        refs,
    )
    from harness.cli.help_pages import arrange

    for command in app.registered_commands:
        arrange(command)
    app.registered_commands.sort(key=lambda command: _place(command.callback))


def _interrupted() -> None:
    if os.environ.get("RANK", "0") == "0":  # of many processes, one says it
        _say("harness: interrupted; what is complete is kept")


def _say(text: str) -> None:
    os.write(2, f"{text}\n".encode())


def main() -> None:
    """Run the command line: a user's mistake is one message and exit code 2, no traceback."""
    load_commands()
    if hasattr(signal, "SIGUSR1"):  # while images are made or scored it has a better answer
        signal.signal(signal.SIGUSR1, lambda *_: _say("harness: starting, or between two stages"))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", force=True)
    for noisy in ("httpx", "diffusers", "transformers", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        app()
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, NothingMade) else 2)
    except OSError as error:
        if error.errno is None or isinstance(error, BrokenPipeError):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"harness: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
            raise
        print("harness: out of GPU memory: take a smaller --batch-size or --size", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        _interrupted()
        sys.exit(130)
    except SystemExit as ended:
        if ended.code == 130:  # what typer makes of Ctrl-C
            _interrupted()
        raise
