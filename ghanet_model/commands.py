"""What both commands share: errors become one line, one hint and an exit code."""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import GHANetError

Command = Callable[[argparse.Namespace], int]


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, command: Command
) -> argparse.ArgumentParser:
    """Add a command with the options that all have; its docstring is its help."""
    text = (command.__doc__ or "").splitlines()[0]
    found = commands.add_parser(name, help=text, description=text)
    found.add_argument("--folder", type=Path, default=Path(), help="default: this folder")
    found.add_argument("--debug", action="store_true", help="tracebacks of unexpected errors")
    found.set_defaults(command=command)
    return found


def run_command(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> int:
    """Run the chosen command; exit code 0 done, 1 refused or failed, 2 usage."""
    options = parser.parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except GHANetError as error:
        say_error(parser.prog, str(error), error.hint)
    except KeyboardInterrupt:
        say_error(parser.prog, "stopped")
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        say_error(parser.prog, f"{(error.strerror or str(error)).lower()}{place}")
    except Exception as error:  # noqa: BLE001 - the last line of defence: one line, no traceback
        if options.debug:
            traceback.print_exc()
        say_error(
            parser.prog,
            f"unexpected {type(error).__name__}",
            "run the command again with --debug and report what it prints",
        )
    return 1


def say_error(name: str, message: str, hint: str = "") -> None:
    """Print an error and its hint, a line each."""
    for kind, text in (("error", message), ("hint", hint)):
        if one_line := " ".join(text.split()):
            print(f"{name}: {kind}: {one_line}", file=sys.stderr)  # noqa: T201
