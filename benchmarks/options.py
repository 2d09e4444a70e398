"""Options that every benchmark has."""

import argparse
from pathlib import Path

from ghanet_model.commands import Command

TARGETS = "exit 1 where a target is missed"


def benchmark_parser(
    name: str, about: str, command: Command, *, quick: str, check: str | None = TARGETS
) -> argparse.ArgumentParser:
    """A parser of ``--quick``, ``--check``, ``--json`` and ``--debug``; others are added to it.

    Args:
        name: of the file.
        about: what it measures; the first line is shown.
        command: what is run.
        quick: what is smaller then.
        check: what is checked; None: nothing can be.
    """
    parser = argparse.ArgumentParser(prog=name, description=about.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    if check is not None:
        parser.add_argument("--check", action="store_true", help=check)
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--debug", action="store_true", help="tracebacks of unexpected errors")
    parser.set_defaults(command=command)
    return parser
